"""`crewline runs`: look at runs, follow, cancel and retry them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from crewline.cli.invocations import Stream, Wait
from crewline.cli.options import AsJson, ProfileName, Url

app = typer.Typer(help="Look at runs, follow, cancel and retry them.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(metavar="RUN", help="Its id (run_… or UUID).")]


class Status(StrEnum):
    """How far a run is."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@app.command("list", epilog="Example: crewline runs list --deployment planner --status failed")
def list_(
    *,
    deployment: Annotated[
        str | None, typer.Option("--deployment", metavar="DEPLOYMENT", help="Of this one alone: id or name.")
    ] = None,
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="THREAD", help="In this thread alone.")
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only those that are so far.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 20,
    cursor: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on where a list has ended.")
    ] = None,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    from crewline.cli import addresses, clients, screens

    thread_id = addresses.identify("thread", thread) if thread is not None else None
    with clients.reached(url, profile) as service:
        deployment_id = None if deployment is None else addresses.find_deployment(service, deployment)
        found = service.get(
            "/v1/runs",
            deployment_id=deployment_id,
            thread_id=thread_id,
            status=status,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        screens.print_json(found)
        return
    screens.show_table(
        ("run", "status", "took", "created", "thread"),
        [
            (
                run["id"],
                screens.styled_status(run["status"]),
                _took(run),
                screens.moment(run["created_at"]),
                run["thread_id"] or "-",
            )
            for run in found["runs"]
        ],
        whole=("thread",),
    )
    if more := found.get("next_cursor"):
        screens.notes().print(f"There are more: --cursor {more}", markup=False)


@app.command(epilog="Example: crewline runs get run_0198c0de000070008000000000000001")
def get(run: Run, url: Url = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show a run: its status, what it was given and what came of it."""
    from crewline.cli import addresses, clients

    run_id = addresses.identify("run", run)
    with clients.reached(url, profile) as service:
        _show(service.get(f"/v1/runs/{run_id}"), as_json)


@app.command(epilog="Example: crewline runs events run_0198c0de000070008000000000000001")
def events(run: Run, url: Url = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Draw a run from its beginning to its end; with --json, print its events, each on a line.

    It works for a run that has ended, too.
    """
    from crewline.cli import addresses, clients, follows

    run_id = addresses.identify("run", run)
    with clients.reached(url, profile) as service:
        follows.follow(
            service, run_id, shown="events" if as_json else "stream", as_json=as_json, with_output=False
        )


@app.command(epilog="Example: crewline runs cancel run_0198c0de000070008000000000000001")
def cancel(run: Run, url: Url = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Cancel a run; what it has done so far stays in its thread."""
    from crewline.cli import addresses, clients, screens

    run_id = addresses.identify("run", run)
    with clients.reached(url, profile) as service:
        canceled = service.post(f"/v1/runs/{run_id}/cancel")
    if as_json:
        screens.print_json(canceled)
    else:
        screens.console().print(f"Run {run_id} is being canceled.", markup=False)


@app.command(epilog="Example: crewline runs retry run_0198c0de000070008000000000000001 --no-wait")
def retry(
    run: Run,
    *,
    stream: Stream = False,
    wait: Wait = True,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Try a run again that failed or was canceled.

    In a thread a new run goes on where that one stopped; nothing that succeeded is done again.
    Without a thread a new run begins with the same input.
    """
    from crewline.cli import addresses, clients, follows

    run_id = addresses.identify("run", run)
    with clients.reached(url, profile) as service:
        before = service.get(f"/v1/runs/{run_id}")
        thread_id = before["thread_id"]
        body: dict[str, Any] = {"deployment_id": before["deployment_id"]}
        _check_retried(service, before)
        if not thread_id:
            body["input"] = before["input"] or {}
        started = follows.start(service, thread_id=thread_id, body=body)
        follows.finish(service, started, wait=wait, stream=stream, as_json=as_json)


def _check_retried(service: Any, run: dict[str, Any]) -> None:
    from crewline.cli.failures import CliError, ExitCode

    if run["status"] not in (Status.FAILED, Status.CANCELED):
        raise CliError(
            f"Run {run['id']} is {run['status']}; only one that failed or was canceled is tried again.",
            ExitCode.CONFLICT,
        )
    if not (thread_id := run["thread_id"]):
        return
    [newest] = service.get("/v1/runs", thread_id=thread_id, limit=1)["runs"]
    if newest["id"] != run["id"]:
        raise CliError(
            f"Thread {thread_id} has gone on since run {run['id']}; "
            f"give it an input: crewline invoke --thread {thread_id} -i JSON.",
            ExitCode.CONFLICT,
        )


def _show(run: dict[str, Any], as_json: bool) -> None:
    from crewline.cli import screens

    if as_json:
        screens.print_json(run)
        return
    fields = {
        "run": run["id"],
        "status": screens.styled_status(run["status"]),
        "deployment": run["deployment_id"],
        "thread": run["thread_id"],
        "version": run["version_id"],
        "created": screens.moment(run["created_at"]),
        "took": _took(run),
        "usage": run.get("usage"),
        "error": run["error_message"],
        "input": run["input"],
    }
    screens.show_fields({name: value for name, value in fields.items() if value is not None})
    if run["output"] is not None:
        screens.show_fields({"output": ""})
        screens.show_json(run["output"])


def _took(run: dict[str, Any]) -> str:
    from crewline.cli import screens

    if not run["started_at"]:
        return "-"
    return screens.seconds(screens.elapsed(run["started_at"], run["completed_at"]))
