"""Runs on busy threads: queued, refused, interrupting; forks, resumption, batches, repeated requests."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from crewline.errors import (
    BadRequest,
    Conflict,
    LimitExceeded,
    NotFound,
    ThreadBusy,
    Unavailable,
)
from crewline.models.leases import MOST_WAITING, Claim, Lease
from crewline.models.runs import Run, RunCreate
from crewline.models.threads import ThreadCreate
from crewline.services.endings import KEEP_S, Outcome
from crewline.services.runs import RETENTION_S
from crewline.store import keys, leases, markers
from crewline.store.changes import Update
from crewline.store.idempotency import KEPT_S, Once
from crewline.store.markers import Marker
from crewline.store.table import Refused
from tests.unit.store.worlds import ECHO, NOW, TENANT, AtOnce, Calls, World, claimed, sealed, uuid6

SUCCESS = Outcome(status="success", thread_status="idle")
LOST = ReadTimeoutError(endpoint_url="http://db")
ONCE = Once(scope="POST /runs", key="k", digest="d")
UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"
DAY_S = 86_400


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.endings.time.sleep", lambda _seconds: None)


@pytest.fixture
def thread(world: World) -> str:
    return str(world.threads.create(TENANT, ThreadCreate())["thread_id"])


@pytest.fixture
def busy(world: World, thread: str) -> Claim:
    """A run that this process executes."""
    return claimed(world.runs.start(TENANT, thread, body()))


def body(strategy: str = "enqueue", **fields: Any) -> RunCreate:
    return RunCreate.model_validate({"assistant_id": "echo", "multitask_strategy": strategy, **fields})


def create(
    world: World, thread: str, strategy: str = "enqueue", once: Once | None = None, **fields: Any
) -> Run:
    return world.runs.create(TENANT, thread, body(strategy, **fields), once=once)


def finish(world: World, claim: Claim, *entries: Any, rest: Any = "idle") -> None:
    world.endings.finish(claim, Outcome(status="success", thread_status=rest), entries)


def lease(world: World, thread: str) -> Lease:
    return leases.from_item(world.lease(thread))


def row(world: World, run: Run) -> Run:
    return world.runs.get(TENANT, run.thread_id, run.run_id)


def count(world: World, thread: str) -> int:
    return len(world.runs.list(TENANT, thread, limit=100, offset=0, status=None))


# ------------------------------------------------------------------ queue


def test_a_run_on_a_busy_thread_waits_for_its_turn(world: World, thread: str, busy: Claim) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        run = create(world, thread, webhook="https://example.com", after_seconds=2)
    assert len(calls.requests) == 1
    assert (run.status, run.turn, row(world, run)) == ("pending", 2, run)
    assert markers.in_order(world.table, TENANT, thread) == [
        Marker(
            run_id=run.run_id,
            turn=2,
            due=NOW + 2_000,
            heard=True,
        )
    ]
    assert (lease(world, thread).seq, lease(world, thread).waiting) == (2, 1)
    assert world.table.get(keys.run_pointer(TENANT, run.run_id)) is not None
    assert world.messages() == []


def test_a_run_in_place_that_has_to_wait_is_not_claimed(world: World, thread: str, busy: Claim) -> None:
    admitted = world.runs.start(TENANT, thread, body())
    assert (admitted.claim, admitted.run.status) == (None, "pending")


def test_a_run_in_place_that_is_delayed_is_left_to_a_worker(world: World, thread: str) -> None:
    admitted = world.runs.start(TENANT, thread, body(after_seconds=3))
    assert (admitted.claim, admitted.run.status) == (None, "pending")
    assert (lease(world, thread).owner, lease(world, thread).due) == (None, NOW + 3_000)


def test_two_runs_that_queue_at_once_have_two_turns(world: World, thread: str, busy: Claim) -> None:
    first: list[Run] = []
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: first.append(create(world, thread))
        second = create(world, thread)
    assert [first[0].turn, second.turn] == [2, 3]
    found = markers.in_order(world.table, TENANT, thread)
    assert [marker.run_id for marker in found] == [first[0].run_id, second.run_id]
    assert lease(world, thread).waiting == 2


def test_a_run_that_finds_the_thread_free_when_it_queues_starts(
    world: World, thread: str, busy: Claim
) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: finish(world, busy)
        run = create(world, thread)
    assert lease(world, thread).run == run.run_id
    assert [message["run_id"] for message in world.messages()] == [run.run_id]


def test_a_thread_has_room_for_thirty_two_waiting_runs(world: World, thread: str, busy: Claim) -> None:
    for _ in range(MOST_WAITING):
        create(world, thread)
    before = world.items()
    for strategy in ("enqueue", "interrupt", "rollback"):
        with pytest.raises(LimitExceeded, match="32 runs wait") as caught:
            create(world, thread, strategy)
        assert caught.value.details["retry_after"] > 0
    with pytest.raises(ThreadBusy):
        create(world, thread, "reject")
    assert world.items() == before


def test_nothing_waits_on_the_thread_of_a_stateless_run(world: World) -> None:
    admitted = world.runs.start_stateless(TENANT, body())
    for strategy in ("enqueue", "interrupt"):
        with pytest.raises(Conflict, match=admitted.run.run_id):
            create(world, admitted.run.thread_id, strategy)


# ------------------------------------------------------------------ interrupt and rollback


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_a_run_that_somebody_executes_is_asked_to_stop(
    world: World, thread: str, busy: Claim, strategy: str
) -> None:
    run = create(world, thread, strategy)
    found = lease(world, thread)
    assert (found.run, found.owner, found.cancel) == (busy.run_id, busy.owner, strategy)
    assert (found.upto, found.drop) == (run.turn, strategy)


def test_an_interrupt_ends_a_run_that_nobody_executes_at_once(world: World, thread: str) -> None:
    first, waiting = create(world, thread), create(world, thread)
    last = create(world, thread, "interrupt")
    assert [row(world, run).status for run in (first, waiting, last)] == ["interrupted"] * 2 + ["pending"]
    assert lease(world, thread).run == last.run_id
    assert [message["run_id"] for message in world.messages()] == [first.run_id, last.run_id]


def test_a_rollback_ends_a_run_that_nobody_executes_at_once_and_leaves_nothing(
    world: World, thread: str
) -> None:
    create(world, thread)
    last = create(world, thread, "rollback")
    assert count(world, thread) == 1
    assert lease(world, thread).run == last.run_id


def test_an_interrupt_ends_a_run_that_is_not_yet_due(world: World, thread: str) -> None:
    first = create(world, thread, after_seconds=3_600)
    last = create(world, thread, "interrupt")
    assert row(world, first).status == "interrupted"
    assert (lease(world, thread).run, lease(world, thread).due) == (last.run_id, 0)


def test_an_interrupt_of_a_run_whose_worker_died_sends_it_to_another(
    world: World, thread: str, busy: Claim
) -> None:
    world.leases.commit(busy, [sealed(1)])
    world.clock.pass_(60_000)
    create(world, thread, "interrupt")
    assert lease(world, thread).run == busy.run_id
    assert [message["run_id"] for message in world.messages()] == [busy.run_id]


# ------------------------------------------------------------------ resumption and forks


def test_there_is_nothing_to_resume_on_a_thread_that_asked_nothing(world: World, thread: str) -> None:
    before = world.items()
    for start in (world.runs.create, world.runs.start):
        with pytest.raises(BadRequest, match="nothing to resume"):
            start(TENANT, thread, body(command={"resume": None}))
    assert world.items() == before


@pytest.mark.parametrize("rest", ["interrupted", "error"])
def test_a_thread_that_stopped_may_be_resumed(world: World, thread: str, busy: Claim, rest: Any) -> None:
    finish(world, busy, sealed(1), rest=rest)
    run = create(world, thread, command={"resume": "yes"})
    assert lease(world, thread).was == rest
    assert lease(world, thread).run == run.run_id


def test_an_answer_may_wait_for_the_question(world: World, thread: str, busy: Claim) -> None:
    assert create(world, thread, command={"resume": "yes"}).turn == 2


def test_a_run_forks_from_a_checkpoint_of_its_thread_only(world: World, thread: str, busy: Claim) -> None:
    finish(world, busy, sealed(1), sealed(2, parent=1))
    for fork in (UNKNOWN, uuid6(3)):
        with pytest.raises(NotFound, match=f"Checkpoint {fork} not found"):
            create(world, thread, checkpoint_id=fork)
    with pytest.raises(NotFound, match=f"Thread with ID {UNKNOWN}"):
        create(world, UNKNOWN, checkpoint_id=uuid6(1))
    assert create(world, thread, checkpoint_id=uuid6(1)).kwargs["checkpoint_id"] == uuid6(1)
    assert lease(world, thread).base == uuid6(2)


# ------------------------------------------------------------------ repeated requests


def test_a_repeated_request_gives_the_same_run(world: World, thread: str) -> None:
    first = create(world, thread, once=ONCE)
    again = create(world, thread, once=ONCE)
    assert again == row(world, first)
    assert count(world, thread) == 1
    assert len(world.messages()) == 1


def test_a_repeated_request_gives_the_same_run_after_its_end_and_beside_another(
    world: World, thread: str
) -> None:
    started = world.runs.start(TENANT, thread, body(), once=ONCE)
    finish(world, claimed(started))
    create(world, thread)
    again = world.runs.start(TENANT, thread, body("reject"), once=ONCE)
    assert (again.claim, again.run.run_id, again.run.status) == (None, started.run.run_id, "success")


def test_a_repeated_request_is_not_refused_on_a_busy_thread(world: World, thread: str) -> None:
    first = create(world, thread, "reject", once=ONCE)
    assert create(world, thread, "reject", once=ONCE).run_id == first.run_id
    with pytest.raises(ThreadBusy):
        create(world, thread, "reject", once=Once(scope=ONCE.scope, key="other", digest="d"))


def test_a_request_that_is_remembered_no_more_is_refused_on_a_busy_thread(world: World, thread: str) -> None:
    create(world, thread, "reject", once=ONCE)
    world.clock.pass_((KEPT_S + 1) * 1000)
    with pytest.raises(ThreadBusy):
        create(world, thread, "reject", once=ONCE)


def test_a_repeated_request_gives_the_run_that_waits(world: World, thread: str, busy: Claim) -> None:
    first = create(world, thread, once=ONCE)
    assert create(world, thread, once=ONCE) == first
    assert lease(world, thread).waiting == 1


def test_the_same_key_with_another_body_is_refused(world: World, thread: str) -> None:
    first = create(world, thread, once=ONCE)
    other = Once(scope=ONCE.scope, key=ONCE.key, digest="other")
    for strategy in ("enqueue", "reject"):
        with pytest.raises(Conflict, match=first.run_id):
            create(world, thread, strategy, once=other)
    with pytest.raises(Conflict, match=first.run_id):
        world.runs.create_stateless(TENANT, body(), once=other)
    assert count(world, thread) == 1


def test_a_repeated_request_for_a_run_that_is_gone_starts_no_second_one(world: World, thread: str) -> None:
    first = create(world, thread, once=ONCE)
    world.cancellations.cancel(TENANT, thread, first.run_id, "rollback")
    again = create(world, thread, once=ONCE, input={"n": 1})
    assert (again.run_id, again.status, again.created_at) == (first.run_id, "interrupted", first.created_at)
    assert count(world, thread) == 0
    assert lease(world, thread).free


def test_a_repeated_stateless_request_gives_the_same_run(world: World) -> None:
    first = world.runs.start_stateless(TENANT, body(), once=ONCE)
    assert claimed(first).lease.keep_s > KEEP_S
    again = world.runs.start_stateless(TENANT, body(), once=ONCE)
    assert (again.claim, again.run.run_id) == (None, first.run.run_id)
    finish(world, claimed(first), sealed(1))
    done = world.runs.start_stateless(TENANT, body(), once=ONCE).run
    assert (done.status, done.head) == ("success", uuid6(1))


# ------------------------------------------------------------------ unclear answers


@pytest.mark.parametrize("landed", [True, False])
def test_a_start_whose_answer_was_lost_is_a_run_if_it_landed(
    world: World, thread: str, *, landed: bool
) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        if landed:
            calls.after = [LOST]
            assert lease(world, thread).free
            started = world.runs.start(TENANT, thread, body())
            assert claimed(started).lease == lease(world, thread)
            return
        calls.failures = [LOST]
        with pytest.raises(Unavailable):
            world.runs.start(TENANT, thread, body())
    assert count(world, thread) == 0


def test_a_run_that_was_queued_although_nobody_heard_waits_once(
    world: World, thread: str, busy: Claim
) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [LOST]
        run = create(world, thread)
    assert [marker.run_id for marker in markers.in_order(world.table, TENANT, thread)] == [run.run_id]
    assert lease(world, thread).waiting == 1


@pytest.mark.parametrize("landed", [True, False])
def test_a_stateless_start_whose_answer_was_lost_is_a_run_if_it_landed(world: World, *, landed: bool) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        if landed:
            calls.after = [LOST]
            claim = claimed(world.runs.start_stateless(TENANT, body()))
            assert claim.lease == lease(world, claim.thread_id)
            return
        calls.failures = [LOST]
        with pytest.raises(Unavailable):
            world.runs.start_stateless(TENANT, body())
    assert world.items() == {}


def test_a_stateless_start_that_is_refused_starts_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_changes: object) -> None:
        raise Refused({0: None})

    monkeypatch.setattr(world.table, "transact", refuse)
    with pytest.raises(Unavailable):
        world.runs.create_stateless(TENANT, body())
    assert world.messages() == []


# ------------------------------------------------------------------ stateless, in batches


@pytest.mark.parametrize(
    ("fields", "keep_s", "private"),
    [
        ({}, 0, True),
        ({"webhook": "https://example.com"}, DAY_S, True),
        ({"on_completion": "keep"}, 0, False),
    ],
)
def test_a_stateless_run_in_place_stays_readable_only_if_somebody_may_ask_for_it(
    world: World, fields: dict[str, Any], keep_s: int, *, private: bool
) -> None:
    claim = claimed(world.runs.start_stateless(TENANT, body(**fields)))
    assert (claim.lease.private, claim.lease.keep_s) == (private, keep_s)


def test_a_stateless_run_in_the_background_stays_readable_for_those_who_join(world: World) -> None:
    run = world.runs.create_stateless(TENANT, body())
    found = lease(world, run.thread_id)
    assert (found.private, found.keep_s, found.owner) == (True, KEEP_S, None)
    assert [message["run_id"] for message in world.messages()] == [run.run_id]


def test_a_stateless_run_stays_readable_for_as_long_as_it_was_asked_to(world: World) -> None:
    once = Once.of("POST /v1/runs", "k", {})
    for key in (None, once):
        run = world.runs.create_stateless(TENANT, body(), once=key, keep_s=RETENTION_S)
        claim = world.leases.claim(TENANT, run.thread_id, run.run_id)
        assert isinstance(claim, Claim)
        world.endings.finish(claim, SUCCESS, [])
        gone_at = keys.flight_time(NOW + RETENTION_S * 1000)
        assert world.lease(run.thread_id)[keys.THREADS_EXPIRING.sort] == gone_at
        assert world.runs.find(TENANT, run.run_id).status == "success"
    world.messages()


# ------------------------------------------------------------------ threads that this process remembers


def remember(world: World, thread: str, claim: Claim) -> None:
    """End a run as an execution of this process does."""
    ended = world.endings.finish(claim, SUCCESS, [sealed(1)])
    snapshot = world.records.latest(TENANT, thread, "", head=ended.lease.head)
    crew = {"graph_id": "echo", "assistant_id": ECHO}
    world.recents.keep(TENANT, thread, ended.lease, ended.rest, snapshot, crew=crew)


def test_a_thread_that_is_remembered_is_not_read_for(world: World, thread: str, busy: Claim) -> None:
    remember(world, thread, busy)
    with Calls(world.cloud.dynamodb, "Query") as queries, Calls(world.cloud.dynamodb, "GetItem") as gets:
        claim = claimed(world.runs.start(TENANT, thread, body()))
    assert queries.requests == []
    [request] = gets.requests  # whether somebody has changed the assistant, beside the start
    assert request["Key"]["SK"]["S"] == ECHO
    assert claim.lease == lease(world, thread)


def others(world: World, thread: str, what: str) -> None:
    """Let another process do something on the thread."""
    other = world.again()
    if what == "edit":
        update, _ = leases.edit(
            TENANT, thread, lease(world, thread), head=uuid6(9), chain=uuid6(9), newest=uuid6(9)
        )
        other.table.write(update)
        return
    claim = claimed(other.runs.start(TENANT, thread, body()))
    if what == "ran":
        other.endings.finish(claim, SUCCESS, [sealed(9, parent=1)])


@pytest.mark.parametrize("what", ["ran", "edit"])
def test_a_thread_that_somebody_else_changed_is_read_again(
    world: World, thread: str, busy: Claim, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.runs._places, "_readers", AtOnce())
    remember(world, thread, busy)
    others(world, thread, what)
    claim = claimed(world.runs.start(TENANT, thread, body()))
    assert claim.lease == lease(world, thread)
    assert claim.lease.base == uuid6(9)
    known = world.recents.get(TENANT, thread)  # what the start has read, and nothing from before
    assert known is not None
    assert known.lease.head == uuid6(9)
    found = known.snapshot and known.snapshot.record.checkpoint_id
    assert found == (uuid6(9) if what == "ran" else None)


def test_on_a_remembered_thread_that_is_busy_a_run_waits(world: World, thread: str, busy: Claim) -> None:
    remember(world, thread, busy)
    others(world, thread, "runs")
    assert world.runs.start(TENANT, thread, body()).claim is None
    assert lease(world, thread).waiting == 1


def test_while_a_run_of_this_process_is_on_a_thread_nobody_tries_to_start_another(
    world: World, thread: str, busy: Claim
) -> None:
    remember(world, thread, busy)
    claim = claimed(world.runs.start(TENANT, thread, body()))
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as writes:
        waits = [world.runs.start(TENANT, thread, body()) for _ in range(2)]
    assert [one.claim for one in waits] == [None, None]
    assert len(writes.requests) == 2  # none was refused
    remember(world, thread, claim)  # and what this one leaves is known again
    known = world.recents.get(TENANT, thread)
    assert known is not None
    assert not known.taken


def test_a_remembered_thread_that_was_deleted_is_not_found(world: World, thread: str, busy: Claim) -> None:
    remember(world, thread, busy)
    world.threads.delete(TENANT, thread)
    with pytest.raises(NotFound):
        world.runs.start(TENANT, thread, body())


def test_whether_there_is_something_to_resume_is_read_and_not_remembered(
    world: World, thread: str, busy: Claim
) -> None:
    remember(world, thread, busy)
    world.table.write(Update(key=keys.thread(TENANT, thread), set={"status": "interrupted"}))
    assert create(world, thread, command={"resume": 1}).status == "pending"
