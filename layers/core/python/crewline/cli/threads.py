"""`crewline thread`: conversations, their history, and what changed in them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from crewline.cli.options import AsJson, ProfileName, Url, Yes, given, parse_object

app = typer.Typer(help="Make threads, and look at what happened in them.", no_args_is_help=True)

Thread = Annotated[str, typer.Argument(metavar="THREAD", help="Its id (thr_… or UUID).")]
Deployment = Annotated[
    str, typer.Argument(metavar="DEPLOYMENT", help="Its deployment: an id (dep_… or UUID) or a name.")
]


class Status(StrEnum):
    """What a thread is doing."""

    IDLE = "idle"
    BUSY = "busy"
    INTERRUPTED = "interrupted"
    ERROR = "error"


@app.command(epilog="""Example: crewline thread create planner --metadata '{"user_id": "demo"}'""")
def create(
    deployment: Deployment,
    *,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="Facts to find it by.")
    ] = None,
    values: Annotated[
        str | None, typer.Option("--values", metavar="JSON", help="The state that it begins with.")
    ] = None,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Make a thread and print its id."""
    from crewline.cli import addresses, clients, screens

    body = given(
        metadata=parse_object(metadata, "--metadata") if metadata is not None else None,
        values=parse_object(values, "--values") if values is not None else None,
    )
    with clients.reached(url, profile) as service:
        body["deployment_id"] = addresses.find_deployment(service, deployment)
        made = service.post("/v1/threads", body)
    if as_json:
        screens.print_json(made)
        return
    screens.console().print(made["thread_id"], markup=False)
    screens.notes().print(
        f"Say something in it: crewline invoke --thread {made['thread_id']} -i JSON", markup=False
    )


@app.command("list", epilog="Example: crewline thread list planner --metadata user_id=demo --status idle")
def list_(
    deployment: Deployment,
    *,
    status: Annotated[Status | None, typer.Option(help="Only those that are so.")] = None,
    metadata: Annotated[
        list[str],
        typer.Option(
            "--metadata", metavar="KEY=VALUE", help="Only those of which this is known; may be repeated."
        ),
    ] = [],  # noqa: B006 (typer makes a list of its own)
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="How many to leave out before.")] = 0,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List the threads of a deployment, the newest first."""
    from crewline.cli import addresses, clients, screens

    filters = dict(_filter(pair) for pair in metadata)
    with clients.reached(url, profile) as service:
        deployment_id = addresses.find_deployment(service, deployment)
        asked: dict[str, Any] = {"deployment_id": deployment_id, "status": status, **filters}
        found = service.get("/v1/threads", **asked, limit=limit, offset=offset)
    if as_json:
        screens.print_json(found)
        return
    screens.show_table(
        ("thread", "status", "updated", "metadata"),
        [
            (
                thread["thread_id"],
                screens.styled_status(thread["status"]),
                screens.moment(thread["updated_at"]),
                screens.shortened(screens.json_text(thread["metadata"]), 60),
            )
            for thread in found["threads"]
        ],
    )
    if len(found["threads"]) == limit:
        screens.notes().print(f"There may be more: --offset {offset + limit}", markup=False)


@app.command(epilog="Example: crewline thread get thr_0198c0de000070008000000000000001")
def get(thread: Thread, url: Url = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show a thread and its state."""
    from crewline.cli import addresses, clients, screens

    thread_id = addresses.identify("thread", thread)
    with clients.reached(url, profile) as service:
        found = service.get(f"/v1/threads/{thread_id}")
    if as_json:
        screens.print_json(found)
        return
    screens.show_fields(
        {
            "thread": found["thread_id"],
            "status": screens.styled_status(found["status"]),
            "deployment": found["deployment_id"] or "-",
            "created": screens.moment(found["created_at"]),
            "updated": screens.moment(found["updated_at"]),
            "metadata": found["metadata"],
        }
    )
    screens.show_fields({"values": "" if found["values"] is not None else "none yet"})
    if found["values"] is not None:
        screens.show_json(found["values"])


@app.command(epilog="Example: crewline thread history thr_0198c0de000070008000000000000001")
def history(
    thread: Thread,
    *,
    turn: Annotated[
        int | None, typer.Option(min=1, help="Show the state as of the end of this run, counted from 1.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every superstep, not one checkpoint a run.")] = False,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show when a thread changed, which run did it, and what is new; the newest first."""
    from crewline.cli import addresses, clients, screens, timelines

    thread_id = addresses.identify("thread", thread)
    with clients.reached(url, profile) as service:
        moments = timelines.read(service, thread_id, every=every)
    if turn is not None:
        found = timelines.get_turn(moments, turn)
        screens.print_json(found.checkpoint) if as_json else screens.show_json(found.checkpoint["values"])
    elif as_json:
        screens.print_json({"checkpoints": [one.checkpoint for one in reversed(moments)]})
    elif moments:
        timelines.show(moments)
    else:
        screens.notes().print("Nothing has happened in this thread yet.")


@app.command(epilog="Example: crewline thread diff thr_0198c0de000070008000000000000001 1 2")
def diff(
    thread: Thread,
    before: Annotated[
        str, typer.Argument(metavar="A", help="A turn (0: before the first run) or a checkpoint's id.")
    ],
    after: Annotated[
        str | None,
        typer.Argument(metavar="B", help="Another.", show_default="the newest state"),
    ] = None,
    *,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show what is different between two states of a thread."""
    from crewline.cli import addresses, changes, clients, screens, timelines
    from crewline.models.clocks import is_id

    thread_id = addresses.identify("thread", thread)
    with clients.reached(url, profile) as service:
        named = any(is_id(one) for one in (before, after) if one)  # by a checkpoint, which may be any
        moments = timelines.read(service, thread_id, every=named)
    first = timelines.find(moments, before)
    second = timelines.find(moments, after) if after is not None else timelines.newest(moments)
    if as_json:
        screens.print_json(
            [one.json() for one in changes.compare(timelines.values(first), timelines.values(second))]
        )
    else:
        timelines.show_changes(first, second)


@app.command(epilog="Example: crewline thread rollback thr_0198c0de000070008000000000000001 --turn 1")
def rollback(
    thread: Thread,
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="CHECKPOINT", help="The state to return to, by its id.")
    ] = None,
    *,
    turn: Annotated[
        int | None, typer.Option(min=1, help="The same as the end of this run, counted from 1.")
    ] = None,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Give a thread the state of an earlier checkpoint. Nothing is lost: it is a new checkpoint."""
    from crewline.cli import addresses, clients, screens, timelines
    from crewline.cli.failures import CliError
    from crewline.models.clocks import parse_id

    thread_id = addresses.identify("thread", thread)
    if (checkpoint is None) == (turn is None):
        raise CliError("Say what to return to: the id of a checkpoint, or --turn with a number.")
    checkpoint_id = parse_id(checkpoint, "checkpoint") if checkpoint else None
    with clients.reached(url, profile) as service:
        if turn is not None:
            moments = timelines.read(service, thread_id, every=False)
            checkpoint_id = timelines.get_turn(moments, turn).checkpoint["checkpoint_id"]
        rolled = service.post(f"/v1/threads/{thread_id}/rollback", {"checkpoint_id": checkpoint_id})
    if as_json:
        screens.print_json(rolled)
    else:
        screens.console().print(
            f"Thread {thread_id} is as it was at checkpoint {checkpoint_id}.", markup=False
        )


@app.command(epilog="Example: crewline thread copy thr_0198c0de000070008000000000000001")
def copy(thread: Thread, url: Url = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Copy a thread with its history, and print the new one's id."""
    from crewline.cli import addresses, clients, screens

    thread_id = addresses.identify("thread", thread)
    with clients.reached(url, profile) as service:
        made = service.post(f"/v1/threads/{thread_id}/copy")
    if as_json:
        screens.print_json(made)
    else:
        screens.console().print(made["thread_id"], markup=False)


@app.command(epilog="Example: crewline thread delete thr_0198c0de000070008000000000000001 --yes")
def delete(
    thread: Thread, yes: Yes = False, url: Url = None, profile: ProfileName = None, as_json: AsJson = False
) -> None:
    """Delete a thread with everything in it."""
    from crewline.cli import addresses, clients, screens

    thread_id = addresses.identify("thread", thread)
    with clients.reached(url, profile) as service:
        row = service.get(f"/v1/threads/{thread_id}")
        screens.confirm(f"Delete thread {thread_id} with everything in it?", yes=yes)
        service.delete(f"/v1/threads/{thread_id}")
    if as_json:
        screens.print_json(row)
    else:
        screens.console().print(f"Thread {thread_id} is deleted.", markup=False)


def _filter(pair: str) -> tuple[str, str]:
    from crewline.cli.failures import CliError

    key, equals, value = pair.partition("=")
    if not key or not equals:
        raise CliError(f"{pair!r} is no filter; spell it --metadata user_id=demo.")
    return f"metadata[{key}]", value
