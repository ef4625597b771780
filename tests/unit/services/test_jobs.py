"""Messages of the run queue: claimed once, put off until due, given up without progress."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from botocore.exceptions import EndpointConnectionError
from pydantic import ValidationError

from crewline.errors import StaleOwner, Unavailable
from crewline.models.leases import LEASE_MS, MOST_ATTEMPTS, Claim, Continues
from crewline.models.runs import Run, RunCreate, RunError
from crewline.models.threads import ThreadCreate
from crewline.services.endings import Outcome
from crewline.services.jobs import NO_PROGRESS, Jobs
from crewline.store import leases
from tests.unit.store.worlds import SILENT, TENANT, Calls, World, sealed

MOST_SLICES = 3
SUCCESS = Outcome(status="success", thread_status="idle")


@dataclass(slots=True)
class FakeExecutor:
    """Does with a claimed run what a test says; finishes it unless told otherwise."""

    world: World
    act: Callable[[Run, Claim], object] | None = None
    executed: list[tuple[Run, Claim]] = field(default_factory=list)
    parts: int = 0
    """Slices that end before the run does."""
    ends: float | None = None

    def execute(self, run: Run, claim: Claim, *, ends: float | None) -> Future[Any]:
        self.executed.append((run, claim))
        self.ends = ends
        future: Future[Any] = Future()
        if self.parts:
            self.parts -= 1
            lease = self.world.leases.end_slice(claim, longest=0)
            future.set_result(Continues(claim=replace(claim, lease=lease)))
            return future
        try:
            if self.act:
                self.act(run, claim)
            else:
                self.world.endings.finish(claim, SUCCESS, [])
        except Exception as exc:  # noqa: BLE001 (the future carries it)
            future.set_exception(exc)
        else:
            future.set_result({})
        return future


@pytest.fixture
def executor(world: World) -> FakeExecutor:
    return FakeExecutor(world)


@pytest.fixture
def jobs(world: World, executor: FakeExecutor) -> Jobs:
    return Jobs(
        leases=world.leases,
        endings=world.endings,
        runs=world.runs,
        threads=world.threads,
        prunings=world.prunings,
        queue=world.queue,
        dispatches=world.dispatches,
        executor=executor,
        clock=world.clock,
        logger=SILENT,
        most_slices=MOST_SLICES,
        measures=world.measures,
    )


@pytest.fixture
def thread(world: World) -> str:
    return str(world.threads.create(TENANT, ThreadCreate())["thread_id"])


def create(world: World, thread: str, **fields: Any) -> tuple[Run, str]:
    """A run in flight, and its message."""
    run = world.runs.create(TENANT, thread, RunCreate.model_validate({"assistant_id": "echo", **fields}))
    message = {"kind": "run", "tenant": TENANT, "thread_id": thread, "run_id": run.run_id}
    return run, orjson.dumps(message).decode()


def row(world: World, run: Run) -> Run:
    return world.runs.get(TENANT, run.thread_id, run.run_id)


def test_a_message_has_its_run_claimed_shown_as_running_and_executed(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread)
    jobs.do(message)
    ((executed, claim),) = executor.executed
    assert (executed.run_id, executed.status, claim.run_id) == (run.run_id, "running", run.run_id)
    assert row(world, run).status == "success"


def test_a_message_that_comes_again_does_nothing(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    _, message = create(world, thread)
    jobs.do(message)
    before = world.items()
    jobs.do(message)
    assert (len(executor.executed), world.items()) == (1, before)


def test_a_message_about_a_run_that_somebody_executes_does_nothing(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread)
    world.leases.claim(TENANT, thread, run.run_id)
    world.messages()
    before = world.items()
    jobs.do(message)
    assert (executor.executed, world.items(), world.messages()) == ([], before, [])


def test_a_message_about_a_run_that_waits_does_nothing(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    create(world, thread)
    _, message = create(world, thread)
    jobs.do(message)
    assert executor.executed == []


@pytest.mark.parametrize(("ahead_s", "delay_s"), [(30, 30), (900, 900), (5_000, 900)])
def test_the_message_of_a_run_that_is_not_due_is_sent_again_as_late_as_can_be(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor, ahead_s: int, delay_s: int
) -> None:
    _, message = create(world, thread, after_seconds=ahead_s)
    before = world.items()
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        jobs.do(message)
    assert [request["DelaySeconds"] for request in calls.requests] == [delay_s]
    assert orjson.loads(calls.requests[0]["MessageBody"]) == orjson.loads(message)
    assert (executor.executed, world.items()) == ([], before)
    world.clock.pass_(ahead_s * 1000)
    jobs.do(message)
    assert len(executor.executed) == 1


def test_the_message_of_a_delayed_run_that_was_cancelled_ends_it(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread, after_seconds=900)
    world.cancellations.cancel(TENANT, thread, run.run_id)
    jobs.do(message)
    assert executor.executed == []
    assert row(world, run).status == "interrupted"


def dies(_run: Run, _claim: Claim) -> None:
    raise Unavailable("the worker is gone")


def test_a_run_whose_attempts_are_used_up_ends_as_an_error_that_says_why(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread)
    executor.act = dies
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(Unavailable):
            jobs.do(message)
        world.clock.pass_(LEASE_MS + 1)
    jobs.do(message)
    found = row(world, run)
    assert len(executor.executed) == MOST_ATTEMPTS
    assert (found.status, found.error and found.error.error) == ("error", "RunGivenUp")
    assert NO_PROGRESS in (found.error.message if found.error else "")
    assert world.threads.get(TENANT, thread)["status"] == "error"
    resumed = [line for line in world.metrics() if "RunsResumed" in line]
    assert resumed == [{"service": "test", "Crew": "echo", "RunsResumed": 1}] * (MOST_ATTEMPTS - 1)
    assert [line["RunsGivenUp"] for line in world.metrics() if "RunsGivenUp" in line] == [1]


def test_a_run_that_makes_progress_is_never_given_up(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread)

    def goes_on_and_dies(_run: Run, claim: Claim) -> None:
        world.leases.commit(claim, [sealed(len(executor.executed))])
        raise Unavailable("the worker is gone")

    executor.act = goes_on_and_dies
    for _ in range(3 * MOST_ATTEMPTS):
        with pytest.raises(Unavailable):
            jobs.do(message)
        world.clock.pass_(LEASE_MS + 1)
    executor.act = None
    jobs.do(message)
    assert row(world, run).status == "success"


def test_a_run_that_was_taken_over_lets_its_message_go(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread)

    def loses(_run: Run, _claim: Claim) -> None:
        raise StaleOwner("another has it")

    executor.act = loses
    jobs.do(message)
    assert row(world, run).status == "running"


def test_what_is_no_message_of_the_queue_is_refused(jobs: Jobs) -> None:
    for text in ("", "{}", '{"kind": "webhook", "tenant": "a", "thread_id": "t", "run_id": "r"}'):
        with pytest.raises(ValidationError):
            jobs.do(text)


def test_a_purge_is_done(world: World, thread: str, jobs: Jobs) -> None:
    world.threads.delete(TENANT, thread)
    jobs.do(orjson.dumps({"kind": "purge", "tenant": TENANT, "thread_id": thread}).decode())
    assert world.lease(thread)["purged"] is True


# ------------------------------------------------------------------ slices


def slice_of(world: World, run: Run, *, execution: int = 1, number: int = 1) -> dict[str, Any]:
    """What the workflow asks for."""
    return {
        "tenant": TENANT,
        "thread_id": run.thread_id,
        "run_id": run.run_id,
        "execution": execution,
        "slice": number,
    }


@pytest.fixture
def parted(world: World, thread: str, jobs: Jobs, executor: FakeExecutor) -> Run:
    """A run between two slices, which goes on in the workflow."""
    run, message = create(world, thread)
    executor.parts = 1
    jobs.do(message, ends=0.0)
    executor.executed.clear()
    world.messages()  # the one that began it
    return run


def test_a_slice_that_ends_a_run_ends_its_execution(
    world: World, jobs: Jobs, executor: FakeExecutor, parted: Run
) -> None:
    told = jobs.slice(slice_of(world, parted), ends=5.0)
    assert told == {**slice_of(world, parted), "next": "done"}
    assert row(world, parted).status == "success"
    assert executor.ends == 5.0


def test_a_run_that_is_not_over_asks_for_its_next_slice(
    world: World, jobs: Jobs, executor: FakeExecutor, parted: Run
) -> None:
    executor.parts = 1
    told = jobs.slice(slice_of(world, parted), ends=5.0)
    assert told == {**slice_of(world, parted, number=2), "next": "continue"}
    assert world.messages() == []


def test_an_execution_hands_over_to_the_next_before_its_history_is_full(
    world: World, jobs: Jobs, executor: FakeExecutor, parted: Run
) -> None:
    executor.parts = 1
    assert jobs.slice(slice_of(world, parted, number=MOST_SLICES), ends=5.0)["next"] == "done"
    assert world.executions.started[f"{parted.run_id}-2"] == slice_of(world, parted, execution=2)
    assert jobs.slice(slice_of(world, parted, execution=2), ends=5.0)["next"] == "done"
    assert row(world, parted).status == "success"


def test_a_month_of_slices_uses_no_name_twice(
    world: World, jobs: Jobs, executor: FakeExecutor, parted: Run
) -> None:
    """What the state machine does with the answers, over several executions."""
    executor.parts = 20
    asked, count = slice_of(world, parted), 0
    while row(world, parted).status != "success":
        told = jobs.slice(asked, ends=5.0)
        count += 1
        if told.pop("next") == "done" and row(world, parted).status != "success":
            told = list(world.executions.started.values())[-1]
        asked = told
    assert count == 21
    assert list(world.executions.started) == [
        f"{parted.run_id}-{number}" for number in range(2, 2 + 20 // MOST_SLICES)
    ]


def test_an_execution_that_another_took_the_place_of_ends(
    world: World, jobs: Jobs, executor: FakeExecutor, parted: Run
) -> None:
    lease = leases.from_item(world.lease(parted.thread_id))
    assert world.dispatches.again(TENANT, parted.thread_id, lease)
    assert jobs.slice(slice_of(world, parted), ends=5.0)["next"] == "done"
    assert executor.executed == []
    assert jobs.slice(slice_of(world, parted, execution=2), ends=5.0)["next"] == "done"
    assert len(executor.executed) == 1


def test_a_slice_of_a_run_that_somebody_executes_waits_until_its_lease_is_over(
    world: World, jobs: Jobs, executor: FakeExecutor, parted: Run
) -> None:
    assert isinstance(world.leases.claim(TENANT, parted.thread_id, parted.run_id), Claim)
    told = jobs.slice(slice_of(world, parted), ends=5.0)
    assert (told["next"], told["seconds"]) == ("wait", LEASE_MS // 1000 + 1)
    world.clock.pass_(told["seconds"] * 1000)
    assert jobs.slice(slice_of(world, parted), ends=5.0)["next"] == "done"
    assert row(world, parted).status == "success"


def test_a_slice_of_a_run_that_ended_with_an_error_shows_it(
    world: World, jobs: Jobs, executor: FakeExecutor, parted: Run
) -> None:
    error = RunError(error="ValueError", message="of a customer's")
    outcome = Outcome(status="error", thread_status="error", error=error)
    executor.act = lambda run, claim: world.endings.finish(claim, outcome, [])
    told = jobs.slice(slice_of(world, parted), ends=5.0)
    assert told == {**slice_of(world, parted), "next": "failed", "error": "ValueError"}


def test_a_workflow_whose_slice_was_taken_over_asks_again(
    world: World, jobs: Jobs, executor: FakeExecutor, parted: Run
) -> None:
    def taken_over(run: Run, claim: Claim) -> None:
        raise StaleOwner("Somebody else has it.")

    executor.act = taken_over
    told = jobs.slice(slice_of(world, parted), ends=5.0)
    assert (told["next"], told["seconds"]) == ("wait", LEASE_MS // 1000 + 1)


def test_a_slice_of_a_run_that_is_gone_is_done(world: World, jobs: Jobs, parted: Run) -> None:
    world.cancellations.cancel(TENANT, parted.thread_id, parted.run_id, "rollback")
    jobs.slice(slice_of(world, parted), ends=5.0)
    assert jobs.slice(slice_of(world, parted), ends=5.0)["next"] == "done"


def test_what_is_no_slice_is_refused(jobs: Jobs) -> None:
    with pytest.raises(ValidationError):
        jobs.slice({"tenant": TENANT}, ends=5.0)


# ------------------------------------------------------------------ runs that are to be long


def test_a_run_that_asks_to_be_long_goes_straight_to_the_workflow(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread, long=True)
    jobs.do(message, ends=5.0)
    assert executor.executed == []
    assert world.executions.started == {f"{run.run_id}-1": slice_of(world, run)}
    assert row(world, run).status == "running"
    assert jobs.slice(slice_of(world, run), ends=5.0)["next"] == "done"
    assert row(world, run).status == "success"


def test_a_message_that_comes_again_moves_a_run_once(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread, long=True)
    jobs.do(message, ends=5.0)
    assert isinstance(world.leases.claim(TENANT, thread, run.run_id, execution=1), Claim)
    jobs.do(message, ends=5.0)
    assert list(world.executions.started) == [f"{run.run_id}-1"]
    assert executor.executed == []


def test_a_long_run_that_the_workflow_did_not_take_is_left_to_the_sweeper(
    world: World, thread: str, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Any, **__: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://states")

    run, message = create(world, thread, long=True)
    monkeypatch.setattr(type(world.executions), "start_execution", refuse)
    jobs.do(message, ends=5.0)
    lease = leases.from_item(world.lease(thread))
    assert (lease.run, lease.owner, lease.channel, lease.execution) == (run.run_id, None, "workflow", 1)


def test_a_long_run_that_was_cancelled_before_it_began_ends_where_it_is(
    world: World, thread: str, jobs: Jobs, executor: FakeExecutor
) -> None:
    run, message = create(world, thread, long=True, after_seconds=60)
    world.table.write(leases.cancel(TENANT, thread, run_id=run.run_id, action="interrupt", now=world.clock()))
    jobs.do(message, ends=5.0)
    assert len(executor.executed) == 1
    assert world.executions.started == {}


def test_a_crew_may_be_long_by_its_manifest_and_a_run_may_say_otherwise(
    world: World, thread: str, jobs: Jobs
) -> None:
    long = replace(world, manifest=replace(world.manifest, long_crews=frozenset({"echo"})))
    run, _ = create(long, thread)
    assert run.kwargs["long"]
    other = str(world.threads.create(TENANT, ThreadCreate())["thread_id"])
    short, _ = create(long, other, long=False)
    assert not short.kwargs["long"]


@pytest.mark.parametrize("stateless", [False, True])
def test_a_long_run_is_not_executed_in_its_request(world: World, thread: str, stateless: bool) -> None:
    body = RunCreate.model_validate({"assistant_id": "echo", "long": True})
    runs = world.runs
    admitted = runs.start_stateless(TENANT, body) if stateless else runs.start(TENANT, thread, body)
    assert admitted.claim is None
    [message] = world.messages()
    assert message["run_id"] == admitted.run.run_id
    assert runs.get(TENANT, admitted.run.thread_id, admitted.run.run_id).status == "pending"
