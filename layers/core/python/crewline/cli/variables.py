"""`crewline env`: the variables that a project sets for its crews."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from crewline.cli import options
from crewline.cli.options import AsJson

if TYPE_CHECKING:
    from crewline.models.manifests import Manifest

app = typer.Typer(
    help=(
        "Set, list and unset variables of a project's crews.\n\n"
        "They are in the file that the manifest's env names, readable for you alone, or in the manifest itself. "
        "`crewline dev` follows a change at once; a deploy brings them to the functions."
    ),
    no_args_is_help=True,
)

Project = Annotated[
    Path | None,
    typer.Option(
        "--project",
        metavar="DIR",
        file_okay=False,
        exists=True,
        help="Folder with the project's manifest.",
        show_default="the current folder",
    ),
]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE: Final = ".env"
_PRIVATE: Final = 0o600


@app.command("set", epilog="Example: crewline env set MODEL=small GREETING='good evening'")
def set_(
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE...", help="What to set. NAME alone asks for its value, which nobody sees."
        ),
    ],
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Set variables, new or anew."""
    manifest = _read(project)
    values = dict(_parse(pair) for pair in pairs)
    where = _change(manifest, values, unset=())
    _tell("Set", list(values), where, as_json=as_json)


@app.command("list", epilog="Example: crewline env list --json")
def list_(
    project: Project = None,
    show: Annotated[bool, typer.Option("--show", help="Print the values too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the variables by name."""
    values = _values(_read(project))
    if as_json:
        typer.echo(json.dumps(values if show else list(values)))
        return
    for name, value in values.items():
        typer.echo(f"{name}={value}" if show else name)
    if not values:
        typer.echo("The project sets no variables; `crewline env set NAME=VALUE` sets one.", err=True)


@app.command(epilog="Example: crewline env unset MODEL")
def unset(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="What to unset.")],
    project: Project = None,
    as_json: AsJson = False,
) -> None:
    """Unset variables.

    With one that is not set, nothing is unset.
    """
    from crewline.cli.failures import CliError, ExitCode

    manifest = _read(project)
    if absent := [name for name in names if name not in _values(manifest)]:
        raise CliError(
            f"The project sets no {', '.join(absent)}; `crewline env list` shows what it sets.",
            ExitCode.NOT_FOUND,
        )
    where = _change(manifest, {}, unset=names)
    _tell("Unset", names, where, as_json=as_json)


def _read(project: Path | None) -> Manifest:
    from crewline.models.manifests import find_manifest, read_manifest

    return read_manifest(find_manifest((project or Path.cwd()).resolve()))


def _values(manifest: Manifest) -> dict[str, str]:
    from crewline.models.manifests import project_environment

    if isinstance(manifest.env, Path) and not manifest.env.exists():
        return {}
    return project_environment(manifest)


def _parse(pair: str) -> tuple[str, str]:
    from crewline.cli.failures import CliError

    name, given, value = pair.partition("=")
    if not _NAME.fullmatch(name):
        raise CliError(
            f"{name!r} is no name of a variable: letters, digits and _, as in `crewline env set MODEL=small`."
        )
    return name, value if given else options.ask_secret(name)


def _change(manifest: Manifest, values: dict[str, str], *, unset: Sequence[str]) -> Path:
    """Change the variables where they are, and say where that is; a project without any gets a file."""
    if not isinstance(manifest.env, Path) and manifest.env:
        kept = {name: value for name, value in manifest.env.items() if name not in unset}
        return _rewrite(manifest.path, {**kept, **values})
    file = manifest.env if isinstance(manifest.env, Path) else manifest.folder / _FILE
    _change_file(file, values, unset)
    if manifest.env != file and manifest.path.suffix == ".json":
        _rewrite(manifest.path, _FILE)  # a crewship.toml has the .env beside it without naming it
    return file


def _change_file(file: Path, values: dict[str, str], unset: Sequence[str]) -> None:
    import dotenv

    file.touch(mode=_PRIVATE)
    file.chmod(_PRIVATE)
    for name, value in values.items():
        dotenv.set_key(file, name, value, quote_mode="auto")
    for name in unset:
        dotenv.unset_key(file, name)


def _rewrite(manifest: Path, env: Any) -> Path:
    """Write a langgraph.json with another `env`; what else it says stays, in its order, and who may read it."""
    file = manifest.resolve()
    content = json.loads(file.read_bytes())
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w") as opened:
            opened.write(json.dumps({**content, "env": env}, indent=2, ensure_ascii=False) + "\n")
        shutil.copymode(file, draft)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def _tell(did: str, names: list[str], where: Path, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"names": names, "file": str(where)}))
        return
    typer.echo(f"{did} {', '.join(names)} in {where}. `crewline deploy` brings it to a deployment.")
