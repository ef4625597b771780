"""What must be true at every moment: read off the stream of changes, thread by thread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from crewline.models.runs import TERMINAL
from crewline.store.items import Item
from crewline.store.keys import LATE_INFIX, LEASE_SORT, MARKER_PREFIX, RECORD_PREFIX, RUN_PREFIX
from tests.faults.torture.facts import Facts
from tests.faults.torture.journals import Fact
from tests.faults.torture.streams import Change
from tests.faults.torture.violations import Violation

_AT_ONCE_NS: Final = 50_000_000
"""Within this time of hearing that its time is over, a worker cannot have stopped yet."""


def check(facts: Facts) -> Iterator[Violation]:
    """Check everything that happened, in its order."""
    writers = _writers(facts.noted)
    by_thread = defaultdict(list)
    for change in facts.changes:
        by_thread[change.thread].append(change)
    for thread, changes in by_thread.items():
        yield from _Watch(thread, writers).over(changes)
    yield from _starts(facts.noted)


def _writers(noted: list[Fact]) -> Mapping[tuple[str, str], set[str]]:
    """Find who has tried to write each record."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for fact in noted:
        if fact["what"] == "put":
            for sort in fact["records"]:
                found[(fact["thread"], sort)].add(fact["owner"])
    return found


@dataclass(slots=True)
class _Watch:
    """Goes along the changes of one thread."""

    thread: str
    writers: Mapping[tuple[str, str], set[str]]
    lease: Item = field(default_factory=dict)
    before: Item = field(default_factory=dict)
    """The lease before its last change."""
    markers: dict[int, str] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    """Sort key → turn of every record that is there."""
    newest_turn: int = 0

    def over(self, changes: list[Change]) -> Iterator[Violation]:
        for change in changes:
            if change.sort == LEASE_SORT:
                yield from self._lease(change)
            elif change.sort.startswith(MARKER_PREFIX):
                self._marker(change)
            elif change.sort.startswith(RECORD_PREFIX):
                yield from self._record(change)
            elif change.sort.startswith(RUN_PREFIX):
                yield from self._run(change)

    def _says(self, rule: str, change: Change, text: str) -> Violation:
        return Violation(rule, self.thread, f"at change {change.place}: {text}")

    def _lease(self, change: Change) -> Iterator[Violation]:
        old, new = change.old or {}, change.new or {}
        # In every transaction that moves markers the lease comes first: now all of the last one is there.
        if old.get("waiting", 0) != len(self.markers):
            text = f"waiting was {old.get('waiting', 0)}, and there were {len(self.markers)} markers"
            yield self._says("waiting is the number of markers", change, text)
        if not new.get("run") and new.get("waiting"):
            yield self._says("nothing waits on a free thread", change, f"waiting is {new['waiting']}")
        if new.get("epoch", 0) < old.get("epoch", 0):
            yield self._says(
                "the epoch never goes back", change, f"from {old['epoch']} to {new.get('epoch', 0)}"
            )
        if new.get("owner") and new.get("owner") != old.get("owner") and new["epoch"] <= old.get("epoch", 0):
            yield self._says("every claim has an epoch", change, f"owner changed in epoch {new['epoch']}")
        if new.get("run") and new.get("run") != old.get("run"):
            yield from self._begins(change, old, new)
        self.before, self.lease = old, new

    def _begins(self, change: Change, old: Item, new: Item) -> Iterator[Violation]:
        turn = new["turn"]
        if turn <= self.newest_turn:
            text = f"turn {turn} is in flight after turn {self.newest_turn}"
            yield self._says("runs begin in the order of acceptance", change, text)
        upto = old.get("upto", 0)
        passed = [one for one in self.markers if upto <= one < turn]
        if passed:
            text = f"turn {turn} is in flight while {passed} wait"
            yield self._says("runs begin in the order of acceptance", change, text)
        self.newest_turn = max(self.newest_turn, turn)

    def _marker(self, change: Change) -> None:
        item = change.new or change.old or {}
        if change.new:
            self.markers[item["turn"]] = item["run_id"]
        else:
            self.markers.pop(item["turn"], None)

    def _record(self, change: Change) -> Iterator[Violation]:
        if change.new is None:
            self.written.pop(change.sort, None)
            return
        turn = change.new.get("turn", 0)
        if change.old and LATE_INFIX not in change.sort:
            yield self._says("a record is written once", change, f"{change.sort} was written again")
        if turn < max(self.written.values(), default=0):
            text = f"turn {turn} wrote {change.sort} after turn {max(self.written.values())} had"
            yield self._says("two runs never write at once", change, text)
        # A finish frees the lease in the change before: then it was whoever had it until then.
        holder = self.lease.get("owner") or self.before.get("owner")
        holding = self.lease.get("turn") if self.lease.get("owner") else self.before.get("turn")
        if turn != holding:
            text = f"turn {turn} wrote {change.sort} in the time of turn {holding}"
            yield self._says("two runs never write at once", change, text)
        if holder not in self.writers.get((self.thread, change.sort), ()):
            text = f"{change.sort} was not written by {holder}, who had the lease"
            yield self._says("no write of a stale owner is visible", change, text)
        self.written[change.sort] = turn

    def _run(self, change: Change) -> Iterator[Violation]:
        old, new = change.old or {}, change.new
        if new is None:
            left = [sort for sort, turn in self.written.items() if turn == old["turn"]]
            if left and old["status"] not in TERMINAL:
                text = f"run {old['run_id']} is gone, and {left} are there"
                yield self._says("a rolled back run leaves nothing", change, text)
            return
        if old.get("status") in TERMINAL:
            text = f"run {new['run_id']} was {old['status']} and is {new['status']}"
            yield self._says("the end of a run is its end", change, text)
        ender = new.get("ended_by")
        if ender and ender not in (self.before.get("owner"), self.lease.get("owner")):
            text = f"run {new['run_id']} was ended by {ender}, who did not have the lease"
            yield self._says("no write of a stale owner is visible", change, text)


def _starts(noted: list[Fact]) -> Iterator[Violation]:
    """Check that a claim starts no node twice, and hardly any once it has heard that its time is over."""
    heard: dict[str, int] = {}
    for fact in noted:
        if fact["what"] == "stale":
            heard.setdefault(fact["owner"], fact["at"])
    starts = sorted((fact for fact in noted if fact["what"] == "node"), key=lambda one: one["owner"])
    for owner, group in groupby(starts, key=lambda one: one["owner"]):
        yield from _starts_of(owner, list(group), heard.get(owner))


def _starts_of(owner: str, starts: list[Fact], heard: int | None) -> Iterator[Violation]:
    thread = starts[0]["thread"]
    seen = set()
    for fact in starts:
        place = (fact["run"], fact["step"], fact["node"])
        if place in seen:
            yield Violation("a claim starts a node once", thread, f"{owner} started {place} twice")
        seen.add(place)
    if heard is None:
        return
    after = sorted({(fact["step"], fact["at"]) for fact in starts if fact["at"] > heard})
    steps = {step for step, _ in after}
    if len(steps) > 1 and max(at for _, at in after) > heard + _AT_ONCE_NS:
        text = f"{owner} started the steps {sorted(steps)} after it had heard that its time was over"
        yield Violation("no node starts more than once after its worker became stale", thread, text)
