"""`crewline deploy` and its rollback, and `crewline versions`: what is deployed, and what was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crewline.cli import screens
from crewline.cli.failures import CliError
from crewline.cli.options import STACK, AsJson, Stack
from crewline.cli.progress import progress

if TYPE_CHECKING:
    from crewline.models.releases import Release
    from crewline.models.versions import Version
    from crewline.services.releases import Releases


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
    stack: Annotated[str, typer.Option(metavar="NAME", help="Name of the CloudFormation stack.")] = STACK,
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
    as_json: AsJson = False,
) -> None:
    """Deploy a project into the AWS account and region of this environment.

    It needs Node, and the constructs, which the package's extra `cdk` brings. What the project requires is
    locked in crewline.lock beside its manifest; commit it. Deploying again updates the stack.
    A rollback needs neither, nor the project: it takes seconds, and runs in flight go on.
    """
    from crewline.cli import deployments

    if rollback:
        roll_back(stack, to, as_json=as_json)
        return
    if to is not None:
        raise CliError("--to names the version of a rollback; add --rollback.")
    wanted = deployments.Deployment(
        project=project or Path.cwd(),
        stack=stack,
        architecture=architecture,
        image=image,
        stage=stage,
        ask=not yes,
    )
    raise typer.Exit(deployments.deploy(wanted, as_json=as_json))


def versions(stack: Stack = STACK, as_json: AsJson = False) -> None:
    """List the versions of a deployment, the newest first, and say which one is live.

    Each build that was ever deployed has a number; one that is deployed again keeps its own.
    `crewline deploy --rollback --to N` makes another one live.
    """
    with _releases(stack) as releases:
        found = releases.list()
        functions = releases.count
    if as_json:
        screens.print_json([_row(one, functions) for one in found])
        return
    screens.show_table(
        ("version", "build", "since", ""),
        [
            (
                str(one.version.number),
                one.version.build,
                screens.moment(one.version.created_at),
                _state(one, functions),
            )
            for one in found
        ],
    )


def roll_back(stack: str, to: int | None, *, as_json: bool) -> None:
    """Make an older version live, and say so.

    Args:
        stack: The name of the deployment's stack.
        to: The version; without it the one before that which is live.
        as_json: Whether standard output is for a program.

    Raises:
        NotFound: There is no such stack or version.
        Conflict: A function does not keep it, or somebody else changes what is live.
        CrewlineError: AWS refuses, or not every function could be changed; the same again completes it.
    """
    with _releases(stack) as releases:
        version = releases.earlier(to)
        changed = make_live(releases, version)
    if as_json:
        screens.print_json({"stack": stack, **version_row(version), "changed": changed})
        return
    screens.console().print(
        f"Version {version.number} is live in {stack}. What was accepted before goes on and ends on it."
        if changed
        else f"Version {version.number} is live in {stack} already; nothing was changed.",
        markup=False,
    )


def settle(stack: str) -> Version:
    """Make what was deployed live, where a rollback had made something else so.

    CloudFormation points aliases at a new build by itself, and does not know of a rollback: where the same build
    is deployed again it sees no change.

    Args:
        stack: The name of the deployment's stack.

    Returns:
        The version that was deployed.

    Raises:
        CrewlineError: AWS refuses.
    """
    with _releases(stack) as releases:
        version = releases.deployed()
        make_live(releases, version)
    return version


def make_live(releases: Releases, version: Version) -> bool:
    """Make a version live and show how far that is; True when anything changed."""
    with progress(f"Version {version.number}", total=releases.count) as done:
        return releases.make_live(version, lambda name: done(f"{name}: version {version.number} is live"))


def version_row(version: Version) -> dict[str, Any]:
    """Spell a version for programs."""
    return {"number": version.number, "build": version.build, "created_at": version.created_at}


@contextmanager
def _releases(stack: str) -> Iterator[Releases]:
    from crewline.models.clocks import system_clock  # botocore and pydantic, which `--help` does not need
    from crewline.services.releases import Releases
    from crewline.services.versions import Versions
    from crewline.store import deployments
    from crewline.store.aliases import Aliases

    aliases = Aliases(stack)
    functions = aliases.list()
    with deployments.reached(stack=stack) as table:
        yield Releases(functions, aliases.point, Versions(table, system_clock))


def _row(release: Release, functions: int) -> dict[str, Any]:
    return {
        **version_row(release.version),
        "live": len(release.live) == functions,
        "live_functions": list(release.live),
        "complete": release.complete,
    }


def _state(release: Release, functions: int) -> str:
    if len(release.live) == functions:
        return "live"
    if release.live:
        return f"live for {', '.join(release.live)} alone; a rollback is not complete"
    return "" if release.complete else "not kept by every function"
