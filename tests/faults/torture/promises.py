"""What must be true of what clients were told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from crewline.models.runs import TERMINAL
from tests.faults.torture.facts import Accepted, Facts
from tests.faults.torture.journals import Fact
from tests.faults.torture.violations import Violation

_REFUSALS = frozenset(("BadRequest", "InvalidRequest", "NotFound", "ThreadBusy", "Conflict", "LimitExceeded"))


def check(facts: Facts) -> Iterator[Violation]:
    """Check every answer against what became of it."""
    book = _Book(facts)
    yield from _crashes(facts.noted)
    yield from _one_each(facts)
    yield from _kept(facts, book)
    yield from _in_order(facts, book)
    yield from _reasons(facts, book)
    yield from _stopped(facts, book)
    yield from _answers(facts)


class _Book:
    """Requests and their answers."""

    def __init__(self, facts: Facts) -> None:
        self.asks: dict[str, Fact] = {}
        """The first request of each mark."""
        self.told: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts.noted:
            if fact["what"] == "ask":
                self.asks.setdefault(fact["ask"], fact)
            elif fact["what"] == "told":
                self.told[fact["ask"]].append(fact)
        self.stops: dict[str, list[Fact]] = defaultdict(list)
        """Run → requests to stop or delete it."""
        for ask in self.asks.values():
            for run_id in ask.get("runs", ()):
                self.stops[run_id].append(ask)
        self.harshest: dict[str, list[Accepted]] = defaultdict(list)
        """Thread → accepted runs that stop those before them."""
        for run in facts.accepted.values():
            if run.strategy in ("interrupt", "rollback"):
                self.harshest[run.thread].append(run)

    def may_be_stopped(self, run: Accepted) -> bool:
        return bool(self.stops[run.run_id]) or any(one.turn > run.turn for one in self.harshest[run.thread])

    def may_be_gone(self, run: Accepted) -> bool:
        asked = any(
            ask["kind"] == "delete" or ask.get("action") == "rollback" for ask in self.stops[run.run_id]
        )
        return asked or any(
            one.turn > run.turn and one.strategy == "rollback" for one in self.harshest[run.thread]
        )


def _crashes(noted: list[Fact]) -> Iterator[Violation]:
    for fact in noted:
        if fact["what"] == "crash":
            yield Violation("every failure is one of ours", "", f"{fact['who']}: {fact['text']}")


def _one_each(facts: Facts) -> Iterator[Violation]:
    """A request gives one run, however often it was sent."""
    runs: dict[str, list[Accepted]] = defaultdict(list)
    for run in facts.accepted.values():
        runs[run.mark].append(run)
    for mark, made in runs.items():
        if len(made) > 1:
            text = f"request {mark} made {[run.run_id for run in made]}"
            yield Violation("a repeated request gives one run", made[0].thread, text)


def _kept(facts: Facts, book: _Book) -> Iterator[Violation]:
    """Whatever was accepted is there in the end, or somebody asked for it to go; what was refused is not."""
    by_mark = {run.mark: run for run in facts.accepted.values()}
    for mark, ask in book.asks.items():
        if ask["kind"] != "start":
            continue
        told = book.told[mark]
        runs = {one["run"] for one in told if one["run"]}
        made = by_mark.get(mark)
        if len(runs) > 1 or (runs and (made is None or made.run_id not in runs)):
            text = f"request {mark} was told {sorted(runs)}, and made {made and made.run_id}"
            yield Violation("a client is told what is", ask["thread"], text)
        if told and made and not runs and all(one["error"] in _REFUSALS for one in told):
            text = f"request {mark} was told {told[0]['error']}, and made {made.run_id}"
            yield Violation("a client is told what is", ask["thread"], text)
    for run in facts.accepted.values():
        row = facts.threads[run.thread].runs.get(run.run_id)
        if row is None and not book.may_be_gone(run):
            text = f"run {run.run_id} (turn {run.turn}) is gone, and nobody asked for that"
            yield Violation("every accepted run ends", run.thread, text)


def _in_order(facts: Facts, book: _Book) -> Iterator[Violation]:
    """Who asks after another has been told comes after it."""
    by_mark = {run.mark: run for run in facts.accepted.values()}
    moments: dict[str, list[tuple[int, int, Accepted]]] = defaultdict(list)
    for mark, ask in book.asks.items():
        run = by_mark.get(mark)
        if run:
            told = min((one["at"] for one in book.told[mark] if one["run"]), default=0)
            moments[run.thread].append((ask["at"], told, run))
    for thread, found in moments.items():
        known = sorted((told, run.turn, run.run_id) for _, told, run in found if told)
        for asked, _, run in found:
            late = [one for one in known if one[0] < asked and one[1] > run.turn]
            if late:
                text = f"run {run.run_id} has turn {run.turn}, and was asked for after turn {late[0][1]} was told"
                yield Violation("runs begin in the order of acceptance", thread, text)


def _reasons(facts: Facts, book: _Book) -> Iterator[Violation]:
    """Nobody is interrupted for nothing."""
    for run in facts.accepted.values():
        row: Any = facts.threads[run.thread].runs.get(run.run_id, {})
        if row.get("status") == "interrupted" and not book.may_be_stopped(run):
            text = f"run {run.run_id} (turn {run.turn}) was interrupted, and nobody asked for that"
            yield Violation("every accepted run ends", run.thread, text)
        if row.get("status") == "timeout":
            yield Violation("no run fails of us", run.thread, f"run {run.run_id} timed out")


def _stopped(facts: Facts, book: _Book) -> Iterator[Violation]:
    """A stop that was granted has taken place."""
    for mark, ask in book.asks.items():
        told = [one for one in book.told[mark] if one["error"] is None]
        if ask["kind"] == "start" or not told or ask.get("many"):
            continue
        (run_id,) = ask["runs"]
        row: Any = facts.threads[ask["thread"]].runs.get(run_id)
        gone = ask["kind"] == "delete" or ask.get("action") == "rollback"
        if row is not None and (gone or row["status"] == "success"):
            text = f"run {run_id} is {row['status']}, and {ask.get('action', 'its deletion')} was granted"
            yield Violation("a client is told what is", ask["thread"], text)


def _answers(facts: Facts) -> Iterator[Violation]:
    """Who waited for a run was told what it has left in the state."""
    logs = {thread: [list(entry) for entry in end.shown] for thread, end in facts.threads.items()}
    for fact in facts.noted:
        if fact["what"] != "answered" or fact.get("log") is None:
            continue
        row = facts.threads[fact["thread"]].runs.get(fact["run"])
        left = [entry for entry in logs[fact["thread"]] if entry[0] == fact["run"]]
        if row is not None and row["status"] in TERMINAL and left != fact["log"]:
            text = f"run {fact['run']} was answered {fact['log']}, and has left {left}"
            yield Violation("a client is told what is", fact["thread"], text)
