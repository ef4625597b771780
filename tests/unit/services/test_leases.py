"""The lease in use: what is written, what a refusal means, what an unclear answer means."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson
import pytest
from botocore.exceptions import ReadTimeoutError

from crewline.checkpoints.codec import seal_record
from crewline.checkpoints.records import Sealed, Write
from crewline.errors import NotFound, RunCancelled, StaleOwner, Unavailable
from crewline.models.leases import LEASE_MS, Claim, Lease
from crewline.models.runs import RunCreate, RunError
from crewline.models.threads import ThreadCreate
from crewline.services.endings import Outcome
from crewline.store import keys, leases
from crewline.store.changes import Delete, Update
from tests.unit.store.worlds import ECHO, NOW, TENANT, Calls, World, claimed, late, record, sealed, uuid6

LOST = ReadTimeoutError(endpoint_url="http://db")
SUCCESS = Outcome(status="success", thread_status="idle")


@pytest.fixture
def claim(world: World) -> Claim:
    """A run that this process executes, on a thread with nothing else."""
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    return claimed(world.runs.start(TENANT, thread_id, RunCreate(assistant_id="echo")))


def stateless(world: World, **body: Any) -> Claim:
    return claimed(world.runs.start_stateless(TENANT, RunCreate(assistant_id=ECHO, **body)))


def lease(world: World, claim: Claim) -> Lease:
    return leases.from_item(world.lease(claim.thread_id))


def run_status(world: World, claim: Claim) -> str:
    return world.runs.get(TENANT, claim.thread_id, claim.run_id).status


def change_lease(world: World, claim: Claim, **attributes: Any) -> None:
    world.table.write(Update(key=keys.lease(TENANT, claim.thread_id), set=attributes))


def taken_over(world: World, claim: Claim) -> Claim:
    """Another worker's claim, after the first one has expired."""
    world.clock.pass_(LEASE_MS + 1)
    other = world.leases.claim(TENANT, claim.thread_id, claim.run_id)
    assert isinstance(other, Claim)
    return other


def superstep(number: int, **fields: Any) -> Sealed:
    """A record that a superstep made, not an input or a fork."""
    return replace(sealed(number, **fields), superstep=True)


def sizes(calls: Calls) -> list[int]:
    return [len(request["TransactItems"]) for request in calls.requests]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.endings.time.sleep", lambda _seconds: None)


# ------------------------------------------------------------------ claim


def test_a_claim_holds_what_the_lease_says(world: World) -> None:
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    run = world.runs.create(TENANT, thread_id, RunCreate(assistant_id="echo"))
    claim = world.leases.claim(TENANT, thread_id, run.run_id)
    assert isinstance(claim, Claim)
    assert (claim.run_id, claim.owner) == (run.run_id, claim.lease.owner)
    assert claim.lease == lease(world, claim)


def test_a_message_about_a_run_that_somebody_executes_has_nothing_to_do(world: World, claim: Claim) -> None:
    assert world.leases.claim(TENANT, claim.thread_id, claim.run_id) == lease(world, claim)


def test_a_message_about_a_run_that_has_ended_has_nothing_to_do(world: World, claim: Claim) -> None:
    world.endings.finish(claim, SUCCESS, [])
    assert world.leases.claim(TENANT, claim.thread_id, claim.run_id) == lease(world, claim)


def test_a_claim_that_landed_although_its_answer_was_lost_is_a_claim(world: World) -> None:
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    run = world.runs.create(TENANT, thread_id, RunCreate(assistant_id="echo"))
    with Calls(world.cloud.dynamodb, "UpdateItem") as calls:
        # botocore sends an UpdateItem again by itself when the connection breaks after the first.
        calls.twice = True
        claim = world.leases.claim(TENANT, thread_id, run.run_id)
    assert isinstance(claim, Claim)
    assert claim.owner == lease(world, claim).owner


def test_two_claims_have_two_owners(world: World, claim: Claim) -> None:
    assert taken_over(world, claim).owner != claim.owner


def test_a_run_is_shown_as_running_unless_its_row_is_gone_or_it_has_ended(world: World, claim: Claim) -> None:
    run = world.runs.get(TENANT, claim.thread_id, claim.run_id)
    world.runs.show_running(claim, run)
    assert run_status(world, claim) == "running"
    world.endings.finish(claim, SUCCESS, [])
    world.runs.show_running(claim, run)
    assert run_status(world, claim) == "success"
    world.table.write(Delete(key=keys.run(TENANT, claim.thread_id, claim.run_id)))
    world.runs.show_running(claim, run)
    assert world.table.get(keys.run(TENANT, claim.thread_id, claim.run_id)) is None


# ------------------------------------------------------------------ commit


def test_the_chain_of_the_head_begins_at_the_last_root_of_the_root_namespace(
    world: World, claim: Claim
) -> None:
    base = (record(1), seal_record(record(1))[1])
    difference = seal_record(record(2, parent=1), base)[0]
    held = world.leases.commit(claim, [sealed(1), difference, sealed(3, namespace="inner")])
    assert (held.lease.head, held.lease.chain) == (uuid6(2), uuid6(1))
    held = world.leases.commit(held, [seal_record(record(4, parent=2), base)[0]])
    assert (held.lease.head, held.lease.chain) == (uuid6(4), uuid6(1))
    fork = (record(5, parent=1), seal_record(record(5, parent=1))[1])
    entries = [sealed(5, parent=1), seal_record(record(6, parent=5), fork)[0]]
    world.endings.finish(held, SUCCESS, entries)
    assert (lease(world, claim).head, lease(world, claim).chain) == (uuid6(6), uuid6(5))


def test_a_commit_writes_its_entries_and_moves_the_head_in_one_transaction(
    world: World, claim: Claim
) -> None:
    world.clock.pass_(10_000)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        after = world.leases.commit(
            claim, [sealed(1), superstep(2, parent=1), superstep(5, namespace="inner")]
        )
    assert sizes(calls) == [4]
    assert after.lease == lease(world, claim)
    assert (after.lease.head, after.lease.newest, after.lease.steps) == (uuid6(2), uuid6(5), 1)
    assert after.lease.until == NOW + 10_000 + LEASE_MS
    assert world.records.latest(TENANT, claim.thread_id, "", head=after.lease.head) is not None


def test_late_writes_alone_do_not_move_the_head(world: World, claim: Claim) -> None:
    held = world.leases.commit(claim, [superstep(1)])
    write = Write(task_id="a", task_path="", index=0, channel="n", value=("null", b""))
    after = world.leases.commit(held, [late(1, write)])
    assert (after.lease.head, after.lease.newest, after.lease.steps) == (uuid6(1), uuid6(1), 1)


def test_the_newest_id_never_goes_back(world: World, claim: Claim) -> None:
    held = world.leases.commit(claim, [sealed(9, namespace="inner")])
    after = world.leases.commit(held, [sealed(3)])
    assert (after.lease.head, after.lease.newest) == (uuid6(3), uuid6(9))


def test_a_commit_of_a_worker_whose_time_is_over_is_refused_and_nothing_of_it_is_visible(
    world: World, claim: Claim
) -> None:
    other = taken_over(world, claim)
    before = world.items()
    with pytest.raises(StaleOwner, match="belongs to another worker"):
        world.leases.commit(claim, [sealed(1), sealed(2, parent=1)])
    assert world.items() == before
    assert world.leases.commit(other, [sealed(1)]).lease.head == uuid6(1)


def test_a_commit_to_a_deleted_thread_is_refused(world: World, claim: Claim) -> None:
    world.threads.delete(TENANT, claim.thread_id)
    before = world.items()
    with pytest.raises(StaleOwner):
        world.leases.commit(claim, [sealed(1)])
    assert world.items() == before


def test_a_commit_of_a_cancelled_run_is_refused_and_says_how_it_ends(world: World, claim: Claim) -> None:
    change_lease(world, claim, cancel="rollback")
    with pytest.raises(RunCancelled) as caught:
        world.leases.commit(claim, [sealed(1)])
    assert caught.value.details == {"action": "rollback"}
    assert world.records.latest(TENANT, claim.thread_id, "") is None


def test_a_commit_of_nothing_writes_nothing(world: World, claim: Claim) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        assert world.leases.commit(claim, []) == claim
    assert calls.requests == []


def test_a_commit_that_landed_although_nobody_heard_may_be_written_again(world: World, claim: Claim) -> None:
    entries = [superstep(1), superstep(2, parent=1)]
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [LOST]
        with pytest.raises(Unavailable):
            world.leases.commit(claim, entries)
    once = world.items()
    assert world.leases.commit(claim, entries).lease.steps == 2
    assert world.items() == once


def test_more_entries_than_a_transaction_holds_are_several_each_under_the_fence(
    world: World, claim: Claim
) -> None:
    entries = [superstep(number, parent=number - 1) for number in range(200)]
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        after = world.leases.commit(claim, entries)
    assert sizes(calls) == [91, 91, 21]
    assert all("Update" in request["TransactItems"][-1] for request in calls.requests)
    assert (after.lease.head, after.lease.steps) == (uuid6(199), 200)


def test_a_take_over_between_two_groups_lets_only_the_first_through(world: World, claim: Claim) -> None:
    entries = [sealed(number, parent=number - 1) for number in range(120)]
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:

        def after_the_first() -> None:
            calls.before = lambda: change_lease(world, claim, owner="another")

        calls.before = after_the_first
        with pytest.raises(StaleOwner):
            world.leases.commit(claim, entries)
    assert lease(world, claim).head == uuid6(89)
    assert world.records.get(TENANT, claim.thread_id, "", uuid6(90)) is None


def bodies(calls: Calls) -> list[int]:
    """The bytes of each transaction's items."""
    return [
        sum(len(orjson.dumps(item)) // 2 for item in request["TransactItems"]) for request in calls.requests
    ]


def noise(size: int) -> tuple[str, bytes]:
    return ("bytes", os.urandom(size))


@pytest.mark.parametrize(
    "fields",
    [
        lambda: {"channels": {"n": noise(300_000)}},
        lambda: {"metadata": noise(300_000)},
        lambda: {"defaults": {"n": noise(300_000)}},
        lambda: {"envelope": {"versions_seen": {str(n): os.urandom(300).hex() for n in range(1000)}}},
    ],
    ids=["channels", "metadata", "defaults", "envelope"],
)
def test_a_transaction_never_outgrows_dynamodbs_four_megabytes(
    world: World, claim: Claim, fields: Callable[[], dict[str, Any]]
) -> None:
    entries = [sealed(number, parent=number - 1, **fields()) for number in range(16)]
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        world.leases.commit(claim, entries)
    assert max(bodies(calls)) < 4_000_000
    assert lease(world, claim).head == uuid6(15)


# ------------------------------------------------------------------ heartbeat


def test_a_heartbeat_renews_and_brings_a_cancel(world: World, claim: Claim) -> None:
    world.clock.pass_(6_000)
    change_lease(world, claim, cancel="interrupt")
    renewed = world.leases.heartbeat(claim)
    assert (renewed.until, renewed.cancel) == (NOW + 6_000 + LEASE_MS, "interrupt")


def test_a_heartbeat_of_a_worker_whose_time_is_over_says_so(world: World, claim: Claim) -> None:
    taken_over(world, claim)
    with pytest.raises(StaleOwner):
        world.leases.heartbeat(claim)


# ------------------------------------------------------------------ finish


def test_a_finish_ends_run_and_thread_in_one_transaction_with_the_last_entries(
    world: World, claim: Claim
) -> None:
    world.clock.pass_(1_000)
    error = RunError(error="ValueError", message="boom")
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        ended = world.endings.finish(
            claim, Outcome(status="error", thread_status="error", error=error), [sealed(1)]
        )
    assert sizes(calls) == [4]
    assert ended.lease == lease(world, claim)
    assert ended.lease.free
    assert ended.lease.head == uuid6(1)
    run = world.runs.get(TENANT, claim.thread_id, claim.run_id)
    thread, _ = world.threads.read(TENANT, claim.thread_id)
    assert (run.status, run.error, run.head) == ("error", error, uuid6(1))
    assert (thread.status, thread.error) == ("error", error.wire())
    assert thread.state_updated_at == thread.updated_at == run.updated_at != run.created_at


def test_a_finish_without_new_entries_keeps_the_head(world: World, claim: Claim) -> None:
    held = world.leases.commit(claim, [sealed(1)])
    world.endings.finish(held, SUCCESS, [])
    assert lease(world, claim).head == uuid6(1)
    assert world.runs.get(TENANT, claim.thread_id, claim.run_id).head == uuid6(1)


def test_a_finish_that_landed_although_nobody_heard_counts_as_done(world: World, claim: Claim) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [LOST]
        world.endings.finish(claim, SUCCESS, [sealed(1)])
    assert run_status(world, claim) == "success"
    assert lease(world, claim) == Lease(
        epoch=claim.lease.epoch, seq=1, head=uuid6(1), chain=uuid6(1), newest=uuid6(1)
    )


def test_a_finish_that_did_not_land_is_tried_again(world: World, claim: Claim) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [LOST, LOST]
        world.endings.finish(claim, SUCCESS, [sealed(1)])
    assert run_status(world, claim) == "success"


def test_a_finish_gives_up_after_twelve_tries(world: World, claim: Claim) -> None:
    before = world.items()
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [LOST] * 99
        with pytest.raises(Unavailable):
            world.endings.finish(claim, SUCCESS, [sealed(1)])
    assert len(calls.requests) == 12
    assert world.items() == before


def test_a_finish_that_did_not_land_before_a_take_over_is_stale(world: World, claim: Claim) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [LOST]
        calls.before = lambda: setattr(calls, "before", lambda: change_lease(world, claim, owner="another"))
        with pytest.raises(StaleOwner):
            world.endings.finish(claim, SUCCESS, [sealed(1)])
    assert run_status(world, claim) == "running"


def test_a_finish_that_did_not_land_is_not_taken_for_that_of_another_worker(
    world: World, claim: Claim
) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [LOST]

        def another_worker_finishes() -> None:
            world.endings.finish(taken_over(world, claim), SUCCESS, [sealed(7)])

        calls.before = lambda: setattr(calls, "before", another_worker_finishes)
        with pytest.raises(StaleOwner):
            world.endings.finish(claim, SUCCESS, [sealed(1)])
    assert lease(world, claim).head == uuid6(7)


def test_a_finish_that_does_not_know_of_a_commit_never_moves_the_head_back(
    world: World, claim: Claim
) -> None:
    world.leases.commit(claim, [sealed(1), sealed(2, parent=1)])
    with suppress(StaleOwner, Unavailable):
        world.endings.finish(claim, SUCCESS, [])
    assert lease(world, claim).head == uuid6(2)


def test_a_finish_looks_again_when_a_run_was_queued_meanwhile(world: World, claim: Claim) -> None:
    queued = world.runs.create(TENANT, claim.thread_id, RunCreate(assistant_id="echo"))
    ended = world.endings.finish(claim, SUCCESS, [])
    assert ended.lease == lease(world, claim)
    assert (ended.lease.seq, ended.lease.waiting, ended.lease.run) == (2, 0, queued.run_id)


def test_a_finish_on_a_thread_that_never_stands_still_ends(world: World, claim: Claim) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:

        def queue() -> None:
            change_lease(world, claim, seq=len(calls.requests) + 10)
            calls.before = queue

        calls.before = queue
        with pytest.raises(Unavailable, match="kept changing"):
            world.endings.finish(claim, SUCCESS, [])
    assert run_status(world, claim) == "running"


def test_a_finish_of_a_worker_whose_time_is_over_writes_nothing(world: World, claim: Claim) -> None:
    taken_over(world, claim)
    before = world.items()
    with pytest.raises(StaleOwner):
        world.endings.finish(claim, SUCCESS, [sealed(1)])
    assert world.items() == before


def test_a_finish_on_a_deleted_thread_brings_nothing_back(world: World, claim: Claim) -> None:
    world.threads.delete(TENANT, claim.thread_id)
    before = world.items()
    with pytest.raises((StaleOwner, NotFound)):
        world.endings.finish(claim, SUCCESS, [sealed(1)])
    assert world.items() == before


def test_a_finish_with_many_entries_writes_the_first_ones_before(world: World, claim: Claim) -> None:
    entries = [sealed(number, parent=number - 1) for number in range(100)]
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        world.endings.finish(claim, SUCCESS, entries)
    assert sizes(calls) == [91, 13]
    assert lease(world, claim).head == uuid6(99)


def test_a_cancelled_run_keeps_what_its_refused_commit_held(world: World, claim: Claim) -> None:
    change_lease(world, claim, cancel="interrupt")
    entries = [sealed(1), sealed(2, parent=1)]
    with pytest.raises(RunCancelled):
        world.leases.commit(claim, entries)
    world.endings.finish(claim, Outcome(status="interrupted", thread_status="interrupted"), entries)
    assert lease(world, claim).head == uuid6(2)


def test_a_cancelled_run_that_has_more_than_one_transaction_left_still_ends(
    world: World, claim: Claim
) -> None:
    change_lease(world, claim, cancel="interrupt")
    entries = [sealed(number, parent=number - 1) for number in range(120)]
    world.endings.finish(claim, Outcome(status="interrupted", thread_status="interrupted"), entries)
    assert run_status(world, claim) == "interrupted"
    assert lease(world, claim).head == uuid6(119)


# ------------------------------------------------------------------ stateless runs


@pytest.mark.parametrize("count", [0, 3, 200])
def test_a_run_that_is_forgotten_leaves_nothing(world: World, count: int) -> None:
    claim = stateless(world)
    entries: list[Sealed] = [sealed(number, parent=number - 1) for number in range(count)]
    world.endings.finish(claim, SUCCESS, entries)
    assert world.items() == {}
    assert world.objects() == []


def test_a_run_that_is_forgotten_leaves_no_large_arguments_either(world: World) -> None:
    claim = stateless(world, input={"text": "x" * 200_000})
    world.endings.finish(claim, SUCCESS, [])
    assert world.items() == {}
    assert world.objects() == []


def test_forgetting_that_landed_although_nobody_heard_counts_as_done(world: World) -> None:
    claim = stateless(world)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [LOST]
        world.endings.finish(claim, SUCCESS, [])
    assert world.items() == {}


def test_a_worker_whose_time_is_over_forgets_nothing(world: World) -> None:
    claim = stateless(world)
    taken_over(world, claim)
    before = world.items()
    with pytest.raises(StaleOwner):
        world.endings.finish(claim, SUCCESS, [])
    assert world.items() == before


def test_of_what_a_claim_says_of_its_lease_only_seq_waiting_cancel_and_head_are_conditions(
    world: World, claim: Claim
) -> None:
    behind = replace(claim, lease=replace(claim.lease, until=0, attempt=9, steps=9))
    world.endings.finish(behind, SUCCESS, [])
    assert lease(world, claim).epoch == claim.lease.epoch


# ------------------------------------------------------------------ the end of a slice


def test_the_end_of_a_slice_that_landed_although_its_answer_was_lost_is_one(
    world: World, claim: Claim
) -> None:
    with Calls(world.cloud.dynamodb, "UpdateItem") as calls:
        calls.twice = True
        ended = world.leases.end_slice(claim, longest=5)
    assert ended == lease(world, claim)
    assert (ended.owner, ended.channel, ended.parted) == (None, "workflow", claim.lease.epoch)


def test_the_end_of_a_slice_of_a_run_that_was_taken_over_is_refused(world: World, claim: Claim) -> None:
    taken_over(world, claim)
    with pytest.raises(StaleOwner):
        world.leases.end_slice(claim, longest=5)
