"""`crewline invoke`: run a crew, and show what comes of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from crewline.cli.options import AsJson, ProfileName, Url, given, parse_json, parse_object


class Environment(StrEnum):
    """Which of a team's deployments is meant; a service is one of them."""

    PRODUCTION = "production"
    STAGING = "staging"


Stream = Annotated[
    bool, typer.Option("--stream", help="Draw the run as it happens; with --json, print its events.")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")]


def invoke(
    deployment: Annotated[
        str | None,
        typer.Argument(
            metavar="DEPLOYMENT",
            help="What to run: an id (dep_… or UUID) or a name.",
            show_default="the thread's own, or the only one there is",
        ),
    ] = None,
    *,
    input: Annotated[  # noqa: A002 (the option's name)
        str | None,
        typer.Option(
            "--input", "-i", metavar="JSON", help="What to work on; - reads standard input, @FILE a file."
        ),
    ] = None,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="THREAD", help="Go on in this thread (thr_…).")
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="JSON", help="Answer the thread's open question.")
    ] = None,
    stream: Stream = False,
    name: Annotated[
        str | None, typer.Option("--name", help="What to run, by its name alone.", show_default=False)
    ] = None,
    environment: Annotated[
        Environment | None, typer.Option(help="Refuse to run in another environment than this.")
    ] = None,
    wait: Wait = True,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Run a crew, and print its output.

    Without a thread a run stands alone. Ctrl-C stops following; the run goes on.
    """
    from crewline.cli import addresses, clients, follows
    from crewline.cli.failures import CliError

    thread_id = addresses.identify("thread", thread) if thread is not None else None
    if resume is not None and (input is not None or thread_id is None):
        raise CliError("--resume answers a thread's question: give --thread with it, and no --input.")
    if thread_id and input is None and resume is None:
        raise CliError("Say what the thread is to go on with: --input JSON, or --resume JSON for an answer.")
    body: dict[str, Any] = given(environment=environment)
    if resume is not None:
        body["resume"] = parse_json(resume, "--resume")
    elif input is not None:
        body["input"] = parse_object(input, "--input")
    with clients.reached(url, profile) as service:
        if deployment is not None or name is not None or not thread_id:
            body["deployment_id"] = addresses.find_deployment(service, deployment, named=name)
        started = follows.start(service, thread_id=thread_id, body=body)
        follows.finish(service, started, wait=wait, stream=stream, as_json=as_json)
