"""The history of a thread: its checkpoints, the turns that made them, and what each has changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.text import Text

from crewline.cli.changes import Change, compare
from crewline.cli.clients import Service
from crewline.cli.failures import CliError, ExitCode
from crewline.cli.screens import console, moment, plain, working
from crewline.models.clocks import canonical, is_id

_PAGE: Final = 100
_MOST_CHANGES: Final = 8
"""Changes of one checkpoint that a timeline shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A checkpoint of a thread, in its place."""

    turn: int | None
    """Of the run that made it, counted from 1; None when no run did."""
    checkpoint: dict[str, Any]
    """As the service has it."""
    changes: Sequence[Change]
    """What is different from the one before."""


def read(service: Service, thread_id: str, *, every: bool) -> list[Moment]:
    """Read the whole history of a thread, the oldest checkpoint first.

    Args:
        service: Where the thread is.
        thread_id: Its public id.
        every: Every superstep, in place of one checkpoint a run.

    Raises:
        CliError: There is no such thread, or the service does not answer.
    """
    checkpoints: list[dict[str, Any]] = []
    path, cursor = f"/v1/threads/{thread_id}/history", None
    with working("Reading the history …") as say:
        while True:
            page = service.get(path, limit=_PAGE, cursor=cursor, all="true" if every else None)
            checkpoints += page["checkpoints"]
            say(f"Reading the history: {len(checkpoints)} checkpoints …")
            if not (cursor := page.get("next_cursor")):
                return list(_moments(checkpoints[::-1]))


def show(moments: Sequence[Moment]) -> None:
    """Print a history, the newest checkpoint first."""
    for one in reversed(moments):
        checkpoint = one.checkpoint
        head = Text(f"turn {one.turn}" if one.turn else "no run", style="bold cyan" if one.turn else "bold")
        head.append(f"  {moment(checkpoint['created_at'])}", style="default")
        head.append(f"  {checkpoint['checkpoint_id']}", style="yellow")
        console().print(head)
        if checkpoint["run_id"]:
            console().print(Text(f"  {checkpoint['run_id']}", style="dim"))
        for change in one.changes[:_MOST_CHANGES]:
            console().print(Text("  ").append(change.line()))
        if (more := len(one.changes) - _MOST_CHANGES) > 0:
            console().print(Text(f"  and {more} more", style="dim"))
        if not one.changes:
            console().print(Text("  nothing changed", style="dim"))


def show_changes(before: Moment | None, after: Moment | None) -> None:
    """Print what is different between two checkpoints; None is before the first."""
    console().print(Text(f"{_name(before)} → {_name(after)}", style="bold"))
    changes = compare(values(before), values(after))
    for change in changes:
        console().print(change.line(most=200))
    if not changes:
        console().print(Text("nothing changed", style="dim"))


def find(moments: Sequence[Moment], wanted: str) -> Moment | None:
    """Find the state that somebody means.

    Args:
        moments: The history.
        wanted: The number of a turn, for the state as of its end, or a checkpoint's id.

    Returns:
        The checkpoint; None for turn 0 when the thread began empty.

    Raises:
        CliError: There is no such turn or checkpoint.
    """
    if is_id(wanted):
        return _find_checkpoint(moments, canonical(wanted))
    if not (wanted.isascii() and wanted.isdigit()):
        raise CliError(
            f"{plain(wanted)[:60]!r} is neither the number of a turn nor the id of a checkpoint; "
            "`crewline thread history` shows both."
        )
    turn = int(wanted)
    if turn == 0:
        return _before_first_turn(moments)
    return get_turn(moments, turn)


def get_turn(moments: Sequence[Moment], turn: int) -> Moment:
    """Find the state as of the end of a run.

    Args:
        moments: The history.
        turn: The run's number, from 1.

    Raises:
        CliError: So many runs have not changed the thread.
    """
    for one in reversed(moments):
        if one.turn == turn:
            return one
    turns = max((one.turn or 0 for one in moments), default=0)
    raise CliError(
        f"There is no turn {turn}; "
        + (f"the thread has {turns}." if turns else "no run has changed the thread yet."),
        ExitCode.NOT_FOUND,
    )


def newest(moments: Sequence[Moment]) -> Moment | None:
    """Find the state as it is now; None when there is none yet."""
    return moments[-1] if moments else None


def values(one: Moment | None) -> Any:
    """Give the values of a checkpoint; None for those before the first."""
    return one.checkpoint["values"] if one else None


def _before_first_turn(moments: Sequence[Moment]) -> Moment | None:
    """Find the state that a thread was given before any run; None when it was empty."""
    before = itertools.takewhile(lambda one: one.turn is None, moments)
    return next(iter(list(before)[-1:]), None)


def _find_checkpoint(moments: Sequence[Moment], checkpoint_id: str) -> Moment:
    for one in moments:
        if one.checkpoint["checkpoint_id"] == checkpoint_id:
            return one
    raise CliError(
        f"The thread has no checkpoint {checkpoint_id}; `crewline thread history --all` shows every one.",
        ExitCode.NOT_FOUND,
    )


def _moments(checkpoints: Sequence[dict[str, Any]]) -> Iterator[Moment]:
    turns: dict[str, int] = {}
    before: Any = None
    for checkpoint in checkpoints:
        run_id = checkpoint["run_id"]
        turn = turns.setdefault(run_id, len(turns) + 1) if run_id else None
        yield Moment(turn=turn, checkpoint=checkpoint, changes=compare(before, checkpoint["values"]))
        before = checkpoint["values"]


def _name(one: Moment | None) -> str:
    if one is None:
        return "nothing"
    return f"turn {one.turn}" if one.turn else str(one.checkpoint["checkpoint_id"])
