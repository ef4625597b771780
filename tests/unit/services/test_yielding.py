"""Runs that are to end with their client, where nobody sees a client leave: the next run interrupts them."""

from __future__ import annotations

from typing import Any

import pytest

from crewline.errors import ThreadBusy
from crewline.models.leases import LEASE_MS, Claim, Lease
from crewline.models.runs import Run, RunCreate
from crewline.models.threads import ThreadCreate
from crewline.services.endings import Outcome
from crewline.services.runs import Admitted
from crewline.store import keys, leases, markers
from tests.unit.store.worlds import TENANT, Calls, World, claimed, sealed


@pytest.fixture
def blind(world: World) -> World:
    """The world behind API Gateway."""
    world.leaving_seen = False
    return world.again()


@pytest.fixture
def thread(blind: World) -> str:
    return str(blind.threads.create(TENANT, ThreadCreate())["thread_id"])


def body(strategy: str = "enqueue", **fields: Any) -> RunCreate:
    return RunCreate.model_validate({"assistant_id": "echo", "multitask_strategy": strategy, **fields})


def ask(world: World, thread: str, strategy: str = "enqueue", leaves: str = "cancel") -> Admitted:
    """Start a run as a client does that waits for its answer."""
    return world.runs.start(TENANT, thread, body(strategy, on_disconnect=leaves))


def create(world: World, thread: str, strategy: str = "enqueue") -> Run:
    return world.runs.create(TENANT, thread, body(strategy, on_disconnect="cancel"))


def lease(world: World, thread: str) -> Lease:
    return leases.from_item(world.table.get(keys.lease(TENANT, thread)))


def finish(world: World, claim: Claim) -> None:
    world.endings.finish(claim, Outcome(status="success", thread_status="idle"), ())


def status(world: World, run: Run) -> str:
    return world.runs.get(TENANT, run.thread_id, run.run_id).status


def take(world: World, run: Run) -> Claim:
    claim = world.leases.claim(TENANT, run.thread_id, run.run_id)
    assert isinstance(claim, Claim)
    return claim


def test_the_next_run_stops_it_and_waits_until_it_has_ended(blind: World, thread: str) -> None:
    first = ask(blind, thread)
    with Calls(blind.cloud.dynamodb, "TransactWriteItems") as calls:
        following = create(blind, thread)
    assert len(calls.requests) == 1
    found = lease(blind, thread)
    assert (found.run, found.cancel, found.waiting, found.upto) == (first.run.run_id, "interrupt", 1, None)
    finish(blind, claimed(first))
    assert status(blind, first.run) == "interrupted"
    assert (lease(blind, thread).run, lease(blind, thread).yields) == (following.run_id, False)


def test_those_that_wait_keep_their_turn(blind: World, thread: str) -> None:
    first = ask(blind, thread)
    waiting = [create(blind, thread), ask(blind, thread).run, create(blind, thread)]
    assert [one.run_id for one in markers.in_order(blind.table, TENANT, thread)] == [
        one.run_id for one in waiting
    ]
    finish(blind, claimed(first))
    assert [status(blind, one) for one in waiting] == ["pending"] * 3
    assert lease(blind, thread).run == waiting[0].run_id


@pytest.mark.parametrize(
    ("leaving_seen", "leaves"), [(True, "cancel"), (False, "continue")], ids=["seen", "stays"]
)
def test_a_run_whose_client_is_seen_or_does_not_matter_is_waited_for(
    world: World, leaving_seen: bool, leaves: str
) -> None:
    world.leaving_seen = leaving_seen
    other = world.again()
    thread = str(other.threads.create(TENANT, ThreadCreate())["thread_id"])
    first = ask(other, thread, leaves=leaves)
    create(other, thread)
    assert lease(other, thread).cancel is None
    finish(other, claimed(first))
    assert status(other, first.run) == "success"


def test_a_background_run_has_no_client_to_end_with(blind: World, thread: str) -> None:
    take(blind, create(blind, thread))
    create(blind, thread)
    assert (lease(blind, thread).yields, lease(blind, thread).cancel) == (False, None)


def test_other_strategies_mean_what_they_say(blind: World, thread: str) -> None:
    ask(blind, thread)
    with pytest.raises(ThreadBusy):
        create(blind, thread, "reject")
    assert lease(blind, thread).cancel is None
    last = create(blind, thread, "rollback")
    create(blind, thread)
    assert (lease(blind, thread).cancel, lease(blind, thread).upto) == ("rollback", last.turn)


def test_one_that_had_to_wait_yields_once_it_executes_and_not_before(blind: World, thread: str) -> None:
    """A run whose turn has come and that nobody has begun holds up nobody for long, and its input would be lost."""
    first, second = ask(blind, thread), ask(blind, thread).run
    finish(blind, claimed(first))
    assert (lease(blind, thread).run, lease(blind, thread).yields) == (second.run_id, True)
    third = create(blind, thread)
    assert (lease(blind, thread).cancel, status(blind, second)) == (None, "pending")
    claim = take(blind, second)
    create(blind, thread)
    assert lease(blind, thread).cancel == "interrupt"
    finish(blind, claim)
    assert (status(blind, second), lease(blind, thread).run) == ("interrupted", third.run_id)


def test_one_that_ended_meanwhile_does_not_pass_it_on_to_the_next(blind: World, thread: str) -> None:
    first, second = ask(blind, thread), create(blind, thread)
    with Calls(blind.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: finish(blind, claimed(first))
        third = create(blind, thread)
    found = lease(blind, thread)
    assert (found.run, found.cancel, found.waiting) == (second.run_id, None, 1)
    assert [one.run_id for one in markers.in_order(blind.table, TENANT, thread)] == [third.run_id]


def test_one_whose_worker_died_still_yields(blind: World, thread: str) -> None:
    first = ask(blind, thread)
    blind.leases.commit(claimed(first), [sealed(1)])
    blind.clock.pass_(LEASE_MS + 1)
    again = take(blind, first.run)
    assert again.lease.yields
    create(blind, thread)
    assert blind.leases.heartbeat(again).cancel == "interrupt"
