"""The `crewline` command."""

from __future__ import annotations

import io
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final, Literal, cast

import typer

from crewline import locations
from crewline.cli import (
    assistants,
    diagnoses,
    failures,
    invocations,
    keys,
    logs,
    options,
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
app.add_typer(threads.app, name="thread")
app.add_typer(runs.app, name="runs")
app.add_typer(assistants.app, name="assistants")
app.add_typer(keys.app, name="keys")
app.add_typer(profiles.app, name="profiles")
app.add_typer(variables.app, name="env")
app.add_typer(webhooks.app, name="webhooks")
app.command(epilog="""Example: crewline invoke planner -i '{"message": "Plan a tea party"}' --stream""")(
    invocations.invoke
)
app.command(epilog="Example: crewline versions --stack Crews")(releases.versions)
app.command(epilog="Example: crewline destroy --stack Crews")(removals.destroy)
app.command(epilog="Example: crewline init my-crew --template chatbot --yes")(projects.init)
app.command(epilog="Example: crewline logs --function worker --since 1h")(logs.logs)
app.command(epilog="Example: crewline doctor --for dev --project ../my-crews")(diagnoses.doctor)

_Misused: Final = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
"""What Typer raises for a command line that it cannot read: click's UsageError, which it does not export."""

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


@app.command(epilog="Example: crewline dev --project ../my-crews --port 2025")
def dev(
    project: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            exists=True,
            help="Folder with the project's manifest: langgraph.json or crewship.toml.",
            show_default="the current folder; the example crews if it has none",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.")
    ] = 2024,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Folder for state and logs.",
            show_default=".crewline in the project",
        ),
    ] = None,
    event_bus: Annotated[
        str, typer.Option(metavar="NAME", help="Tell this EventBridge bus of the local cloud of every run.")
    ] = "",
    reload: Annotated[
        bool,
        typer.Option(
            "--reload/--no-reload",
            help="Serve an edited project a moment after it was saved. Without, the crews run in the command's own process, "
            "where a debugger finds them.",
        ),
    ] = True,
    stop_on_eof: Annotated[
        bool, typer.Option("--stop-on-eof", hidden=True, help="Stop when standard input ends.")
    ] = False,
) -> None:
    """Run a project on this machine: its HTTP API, its background runs, its storage.

    It runs on a local cloud, with the handlers and the stack of AWS.
    Nothing leaves this machine but what the crews themselves send.
    Ctrl-C stops it; the state is kept.
    """
    from crewline.cli import development  # 0.3 s of imports that `--help` does not need

    folder, bundled = _project_folder(project)
    if bundled:
        typer.echo("There is no langgraph.json here: serving the example crews.")
    state = state or (Path.cwd() if bundled else folder) / ".crewline"
    development.run(
        folder, port=port, state=state, event_bus=event_bus, reload=reload, stop_on_eof=stop_on_eof
    )


@app.command(epilog="Example: crewline deploy --project ../my-crews --stack Crews")
def deploy(
    *,
    project: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            exists=True,
            help="Folder with the project's manifest: langgraph.json or crewship.toml.",
            show_default="the current folder",
        ),
    ] = None,
    stack: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the CloudFormation stack.")
    ] = keys.STACK,
    architecture: Annotated[
        Literal["arm64", "x86_64"], typer.Option(help="Processor of the functions.")
    ] = "arm64",
    image: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Container image in ECR for crews that are too large for layers."),
    ] = None,
    stage: Annotated[
        Literal["production", "staging"],
        typer.Option(help="What it is for: a request may name an environment, and finds no other."),
    ] = "production",
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Do not ask before permissions are widened, as the first deploy does."),
    ] = False,
    rollback: Annotated[
        bool,
        typer.Option(
            "--rollback", help="Deploy nothing, and make the version before the live one live again."
        ),
    ] = False,
    to: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="With --rollback: the version that is to be live; `crewline versions`."
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Deploy a project into the AWS account and region of this environment.

    It needs Node, and the constructs, which the package's extra `cdk` brings. What the project requires is
    locked in crewline.lock beside its manifest; commit it. Deploying again updates the stack.
    A rollback needs neither, nor the project: it takes seconds, and runs in flight go on.
    """
    from crewline.cli import deployments

    if rollback:
        releases.roll_back(stack, to, as_json=as_json)
        return
    if to is not None:
        raise failures.CliError("--to names the version of a rollback; add --rollback.")
    wanted = deployments.Deployment(
        project=project or Path.cwd(),
        stack=stack,
        architecture=architecture,
        image=image,
        stage=stage,
        ask=not yes,
    )
    raise typer.Exit(deployments.deploy(wanted, as_json=as_json))


def _project_folder(named: Path | None) -> tuple[Path, bool]:
    """Choose the project; the second value says that it is the examples'."""
    from crewline.models.manifests import find_manifest  # pydantic, which `--help` does not need

    if named is None and not find_manifest(Path.cwd()).is_file():
        return locations.EXAMPLES, True
    return named or Path.cwd(), False


def main() -> None:
    """Run the `crewline` command; what the user can repair is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail
    try:
        sys.exit(app(prog_name="crewline", standalone_mode=False) or 0)
    except CrewlineError as error:
        _say(error.message)
        sys.exit(failures.exit_code_of(error))
    except _Misused as error:
        if error.ctx and type(error).__name__ != "NoArgsIsHelpError":  # that has printed the help
            said = error.format_message().replace(_PYDANTIC, "").rstrip(".")
            _say(f"{said}; see `{error.ctx.command_path} --help`.")
        sys.exit(failures.ExitCode.USAGE)
    except typer.Abort as error:  # at a question
        _say("Nothing was changed; there was no answer.")
        interrupted = isinstance(error.__context__, KeyboardInterrupt)
        sys.exit(failures.ExitCode.INTERRUPTED if interrupted else failures.ExitCode.USAGE)


def _say(error: str) -> None:
    # What a service or a crew has said is in it.
    typer.echo(f"Error: {screens.plain(' '.join(error.split()))}", err=True)
