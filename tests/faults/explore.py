"""Explore the lease protocol exhaustively: `make model`, or `python -m tests.faults.explore --help`.

Breadth first, so a counter-example is a shortest one. Beside the invariants of every state it checks
progress: from every state, without any further fault, there is a way to where every request is
answered, every run has ended and the thread is free. Exit code 1: something does not hold.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import sys
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from tests.faults.invariants import Stored, broken, stored
from tests.faults.model import RULES, Model, Rule
from tests.faults.states import RUNS, Budget, Kind, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One exploration: requests in any order, and what may go wrong meanwhile."""

    plan: tuple[Kind, ...]
    budget: Budget
    supersteps: int = 1
    without: Rule | None = None

    def __str__(self) -> str:
        chances = ", ".join(
            f"{number} {name if number > 1 else _SINGULAR[name]}"
            for name, number in self.budget._asdict().items()
            if number
        )
        return f"{' + '.join(self.plan)} ({self.supersteps} supersteps; {chances or 'no faults'})"


_SINGULAR: Final[Mapping[str, str]] = {
    "crashes": "crash",
    "expiries": "expiry",
    "duplicates": "duplicate",
    "pauses": "pause",
    "slices": "slice",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an exploration has found."""

    case: Case
    states: int
    seconds: float
    problem: str = ""
    trace: tuple[str, ...] = ()
    """The moves that lead to it."""

    def __str__(self) -> str:
        verdict = "BAD" if self.problem else "ok "
        line = f"{verdict} {self.states:>8,} states {self.seconds:6.1f} s  {self.case}"
        if not self.problem:
            return line
        return "\n".join([line, f"    {self.problem}", *(f"      {move}" for move in self.trace)])


class Exploration:
    """Every state that a case can reach, numbered in the order in which they were found."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._model = Model(case.plan, case.budget, supersteps=case.supersteps, without=case.without)
        self._numbers: dict[State, int] = {self._model.start: 0}
        self._states = [self._model.start]
        self._parents = [0]
        self._before = [array("I")]
        """The states from which a move that is no fault leads to one."""

    def run(self) -> Result:
        """Explore."""
        began = time.perf_counter()
        gc.disable()  # there is no garbage, and looking for it among millions of tuples takes half of the time
        try:
            problem, where = self._search()
        finally:
            gc.enable()
        if not problem:
            stuck = self._stuck()
            if stuck is not None:
                problem, where = "progress: from here the runs never end, or the thread is never free", stuck
        return Result(
            case=self._case,
            states=len(self._states),
            seconds=time.perf_counter() - began,
            problem=problem,
            trace=self._trace(where) if problem else (),
        )

    def _search(self) -> tuple[str, int]:
        model, numbers, states = self._model, self._numbers, self._states
        judged: set[Stored] = set()
        for here, state in enumerate(states):  # the list grows meanwhile
            if (what := stored(state)) not in judged:
                judged.add(what)
                if problem := broken(model, state):
                    return problem, here
            for _, after, fault in model.moves(state):
                there = numbers.setdefault(after, len(states))
                if there == len(states):
                    states.append(after)
                    self._parents.append(here)
                    self._before.append(array("I"))
                if not fault:
                    self._before[there].append(here)
        return "", 0

    def _stuck(self) -> int | None:
        """Find the first state from which no move but faults leads to the end."""
        todo = [number for number, state in enumerate(self._states) if self._model.done(state)]
        good = bytearray(len(self._states))
        for number in todo:
            good[number] = 1
        while todo:
            for number in self._before[todo.pop()]:
                if not good[number]:
                    good[number] = 1
                    todo.append(number)
        stuck = good.find(0)
        return None if stuck < 0 else stuck

    def _trace(self, number: int) -> tuple[str, ...]:
        moves: list[str] = []
        while number:
            parent, state = self._parents[number], self._states[number]
            moves.append(
                next(name for name, after, _ in self._model.moves(self._states[parent]) if after == state)
            )
            number = parent
        return tuple(reversed(moves))


def explore(case: Case) -> Result:
    """Explore a case."""
    return Exploration(case).run()


_FAULTS: Final = Budget(crashes=1, expiries=1, duplicates=1)
_KINDS: Final[Sequence[Kind]] = get_args(Kind)
_CONTENDING: Final[Sequence[Kind]] = ("enqueue", "interrupt", "rollback", "edit")
_LONG: Final[Sequence[tuple[Kind, ...]]] = (
    ("enqueue", "enqueue", "enqueue", "cancel"),
    ("enqueue", "enqueue", "interrupt", "revoke"),
    ("enqueue", "enqueue", "delete", "cancel", "create"),
    ("enqueue", "delete", "create", "delete"),
)
"""Plans that need their length: what each rule is for shows in one of these or in three requests."""


def everything() -> Iterator[Case]:
    """The cases of the whole exploration, the longest first.

    Three requests of the kinds that contend for the head, with the faults of a bad day; two of all
    kinds with a pause, a slice and two supersteps as well; three of all kinds without duplicates.
    """
    for plan in _bags(_CONTENDING, 3):
        yield Case(plan=plan, budget=_FAULTS)
    for plan in _LONG:
        yield Case(plan=plan, budget=Budget(duplicates=1, pauses=1))
    for plan in _plans(2):
        yield Case(plan=plan, budget=Budget(*(1,) * len(Budget._fields)), supersteps=2)
    for plan in _plans(3):
        yield Case(plan=plan, budget=Budget(crashes=1, expiries=1, pauses=1))


def _plans(length: int) -> Iterator[tuple[Kind, ...]]:
    """Every plan with a run."""
    for plan in _bags(_KINDS, length):
        repeated = plan.count("repeat")
        if RUNS.intersection(plan) and repeated < 2 and (not repeated or plan[0] in RUNS):
            yield plan


def _bags(kinds: Sequence[Kind], length: int) -> Iterator[tuple[Kind, ...]]:
    """Choose requests, in no order: they reach the thread in any."""
    return itertools.combinations_with_replacement(kinds, length)


def main(arguments: Sequence[str] | None = None) -> int:
    """Explore, print, and say with the exit code whether everything holds."""
    options = _parse(arguments)
    if options.plan:
        plan = tuple(options.plan.split(","))
        if unknown := set(plan) - set(_KINDS):
            sys.exit(f"Unknown requests: {', '.join(sorted(unknown))}.")
        chances = Budget(*(getattr(options, name) for name in Budget._fields))
        cases = [Case(plan=plan, budget=chances, supersteps=options.supersteps, without=options.without)]
    else:
        cases = list(everything())
    began = time.perf_counter()
    results: list[Result] = []
    for result in _explore_all(cases, options.processes):
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()
        results.append(result)
    bad = sum(bool(result.problem) for result in results)
    states = sum(result.states for result in results)
    seconds = time.perf_counter() - began
    sys.stdout.write(f"{len(cases)} plans, {states:,} states, {seconds:.0f} s, {bad} bad\n")
    return 1 if bad else 0


def _explore_all(cases: Sequence[Case], processes: int) -> Iterator[Result]:
    if len(cases) == 1:
        yield explore(cases[0])
        return
    # A process for each case: what it has found goes with it.
    with multiprocessing.Pool(min(processes, len(cases)), maxtasksperchild=1) as pool:
        yield from pool.imap_unordered(explore, cases)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.explore",
        description="Explore every interleaving of the lease protocol.",
        epilog="Rules: " + "; ".join(f"'{rule}' ({what})" for rule, what in RULES.items()) + ".",
    )
    parser.add_argument("--plan", help=f"one plan, comma separated, of: {', '.join(_KINDS)}")
    parser.add_argument("--without", choices=RULES, metavar="RULE", help="leave a rule out")
    parser.add_argument("--supersteps", type=int, default=1, help="of each run (default: 1)")
    for name in Budget._fields:
        parser.add_argument(
            f"--{name}", type=int, default=getattr(_FAULTS, name), help="how many there may be"
        )
    parser.add_argument("--processes", type=int, default=2, help="default: 2")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
