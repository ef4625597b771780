"""Runs: one at a time on a thread, nothing half made, and what a finished one answers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt

from crewline.checkpoints.records import Snapshot, Write
from crewline.errors import BadRequest, InvalidRequest, NotFound, ThreadBusy, TooLarge, Unavailable
from crewline.models.clocks import iso
from crewline.models.leases import GRACE_MS, LEASE_MS, Claim, Lease
from crewline.models.runs import Run, RunCreate, RunError
from crewline.models.threads import ThreadCreate, ThreadPatch
from crewline.services.endings import Outcome
from crewline.services.results import outcome_values
from crewline.store import keys, leases
from tests.unit.store.worlds import ECHO, NOW, TENANT, AtOnce, Calls, World, claimed, late, sealed, uuid6

dumps = JsonPlusSerializer(allowed_msgpack_modules=None).dumps_typed
MARKED = {"created_by": "system", "m": 1, "graph_id": "echo", "assistant_id": ECHO}
SUCCESS = Outcome(status="success", thread_status="idle")


def done(_: object) -> None:
    """Make an expression a statement."""


def body(**fields: Any) -> RunCreate:
    return RunCreate.model_validate({"assistant_id": "echo", **fields})


@pytest.fixture
def thread(world: World) -> str:
    thread_id: str = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    return thread_id


def rows(world: World, thread_id: str) -> list[Run]:
    return list(world.runs.list(TENANT, thread_id, limit=1000, offset=0, status=None))


def finished(world: World, thread_id: str, *, outcome: Outcome = SUCCESS, entries: Any = ()) -> Run:
    started = world.runs.start(TENANT, thread_id, body())
    world.endings.finish(claimed(started), outcome, list(entries))
    return world.runs.get(TENANT, thread_id, started.run.run_id)


# ------------------------------------------------------------------ start


def test_a_background_run_is_in_flight_before_its_message_is_sent(world: World, thread: str) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        seen: list[str] = []
        calls.before = lambda: seen.append(world.lease(thread)["run"])
        run = world.runs.create(TENANT, thread, body(input={"n": 1}, metadata={"m": 1}))
    assert seen == [run.run_id]
    assert world.messages() == [{"kind": "run", "tenant": TENANT, "thread_id": thread, "run_id": run.run_id}]
    assert (run.status, run.metadata, run.assistant_id, run.graph_id) == ("pending", MARKED, ECHO, "echo")
    assert world.runs.get(TENANT, thread, run.run_id) == run
    lease = leases.from_item(world.lease(thread))
    assert (lease.owner, lease.until) == (None, NOW + GRACE_MS)


def test_a_run_in_place_is_claimed_in_the_write_that_starts_it(world: World, thread: str) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        started = world.runs.start(TENANT, thread, body())
    assert len(calls.requests) == 1
    assert started.run.status == "running"
    claim = claimed(started)
    assert claim.lease == leases.from_item(world.lease(thread))
    assert (claim.owner, claim.lease.until) == (claim.lease.owner, NOW + LEASE_MS)
    assert world.messages() == []


def test_a_started_run_shows_on_its_thread_and_under_its_own_id(world: World, thread: str) -> None:
    run = world.runs.start(TENANT, thread, body(config={"configurable": {"user": "u"}})).run
    row, _ = world.threads.read(TENANT, thread)
    assert row.status == "busy"
    assert row.metadata == {"graph_id": "echo", "assistant_id": ECHO}
    assert row.config == {"configurable": {"user": "u"}}
    assert world.table.get(keys.run_pointer(TENANT, run.run_id)) == {
        "PK": keys.run_pointer(TENANT, run.run_id).partition,
        "SK": run.run_id,
        "thread_id": thread,
        "assistant_id": ECHO,
    }


def test_a_run_that_will_not_wait_is_refused_on_a_busy_thread_which_stays_as_it_is(
    world: World, thread: str
) -> None:
    first = world.runs.start(TENANT, thread, body()).run
    before = world.items()
    for start in (world.runs.start, world.runs.create):
        with pytest.raises(ThreadBusy, match=first.run_id):
            start(TENANT, thread, body(multitask_strategy="reject"))
    assert world.items() == before
    assert world.messages() == []


def test_of_two_starts_at_once_one_is_refused_or_waits(world: World, thread: str) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: done(world.runs.start(TENANT, thread, body()))
        with pytest.raises(ThreadBusy):
            world.runs.start(TENANT, thread, body(multitask_strategy="reject"))
    assert len(rows(world, thread)) == 1
    assert world.runs.start(TENANT, thread, body()).claim is None


def test_a_start_that_another_run_came_between_starts_from_where_that_one_left(
    world: World, thread: str
) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: done(finished(world, thread, entries=[sealed(1)]))
        started = world.runs.start(TENANT, thread, body())
    assert claimed(started).lease.base == uuid6(1)
    assert len(rows(world, thread)) == 2


def left(world: World, thread_id: str) -> Snapshot | None:
    """What another process finds when it starts a run on a thread that has a head."""
    known = world.recents.get(TENANT, thread_id)
    return known.snapshot if known else None


def test_a_process_that_does_not_know_a_thread_reads_its_head_while_the_run_starts(
    world: World, thread: str
) -> None:
    finished(world, thread, entries=[sealed(1)])
    other = world.again()
    reading = threading.Event()
    with (
        Calls(world.cloud.dynamodb, "Query") as reads,
        Calls(world.cloud.dynamodb, "TransactWriteItems") as calls,
    ):
        reads.before = lambda: setattr(reads, "before", reading.set)  # the first reads the lease
        calls.before = lambda: done(reading.wait(10))
        other.runs.start(TENANT, thread, body())
    assert reading.is_set()
    found = left(other, thread)
    assert found is not None
    assert found.record.checkpoint_id == uuid6(1)
    assert found == world.records.latest(TENANT, thread, "")


def test_what_was_read_ahead_is_forgotten_when_another_run_came_between(
    world: World, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(world, thread, entries=[sealed(1)])
    other = world.again()
    monkeypatch.setattr(other.runs._places, "_readers", AtOnce())
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: done(finished(world, thread, entries=[sealed(2, parent=1)]))
        started = other.runs.start(TENANT, thread, body())
    assert claimed(started).lease.base == uuid6(2)
    found = left(other, thread)
    assert found is not None
    assert found.record.checkpoint_id == uuid6(2)


def test_a_run_starts_also_when_its_head_cannot_be_read_ahead(
    world: World, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(world, thread, entries=[sealed(1)])
    other = world.again()
    monkeypatch.setattr(other.runs._places, "_readers", AtOnce())
    with Calls(world.cloud.dynamodb, "Query") as reads:
        reads.failures = [None, EndpointConnectionError(endpoint_url="x")]
        started = other.runs.start(TENANT, thread, body())
    assert len(reads.requests) == 2
    assert claimed(started).lease.base == uuid6(1)
    assert left(other, thread) is None


def test_nothing_is_read_ahead_in_vain(world: World, thread: str) -> None:
    with Calls(world.cloud.dynamodb, "Query") as reads:
        first = world.again()
        started = first.runs.start(TENANT, thread, body())  # without a head
        ended = first.endings.finish(claimed(started), SUCCESS, [sealed(1)])
        snapshot = world.records.latest(TENANT, thread, "")
        first.recents.keep(TENANT, thread, ended.lease, ended.rest, snapshot, crew=started.run.crew)
        assert len(reads.requests) == 2  # the thread, and just now
        again = first.runs.start(TENANT, thread, body())  # known
        assert len(reads.requests) == 2
        first.endings.finish(claimed(again), SUCCESS, ())
        world.again().runs.create(TENANT, thread, body())  # for a worker
        assert len(reads.requests) == 3


def test_a_thread_that_is_never_free_for_long_enough_is_unavailable(world: World, thread: str) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:

        def another() -> None:
            finished(world, thread)
            calls.before = another

        calls.before = another
        with pytest.raises(Unavailable, match="very busy"):
            world.runs.start(TENANT, thread, body())
    assert all(run.status == "success" for run in rows(world, thread))


def test_the_next_run_is_accepted_after_one_that_failed(world: World, thread: str) -> None:
    error = RunError(error="ValueError", message="boom")
    finished(world, thread, outcome=Outcome(status="error", thread_status="error", error=error))
    assert world.runs.start(TENANT, thread, body()).run.status == "running"
    assert world.threads.get(TENANT, thread)["status"] == "busy"


def test_a_message_that_could_not_be_sent_leaves_a_run_that_the_sweeper_finds(
    world: World, thread: str
) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://sqs")]
        world.runs.create(TENANT, thread, body())
    assert [run.status for run in rows(world, thread)] == ["pending"]
    assert keys.LEASES_IN_FLIGHT.sort in world.lease(thread)


def test_a_delayed_run_is_held_back_by_sqs_and_not_claimed_before(world: World, thread: str) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        run = world.runs.create(TENANT, thread, body(after_seconds=4.2))
    assert calls.requests[0]["DelaySeconds"] == 5
    early = world.leases.claim(TENANT, thread, run.run_id)
    assert isinstance(early, Lease)
    assert (early.owner, early.due) == (None, NOW + 4_200)
    world.clock.pass_(5000)
    assert isinstance(world.leases.claim(TENANT, thread, run.run_id), Claim)


# ------------------------------------------------------------------ what is refused before anything is written


UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        (
            {"assistant_id": "no-such-graph"},
            InvalidRequest,
            "'no-such-graph' is no crew of this deployment; it has ",
        ),
        ({"assistant_id": UNKNOWN}, NotFound, f"Assistant with ID {UNKNOWN} not found"),
        ({"checkpoint_id": UNKNOWN}, NotFound, f"Checkpoint {UNKNOWN} not found"),
        ({"checkpoint": {"checkpoint_id": UNKNOWN}}, NotFound, f"Checkpoint {UNKNOWN} not found"),
        (
            {"config": {"configurable": {"checkpoint_id": UNKNOWN}}},
            NotFound,
            f"Checkpoint {UNKNOWN} not found",
        ),
        ({"webhook": "http://10.0.0.1"}, InvalidRequest, "Webhooks may not go"),
        ({"context": {"a": 1}, "config": {"configurable": {"b": 1}}}, BadRequest, "not both"),
        ({"metadata": {"m": "x" * 500_000}}, TooLarge, "metadata has 500,008 bytes, 65,536 at most"),
    ],
)
def test_what_is_refused_leaves_nothing(
    world: World, thread: str, fields: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    before = world.items()
    for start in (world.runs.start, world.runs.create):
        with pytest.raises(error, match=sentence):
            start(TENANT, thread, body(**fields))
    assert world.items() == before
    assert world.objects() == []
    assert world.messages() == []


def test_an_unknown_thread_is_not_found(world: World) -> None:
    for start in (world.runs.start, world.runs.create):
        with pytest.raises(NotFound, match=UNKNOWN):
            start(TENANT, UNKNOWN, body())
    assert world.items() == {}


def test_an_unknown_thread_may_be_made_by_its_first_run(world: World) -> None:
    started = world.runs.start(TENANT, UNKNOWN, body(if_not_exists="create"))
    assert started.run.thread_id == UNKNOWN
    assert world.threads.get(TENANT, UNKNOWN)["status"] == "busy"


def test_two_first_runs_make_a_thread_once(world: World) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: done(world.threads.create(TENANT, ThreadCreate(thread_id=UNKNOWN)))
        assert world.runs.start(TENANT, UNKNOWN, body(if_not_exists="create")).run.thread_id == UNKNOWN


def test_a_thread_is_not_made_for_a_run_that_is_refused(world: World) -> None:
    for fields in ({"assistant_id": "nope"}, {"checkpoint_id": UNKNOWN}):
        with pytest.raises((InvalidRequest, NotFound)):
            world.runs.start(TENANT, UNKNOWN, body(if_not_exists="create", **fields))
    assert world.items() == {}


def test_a_thread_deleted_while_its_run_starts_is_not_found(world: World, thread: str) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: world.threads.delete(TENANT, thread)
        with pytest.raises(NotFound):
            world.runs.start(TENANT, thread, body())
    assert set(world.items()) == {keys.lease(TENANT, thread)}


def test_a_run_may_start_from_an_older_checkpoint(world: World, thread: str) -> None:
    finished(world, thread, entries=[sealed(1), sealed(2, parent=1)])
    started = world.runs.start(TENANT, thread, body(checkpoint_id=uuid6(1)))
    assert started.run.kwargs["checkpoint_id"] == uuid6(1)
    assert claimed(started).lease.base == uuid6(2)


# ------------------------------------------------------------------ stateless


def test_a_stateless_run_has_a_private_thread_made_in_the_same_write(world: World) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        started = world.runs.start_stateless(TENANT, body())
    assert len(calls.requests) == 1
    assert started.run.kwargs["temporary"] is True
    assert world.threads.get(TENANT, started.run.thread_id)["status"] == "busy"


def test_a_stateless_run_may_be_kept(world: World) -> None:
    assert world.runs.start_stateless(TENANT, body(on_completion="keep")).run.kwargs["temporary"] is False


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"command": {"resume": None}}, "You must provide a thread_id when resuming."),
        ({"command": {"resume": "yes"}}, "You must provide a thread_id when resuming."),
        ({"checkpoint_id": UNKNOWN}, "You must provide a thread_id"),
    ],
)
def test_a_stateless_run_has_nothing_to_go_on_from(
    world: World, fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadRequest, match=sentence):
        world.runs.start_stateless(TENANT, body(**fields))
    assert world.items() == {}


# ------------------------------------------------------------------ result


def test_a_run_that_succeeded_answers_the_values_it_left(world: World, thread: str) -> None:
    run = finished(world, thread, entries=[sealed(1, channels={"n": dumps(1)}, defaults={"log": dumps([])})])
    finished(world, thread, entries=[sealed(2, parent=1, channels={"n": dumps(2)})])
    assert world.runs.result(TENANT, run) == {"n": 1, "log": []}


def test_a_run_that_stopped_at_a_question_answers_only_that(world: World, thread: str) -> None:
    question = Interrupt(value="sure?", id="i")
    asked = Write(task_id="t", task_path="", index=-3, channel="__interrupt__", value=dumps([question]))
    question_item = late(1, asked)
    run = finished(world, thread, entries=[sealed(1, channels={"n": dumps(1)}), question_item])
    answer = world.runs.result(TENANT, run)
    assert [question["value"] for question in answer.pop("__interrupt__")] == ["sure?"]
    assert answer == {}
    snapshot = world.records.get(TENANT, thread, "", uuid6(1))
    assert snapshot is not None
    assert outcome_values(snapshot)["n"] == 1
    assert outcome_values(snapshot)["__interrupt__"][0]["value"] == "sure?"


def test_a_run_that_failed_answers_its_error(world: World, thread: str) -> None:
    error = RunError(error="ValueError", message="boom")
    run = finished(
        world,
        thread,
        outcome=Outcome(status="error", thread_status="error", error=error),
        entries=[sealed(1)],
    )
    assert world.runs.result(TENANT, run) == {"__error__": {"error": "ValueError", "message": "boom"}}


def test_a_run_that_left_no_state_answers_nothing(world: World, thread: str) -> None:
    assert world.runs.result(TENANT, finished(world, thread)) == {}


# ------------------------------------------------------------------ reading


def test_a_run_is_found_on_its_thread_only(world: World, thread: str) -> None:
    run = world.runs.start(TENANT, thread, body()).run
    assert world.runs.get(TENANT, thread, run.run_id.upper()) == run
    for tenant, thread_id, run_id in (
        (TENANT, UNKNOWN, run.run_id),
        ("other", thread, run.run_id),
        (TENANT, thread, UNKNOWN),
    ):
        with pytest.raises(NotFound):
            world.runs.get(tenant, thread_id, run_id)
    for ids in ((thread, "nope"), ("nope", run.run_id)):
        with pytest.raises(InvalidRequest):
            world.runs.get(TENANT, *ids)


def test_runs_are_listed_newest_first_by_status_and_by_page(world: World, thread: str) -> None:
    made = [finished(world, thread) for _ in range(3)]
    made.append(world.runs.start(TENANT, thread, body()).run)
    ids = [run.run_id for run in reversed(made)]

    def listed(**query: Any) -> list[str]:
        asked: dict[str, Any] = {"limit": 10, "offset": 0, "status": None, **query}
        return [run.run_id for run in world.runs.list(TENANT, thread, **asked)]

    assert listed() == ids
    assert listed(status="running") == ids[:1]
    assert listed(limit=2) == ids[:2]
    assert listed(offset=1, limit=2) == ids[1:3]
    assert listed(status="success", offset=1) == ids[2:]
    assert listed(offset=9) == []


def test_the_runs_of_an_unknown_thread_are_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.runs.list(TENANT, UNKNOWN, limit=1, offset=0, status=None)


def test_a_patch_of_the_thread_does_not_disturb_a_start(world: World, thread: str) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: world.threads.patch(TENANT, thread, ThreadPatch(metadata={"a": 1}))
        world.runs.start(TENANT, thread, body())
    assert len(calls.requests) == 2  # the start, and the patch with its entry
    assert world.threads.get(TENANT, thread)["metadata"]["a"] == 1


def test_times_are_those_of_the_clock(world: World, thread: str) -> None:
    run = world.runs.start(TENANT, thread, body()).run
    assert (run.created_at, run.updated_at) == (iso(NOW), iso(NOW))
