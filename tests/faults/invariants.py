"""What holds in every state: each function says what is wrong, or nothing.

They speak of what is stored, so states that differ only in processes and messages are judged once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tests.faults.model import Model
from tests.faults.states import NOBODY, ROWS, RUNS, UNFINISHED, Lease, Record, Run, State

Invariant = Callable[[Model, State], str]
Stored = tuple[Lease, tuple[Run, ...], tuple[Record, ...]]


def fence(model: Model, state: State) -> str:
    """A run's supersteps are committed once each, in order, and nothing is between them."""
    before = None
    for record in state.log:
        if record.parent != before and not state.lease.deleted:
            return f"{record.run}.{record.step} follows {record.parent}, but {before} was there"
        before = record.place
    for one, kind in enumerate(model.plan):
        steps = [record.step for record in state.log if record.run == one]
        if steps != list(range(len(steps))):
            return f"the supersteps of {one} are {steps}"
        missing = len(steps) < model.supersteps and kind in RUNS and not state.lease.deleted
        if state.runs[one].status == "success" and missing:
            return f"{one} succeeded with the supersteps {steps}"
    return ""


def head(_model: Model, state: State) -> str:
    """The head is the newest record; while a run is undone it is the one before the run."""
    lease = state.lease
    if lease.deleted:
        return ""
    visible = [record for record in state.log if not (lease.undo and record.run == lease.run)]
    newest = visible[-1].place if visible else None
    return "" if lease.head == newest else f"the head is {lease.head}, the newest record {newest}"


def count(_model: Model, state: State) -> str:
    """`waiting` is the number of queue markers, a free thread has none, and no `seq` is used twice."""
    lease = state.lease
    if lease.deleted:
        return ""
    markers = sum(run.marker for run in state.runs)
    if lease.waiting != markers:
        return f"waiting is {lease.waiting}, and {markers} are queued"
    if lease.run == NOBODY and markers:
        return "a run is queued on a free thread"
    used = [run.seq for run in state.runs if run.seq]
    return "a seq was used twice" if len(set(used)) != len(used) else ""


def order(_model: Model, state: State) -> str:
    """Runs are executed in the order in which they were accepted."""
    started = [state.runs[record.run].seq for record in state.log if state.runs[record.run].seq]
    return "" if started == sorted(started) else f"executed in the order {started}"


def rows(_model: Model, state: State) -> str:
    """A run is unfinished exactly while it is in flight or queued."""
    lease = state.lease
    if lease.deleted:
        return ""
    for one, run in enumerate(state.runs):
        expected = lease.run == one or run.marker
        if (run.status in UNFINISHED) != expected:
            where = "in flight or queued" if expected else "neither in flight nor queued"
            return f"{one} is {where}, and its row says {run.status or 'nothing'}"
    return ""


def stops(_model: Model, state: State) -> str:
    """A run is stopped only if somebody asked for it, and one whose rollback was asked for is rolled back."""
    for one, run in enumerate(state.runs):
        if run.status in {"interrupted", "removed"} and not run.asked:
            return f"{one} is {run.status}, and nobody asked for it"
        if run.asked == "rollback" and run.status in {"success", "error", "interrupted"}:
            return f"{one} is {run.status}, and its rollback was asked for"
    return ""


def undone(_model: Model, state: State) -> str:
    """Nothing is left of a run that was rolled back, or was never accepted."""
    for one, run in enumerate(state.runs):
        if run.status in {"removed", "refused"} and any(record.run == one for record in state.log):
            return f"{one} is {run.status} and has left something"
    return ""


def due(_model: Model, state: State) -> str:
    """A delayed run is executed when it is due, or to end it after a cancel."""
    lease = state.lease
    early = lease.run != NOBODY and state.runs[lease.run].early
    return f"{lease.run} is executed too early" if early and lease.owner and not lease.cancel else ""


def keys(model: Model, state: State) -> str:
    """An idempotency key belongs to one run."""
    accepted = [one for one, run in enumerate(state.runs) if run.keyed]
    twice = any(model.same_key(one, other) for one in accepted for other in accepted if one < other)
    return "a key has two runs" if twice else ""


def graves(_model: Model, state: State) -> str:
    """Nothing is left of a deleted thread once it is marked as purged."""
    lease = state.lease
    left = bool(state.log) or any(run.status in ROWS or run.marker or run.keyed for run in state.runs)
    return "a purged thread has left something" if lease.deleted and lease.purged and left else ""


def kept(model: Model, state: State) -> str:
    """A run is executed as it was settled; its lease says so while it lasts, and its rows stay when it has ended."""
    lease = state.lease
    if lease.deleted:
        return ""
    if lease.run != NOBODY and lease.keep != state.runs[lease.run].settled:
        return f"the lease says {lease.keep} of whether {lease.run} was settled"
    for one, run in enumerate(state.runs):
        if run.settled and run.status == "gone":
            return f"{one} was to stay readable, and is gone"
        executed = any(record.run == one for record in state.log)
        if model.plan[one] == "assumed" and executed and not run.settled:
            return f"{one} is executed on an assumption"
    return ""


INVARIANTS: Final[Mapping[str, Invariant]] = MappingProxyType(
    {
        "fence": fence,
        "head": head,
        "count": count,
        "order": order,
        "rows": rows,
        "stops": stops,
        "undone": undone,
        "due": due,
        "keys": keys,
        "graves": graves,
        "kept": kept,
    }
)


def stored(state: State) -> Stored:
    """What the invariants speak of."""
    return state.lease, state.runs, state.log


def broken(model: Model, state: State) -> str:
    """Name the first invariant that does not hold, and say why; nothing when all hold."""
    for name, invariant in INVARIANTS.items():
        if wrong := invariant(model, state):
            return f"{name}: {wrong}"
    return ""
