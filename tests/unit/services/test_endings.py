"""Ends of runs: hand-over, superseded runs, cancels, rollbacks, private threads, lost answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from crewline.checkpoints.projection import INTERRUPT
from crewline.checkpoints.records import Sealed, Write
from crewline.errors import NotFound, StaleOwner
from crewline.models.clocks import iso
from crewline.models.leases import GRACE_MS, LEASE_MS, Claim, Lease
from crewline.models.runs import Run, RunCreate, Usage
from crewline.models.threads import ThreadCreate
from crewline.services.endings import KEEP_S, Ended, Outcome
from crewline.store import keys, leases, markers
from crewline.store.changes import Delete, Put
from tests.unit.services.crashes import crashing
from tests.unit.store.worlds import NOW, TENANT, Calls, World, claimed, late, sealed, uuid6

SUCCESS = Outcome(status="success", thread_status="idle")
LOST = ReadTimeoutError(endpoint_url="http://db")
HOOK = "https://example.com/hook"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.endings.time.sleep", lambda _seconds: None)


@pytest.fixture
def claim(world: World) -> Claim:
    """A run that this process executes, on a thread with nothing else."""
    return begin(world, str(world.threads.create(TENANT, ThreadCreate())["thread_id"]))


def begin(world: World, thread_id: str, **fields: Any) -> Claim:
    return claimed(world.runs.start(TENANT, thread_id, body(**fields)))


def body(**fields: Any) -> RunCreate:
    return RunCreate.model_validate({"assistant_id": "echo", **fields})


def queue(world: World, claim: Claim, strategy: str = "enqueue", **fields: Any) -> Run:
    given = body(multitask_strategy=strategy, **fields)
    return world.runs.create(TENANT, claim.thread_id, given)


def stateless(world: World, *, in_place: bool = False, **fields: Any) -> Claim:
    if in_place:
        return claimed(world.runs.start_stateless(TENANT, body(**fields)))
    run = world.runs.create_stateless(TENANT, body(**fields))
    world.messages()
    held = world.leases.claim(TENANT, run.thread_id, run.run_id)
    assert isinstance(held, Claim)
    return held


def cancel(world: World, claim: Claim, action: Any = "interrupt") -> None:
    world.table.write(leases.cancel(TENANT, claim.thread_id, run_id=claim.run_id, action=action, now=NOW))


def finish(world: World, claim: Claim, *entries: Sealed, **outcome: Any) -> Ended:
    return world.endings.finish(claim, replace(SUCCESS, **outcome), entries)


def heard(world: World, claim: Claim) -> Run:
    """The run of a claim, as if it had a webhook."""
    return replace(row(world, claim.thread_id, claim.run_id), heard=True)


def take_over(world: World, claim: Claim) -> Claim:
    world.clock.pass_(LEASE_MS + 1)
    held = world.leases.claim(TENANT, claim.thread_id, claim.run_id)
    assert isinstance(held, Claim)
    return held


def lease(world: World, claim: Claim) -> Lease:
    return leases.from_item(world.lease(claim.thread_id))


def row(world: World, thread_id: str, run_id: str) -> Run:
    return world.runs.get(TENANT, thread_id, run_id)


def statuses(world: World, claim: Claim) -> list[str]:
    """Of the thread's runs, the oldest first."""
    found = world.runs.list(TENANT, claim.thread_id, limit=100, offset=0, status=None)
    return [run.status for run in reversed(found)]


def thread_status(world: World, claim: Claim) -> str:
    return world.threads.read(TENANT, claim.thread_id)[0].status


def waiting(world: World, claim: Claim) -> list[str]:
    return [marker.run_id for marker in markers.in_order(world.table, TENANT, claim.thread_id)]


def asks(text: str) -> Write:
    return Write(task_id="a", task_path="~", index=-3, channel=INTERRUPT, value=("bytes", text.encode()))


# ------------------------------------------------------------------ the next run


def test_an_end_hands_the_thread_to_the_run_that_waits_longest(world: World, claim: Claim) -> None:
    first, second = queue(world, claim), queue(world, claim)
    assert world.messages() == []
    ended = finish(world, claim, sealed(1))
    assert ended.lease == lease(world, claim)
    assert (ended.lease.run, ended.lease.turn, ended.lease.waiting) == (first.run_id, 2, 1)
    assert (ended.lease.base, ended.lease.until) == (uuid6(1), NOW + GRACE_MS)
    assert waiting(world, claim) == [second.run_id]
    assert [message["run_id"] for message in world.messages()] == [first.run_id]
    assert (statuses(world, claim), thread_status(world, claim)) == (
        ["success", "pending", "pending"],
        "busy",
    )


def test_runs_are_handed_over_in_the_order_of_their_acceptance_and_the_last_frees_the_thread(
    world: World, claim: Claim
) -> None:
    queued = [queue(world, claim).run_id for _ in range(3)]
    held, ran = claim, []
    for _ in queued:
        following = finish(world, held).lease.run or ""
        ran.append(following)
        next_ = world.leases.claim(TENANT, claim.thread_id, following)
        assert isinstance(next_, Claim)
        held = next_
    assert ran == queued
    assert finish(world, held).lease.free
    assert (statuses(world, claim), thread_status(world, claim)) == (["success"] * 4, "idle")
    assert waiting(world, claim) == []


def test_a_run_that_is_accepted_while_another_ends_is_handed_the_thread(world: World, claim: Claim) -> None:
    queued: list[Run] = []
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: queued.append(queue(world, claim))
        ended = finish(world, claim, sealed(1))
    assert ended.lease.run == queued[0].run_id


def test_a_run_that_left_the_queue_while_another_ended_is_not_handed_the_thread(
    world: World, claim: Claim
) -> None:
    gone, stays = queue(world, claim), queue(world, claim)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: world.cancellations.cancel(TENANT, claim.thread_id, gone.run_id)
        ended = finish(world, claim)
    assert ended.lease.run == stays.run_id
    assert statuses(world, claim) == ["success", "interrupted", "pending"]


def test_a_run_that_waits_remembers_what_the_one_before_left(world: World, claim: Claim) -> None:
    queue(world, claim)
    assert finish(world, claim, thread_status="interrupted").lease.was == "interrupted"


def test_a_delayed_run_that_is_next_is_sent_for_when_it_is_due(world: World, claim: Claim) -> None:
    delayed = queue(world, claim, after_seconds=100)
    world.clock.pass_(40_000)
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        ended = finish(world, claim)
    assert (ended.lease.run, ended.lease.due) == (delayed.run_id, NOW + 100_000)
    assert [request["DelaySeconds"] for request in calls.requests] == [60]
    early = world.leases.claim(TENANT, claim.thread_id, delayed.run_id)
    assert isinstance(early, Lease)
    world.clock.pass_(60_000)
    assert isinstance(world.leases.claim(TENANT, claim.thread_id, delayed.run_id), Claim)


def test_a_message_that_the_queue_refuses_leaves_the_next_run_in_flight_for_the_sweeper(
    world: World, claim: Claim
) -> None:
    queued = queue(world, claim)
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://sqs")]
        finish(world, claim)
    item = world.lease(claim.thread_id)
    assert item["run"] == queued.run_id
    found = world.table.query_index(
        keys.LEASES_IN_FLIGHT, item[keys.LEASES_IN_FLIGHT.partition], at_most=keys.flight_time(NOW)
    )
    assert keys.lease(TENANT, claim.thread_id) in list(found)


# ------------------------------------------------------------------ superseded runs


def test_an_interrupt_ends_the_run_in_flight_and_those_that_wait_before_it(
    world: World, claim: Claim
) -> None:
    queue(world, claim)
    queue(world, claim)
    last = queue(world, claim, "interrupt")
    after = queue(world, claim)
    ended = finish(world, claim, sealed(1))
    assert ended.status == "interrupted"
    assert (ended.lease.run, ended.lease.head, ended.lease.waiting) == (last.run_id, uuid6(1), 1)
    assert (ended.lease.cancel, ended.lease.upto, ended.lease.drop) == (None, None, None)
    assert statuses(world, claim) == ["interrupted"] * 3 + ["pending"] * 2
    assert waiting(world, claim) == [after.run_id]


def test_a_rollback_leaves_nothing_of_the_run_in_flight_and_those_that_wait_before_it(
    world: World, claim: Claim
) -> None:
    held = world.leases.commit(claim, [sealed(1), sealed(2, parent=1)])
    gone = [claim.run_id, queue(world, claim).run_id, queue(world, claim).run_id]
    last = queue(world, claim, "rollback")
    ended = finish(world, held, sealed(3, parent=2))
    assert (ended.undone, ended.lease.run, ended.lease.head) == (True, last.run_id, None)
    assert statuses(world, claim) == ["pending"]
    for run_id in gone:
        assert world.table.get(keys.run_pointer(TENANT, run_id)) is None
    assert list(world.records.keys_of(TENANT, claim.thread_id)) == []
    assert world.table.get(keys.run_pointer(TENANT, last.run_id)) is not None


def test_a_superseded_run_that_somebody_listens_to_is_announced(world: World, claim: Claim) -> None:
    heard = queue(world, claim, webhook=HOOK)
    queue(world, claim, "interrupt")
    finish(world, claim)
    assert [(one["run_id"], one["status"]) for one in world.announced()] == [(heard.run_id, "interrupted")]


def test_an_end_with_as_many_superseded_runs_as_can_wait_and_as_many_entries_as_fit_still_ends(
    world: World, claim: Claim
) -> None:
    for _ in range(31):
        queue(world, claim, webhook=HOOK)
    last = queue(world, claim, "interrupt")
    entries = [sealed(number, parent=number - 1) for number in range(1, 100)]
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        ended = finish(world, claim, *entries, run=heard(world, claim))
    assert max(len(request["TransactItems"]) for request in calls.requests) <= 100
    assert (ended.lease.run, ended.lease.head, ended.lease.waiting) == (last.run_id, uuid6(99), 0)
    assert statuses(world, claim) == ["interrupted"] * 32 + ["pending"]
    assert len(world.announced()) == 32
    assert len(list(world.records.keys_of(TENANT, claim.thread_id))) == 99


# ------------------------------------------------------------------ cancelled meanwhile


def test_a_run_that_was_done_when_somebody_interrupted_it_is_shown_as_interrupted(
    world: World, claim: Claim
) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: cancel(world, claim)
        ended = finish(world, claim, sealed(1))
    assert (ended.status, ended.rest, ended.lease.head) == ("interrupted", "idle", uuid6(1))
    assert (statuses(world, claim), thread_status(world, claim)) == (["interrupted"], "idle")


def test_a_run_that_failed_when_somebody_interrupted_it_has_failed(world: World, claim: Claim) -> None:
    cancel(world, claim)
    assert finish(world, claim, status="error", thread_status="error").status == "error"


def test_a_run_that_was_done_when_somebody_rolled_it_back_leaves_nothing(world: World, claim: Claim) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: cancel(world, claim, "rollback")
        ended = finish(world, claim, *(sealed(number, parent=number - 1) for number in range(120)))
    assert ended.undone
    assert ended.lease == lease(world, claim) == Lease(epoch=1, seq=1, newest=ended.lease.newest)
    assert (statuses(world, claim), thread_status(world, claim)) == ([], "idle")
    assert list(world.records.keys_of(TENANT, claim.thread_id)) == []


# ------------------------------------------------------------------ rolling back


def asked(world: World) -> Claim:
    """A run after one that stopped at a question; it has answered, gone on and asked again."""
    thread_id = str(world.threads.create(TENANT, ThreadCreate())["thread_id"])
    before = begin(world, thread_id)
    question = late(1, asks("first?"))
    finish(world, before, sealed(1), question, thread_status="interrupted")
    held = begin(world, thread_id, command={"resume": "yes"})
    answer = replace(asks("yes"), index=-4, channel="__resume__")
    held = world.leases.commit(held, [late(1, answer), late(1, asks("second?"))])
    held = world.leases.commit(
        held, [sealed(2, parent=1), sealed(7, namespace="inner"), late(2, asks("third?"))]
    )
    world.table.write(Put(key=keys.event(TENANT, held.run_id, 1, 1), item={}))
    return held


def rolled_back(world: World, held: Claim) -> None:
    """Check that a thread is as the run before has left it."""
    snapshot = world.records.latest(TENANT, held.thread_id, "", head=lease(world, held).head)
    assert snapshot is not None
    assert (snapshot.record.checkpoint_id, snapshot.writes) == (uuid6(1), (asks("first?"),))
    assert len(list(world.records.keys_of(TENANT, held.thread_id))) == 2
    assert (statuses(world, held), thread_status(world, held)) == (["success"], "interrupted")
    assert lease(world, held).free
    assert not any(held.run_id in "".join(key) for key in world.items())


def test_a_rollback_of_a_run_that_has_written_returns_to_the_question_before_it(world: World) -> None:
    held = asked(world)
    cancel(world, held, "rollback")
    ended = finish(world, held, sealed(3, parent=2))
    assert (ended.undone, ended.status, ended.rest) == (True, "interrupted", "interrupted")
    rolled_back(world, held)


def test_a_rollback_that_stops_anywhere_is_completed_by_the_next_claimant(world: World) -> None:
    held: list[Claim] = []

    def start() -> None:
        held[:] = [asked(world)]
        cancel(world, held[0], "rollback")

    def complete() -> None:
        (one,) = held
        if not lease(world, one).free:
            finish(world.again(), take_over(world, one))
        rolled_back(world, one)

    def act() -> None:
        finish(world, held[0])

    assert crashing(world, act, start, complete) > 10


def test_readers_see_the_state_from_before_while_a_rollback_is_under_way(world: World) -> None:
    held = asked(world)
    cancel(world, held, "rollback")
    heads: list[str | None] = []
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:

        def look() -> None:
            heads.append(lease(world, held).head)
            calls.before = look

        look()
        finish(world, held)
    assert heads[0] == uuid6(2)
    assert set(heads[2:]) == {uuid6(1)}  # the first transaction is refused, and tells of the cancel
    assert len(heads) > 2
    rolled_back(world, held)


def test_a_rollback_of_a_run_that_has_written_nothing_reads_no_records(world: World, claim: Claim) -> None:
    cancel(world, claim, "rollback")
    with Calls(world.cloud.dynamodb, "Query") as calls:
        assert finish(world, claim, sealed(1)).undone
    assert len(calls.requests) == 1  # its events
    assert statuses(world, claim) == []


def test_a_rollback_keeps_the_error_that_the_run_before_left(world: World, claim: Claim) -> None:
    world.endings.give_up_claimed(claim, "no reason")
    held = begin(world, claim.thread_id)
    cancel(world, held, "rollback")
    finish(world, held)
    row_, _ = world.threads.read(TENANT, claim.thread_id)
    assert (row_.status, (row_.error or {})["error"]) == ("error", "RunGivenUp")


def test_a_rollback_by_a_worker_whose_time_is_over_removes_nothing(world: World) -> None:
    held = asked(world)
    cancel(world, held, "rollback")
    take_over(world, held)
    before = world.items()
    with pytest.raises(StaleOwner):
        finish(world, held)
    assert world.items() == before


def test_a_rollback_whose_end_landed_although_nobody_heard_counts_as_done(world: World) -> None:
    held = asked(world)
    cancel(world, held, "rollback")
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [None, None, LOST]
        ended = finish(world, held)
    assert ended.undone
    rolled_back(world, held)


def test_a_commit_whose_answer_was_lost_is_rolled_back_too(world: World, claim: Claim) -> None:
    for _ in range(31):
        queue(world, claim)
    queue(world, claim, "interrupt")
    entries = [sealed(number, parent=number - 1) for number in range(1, 10)]

    def unqueue_all_and_roll_back() -> None:
        for run_id in waiting(world, claim)[:31]:
            world.cancellations.cancel(TENANT, claim.thread_id, run_id)
        cancel(world, claim, "rollback")

    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [LOST]  # the commit, beside so many markers
        looks = Calls(world.cloud.dynamodb, "Query")
        looks.before = lambda: setattr(looks, "before", unqueue_all_and_roll_back)
        with looks:
            assert finish(world, claim, *entries).undone
    assert list(world.records.keys_of(TENANT, claim.thread_id)) == []


# ------------------------------------------------------------------ private threads


def test_a_stateless_run_in_place_that_nobody_can_ask_for_is_forgotten_at_once(world: World) -> None:
    claim = stateless(world, in_place=True)
    ended = finish(world, claim, sealed(1))
    assert (ended.lease, ended.status) == (Lease(), "success")
    assert world.items() == {}
    assert world.messages() == []


def test_a_stateless_run_in_place_that_is_rolled_back_says_so(world: World) -> None:
    claim = stateless(world, in_place=True)
    cancel(world, claim, "rollback")
    ended = finish(world, claim, sealed(1))
    assert (ended.undone, ended.status) == (True, "interrupted")
    assert world.items() == {}


def test_a_stateless_run_that_others_may_join_stays_readable_until_its_purge(world: World) -> None:
    claim = stateless(world)
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        ended = finish(world, claim, sealed(1))
    assert ended.lease == Lease()
    assert [request["DelaySeconds"] for request in calls.requests] == [KEEP_S]
    with pytest.raises(NotFound):
        world.threads.get(TENANT, claim.thread_id)
    run = row(world, claim.thread_id, claim.run_id)
    assert (run.status, run.head) == ("success", uuid6(1))
    assert world.runs.result(TENANT, run)
    assert lease(world, claim) == Lease(epoch=3, seq=1, deleted=NOW)
    world.threads.purge(TENANT, claim.thread_id)
    assert {sort for _, sort in world.items()} == {keys.LEASE_SORT}


def test_a_stateless_run_that_may_be_repeated_is_purged_by_the_sweeper(world: World) -> None:
    held = stateless(world)
    claim = replace(held, lease=replace(held.lease, keep_s=86_400))
    finish(world, claim)
    assert world.messages() == []
    when = NOW + 86_400_000
    assert world.lease(claim.thread_id)[keys.THREADS_EXPIRING.sort] == keys.flight_time(when)


def test_a_private_thread_that_is_kept_is_a_thread_like_any_other(world: World) -> None:
    claim = stateless(world, in_place=True, on_completion="keep")
    assert finish(world, claim, sealed(1)).lease.free
    assert world.threads.get(TENANT, claim.thread_id)["status"] == "idle"


def test_a_rolled_back_run_of_a_private_thread_is_gone_with_it(world: World) -> None:
    claim = world.leases.commit(stateless(world), [sealed(1)])
    cancel(world, claim, "rollback")
    assert finish(world, claim).undone
    with pytest.raises(NotFound):
        row(world, claim.thread_id, claim.run_id)
    with pytest.raises(NotFound):
        world.threads.get(TENANT, claim.thread_id)
    assert list(world.records.keys_of(TENANT, claim.thread_id)) == []


# ------------------------------------------------------------------ answers that were lost, rows that are gone


def test_an_end_with_a_hand_over_that_landed_although_nobody_heard_counts_as_done(
    world: World, claim: Claim
) -> None:
    queued = queue(world, claim)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [LOST]
        ended = finish(world, claim, sealed(1))
    # What it left is not known any more: the lease may have moved on since.
    assert (ended.status, ended.lease) == ("success", Lease())
    assert lease(world, claim).run == queued.run_id
    assert [message["run_id"] for message in world.messages()] == [queued.run_id]


def test_an_entombment_that_landed_although_nobody_heard_counts_as_done(world: World) -> None:
    claim = stateless(world)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [LOST]
        assert finish(world, claim, sealed(1)).status == "success"
    assert row(world, claim.thread_id, claim.run_id).status == "success"


def test_a_run_whose_row_is_gone_frees_its_thread_all_the_same(world: World, claim: Claim) -> None:
    world.table.write(Delete(key=keys.run(TENANT, claim.thread_id, claim.run_id)))
    assert finish(world, claim, sealed(1)).lease.free
    assert statuses(world, claim) == []
    assert thread_status(world, claim) == "idle"


# ------------------------------------------------------------------ what the row says, who is told


def test_an_end_says_when_it_began_and_ended_and_what_it_used(world: World, claim: Claim) -> None:
    world.clock.pass_(1_000)
    finish(world, claim, usage=Usage(input_tokens=3, output_tokens=4))
    run = row(world, claim.thread_id, claim.run_id)
    assert (run.started_at, run.ended_at, run.usage) == (
        iso(NOW), iso(NOW + 1_000), Usage(input_tokens=3, output_tokens=4),
    )  # fmt: skip


def test_an_end_without_an_execution_says_what_earlier_ones_have_used(world: World, claim: Claim) -> None:
    used = Usage(input_tokens=3, output_tokens=4)
    held = world.leases.commit(claim, [sealed(1)], usage=used)
    world.endings.give_up_claimed(held, "no reason")
    assert row(world, claim.thread_id, claim.run_id).usage == used


def test_an_end_that_somebody_listens_to_is_announced_once(world: World, claim: Claim) -> None:
    finish(world, claim, run=heard(world, claim))
    assert [(one["run_id"], one["status"]) for one in world.announced()] == [(claim.run_id, "success")]
    assert not any(key[0].startswith("O#") for key in world.items())


def test_an_end_that_could_not_be_announced_stays_in_the_outbox(world: World, claim: Claim) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://sqs")]
        assert finish(world, claim, run=heard(world, claim)).status == "success"
    (left,) = [key for key in world.items() if key[0].startswith("O#")]
    assert keys.is_outbox(keys.Key(*left))
    world.outbox.publish(keys.Key(*left))
    world.outbox.publish(keys.Key(*left))
    assert len(world.announced()) == 1


def test_a_rolled_back_run_is_announced_to_nobody(world: World, claim: Claim) -> None:
    cancel(world, claim, "rollback")
    finish(world, claim, run=heard(world, claim))
    assert world.announced() == []


# ------------------------------------------------------------------ runs that nobody executes


def test_a_run_without_progress_is_given_up_with_a_reason(world: World) -> None:
    thread_id = str(world.threads.create(TENANT, ThreadCreate())["thread_id"])
    run = world.runs.create(TENANT, thread_id, body(webhook=HOOK))
    assert world.endings.give_up(TENANT, thread_id, run.run_id, "it never began") is True
    found = row(world, thread_id, run.run_id)
    assert (found.status, found.error and found.error.error) == ("error", "RunGivenUp")
    assert "it never began" in (found.error.message if found.error else "")
    assert world.threads.get(TENANT, thread_id)["status"] == "error"
    assert [one["status"] for one in world.announced()] == ["error"]
    assert world.endings.give_up(TENANT, thread_id, run.run_id, "again") is False


def test_a_run_that_somebody_executes_is_not_given_up(world: World, claim: Claim) -> None:
    assert world.endings.give_up(TENANT, claim.thread_id, claim.run_id, "no reason") is False
    assert statuses(world, claim) == ["running"]
