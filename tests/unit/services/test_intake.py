"""Messages from outside start one run each, in order, however often they come; what never can is told apart."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from crewline.errors import BadMessage, Conflict, LimitExceeded, Unavailable
from crewline.models.clocks import new_id
from crewline.models.intake import Message, thread_id_of
from crewline.models.leases import MOST_WAITING
from crewline.models.runs import Run, RunCreate
from crewline.models.threads import ThreadCreate
from crewline.services.intake import Intake
from crewline.store import keys
from crewline.store.idempotency import Once
from tests.unit.services.crashes import crashing
from tests.unit.store.worlds import TENANT, Calls, World, claimed

KEY = "customer-7"
THREAD = thread_id_of(TENANT, KEY)
UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"
LOST = ReadTimeoutError(endpoint_url="http://db")


@pytest.fixture
def intake(world: World) -> Intake:
    return Intake(world.table, world.runs, world.clock, tenant=TENANT)


def start(intake: Intake, key: str = "m1", **fields: Any) -> Run | None:
    sent = {"assistant_id": "echo", "input": {"messages": []}, **fields}
    return intake.start(Message.read(sent), Once.of("queue", key, sent))


def started(intake: Intake, key: str = "m1", **fields: Any) -> Run:
    run = start(intake, key, **fields)
    assert run is not None
    return run


def runs_of(world: World, thread_id: str = THREAD) -> list[str]:
    return [run.run_id for run in world.runs.list(TENANT, thread_id, limit=100, offset=0, status=None)]


def refusal(intake: Intake, **fields: Any) -> str:
    with pytest.raises(BadMessage) as caught:
        start(intake, **fields)
    return caught.value.message


def test_a_message_starts_a_run_on_the_thread_of_its_key(world: World, intake: Intake) -> None:
    run = started(intake, thread_key=KEY, metadata={"order": "o-1"})
    assert (run.thread_id, run.status, run.metadata["order"]) == (THREAD, "pending", "o-1")
    [message] = world.messages()
    assert (message["kind"], message["thread_id"], message["run_id"]) == ("run", THREAD, run.run_id)


def test_messages_of_one_key_wait_for_one_another_in_their_order(world: World, intake: Intake) -> None:
    first, second, third = (started(intake, f"m{count}", thread_key=KEY) for count in range(3))
    assert runs_of(world) == [third.run_id, second.run_id, first.run_id]
    assert [first.turn, second.turn, third.turn] == [1, 2, 3]


def test_a_message_says_whose_run_it_is(world: World, intake: Intake) -> None:
    run = started(intake, thread_key=KEY, tenant="other")
    assert run.thread_id == thread_id_of("other", KEY)
    assert world.runs.get("other", run.thread_id, run.run_id).run_id == run.run_id


def test_a_message_without_a_thread_is_a_stateless_run(world: World, intake: Intake) -> None:
    run = started(intake)
    assert run.kwargs["temporary"] is True
    assert started(intake).run_id == run.run_id
    assert started(intake, "m2").run_id != run.run_id


# ------------------------------------------------------------------ again


def test_a_message_that_comes_again_starts_no_second_run(world: World, intake: Intake) -> None:
    run = started(intake, thread_key=KEY)
    elsewhere = Intake(world.table, world.again().runs, world.clock, tenant=TENANT)
    assert started(elsewhere, thread_key=KEY).run_id == run.run_id
    assert runs_of(world) == [run.run_id]


def test_a_start_whose_answer_was_lost_is_found_when_the_message_comes_again(
    world: World, intake: Intake
) -> None:
    world.threads.create(TENANT, _thread(THREAD))
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [LOST]
        with Calls(world.cloud.dynamodb, "GetItem") as reads:
            reads.failures = [None, LOST]  # the assistant is read, and whether it has landed is not
            with pytest.raises(Unavailable):
                start(intake, thread_key=KEY)
    run = started(intake, thread_key=KEY)
    assert runs_of(world) == [run.run_id]


def test_a_message_whose_thread_went_after_it_was_started_is_done(world: World, intake: Intake) -> None:
    thread_id = str(world.threads.create(TENANT, _thread())["thread_id"])
    run = started(intake, thread_id=thread_id)
    world.cancellations.cancel(TENANT, thread_id, run.run_id)
    world.threads.delete(TENANT, thread_id)
    assert start(intake, thread_id=thread_id) is None


@pytest.mark.parametrize("where", ["new thread", "busy thread", "no thread"])
def test_wherever_a_process_stops_the_message_that_comes_again_leaves_one_run(
    world: World, intake: Intake, where: str
) -> None:
    key, before = "", 0

    def begin() -> None:
        nonlocal key, before
        key = new_id()
        if where == "busy thread":
            started(intake, f"before {key}", thread_key=key)
        before = len(rows())

    def act() -> None:
        start(intake, key, **({} if where == "no thread" else {"thread_key": key}))

    def check() -> None:
        act()
        act()
        assert len(rows()) == before + 1

    def rows() -> list[str]:
        return [sort for _, sort in world.items() if sort.startswith(keys.RUN_PREFIX)]

    assert crashing(world, act, begin, check) >= 4


def test_another_message_under_the_same_key_is_refused(world: World, intake: Intake) -> None:
    run = started(intake, thread_key=KEY)
    reason = "Its idempotency key was used before, for another message."
    assert refusal(intake, thread_key=KEY, input={"messages": ["other"]}) == reason
    assert runs_of(world) == [run.run_id]


# ------------------------------------------------------------------ never, and later


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"assistant_id": "nobody"}, "Its assistant is unknown"),
        ({"assistant_id": UNKNOWN}, "its assistant or its checkpoint does not exist"),
        ({"thread_id": UNKNOWN}, "Its thread, its assistant or its checkpoint does not exist"),
        ({"thread_key": KEY, "checkpoint_id": UNKNOWN}, "its checkpoint does not exist"),
        ({"webhook": "http://10.0.0.1/"}, "its webhook's address is refused"),
        ({"thread_key": KEY, "command": {"resume": 1}}, "its thread has nothing to resume"),
        ({"command": {"resume": 1}}, "Its fields contradict each other"),
        ({"context": {"a": 1}, "config": {"configurable": {"b": 2}}}, "Its fields contradict each other"),
        ({"metadata": {"text": "x" * 100_000}}, "is too large to be stored"),
    ],
)
def test_what_can_never_be_started_is_refused_and_leaves_no_run(
    world: World, intake: Intake, fields: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(intake, **fields)
    assert world.messages() == []


def test_a_run_that_would_not_wait_is_refused_on_a_busy_thread(world: World, intake: Intake) -> None:
    started(intake, thread_key=KEY)
    reason = refusal(intake, key="m2", thread_key=KEY, multitask_strategy="reject")
    assert reason == "Its thread has a run in flight, and its strategy is reject."
    assert len(runs_of(world)) == 1


def test_a_message_for_a_thread_on_which_too_many_wait_comes_again(world: World, intake: Intake) -> None:
    for count in range(MOST_WAITING + 1):
        started(intake, f"m{count}", thread_key=KEY)
    with pytest.raises(LimitExceeded):
        start(intake, "late", thread_key=KEY)
    newest, *_ = runs_of(world)
    world.cancellations.cancel(TENANT, THREAD, newest)
    started(intake, "late", thread_key=KEY)


def test_a_message_for_a_thread_that_is_being_purged_comes_again(world: World, intake: Intake) -> None:
    world.threads.create(TENANT, _thread(THREAD))
    claim = claimed(world.runs.start(TENANT, THREAD, RunCreate(assistant_id="echo")))
    world.cancellations.cancel(TENANT, THREAD, claim.run_id)
    world.threads.delete(TENANT, THREAD)
    with pytest.raises(Conflict):
        start(intake, thread_key=KEY)
    world.threads.purge(TENANT, THREAD)
    assert started(intake, thread_key=KEY).thread_id == THREAD


def test_a_message_comes_again_when_the_table_does_not_answer(world: World, intake: Intake) -> None:
    with Calls(world.cloud.dynamodb, "Query") as calls:
        calls.failures = [LOST]
        with pytest.raises(Unavailable):
            start(intake, thread_key=KEY)
    assert started(intake, thread_key=KEY).status == "pending"


def _thread(thread_id: str | None = None) -> ThreadCreate:
    return ThreadCreate(thread_id=thread_id)
