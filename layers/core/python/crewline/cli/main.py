"""The `crewline` command."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Annotated, Final, cast

import typer

from crewline.cli import (
    assistants,
    diagnoses,
    failures,
    invocations,
    keys,
    logs,
    profiles,
    projects,
    releases,
    removals,
    runs,
    screens,
    threads,
    variables,
    webhooks,
)
from crewline.errors import CrewlineError

app = typer.Typer(
    name="crewline",
    help="Run agent crews on AWS without servers, and on a laptop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
_BUILD: Final = "Build"
_RUN: Final = "Run"
_DEPLOY: Final = "Deploy"


def _add(panel: str, command: Callable[..., None], example: str) -> None:
    app.command(epilog=f"Example: crewline {example}", rich_help_panel=panel)(command)


_add(_BUILD, projects.init, "init my-crew --template chatbot --yes")
_add(_BUILD, projects.dev, "dev --project ../my-crews --port 2025")
_add(_BUILD, diagnoses.doctor, "doctor --for dev --project ../my-crews")
app.add_typer(variables.app, name="env", rich_help_panel=_BUILD)
_add(_RUN, invocations.invoke, """invoke planner -i '{"message": "Plan a tea party"}' --stream""")
app.add_typer(threads.app, name="thread", rich_help_panel=_RUN)
app.add_typer(runs.app, name="runs", rich_help_panel=_RUN)
app.add_typer(assistants.app, name="assistants", rich_help_panel=_RUN)
app.add_typer(profiles.app, name="profiles", rich_help_panel=_RUN)
_add(_DEPLOY, releases.deploy, "deploy --project ../my-crews --stack Crews")
_add(_DEPLOY, releases.versions, "versions --stack Crews")
_add(_DEPLOY, removals.destroy, "destroy --stack Crews")
_add(_DEPLOY, logs.logs, "logs --function worker --since 1h")
app.add_typer(keys.app, name="keys", rich_help_panel=_DEPLOY)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=_DEPLOY)

_Misused: Final = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
"""What Typer raises for a command line that it cannot read: click's UsageError, which it does not export."""

_OF_FILES: Final = frozenset(
    (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EROFS, errno.ENAMETOOLONG)
)
"""What whoever owns the files can repair."""

_PYDANTIC: Final = "Value error, "
"""What stands before the sentence where Typer has a value checked by pydantic."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crewline {metadata.version('crewline')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the `crewline` command; what the user can repair is one line on standard error."""
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail
    try:
        code = app(prog_name="crewline", standalone_mode=False)
        sys.stdout.flush()  # here, where a failure can still be told
        sys.exit(code or 0)
    except CrewlineError as error:
        _say(error.message)
        sys.exit(failures.exit_code_of(error))
    except _Misused as error:
        if error.ctx and type(error).__name__ != "NoArgsIsHelpError":  # that has printed the help
            said = error.format_message().replace(_PYDANTIC, "").rstrip(".")
            _say(f"{said}; see `{error.ctx.command_path} --help`.")
        sys.exit(failures.ExitCode.USAGE)
    except BrokenPipeError:
        _let_go_of_output()
        sys.exit(1)  # as Typer does, when it sees it first
    except OSError as error:
        if error.errno not in _OF_FILES:
            raise
        if error.filename is None:
            _let_go_of_output()
        _say(f"{error.filename or 'Standard output'}: {error.strerror}.")
        sys.exit(failures.ExitCode.USAGE)
    except typer.Abort as error:  # at a question
        _say("Nothing was changed; there was no answer.")
        interrupted = isinstance(error.__context__, KeyboardInterrupt)
        sys.exit(failures.ExitCode.INTERRUPTED if interrupted else failures.ExitCode.USAGE)


def _open_streams() -> None:
    """Put an empty file where a standard stream was closed, else the first socket that is opened takes its place."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _let_go_of_output() -> None:
    """Lead standard output nowhere: what is still in its buffer would fail again when the process ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _say(error: str) -> None:
    # What a service or a crew has said is in it.
    typer.echo(f"Error: {screens.plain(' '.join(error.split()))}", err=True)
