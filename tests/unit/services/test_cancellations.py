"""Cancels of runs in every state, one or many; deletions of runs."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from crewline.errors import Conflict, InvalidRequest, NotFound, Unavailable
from crewline.models.leases import LEASE_MS, Claim, Lease
from crewline.models.runs import Run, RunCreate
from crewline.models.threads import ThreadCreate
from crewline.services.endings import Outcome
from crewline.services.runs import RETENTION_S
from crewline.store import keys, leases
from tests.unit.store.worlds import TENANT, Calls, World, sealed, uuid6

SUCCESS = Outcome(status="success", thread_status="idle")
UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"
HOOK = "https://example.com/hook"
ACTIONS = pytest.mark.parametrize("action", ["interrupt", "rollback"])


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.endings.time.sleep", lambda _seconds: None)


@pytest.fixture
def thread(world: World) -> str:
    return str(world.threads.create(TENANT, ThreadCreate())["thread_id"])


def create(world: World, thread: str, **fields: Any) -> Run:
    return world.runs.create(TENANT, thread, RunCreate.model_validate({"assistant_id": "echo", **fields}))


def execute(world: World, run: Run) -> Claim:
    world.messages()
    claim = world.leases.claim(TENANT, run.thread_id, run.run_id)
    assert isinstance(claim, Claim)
    world.runs.show_running(claim, run)
    return claim


def cancel(world: World, run: Run, action: Any = "interrupt") -> None:
    world.cancellations.cancel(TENANT, run.thread_id, run.run_id, action)


def status(world: World, run: Run) -> str:
    """How a run is; `gone` when there is nothing of it."""
    try:
        return world.runs.get(TENANT, run.thread_id, run.run_id).status
    except NotFound:
        assert not any(run.run_id in "".join(key) for key in world.items())
        return "gone"


def hand_over(world: World, claim: Claim) -> None:
    world.endings.finish(claim, SUCCESS, [])


def lease(world: World, thread: str) -> Lease:
    return leases.from_item(world.lease(thread))


# ------------------------------------------------------------------ one run


@pytest.mark.parametrize(("action", "left"), [("interrupt", "interrupted"), ("rollback", "gone")])
def test_a_run_that_waits_has_ended_when_its_cancel_returns(
    world: World, thread: str, action: str, left: str
) -> None:
    first, waits, last = create(world, thread), create(world, thread), create(world, thread)
    cancel(world, waits, action)
    assert [status(world, run) for run in (first, waits, last)] == ["pending", left, "pending"]
    assert (lease(world, thread).run, lease(world, thread).waiting) == (first.run_id, 1)
    assert world.threads.get(TENANT, thread)["status"] == "busy"


@pytest.mark.parametrize(("action", "told"), [("interrupt", ["interrupted"]), ("rollback", [])])
def test_who_listens_to_a_run_that_waits_is_told_of_its_interrupt(
    world: World, thread: str, action: str, told: list[str]
) -> None:
    create(world, thread)
    cancel(world, create(world, thread, webhook=HOOK), action)
    assert [one["status"] for one in world.announced()] == told


def test_an_interrupt_that_could_not_be_announced_stays_in_the_outbox(world: World, thread: str) -> None:
    create(world, thread)
    waits = create(world, thread, webhook=HOOK)
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://sqs")]
        cancel(world, waits)
    assert [key for key in world.items() if key[0].startswith("O#")]


@ACTIONS
def test_a_run_that_somebody_executes_is_asked_to_stop(world: World, thread: str, action: Any) -> None:
    run = create(world, thread)
    claim = execute(world, run)
    cancel(world, run, action)
    assert status(world, run) == "running"
    assert (lease(world, thread).owner, lease(world, thread).cancel) == (claim.owner, action)
    assert world.messages() == []


@pytest.mark.parametrize(("action", "left"), [("interrupt", "interrupted"), ("rollback", "gone")])
def test_a_run_that_nobody_has_begun_has_ended_when_its_cancel_returns(
    world: World, thread: str, action: str, left: str
) -> None:
    run = create(world, thread)
    cancel(world, run, action)
    assert status(world, run) == left
    assert lease(world, thread).free
    assert world.threads.get(TENANT, thread)["status"] == "idle"


def test_a_run_that_is_not_yet_due_can_be_cancelled_and_the_next_has_its_turn(
    world: World, thread: str
) -> None:
    run, after = create(world, thread, after_seconds=3_600), create(world, thread)
    world.messages()
    cancel(world, run)
    assert status(world, run) == "interrupted"
    assert lease(world, thread).run == after.run_id
    assert [message["run_id"] for message in world.messages()] == [after.run_id]


def test_a_cancel_returns_the_thread_to_the_status_before_the_run(world: World, thread: str) -> None:
    run = create(world, thread)
    world.endings.finish(
        execute(world, run), Outcome(status="success", thread_status="interrupted"), [sealed(1)]
    )
    cancel(world, create(world, thread))
    assert world.threads.get(TENANT, thread)["status"] == "interrupted"


def test_a_run_whose_worker_died_after_it_had_begun_is_sent_to_another(world: World, thread: str) -> None:
    run = create(world, thread)
    world.leases.commit(execute(world, run), [sealed(1)])
    world.clock.pass_(LEASE_MS + 1)
    cancel(world, run)
    assert [message["run_id"] for message in world.messages()] == [run.run_id]
    assert (status(world, run), lease(world, thread).cancel) == ("running", "interrupt")


def test_a_run_whose_worker_died_before_it_wrote_anything_is_ended(world: World, thread: str) -> None:
    run = create(world, thread)
    execute(world, run)
    world.clock.pass_(LEASE_MS + 1)
    cancel(world, run)
    assert status(world, run) == "interrupted"


@ACTIONS
def test_a_run_that_has_ended_is_not_found_to_cancel(world: World, thread: str, action: Any) -> None:
    run = create(world, thread)
    world.endings.finish(execute(world, run), SUCCESS, [])
    before = world.items()
    with pytest.raises(NotFound, match="has ended with status success"):
        cancel(world, run, action)
    assert world.items() == before


def test_a_run_that_does_not_exist_is_not_found_to_cancel(world: World, thread: str) -> None:
    with pytest.raises(NotFound):
        world.cancellations.cancel(TENANT, thread, UNKNOWN)
    with pytest.raises(InvalidRequest):
        world.cancellations.cancel(TENANT, thread, "nope")


def test_a_run_that_is_handed_the_thread_while_it_is_cancelled_ends_there(world: World, thread: str) -> None:
    claim = execute(world, create(world, thread))
    waits = create(world, thread)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: hand_over(world, claim)
        cancel(world, waits)
    assert status(world, waits) == "interrupted"
    assert lease(world, thread).free


def test_a_cancel_on_a_thread_that_never_stands_still_gives_up(
    world: World, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create(world, thread)
    monkeypatch.setattr(world.cancellations, "_stop_in_flight", lambda *_: False)
    with pytest.raises(Unavailable, match="very busy"):
        cancel(world, run)


# ------------------------------------------------------------------ many runs


def test_many_runs_are_cancelled_without_one_of_them_starting(world: World, thread: str) -> None:
    made = [create(world, thread) for _ in range(4)]
    world.messages()
    world.cancellations.cancel_many(TENANT, thread, [run.run_id for run in made[:3]])
    assert [status(world, run) for run in made] == ["interrupted"] * 3 + ["pending"]
    assert [message["run_id"] for message in world.messages()] == [made[3].run_id]


def test_many_runs_are_cancelled_although_some_have_ended(world: World, thread: str) -> None:
    done = create(world, thread)
    world.endings.finish(execute(world, done), SUCCESS, [])
    run = create(world, thread)
    world.cancellations.cancel_many(TENANT, thread, [run.run_id, done.run_id], "rollback")
    assert [status(world, one) for one in (done, run)] == ["success", "gone"]


def test_of_many_runs_none_is_cancelled_if_one_does_not_exist(world: World, thread: str) -> None:
    run = create(world, thread)
    with pytest.raises(NotFound, match=UNKNOWN):
        world.cancellations.cancel_many(TENANT, thread, [run.run_id, UNKNOWN])
    assert status(world, run) == "pending"


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ("pending", ["running", "interrupted", "interrupted", "interrupted"]),
        ("running", ["asked", "pending", "pending", "pending"]),
        ("all", ["asked", "interrupted", "interrupted", "interrupted"]),
    ],
)
def test_all_runs_with_a_status_are_cancelled(world: World, wanted: Any, left: list[str]) -> None:
    threads = [str(world.threads.create(TENANT, ThreadCreate())["thread_id"]) for _ in range(2)]
    runs = [create(world, threads[0]), create(world, threads[0])]
    execute(world, runs[0])
    runs += [create(world, threads[1], after_seconds=900), create(world, threads[1])]
    other = str(world.threads.create("other", ThreadCreate())["thread_id"])
    theirs = world.runs.create("other", other, RunCreate(assistant_id="echo"))
    world.cancellations.cancel_all(TENANT, wanted)
    found = [status(world, run) for run in runs]
    if lease(world, threads[0]).cancel:
        found[0] = "asked"
    assert found == left
    assert world.runs.get("other", other, theirs.run_id).status == "pending"


def test_there_may_be_nothing_to_cancel(world: World, thread: str) -> None:
    create(world, thread)
    world.threads.delete(TENANT, thread)
    before = world.items()
    world.cancellations.cancel_all(TENANT, "all")
    assert world.items() == before


def test_runs_that_have_ended_and_can_still_be_read_cost_a_cancellation_of_all_nothing(world: World) -> None:
    for _ in range(20):
        run = world.runs.create_stateless(TENANT, RunCreate(assistant_id="echo"), keep_s=RETENTION_S)
        world.endings.finish(execute(world, run), SUCCESS, [])
    with (
        Calls(world.cloud.dynamodb, "GetItem") as reads,
        Calls(world.cloud.dynamodb, "BatchGetItem") as groups,
    ):
        world.cancellations.cancel_all(TENANT, "all")
    assert (len(reads.requests), len(groups.requests)) == (0, 0)


# ------------------------------------------------------------------ deletion


def delete(world: World, run: Run) -> None:
    world.cancellations.delete(TENANT, run.thread_id, run.run_id)


def test_a_run_that_has_ended_is_deleted_and_its_state_stays(world: World, thread: str) -> None:
    run = create(world, thread)
    world.endings.finish(execute(world, run), SUCCESS, [sealed(1)])
    delete(world, run)
    assert status(world, run) == "gone"
    assert lease(world, thread).head == uuid6(1)
    assert world.records.get(TENANT, thread, "", uuid6(1)) is not None
    with pytest.raises(NotFound):
        delete(world, run)


def test_a_run_that_waits_is_deleted_from_the_queue(world: World, thread: str) -> None:
    create(world, thread)
    run = create(world, thread)
    delete(world, run)
    assert status(world, run) == "gone"
    assert lease(world, thread).waiting == 0


def test_a_run_in_flight_is_not_deleted(world: World, thread: str) -> None:
    run = create(world, thread)
    before = world.items()
    for claim_it in (False, True):
        if claim_it:
            execute(world, run)
            before = world.items()
        with pytest.raises(Conflict, match="cancel it first"):
            delete(world, run)
        assert world.items() == before


def test_a_run_that_is_handed_the_thread_while_it_is_deleted_stays(world: World, thread: str) -> None:
    claim = execute(world, create(world, thread))
    run = create(world, thread)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: hand_over(world, claim)
        with pytest.raises(Conflict, match="in flight"):
            delete(world, run)
    assert status(world, run) == "pending"


def test_a_stateless_run_that_has_ended_is_deleted_before_its_purge(world: World) -> None:
    run = world.runs.create_stateless(TENANT, RunCreate(assistant_id="echo"))
    world.endings.finish(execute(world, run), SUCCESS, [])
    delete(world, run)
    assert world.table.get(keys.run_pointer(TENANT, run.run_id)) is None
    assert status(world, run) == "gone"
