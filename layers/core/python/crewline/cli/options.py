"""Options that many commands share, spelled once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from crewline.cli.failures import CliError

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="The service; also CREWLINE_URL.", show_default="that of the profile"
    ),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="NAME", help="Which `crewline profiles` to use; also CREWLINE_PROFILE."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Stack = Annotated[str, typer.Option(metavar="NAME", help="The deployment's CloudFormation stack.")]
TableName = Annotated[
    str | None,
    typer.Option("--table", metavar="NAME", help="Its table, instead of the one that the stack names."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


STACK: Final = "Crewline"
"""The name of a stack that was given no other."""


def parse_json(text: str, option: str) -> Any:
    """Read the JSON that an option has.

    Args:
        text: The JSON; `-` stands for standard input, `@FILE` for a file.
        option: Its name, for the message.

    Returns:
        The value.

    Raises:
        CliError: The file cannot be read, or it is not JSON; the message says where.
    """
    source = option
    if text == "-":
        text, source = sys.stdin.read(), "standard input"
    elif text.startswith("@"):
        source = text[1:]
        text = _read(Path(source))
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as exc:
        near = text[max(0, exc.pos - 15) : exc.pos + 15].replace("\n", " ").strip()
        where = f"line {exc.lineno}, column {exc.colno}" + (f", near {near!r}" if near else "")
        raise CliError(
            f"{source} is not valid JSON: {exc.msg.lower()} at {where}. "
            f'Put single quotes around it in a shell: {option} \'{{"topic": "tea"}}\'.'
        ) from None
    except (ValueError, RecursionError) as exc:
        raise CliError(f"{source} is not valid JSON: {exc}.") from None


def parse_object(text: str, option: str) -> dict[str, Any]:
    """Read the JSON object that an option has; see `parse_json`.

    Raises:
        CliError: It is not a JSON object.
    """
    value = parse_json(text, option)
    if not isinstance(value, dict):
        raise CliError(
            f'{option} must be a JSON object, like \'{{"topic": "tea"}}\', not {json.dumps(value)[:40]}.'
        )
    return value


def ask_secret(name: str) -> str:
    """Ask for what nobody is to see: on a terminal without showing it; from a pipe, its first line is the answer.

    Args:
        name: What is asked for.

    Returns:
        The answer.

    Raises:
        CliError: Standard input ended without one.
    """
    if sys.stdin.isatty():
        return str(typer.prompt(name, hide_input=True, err=True))
    if not (line := sys.stdin.readline()):
        raise CliError(
            f"{name} is asked for, and standard input has nothing; pipe it in, or run this in a terminal."
        )
    return line.rstrip("\r\n")


def given(**values: Any) -> dict[str, Any]:
    """Choose what was given of the parts of a body or a query: what is not None."""
    return {name: value for name, value in values.items() if value is not None}


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a value of JSON")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as exc:
        raise CliError(f"{file} cannot be read: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise CliError(f"{file} is not text in UTF-8: {exc.reason}.") from exc
