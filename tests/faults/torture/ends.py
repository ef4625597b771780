"""What must be true of a thread in the end: it is free, and its state is what its runs committed, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from crewline.models.runs import TERMINAL
from crewline.store.items import Item
from tests.faults.torture.facts import Accepted, Entry, Facts, Kept, ThreadEnd
from tests.faults.torture.graphs import NODES
from tests.faults.torture.violations import Violation


def check(facts: Facts) -> Iterator[Violation]:
    """Check how every thread ended."""
    for end in facts.threads.values():
        yield from _at_rest(end)
        yield from _terminal(end)
        yield from _undone(facts, end)
        yield from _one_line(end)
        yield from _replayed(facts, end)


def _at_rest(end: ThreadEnd) -> Iterator[Violation]:
    lease = end.lease
    if lease.run or lease.owner:
        yield Violation("every thread becomes free", end.thread, f"run {lease.run} is still in flight")
    if lease.waiting or end.markers:
        text = f"waiting is {lease.waiting}, and there are {len(end.markers)} markers"
        yield Violation("nothing waits on a free thread", end.thread, text)
    if end.row.get("status") == "busy":
        yield Violation("a free thread is not shown as busy", end.thread, "its row says busy")
    newest = end.kept.get(lease.head or "")
    if end.row.get("status") in ("idle", "interrupted"):
        shown = end.row["status"] == "interrupted"
        if newest and shown != (newest.at < len(newest.plan)):
            text = f"its row says {end.row['status']} at step {newest.at} of {newest.plan}"
            yield Violation("a thread is shown as it is", end.thread, text)


def _terminal(end: ThreadEnd) -> Iterator[Violation]:
    for run_id, row in end.runs.items():
        if row["status"] not in TERMINAL:
            text = f"run {run_id} (turn {row['turn']}) is {row['status']}"
            yield Violation("every accepted run ends", end.thread, text)
        if row["status"] == "error" and "RunGivenUp" not in row.get("error", ""):
            yield Violation("no run fails of us", end.thread, f"run {run_id}: {row.get('error')}")


def _undone(facts: Facts, end: ThreadEnd) -> Iterator[Violation]:
    """A run that is gone without having ended was rolled back, or never began: nothing of it stays."""
    ended = {
        run.turn
        for run in facts.accepted.values()
        if run.thread == end.thread and (run.run_id in end.runs or run.run_id in facts.deleted)
    }
    for kept in end.kept.values():
        if kept.turn not in ended:
            text = f"checkpoint {kept.checkpoint_id} of turn {kept.turn} is there, its run is not"
            yield Violation("a rolled back run leaves nothing", end.thread, text)
    for sort, turn in end.late:
        if turn not in ended:
            text = f"late writes {sort} of turn {turn} are there, their run is not"
            yield Violation("a rolled back run leaves nothing", end.thread, text)


def _one_line(end: ThreadEnd) -> Iterator[Violation]:
    """Every checkpoint is on the way to the head: whatever is beside it was written out of turn."""
    line = line_of(end)
    if end.lease.head and not line:
        yield Violation("the head is there", end.thread, f"head {end.lease.head} is missing")
    if line and line[0].parent_id:
        text = f"checkpoint {line[0].checkpoint_id} builds on {line[0].parent_id}, which is missing"
        yield Violation("no committed superstep is lost", end.thread, text)
    on_it = {kept.checkpoint_id for kept in line}
    for kept in end.kept.values():
        if kept.checkpoint_id not in on_it:
            text = f"checkpoint {kept.checkpoint_id} of turn {kept.turn} is beside the line to the head"
            yield Violation("no write of a stale owner is visible", end.thread, text)
    for before, after in pairwise(line):
        if after.turn < before.turn:
            text = f"checkpoint {after.checkpoint_id} of turn {after.turn} follows one of turn {before.turn}"
            yield Violation("two runs never write at once", end.thread, text)
        if after.checkpoint_id <= before.checkpoint_id:
            text = f"checkpoint {after.checkpoint_id} follows {before.checkpoint_id}"
            yield Violation("ids increase along the line", end.thread, text)


def line_of(end: ThreadEnd) -> list[Kept]:
    """Give the checkpoints from the first one to the head."""
    line: list[Kept] = []
    at = end.lease.head
    while at in end.kept and len(line) <= len(end.kept):
        line.append(end.kept[at])
        at = end.kept[at].parent_id
    return line[::-1]


def _replayed(facts: Facts, end: ThreadEnd) -> Iterator[Violation]:
    """The state is what the committed runs have appended, each its supersteps once and in order."""
    by_turn = {run.turn: run for run in facts.accepted.values() if run.thread == end.thread}
    written: dict[int, list[Entry]] = {}
    log: tuple[Entry, ...] = ()
    for kept in line_of(end):
        if kept.log[: len(log)] != log:
            text = f"checkpoint {kept.checkpoint_id} does not begin with what was there before it"
            yield Violation("no committed superstep is lost", end.thread, text)
        written.setdefault(kept.turn, []).extend(kept.log[len(log) :])
        log = kept.log
    if log != end.shown:
        yield Violation("the state is the replay", end.thread, "the product reads another state at the head")
    executions = [entry.execution for entry in log if entry.step >= 0]
    if len(set(executions)) != len(executions):
        yield Violation("no committed superstep is doubled", end.thread, "an execution is in the state twice")
    found = Found()
    for turn in sorted(by_turn.keys() | written.keys()):
        run = by_turn.get(turn)
        if run is None:
            yield Violation(
                "the state is the replay", end.thread, f"turn {turn} wrote, and was never accepted"
            )
            continue
        entries = written.get(turn)
        if wrong := misplaced(run, end.runs.get(run.run_id, {}), entries or [], found):
            yield Violation(
                "each superstep once, in order", end.thread, f"run {run.run_id} ({turn}): {wrong}"
            )
        if entries is not None:
            found = found.after(run, entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a run finds on its thread."""

    at: int = 0
    """The step that is next."""
    plan: tuple[str, ...] = ()
    taken_in: Accepted | None = None
    """A run that was stopped when its input was there, and not yet in the state."""

    def after(self, run: Accepted, entries: list[Entry]) -> Found:
        """Tell what the next run finds."""
        if not entries:
            return self if run.resume else replace(self, taken_in=run)
        brought = self.taken_in if run.resume and entries[0].step < 0 else None if run.resume else run
        return Found(at=max(entry.step for entry in entries) + 1, plan=brought.plan if brought else self.plan)


def misplaced(run: Accepted, row: Item, entries: list[Entry], found: Found) -> str | None:
    """Tell what is wrong with the entries that one run has appended to the state.

    Args:
        run: The run.
        row: Its row in the end; empty when it was deleted.
        entries: The entries.
        found: What it found on the thread.
    """
    brought = found.taken_in if run.resume else run
    if not run.resume and not entries:
        return "it succeeded, and its input is not there" if row.get("status") == "success" else None
    at, plan, began = found.at, found.plan, found.at
    if brought and entries:
        if (entries[0].run, entries[0].step) != (brought.mark, -1):
            return f"it begins with {entries[0]}, not with the input {brought.mark}"
        entries, at, plan, began = entries[1:], 0, brought.plan, -1
    for step, group in groupby(entries, key=lambda entry: entry.step):
        if wrong := _misstep(run, list(group), at, plan, first=at == began):
            return f"step {step} {wrong}"
        at += 1
    if row.get("status") == "success" and at < len(plan) and (plan[at] != "ask" or at == began):
        return f"it succeeded, and stopped at step {at} of {plan}"
    return None


def _misstep(run: Accepted, found: list[Entry], at: int, plan: tuple[str, ...], *, first: bool) -> str | None:
    step = found[0].step
    # Of a superstep that another run had begun, nodes that had finished do not run again.
    if any(entry.run != run.run_id for entry in found) and not (run.resume and first):
        return f"has an entry of another run: {found}"
    if step != at or at >= len(plan):
        return f"comes where {at} of {plan} should"
    if sorted(entry.node for entry in found) != sorted(NODES[plan[at]]):
        return f"should be {plan[at]}, and is {found}"
    if plan[at] == "ask" and not (run.resume and first and found[0].answer == run.mark):
        return f"was answered with {found[0].answer!r}, which is not for it"
    return None
