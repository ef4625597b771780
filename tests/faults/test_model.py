"""The lease protocol holds in every interleaving, and each of its rules is needed.

This is the small form; `make model` explores far more.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import pytest

from tests.faults.explore import Case, everything, explore, main
from tests.faults.invariants import INVARIANTS
from tests.faults.model import RULES, Model, Rule
from tests.faults.states import Budget, Kind, State, Status

CRASH = Budget(crashes=1)
PAUSE = Budget(pauses=1)
TWICE = Budget(duplicates=1)
STALL = Budget(expiries=1)

HOLDING: Final = (
    Case(plan=("enqueue", "enqueue"), budget=Budget(1, 1, 1, 1)),
    Case(plan=("enqueue", "interrupt"), budget=Budget(1, 1, 0, 1, 1), supersteps=2),
    Case(plan=("enqueue", "rollback"), budget=Budget(1, 1, 0, 1), supersteps=2),
    Case(plan=("enqueue", "reject", "edit"), budget=Budget(1, 0, 0, 1)),
    Case(plan=("enqueue", "interrupt", "rollback"), budget=Budget(1, 1)),
    Case(plan=("in place", "repeat", "forget"), budget=Budget(1, 1, 0, 1)),
    Case(plan=("yielding", "yielding", "enqueue"), budget=Budget(1, 1, 0, 1)),
    Case(plan=("assumed", "cancel", "enqueue"), budget=Budget(1, 1, 0, 1)),
    Case(plan=("delayed", "cancel", "revoke"), budget=Budget(1, 1, 0, 1)),
    Case(plan=("enqueue", "enqueue", "cancel"), budget=Budget(1, 0, 0, 1)),
    Case(plan=("enqueue", "rollback", "delete"), budget=CRASH),
    Case(plan=("enqueue", "delete", "create"), budget=Budget(1, 1, 1, 1)),
)


class Mutant(NamedTuple):
    """What shows that a rule is needed: without it, these requests break this."""

    breaks: str
    plan: tuple[Kind, ...]
    budget: Budget
    supersteps: int = 1


MUTANTS: Final[dict[Rule, Mutant]] = {
    "fence": Mutant("fence", ("enqueue",), STALL),
    "sweep": Mutant("progress", ("enqueue",), CRASH),
    "fed": Mutant("fence", ("enqueue",), CRASH, 2),
    "commit: cancel": Mutant("head", ("enqueue", "revoke"), Budget()),
    "finish: cancel": Mutant("stops", ("enqueue", "revoke"), PAUSE),
    "finish: seq": Mutant("count", ("enqueue", "enqueue", "enqueue", "cancel"), PAUSE),
    "finish: waiting": Mutant("count", ("enqueue", "enqueue", "cancel"), PAUSE),
    "oldest first": Mutant("order", ("enqueue", "enqueue", "enqueue"), Budget()),
    "undo: head": Mutant("head", ("enqueue", "revoke"), Budget()),
    "undo before free": Mutant("undone", ("enqueue", "rollback"), Budget()),
    "undo before give up": Mutant("stops", ("enqueue", "revoke"), Budget(crashes=1, expiries=1)),
    "start: head": Mutant("fence", ("enqueue", "edit"), PAUSE),
    "start: seq": Mutant("count", ("enqueue", "enqueue", "cancel"), PAUSE),
    "deleted": Mutant("graves", ("enqueue", "delete"), PAUSE),
    "idempotency": Mutant("keys", ("enqueue", "repeat"), Budget()),
    "queue: run": Mutant("count", ("enqueue", "enqueue"), PAUSE),
    "queue: seq": Mutant("count", ("enqueue", "enqueue", "enqueue"), PAUSE),
    "queue: waiting": Mutant("count", ("enqueue", "enqueue", "enqueue", "cancel"), PAUSE),
    "queue: cancel": Mutant("stops", ("enqueue", "interrupt", "revoke"), PAUSE),
    "queue: yields": Mutant("stops", ("enqueue", "enqueue", "yielding"), PAUSE),
    "settle: first": Mutant("kept", ("assumed",), Budget()),
    "keep: owner": Mutant("kept", ("assumed", "enqueue"), STALL),
    "keep: found": Mutant("kept", ("assumed",), CRASH),
    "claim: run": Mutant("fence", ("enqueue", "enqueue"), TWICE),
    "claim: due": Mutant("due", ("delayed",), Budget()),
    "cancel: run": Mutant("stops", ("enqueue", "enqueue", "cancel"), PAUSE),
    "cancel: rollback stays": Mutant("stops", ("enqueue", "cancel", "revoke"), Budget()),
    "cancel queued: marker": Mutant("count", ("enqueue", "enqueue", "cancel"), PAUSE),
    "cancel queued: run": Mutant("count", ("enqueue", "enqueue", "delete", "cancel", "create"), PAUSE),
    "edit: head": Mutant("fence", ("edit", "edit"), PAUSE),
    "forget: run": Mutant("rows", ("enqueue", "enqueue", "forget"), PAUSE),
    "show: unfinished": Mutant("rows", ("enqueue",), Budget(expiries=1, pauses=1)),
    "delete: owner": Mutant("graves", ("enqueue", "delete"), Budget()),
    "create: purged": Mutant("rows", ("enqueue", "delete", "create"), Budget()),
    "purge: still buried": Mutant("rows", ("enqueue", "delete", "create"), TWICE),
    "move: counts on": Mutant("progress", ("enqueue",), Budget(crashes=1, slices=1), 2),
    "purge: same deletion": Mutant(
        "graves", ("enqueue", "delete", "create", "delete"), Budget(duplicates=1, pauses=1)
    ),
}


@pytest.mark.parametrize("case", HOLDING, ids=str)
def test_every_run_ends_and_nothing_is_broken(case: Case) -> None:
    result = explore(case)
    assert not result.problem, str(result)
    assert result.states > 1_000


@pytest.mark.parametrize(("rule", "mutant"), MUTANTS.items(), ids=MUTANTS)
def test_without_a_rule_there_is_a_counter_example(rule: Rule, mutant: Mutant) -> None:
    case = Case(plan=mutant.plan, budget=mutant.budget, supersteps=mutant.supersteps, without=rule)
    result = explore(case)
    assert result.problem.startswith(f"{mutant.breaks}: ")
    assert result.trace


def test_every_rule_is_left_out_once() -> None:
    assert set(MUTANTS) == set(RULES)


def test_every_invariant_is_broken_by_leaving_a_rule_out() -> None:
    assert {mutant.breaks for mutant in MUTANTS.values()} == {*INVARIANTS, "progress"}


def test_a_rule_that_is_left_out_is_needed_for_what_it_breaks() -> None:
    for mutant in MUTANTS.values():
        assert not explore(Case(plan=mutant.plan, budget=mutant.budget, supersteps=mutant.supersteps)).problem


def reached(plan: tuple[Kind, ...], budget: Budget, *, supersteps: int = 1) -> tuple[set[str], set[Status]]:
    """What happens in a case, and what becomes of its first request."""
    model = Model(plan, budget, supersteps=supersteps)
    moves: set[str] = set()
    found = [model.start]
    known: set[State] = {model.start}
    for state in found:
        for name, after, _ in model.moves(state):
            moves.add(name)
            if after not in known:
                known.add(after)
                found.append(after)
    return moves, {state.runs[0].status for state in found if model.done(state)}


def test_a_run_can_end_in_every_way() -> None:
    _, ends = reached(("enqueue", "revoke", "forget"), CRASH)
    assert ends == {"success", "error", "removed", "forgotten"}
    _, ends = reached(("enqueue", "cancel"), Budget())
    assert ends == {"success", "interrupted"}
    _, ends = reached(("reject", "enqueue"), Budget())
    assert ends == {"success", "refused"}


def test_a_run_that_was_claimed_too_often_is_given_up() -> None:
    moves, ends = reached(("enqueue",), Budget(expiries=2))
    assert any("finish 0 as error" in move for move in moves)
    assert ends == {"success", "error"}
    _, ends = reached(("enqueue",), STALL)
    assert ends == {"success"}


def test_a_run_that_nobody_has_begun_is_ended_by_who_cancels_it() -> None:
    moves, _ = reached(("delayed", "cancel"), CRASH)
    assert {"request 1: claim 0", "request 1: dies before its claim", "sweep: message 0"} <= moves


def test_a_cancelled_run_whose_worker_died_is_sent_to_another() -> None:
    moves, _ = reached(("enqueue", "cancel"), Budget(slices=1))
    assert "request 1: dispatch 0" in moves


def test_a_run_goes_on_in_the_workflow_whatever_becomes_of_an_execution() -> None:
    moves, ends = reached(("enqueue",), Budget(crashes=2, duplicates=1, slices=1), supersteps=2)
    assert {
        "execution 0-1: claim",
        "execution 0-1 is stopped",
        "sweep: execution 0-2",
        "sweep: dies before execution 0-2",
        "execution 0-1 has nothing to do",
    } <= moves
    assert ends == {"success", "error"}  # an error where two workers in a row died


def test_a_rollback_goes_on_where_its_worker_died() -> None:
    result = explore(Case(plan=("enqueue", "revoke"), budget=Budget(crashes=2), supersteps=2))
    assert not result.problem


def test_a_counter_example_is_printed_with_the_moves_that_lead_to_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--plan", "enqueue", "--without", "sweep"]) == 1
    shown = capsys.readouterr().out
    assert "progress: from here the runs never end" in shown
    assert "request 0: start\n      request 0: dies before dispatch\n" in shown
    assert shown.endswith("1 bad\n")


def test_a_plan_that_holds_is_printed_with_its_states(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan", "enqueue,edit", "--expiries", "0"]) == 0
    assert "enqueue + edit (1 supersteps; 1 crash, 1 duplicate)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="Unknown requests: wish"):
        main(["--plan", "enqueue,wish"])


def test_the_whole_exploration_has_every_kind_of_request_with_every_fault() -> None:
    cases = list(everything())
    kinds = {kind for case in cases for kind in case.plan if all(case.budget)}
    assert len(kinds) == 15
    assert len(cases) > 400
