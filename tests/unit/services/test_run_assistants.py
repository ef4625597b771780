"""A run has what its assistant says when it is accepted, and keeps it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from crewline.errors import NotFound, StaleOwner
from crewline.models.assistants import WEBHOOK, Assistant, AssistantCreate, AssistantPatch
from crewline.models.leases import GRACE_MS, LEASE_MS, Claim
from crewline.models.runs import Run, RunCreate
from crewline.models.threads import ThreadCreate, ThreadPatch
from crewline.services.endings import Outcome
from crewline.services.runs import KEEP_LONG_S, Admitted
from crewline.store import threads
from tests.unit.store.worlds import ECHO, TENANT, Calls, World, claimed, sealed, uuid6

UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"
SUCCESS = Outcome(status="success", thread_status="idle")
CREW = {"graph_id": "echo", "assistant_id": ECHO}
LOUD = {"configurable": {"voice": "loud"}}


def body(**fields: Any) -> RunCreate:
    return RunCreate.model_validate({"assistant_id": "echo", **fields})


def change_echo(world: World) -> Assistant:
    """Change the default assistant as another process."""
    patch = AssistantPatch.model_validate({"config": LOUD})
    return world.again().assistants.patch(TENANT, ECHO, patch)


@pytest.fixture
def thread(world: World) -> str:
    thread_id: str = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    return thread_id


@pytest.fixture
def remembered(world: World, thread: str) -> str:
    """A thread whose last run this process has executed."""
    claim = claimed(world.runs.start(TENANT, thread, body()))
    ended = world.endings.finish(claim, SUCCESS, [sealed(1)])
    snapshot = world.records.latest(TENANT, thread, "", head=uuid6(1))
    world.recents.keep(TENANT, thread, ended.lease, ended.rest, snapshot, crew=CREW)
    return thread


def voice(world: World, run: Run) -> Any:
    """What the row of a run says, and that of its thread while the run is in flight."""
    stored = world.runs.get(TENANT, run.thread_id, run.run_id)
    assert stored.kwargs == run.kwargs
    return stored.kwargs["config"]["configurable"].get("voice")


# ------------------------------------------------------------------ config and context


@pytest.mark.parametrize(
    ("asked", "config", "context"),
    [
        ({}, {"configurable": {"a": 1, "b": 1}, "tags": ["mine"], "recursion_limit": 9}, {"a": 1, "b": 1}),
        (
            {"config": {"configurable": {"b": 2, "c": 2}, "tags": ["yours"]}},
            {"configurable": {"a": 1, "b": 2, "c": 2}, "tags": ["yours"], "recursion_limit": 9},
            {"a": 1, "b": 2},
        ),
        (
            {"context": {"b": 3}},
            {"configurable": {"a": 1, "b": 1}, "tags": ["mine"], "recursion_limit": 9},
            {"a": 1, "b": 3},
        ),
    ],
)
def test_a_request_wins_over_its_assistant(
    world: World, thread: str, asked: dict[str, Any], config: dict[str, Any], context: dict[str, Any]
) -> None:
    given = {"configurable": {"a": 1, "b": 1}, "tags": ["mine"], "recursion_limit": 9}
    create = AssistantCreate.model_validate(
        {"graph_id": "echo", "config": given, "metadata": {"m": 1, "n": 1}}
    )
    assistant = world.assistants.create(TENANT, create)

    run = world.runs.create(
        TENANT, thread, body(assistant_id=assistant.assistant_id, metadata={"n": 2}, **asked)
    )

    assert (run.kwargs["config"], run.kwargs["context"]) == (config, context)
    names = {"graph_id": "echo", "assistant_id": assistant.assistant_id}
    assert run.metadata == {"m": 1, "n": 2, **names}
    row, _ = threads.read(world.table, TENANT, thread)
    assert row is not None
    assert (row.config, row.metadata) == (config, names)


def test_a_later_change_of_the_assistant_does_not_reach_a_run_that_waits(world: World, thread: str) -> None:
    world.runs.create(TENANT, thread, body())
    waiting = world.runs.create(TENANT, thread, body())
    change_echo(world)
    assert voice(world, waiting) is None
    assert voice(world, world.runs.create(TENANT, thread, body())) == "loud"


def test_an_unknown_assistant_makes_no_thread(world: World) -> None:
    with pytest.raises(NotFound, match="Assistant"):
        world.runs.start(TENANT, UNKNOWN, body(assistant_id=UNKNOWN, if_not_exists="create"))
    assert world.items() == {}


# ------------------------------------------------------------------ started on an assumption


def test_a_start_on_a_remembered_thread_waits_for_no_read(world: World, remembered: str) -> None:
    started = threading.Event()
    with (
        Calls(world.cloud.dynamodb, "GetItem") as gets,
        Calls(world.cloud.dynamodb, "TransactWriteItems") as writes,
    ):
        gets.before = lambda: void(started.wait(30))
        writes.before = started.set
        run = world.runs.start(TENANT, remembered, body()).run
    assert started.is_set()
    assert (len(gets.requests), len(writes.requests)) == (1, 1)
    assert voice(world, run) is None


@pytest.mark.parametrize("stateless", [False, True])
def test_a_default_assistant_that_was_changed_is_seen_at_once(
    world: World, remembered: str, *, stateless: bool
) -> None:
    change_echo(world)
    for _ in range(2):  # found out beside the start; known from then on
        if stateless:
            admitted = world.runs.start_stateless(TENANT, body(), readable=True)
        else:
            admitted = world.runs.start(TENANT, remembered, body())
        assert voice(world, admitted.run) == "loud"
        row, _ = threads.read(world.table, TENANT, admitted.run.thread_id)
        assert row is not None
        assert row.config == admitted.run.kwargs["config"]
        world.endings.finish(claimed(admitted), SUCCESS, [])
        world.recents.drop(TENANT, remembered)


def assumed(world: World, thread: str) -> tuple[Claim, Run]:
    """Start a run whose assistant is changed while nobody looks."""
    admitted = world.runs.start(TENANT, thread, body())
    change_echo(world)
    run = world.runs.get(TENANT, thread, admitted.run.run_id)
    assert run.assumed
    return claimed(admitted), run


def test_whoever_takes_a_run_over_reads_the_assistant_that_was_assumed(world: World, remembered: str) -> None:
    _, run = assumed(world, remembered)
    world.clock.pass_(LEASE_MS + 1)
    claim = world.leases.claim(TENANT, remembered, run.run_id)
    assert isinstance(claim, Claim)

    settled, same = world.again().runs.settle(claim, run)

    assert (voice(world, settled), same) == ("loud", claim)
    assert world.runs.settle(claim, settled) == (settled, claim)


def test_a_run_whose_assistant_cannot_be_read_is_accepted_and_left_to_a_worker(
    world: World, remembered: str
) -> None:
    change_echo(world)
    with Calls(world.cloud.dynamodb, "GetItem") as reads:
        reads.failures = [EndpointConnectionError(endpoint_url="http://db")]
        started = world.runs.start(TENANT, remembered, body(input={"n": 1}))
    assert started.claim is None
    world.clock.pass_(LEASE_MS + GRACE_MS + 1)
    claim = world.leases.claim(TENANT, remembered, started.run.run_id)
    assert isinstance(claim, Claim)
    run, _ = world.runs.settle(claim, world.runs.get(TENANT, remembered, started.run.run_id))
    assert voice(world, run) == "loud"


def test_a_run_that_has_taken_in_its_input_keeps_what_it_began_with(world: World, remembered: str) -> None:
    claim, run = assumed(world, remembered)
    claim = world.leases.commit(claim, [sealed(2, parent=1)])
    assert claim.lease.fed
    assert world.again().runs.settle(claim, run) == (run, claim)


def test_a_worker_whose_claim_is_lost_settles_nothing(world: World, remembered: str) -> None:
    claim, run = assumed(world, remembered)
    world.clock.pass_(LEASE_MS + 1)
    world.leases.claim(TENANT, remembered, run.run_id)
    with pytest.raises(StaleOwner):
        world.runs.settle(claim, run)
    assert voice(world, run) is None


def test_an_assumption_is_dropped_when_the_thread_is_busy_since(world: World, remembered: str) -> None:
    change_echo(world)
    world.again().runs.create(TENANT, remembered, body())
    admitted = world.runs.start(TENANT, remembered, body())
    assert admitted.claim is None
    assert not admitted.run.assumed
    assert voice(world, admitted.run) == "loud"


def void(_: object) -> None:
    """Drop a result."""


def test_a_thread_that_names_another_crew_by_now_names_that_of_a_run_that_reads_nothing_before(
    world: World, remembered: str
) -> None:
    world.again().threads.patch(TENANT, remembered, ThreadPatch(metadata={"graph_id": "steps"}))

    world.runs.start(TENANT, remembered, body())

    assert world.threads.get(TENANT, remembered)["metadata"]["graph_id"] == "echo"


# ------------------------------------------------------------------ the webhook of a deployment

HOOK = "https://example.com/hook?secret=hunter2"


def set_webhook(world: World, url: str | None = HOOK) -> None:
    """Give the default assistant a webhook as another process."""
    world.again().assistants.patch(TENANT, ECHO, AssistantPatch(metadata={WEBHOOK: url}))


def announced_end(world: World, admitted: Admitted) -> list[Any]:
    """End a run and give what the webhook queue is told."""
    world.endings.finish(claimed(admitted), replace(SUCCESS, run=admitted.run), [])
    return [(one["run_id"], one["status"]) for one in world.announced()]


def test_a_run_has_the_webhook_of_its_deployment_unless_it_names_one(world: World, thread: str) -> None:
    set_webhook(world)
    run = world.runs.create(TENANT, thread, body())
    waiting = world.runs.create(TENANT, thread, body(webhook="https://example.com/mine"))
    assert (run.kwargs["webhook"], run.heard) == (HOOK, True)
    assert waiting.kwargs["webhook"] == "https://example.com/mine"
    for one in (run, waiting):
        stored = world.runs.get(TENANT, thread, one.run_id)
        assert (stored.kwargs["webhook"], stored.heard) == (one.kwargs["webhook"], True)
        assert "hunter2" not in repr(stored.metadata)


def test_a_deployment_without_its_webhook_tells_nobody(world: World, thread: str) -> None:
    set_webhook(world)
    set_webhook(world, None)
    run = world.runs.create(TENANT, thread, body())
    assert (run.kwargs["webhook"], run.heard) == (None, False)


def test_a_run_that_was_started_on_an_assumption_is_told_of_as_well(world: World, remembered: str) -> None:
    set_webhook(world)
    admitted = world.runs.start(TENANT, remembered, body())
    assert (admitted.run.assumed, admitted.run.heard) == (False, True)
    assert announced_end(world, admitted) == [(admitted.run.run_id, "success")]


def test_a_run_in_place_without_a_thread_stays_until_its_webhook_is_delivered(world: World) -> None:
    set_webhook(world)
    admitted = world.runs.start_stateless(TENANT, body())
    claim, run = claimed(admitted), admitted.run
    assert claim.lease.keep_s == world.lease(run.thread_id)["keep_s"] == KEEP_LONG_S
    assert announced_end(world, admitted) == [(run.run_id, "success")]
    assert world.runs.find(TENANT, run.run_id).kwargs["webhook"] == HOOK


def test_a_run_in_the_background_without_a_thread_stays_as_long(world: World) -> None:
    set_webhook(world)
    run = world.runs.create_stateless(TENANT, body())
    assert world.lease(run.thread_id)["keep_s"] == KEEP_LONG_S


def test_a_webhook_that_a_dead_process_did_not_find_is_found_by_who_takes_over(world: World) -> None:
    set_webhook(world)
    with Calls(world.cloud.dynamodb, "GetItem") as reads:
        reads.failures = [EndpointConnectionError(endpoint_url="http://db")]
        run = world.runs.start_stateless(TENANT, body()).run
    world.clock.pass_(LEASE_MS + GRACE_MS + 1)
    claim = world.leases.claim(TENANT, run.thread_id, run.run_id)
    assert isinstance(claim, Claim)
    assert claim.lease.keep_s == 0
    settled, claim = world.runs.settle(claim, world.runs.find(TENANT, run.run_id))
    assert (settled.heard, claim.lease.keep_s) == (True, KEEP_LONG_S)
    with pytest.raises(StaleOwner):
        world.runs.settle(replace(claim, owner="another", lease=replace(claim.lease, keep_s=0)), run)
