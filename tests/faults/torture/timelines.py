"""The story of one thread, for a person who looks for a cause."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from crewline.store.items import Item
from tests.faults.torture.facts import Facts
from tests.faults.torture.journals import Fact
from tests.faults.torture.streams import Change

_DULL = frozenset(("PK", "SK", "flight_key", "flight_shard", "kwargs", "metadata", "config", "updated_at"))


def tell(facts: Facts, thread: str) -> Iterator[str]:
    """Tell what happened on a thread: changes of its items and what was noted, in the order of time."""
    owners = {fact["owner"] for fact in facts.noted if fact.get("thread") == thread and "owner" in fact}
    runs = {run.run_id for run in facts.accepted.values() if run.thread == thread}
    marks = {fact["ask"] for fact in facts.noted if fact["what"] == "ask" and fact.get("thread") == thread}
    lines = [
        (change.at_ms * 1_000_000, _change(change)) for change in facts.changes if change.thread == thread
    ]
    lines += [
        (fact["at"], _fact(fact))
        for fact in facts.noted
        if fact.get("thread") == thread
        or fact.get("owner") in owners
        or fact.get("run") in runs
        or fact.get("ask") in marks
    ]
    for at, line in sorted(lines, key=lambda one: one[0]):
        yield f"{datetime.fromtimestamp(at / 1e9, UTC):%H:%M:%S.%f} {line}"


def _change(change: Change) -> str:
    old, new = change.old or {}, change.new or {}
    if change.new is None:
        return f"#{change.place} {change.sort} removed (turn {old.get('turn')}, {old.get('status', '')})"
    moved = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} - _DULL
    told = ", ".join(f"{name}={_short(new, name)}" for name in sorted(moved))
    return f"#{change.place} {change.sort} {'changed' if change.old else 'made'}: {told}"


def _short(item: Item, name: str) -> Any:
    return item.get(name, "none")


def _fact(fact: Fact) -> str:
    rest = {name: value for name, value in fact.items() if name not in ("at", "who", "what", "thread")}
    return f"    {fact['who']} {fact['what']} {rest}"
