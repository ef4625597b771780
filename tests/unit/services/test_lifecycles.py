"""With an event bus, every run is told of when it begins and when it ends, whoever ends it and whoever dies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.meters import Cost, Meter
from crewline.errors import Unavailable
from crewline.models.clocks import iso
from crewline.models.leases import LEASE_MS, Claim
from crewline.models.runs import Run, RunCreate, RunError, Usage
from crewline.models.threads import ThreadCreate
from crewline.services.endings import Outcome
from crewline.store import keys
from crewline.store.clients import client
from tests.buses import Bus
from tests.tables import answer_here
from tests.unit.services.crashes import Stopped, crashing, stopping_at
from tests.unit.store.worlds import CREDENTIALS, NOW, REGION, TENANT, Calls, World, claimed, sealed

STARTED, SUCCEEDED, CANCELED = "run.started", "run.succeeded", "run.canceled"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.endings.time.sleep", lambda _seconds: None)


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def telling(world: World, bus: Bus) -> World:
    """A world whose deployment has a bus."""
    return replace(world, bus=bus)


@pytest.fixture
def thread(telling: World) -> str:
    return str(telling.threads.create(TENANT, ThreadCreate())["thread_id"])


def body(**fields: Any) -> RunCreate:
    given = {"assistant_id": "echo", "input": {"n": "a secret"}, "metadata": {"customer": "c1"}}
    return RunCreate.model_validate({**given, **fields})


def begin(world: World, thread: str, **fields: Any) -> Claim:
    return claimed(world.runs.start(TENANT, thread, body(**fields)))


def claim(world: World, run: Run) -> Claim:
    held = world.leases.claim(TENANT, run.thread_id, run.run_id)
    assert isinstance(held, Claim)
    return held


def execute(world: World, run: Run) -> Claim:
    """Claim a background run and begin it, as the worker does."""
    held = claim(world, run)
    world.runs.show_running(held, row(world, run))
    return held


def row(world: World, run: Run) -> Run:
    return world.runs.get(TENANT, run.thread_id, run.run_id)


def finish(world: World, held: Claim, run: Run | None = None, **outcome: Any) -> None:
    run = run or world.runs.get(TENANT, held.thread_id, held.run_id)
    given: dict[str, Any] = {"status": "success", "thread_status": "idle", **outcome}
    world.endings.finish(held, Outcome(run=run, **given), [sealed(1)])


def told(bus: Bus) -> list[tuple[str, str]]:
    return [(event.run_id, event.type) for event in bus.told]


def left(world: World) -> list[keys.Key]:
    return [keys.Key(*key) for key in world.items() if keys.is_outbox(keys.Key(*key))]


# ------------------------------------------------------------------ from beginning to end


def test_a_run_in_its_request_is_told_of_when_it_begins_and_when_it_ends(
    telling: World, thread: str, bus: Bus
) -> None:
    held = begin(telling, thread)
    assert told(bus) == [(held.run_id, STARTED)]
    telling.clock.pass_(1_000)
    finish(telling, held, usage=Usage(input_tokens=3, output_tokens=4))
    started, ended = bus.told
    assert (started.status, started.started_at, started.ended_at) == ("running", iso(NOW), None)
    assert ended.model_dump(exclude_none=True) == {
        "version": 1,
        "id": f"{held.run_id}.succeeded",
        "type": "run.succeeded",
        "tenant": TENANT,
        "run_id": held.run_id,
        "thread_id": thread,
        "assistant_id": started.assistant_id,
        "graph_id": "echo",
        "status": "success",
        "created_at": iso(NOW),
        "started_at": iso(NOW),
        "ended_at": iso(NOW + 1_000),
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        "metadata": {**started.metadata, "customer": "c1", "graph_id": "echo"},
        "metadata_left_out": False,
    }
    assert not any("a secret" in entry["Detail"] for entry in bus.entries)
    assert left(telling) == []


def test_a_background_run_begins_with_its_first_claim_and_once(telling: World, thread: str, bus: Bus) -> None:
    run = telling.runs.create(TENANT, thread, body())
    assert bus.told == []
    held = execute(telling, run)
    assert (told(bus), row(telling, run).status) == ([(run.run_id, STARTED)], "running")
    telling.leases.end_slice(held, longest=0)
    held = execute(telling, run)
    finish(telling, held)
    assert told(bus) == [(run.run_id, STARTED), (run.run_id, SUCCEEDED)]


def test_a_run_whose_worker_died_before_it_said_so_is_said_to_begin_by_the_next(
    telling: World, thread: str, bus: Bus
) -> None:
    run = telling.runs.create(TENANT, thread, body())
    first = claim(telling, run)
    before = row(telling, run)
    telling.clock.pass_(LEASE_MS + 1)
    execute(telling, run)
    assert (told(bus), bus.told[0].started_at) == ([(run.run_id, STARTED)], iso(NOW))
    telling.runs.show_running(first, before)  # it had only stalled
    assert told(bus) == [(run.run_id, STARTED)]


def test_a_run_that_was_accepted_although_no_answer_said_so_is_told_of(
    telling: World, thread: str, bus: Bus
) -> None:
    with Calls(telling.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [TimeoutError()]
        with pytest.raises(TimeoutError):
            begin(telling, thread)
    (key,) = left(telling)
    telling.outbox.publish(key)
    assert [event.type for event in bus.told] == [STARTED]


@pytest.mark.parametrize(
    ("outcome", "happening", "error"),
    [
        ({"thread_status": "interrupted"}, "run.interrupted", None),
        ({"status": "interrupted", "thread_status": "interrupted"}, CANCELED, None),
        ({"status": "error", "error": RunError(error="ValueError", message="a secret")}, "run.failed", "ValueError"),
        ({"status": "timeout", "error": RunError(error="RunTimeout", message="late")}, "run.failed", "RunTimeout"),
    ],
)  # fmt: skip
def test_an_end_has_a_name_of_its_own(
    telling: World, thread: str, bus: Bus, outcome: dict[str, Any], happening: str, error: str | None
) -> None:
    held = begin(telling, thread)
    finish(telling, held, **outcome)
    event = bus.told[-1]
    assert (event.type, event.error) == (happening, error)
    assert "a secret" not in bus.entries[-1]["Detail"]


def test_a_stateless_run_that_leaves_nothing_is_told_of_too(telling: World, bus: Bus) -> None:
    admitted = telling.runs.start_stateless(TENANT, body())
    telling.endings.finish(
        claimed(admitted), Outcome(status="success", thread_status="idle", run=admitted.run), []
    )
    run_id = admitted.run.run_id
    assert told(bus) == [(run_id, STARTED), (run_id, SUCCEEDED)]
    assert (telling.items(), telling.messages()) == ({}, [])


# ------------------------------------------------------------------ ended by others


def test_a_run_that_is_given_up_is_told_of(telling: World, thread: str, bus: Bus) -> None:
    run = telling.runs.create(TENANT, thread, body())
    assert telling.endings.give_up(TENANT, thread, run.run_id, "no progress")
    event = bus.told[-1]
    assert (told(bus), event.error, event.metadata["customer"]) == (
        [(run.run_id, "run.failed")], "RunGivenUp", "c1",
    )  # fmt: skip


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
def test_a_run_that_is_cancelled_while_it_waits_is_told_of(
    telling: World, thread: str, bus: Bus, action: Any
) -> None:
    begin(telling, thread)
    waiting = telling.runs.create(TENANT, thread, body(webhook="https://example.com"))
    telling.cancellations.cancel(TENANT, thread, waiting.run_id, action)
    assert told(bus)[1:] == [(waiting.run_id, CANCELED)]
    # The webhook would have to read a row that has gone.
    assert len(telling.announced()) == (action == "interrupt")


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
def test_runs_that_a_later_one_supersedes_are_told_of(
    telling: World, thread: str, bus: Bus, strategy: Any
) -> None:
    held = begin(telling, thread)
    run = row(telling, replace(telling.runs.create(TENANT, thread, body())))
    telling.runs.create(TENANT, thread, body(multitask_strategy=strategy))
    finish(telling, held)
    assert sorted(told(bus)[1:]) == sorted([(held.run_id, CANCELED), (run.run_id, CANCELED)])
    assert left(telling) == []


def test_as_many_as_can_wait_are_superseded_and_told_of_at_once(
    telling: World, thread: str, bus: Bus
) -> None:
    held = begin(telling, thread)
    for _ in range(31):
        telling.runs.create(TENANT, thread, body(webhook="https://example.com"))
    telling.runs.create(TENANT, thread, body(multitask_strategy="interrupt"))
    with Calls(telling.cloud.dynamodb, "TransactWriteItems") as calls:
        finish(telling, held)
    assert max(len(request["TransactItems"]) for request in calls.requests) <= 100
    assert (len(bus.told), len(telling.announced())) == (33, 31)


def test_a_run_that_is_cancelled_before_anybody_has_begun_it_has_no_beginning(
    telling: World, thread: str, bus: Bus
) -> None:
    run = telling.runs.create(TENANT, thread, body())
    telling.cancellations.cancel(TENANT, thread, run.run_id)
    assert told(bus) == [(run.run_id, CANCELED)]


# ------------------------------------------------------------------ whoever dies


def test_an_end_is_told_wherever_its_worker_dies(telling: World, bus: Bus) -> None:
    state: dict[str, Any] = {}

    def start() -> None:
        bus.entries.clear()
        thread = str(telling.threads.create(TENANT, ThreadCreate())["thread_id"])
        state["run"] = telling.runs.create(TENANT, thread, body())
        state["run"] = row(telling, state["run"])

    def act() -> None:
        finish(telling, execute(telling, state["run"]))

    def check() -> None:
        run = state["run"]
        telling.clock.pass_(LEASE_MS + 1)
        if not row(telling, run).finished:
            finish(telling, execute(telling, run))
        for key in left(telling):
            telling.outbox.publish(key)
        assert set(told(bus)) == {(run.run_id, STARTED), (run.run_id, SUCCEEDED)}
        ids = {event.id for event in bus.told}
        assert ids == {f"{run.run_id}.started", f"{run.run_id}.succeeded"}

    assert crashing(telling, act, start, check) > 10


def test_a_worker_that_dies_between_claim_and_beginning_leaves_nothing_to_tell(
    telling: World, thread: str, bus: Bus
) -> None:
    run = telling.runs.create(TENANT, thread, body())
    with stopping_at(telling, 1, after=True), pytest.raises(Stopped):
        execute(telling, run)
    assert (left(telling), bus.told) == ([], [])


def test_a_run_ends_although_its_bus_does_not_answer(telling: World, thread: str, bus: Bus) -> None:
    bus.failures = [{"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}] * 3
    held = begin(telling, thread)
    finish(telling, held)
    assert (bus.told, len(left(telling))) == ([], 2)
    with pytest.raises(Unavailable):
        telling.outbox.publish(left(telling)[0])
    for key in left(telling):
        telling.outbox.publish(key)
    assert sorted(event.type for event in bus.told) == [STARTED, SUCCEEDED]


# ------------------------------------------------------------------ what it costs


def cost(world: World, meter: Meter) -> Cost:
    """What a background run takes, from its acceptance to its end."""
    thread = str(world.threads.create(TENANT, ThreadCreate())["thread_id"])
    with meter.measuring() as cost:
        run = world.runs.create(TENANT, thread, body())
        held = execute(world, run)
        finish(world, held, row(world, run))
    return cost


def test_a_bus_is_paid_by_the_deployment_that_has_one_alone(world: World, telling: World, bus: Bus) -> None:
    reader = client("dynamodb", region=REGION, credentials=CREDENTIALS)
    answer_here(reader.meta.events)
    meter = Meter(reader)
    meter.watch(world.cloud.dynamodb.meta.events)
    without, with_bus = cost(world, meter), cost(telling, meter)
    assert (without.operations["DeleteItem"], left(world), len(bus.told)) == (0, [], 2)
    # Two items, each written in a transaction, read and deleted; and a transaction shows the run as running.
    assert (with_bus.requests - without.requests, with_bus.wcu - without.wcu) == (4, 7)
