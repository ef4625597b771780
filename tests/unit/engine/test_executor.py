"""Runs from start to end on real graphs: values, errors, questions, resumption, and lost claims."""

from __future__ import annotations

import asyncio
import operator
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace
from typing import Annotated, Any
from uuid import UUID

import orjson
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import EndpointConnectionError
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import id as langgraph_ids
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from crewline.engine import heartbeats, inputs
from crewline.engine.clocks import move_clock_past
from crewline.engine.crews import Graph
from crewline.engine.executions import Execution
from crewline.engine.heartbeats import Heartbeats
from crewline.engine.loops import CrewLoop
from crewline.errors import StaleOwner, Unavailable
from crewline.http.apps import to_json
from crewline.models.events import Telling
from crewline.models.runs import Run, RunCreate
from crewline.services.endings import Outcome
from crewline.services.runs import Admitted
from crewline.store import keys, leases
from crewline.store.changes import Put, Update
from tests.unit.engine.places import (
    PATIENCE_S,
    Counting,
    Death,
    Place,
    Rude,
    ask_twice,
    chain,
    noting,
    raising,
    step,
)
from tests.unit.store.worlds import TENANT, Calls, claimed, sealed

# ------------------------------------------------------------------ to the end


def test_a_run_answers_the_values_it_leaves(place: Place) -> None:
    assert place.run({"n": 0}, crew="steps") == {"n": 3, "log": ["a", "b", "c"]}
    run = place.last()
    assert (run.status, run.error) == ("success", None)
    row = place.thread_row()
    assert (row["status"], row["values"]) == ("idle", {"n": 3, "log": ["a", "b", "c"]})
    assert run.head == leases.from_item(place.world.lease(place.thread)).head
    assert place.world.runs.result(TENANT, run) == row["values"]


def test_a_second_run_goes_on_from_the_first(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    assert place.run({"n": 10}, crew="steps") == {"n": 13, "log": ["a", "b", "c"] * 2}


def test_messages_are_answered_as_json(place: Place) -> None:
    answer = place.run({"messages": [{"role": "user", "content": "hi"}]})
    assert [(message["type"], message["content"]) for message in answer["messages"]] == [
        ("human", "hi"),
        ("ai", "echo: hi"),
    ]


def test_a_state_that_is_a_pydantic_model_works(place: Place) -> None:
    customer = {"name": "Ada", "orders": 1}
    answer = place.run({"customer": customer}, crew="typed")
    assert (answer["customer"], answer["kind"]) == ({"name": "Ada", "orders": 2}, "Customer")
    assert place.run({"greeting": "x"}, crew="typed")["customer"]["orders"] == 3


def test_a_value_over_the_item_limit_is_kept_in_s3(place: Place) -> None:
    answer = place.run({"size": 1_200_000}, crew="large")
    assert len(answer["text"]) == 1_200_000
    assert place.world.objects()
    assert place.thread_row()["values"]["text"] == answer["text"]


def _joined(old: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*old, *(one for write in writes for one in write)]


class Talking(TypedDict):
    said: Annotated[list[str], DeltaChannel(_joined, snapshot_frequency=4)]
    turns: Annotated[int, operator.add]


def test_a_delta_channel_is_in_the_state_and_else_only_where_it_has_a_snapshot(place: Place) -> None:
    graph = StateGraph(Talking)
    graph.add_node("talk", lambda state: {"said": [f"answer {state['turns']}"], "turns": 1})
    graph.add_edge(START, "talk")
    place.serve(graph.compile())

    shown = []
    for turn in range(3):
        answer = place.run({"said": [f"question {turn}"]})
        assert answer == place.thread_row()["values"] == place.world.runs.result(TENANT, place.last())
        assert answer.get("said", place.state()["values"]["said"]) == place.state()["values"]["said"]
        shown.append("said" in answer)

    said = [text for turn in range(3) for text in (f"question {turn}", f"answer {turn}")]
    assert place.state()["values"] == {"said": said, "turns": 3}
    assert shown == [False, True, False]


def test_a_one_node_run_in_place_costs_two_transactions(place: Place) -> None:
    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        place.run({"messages": [{"role": "user", "content": "hi"}]})
    assert len(calls.requests) == 2


# ------------------------------------------------------------------ failures of the crew


def test_a_crew_that_raises_is_recorded_with_class_and_message(place: Place) -> None:
    answer = place.run({"x": "1"}, crew="failing")
    assert answer == {"__error__": {"error": "ValueError", "message": "boom: 1"}}
    run = place.last()
    assert (run.status, run.error and run.error.wire()) == ("error", answer["__error__"])
    row = place.thread_row()
    assert (row["status"], row["error"]) == ("error", answer["__error__"])
    assert row["values"] == {"x": "1", "good": True}
    state = place.state()
    assert state["next"] == ["boom"]
    assert "boom: 1" in state["tasks"][0]["error"]


def test_the_next_run_after_a_failure_is_accepted_and_clears_it(place: Place) -> None:
    place.run({"x": "1"}, crew="failing")
    place.run({"n": 0}, crew="steps")
    assert (place.thread_row()["status"], place.thread_row()["error"]) == ("idle", None)


def make_nothing() -> str:
    return "text"


def make_failing() -> Graph:
    raise OSError("no key")


def make_deep(state: Counting) -> dict[str, Any]:
    value: Any = "bottom"
    for _ in range(300):
        value = [value]
    return {"n": value}


@pytest.mark.parametrize(
    ("target", "name", "message"),
    [
        (lambda: chain(a=raising(ValueError("x" * 50_000))), "ValueError", "x" * 10_000),
        (lambda: chain(a=raising(ValueError("lone \ud800 surrogate"))), "ValueError", "surrogate"),
        (lambda: chain(a=raising(Rude())), "", ""),
        (lambda: chain(a=raising(asyncio.CancelledError("mine"))), "CancelledError", ""),
        (lambda: chain(a=lambda state: {"n": object()}), "", ""),
        (lambda: chain(a=lambda state: {"n": 2**70}), "", ""),
        (lambda: chain(a=make_deep), "", ""),
        (lambda: chain(a=lambda state: 5), "InvalidUpdateError", ""),
        (lambda: make_failing, "OSError", "no key"),
        (lambda: make_nothing, "CrewFailedToLoad", "not a graph"),
    ],
    ids=[
        "a_long_message", "a_lone_surrogate", "an_error_without_text",
        "a_cancel_of_its_own", "not_serialisable", "a_huge_number", "a_deep_state",
        "no_state", "a_failing_factory", "a_factory_of_nothing",
    ],
)  # fmt: skip
def test_whatever_a_crew_does_its_run_ends_as_an_error_and_the_thread_is_free(
    place: Place, target: Callable[[], Any], name: str, message: str
) -> None:
    place.serve(target())
    answer = place.run({"n": 0})
    assert name in answer["__error__"]["error"]
    assert message in answer["__error__"]["message"]
    assert len(answer["__error__"]["message"]) <= inputs.LONGEST_MESSAGE
    assert place.last().status == "error"
    assert place.thread_row()["status"] == "error"
    assert place.run({"n": 0}, crew="steps")["n"] == 3


def test_text_that_utf_8_cannot_spell_is_stored_and_answered_all_the_same(place: Place) -> None:
    place.serve(chain(a=lambda state: {"log": ["lone \ud800 surrogate"]}))
    answer = place.run({"n": 0})
    assert len(orjson.loads(to_json(answer))["log"]) == 1
    assert place.thread_row()["values"] == answer
    assert len(to_json(place.history())) > 100


def test_a_node_that_exits_does_not_take_the_loop_of_every_crew_with_it() -> None:
    code = """
import asyncio, sys
from crewline.engine.loops import CrewLoop
from langgraph.graph import START, MessagesState, StateGraph

loop = CrewLoop()
graph = StateGraph(MessagesState).add_node("a", lambda state: sys.exit(3)).add_edge(START, "a").compile()
try:
    loop.submit(graph.ainvoke({"messages": []})).result(5)
except BaseException as exc:
    print(type(exc).__name__)
print(loop.submit(asyncio.sleep(0, "alive")).result(2))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout.split()[-1:] == ["alive"], done.stderr[-500:]


def test_a_run_whose_crew_is_not_deployed_any_more_ends_as_an_error(place: Place) -> None:
    started = place.start({"n": 0})
    del place.crews["echo"]
    answer = place.execute(started)
    assert "not in this deployment" in answer["__error__"]["message"]
    assert place.last().status == "error"


def test_a_run_on_a_damaged_checkpoint_ends_as_an_error(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    head = place.world.lease(place.thread)["head"]
    place.world.table.write(Put(key=keys.record(TENANT, place.thread, "", head), item={"body": b"?"}))
    place.world.recents.drop(TENANT, place.thread)  # another process runs it
    answer = place.run({"n": 1}, crew="steps")
    assert answer["__error__"]["error"] == "CorruptRecord"
    assert place.last().status == "error"


def test_a_recursion_limit_is_an_error_of_the_run(place: Place) -> None:
    answer = place.run({"n": 0}, crew="steps", config={"recursion_limit": 2})
    assert answer["__error__"]["error"] == "GraphRecursionError"


# ------------------------------------------------------------------ stops on the way


def test_a_question_stops_the_run_and_the_answer_goes_on(place: Place) -> None:
    asked = place.run({"topic": "tea"}, crew="approval")
    assert asked["topic"] == "tea"
    (question,) = asked["__interrupt__"]
    assert question["value"] == {"question": "approve tea?"}
    assert question["id"]
    assert (place.last().status, place.thread_row()["status"]) == ("success", "interrupted")
    assert [one["value"] for one in next(iter(place.thread_row()["interrupts"].values()))] == [
        question["value"]
    ]
    assert place.world.runs.result(TENANT, place.last()) == {"__interrupt__": [question]}
    answered = place.run(crew="approval", command={"resume": "yes"})
    assert answered == {"topic": "tea", "answer": "yes", "log": ["ask", "done"]}
    assert (place.thread_row()["status"], place.thread_row()["interrupts"]) == ("idle", {})


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_second_question_of_the_same_node_stops_the_run_again(place: Place, durability: str) -> None:
    place.serve(chain(a=step("a"), ask=ask_twice))
    assert [one["value"] for one in place.run({"n": 0}, durability=durability)["__interrupt__"]] == ["first?"]
    second = place.run(command={"resume": "1"}, durability=durability)
    assert [one["value"] for one in second.get("__interrupt__", [])] == ["second?"]
    assert place.thread_row()["status"] == "interrupted"
    assert place.run(command={"resume": "2"}, durability=durability)["log"] == ["a", "1", "2"]
    assert place.thread_row()["status"] == "idle"


def test_a_breakpoint_stops_the_run_and_an_empty_input_goes_on(place: Place) -> None:
    assert place.run({"n": 0}, crew="steps", interrupt_before=["b"])["log"] == ["a"]
    assert (place.thread_row()["status"], place.state()["next"]) == ("interrupted", ["b"])
    assert place.run(None, crew="steps", interrupt_after=["b"])["log"] == ["a", "b"]
    assert place.run(None, crew="steps")["log"] == ["a", "b", "c"]
    assert place.thread_row()["status"] == "idle"


def test_a_command_may_update_and_go_somewhere(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    answer = place.run(crew="steps", command={"update": {"log": ["told"]}, "goto": "c"})
    assert answer["log"] == ["a", "b", "c", "told", "c"]
    answer = place.run(
        crew="steps", command={"update": [["log", ["pair"]]], "goto": [{"node": "c", "input": {"n": 100}}]}
    )
    assert (answer["n"], answer["log"][-2:]) == (101, ["pair", "c"])


def test_context_and_config_reach_the_nodes(place: Place) -> None:
    class Context(TypedDict):
        user: str

    def look(state: Counting, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        configurable = config["configurable"]
        assert config["metadata"]["m"] == 1
        return {
            "log": [
                str((runtime.context or {}).get("user")),
                str(configurable.get("plan")),
                configurable["run_id"],
            ]
        }

    node: Any = look
    graph = StateGraph(Counting, context_schema=Context).add_node("look", node).add_edge(START, "look")
    place.serve(graph.compile())
    with_context = place.run({"n": 0}, context={"user": "ada"}, metadata={"m": 1})
    run_id = place.last().run_id
    assert with_context["log"] == ["ada", "None", run_id]
    with_config = place.run({"n": 0}, config={"configurable": {"plan": "gold"}, "metadata": {"m": 1}})
    assert with_config["log"][3:5] == ["None", "gold"]


# ------------------------------------------------------------------ forks


def test_a_run_forks_from_an_older_checkpoint(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    after_a = place.history()[2]
    assert after_a["values"]["log"] == ["a"]
    assert place.run(None, crew="steps", checkpoint_id=after_a["checkpoint_id"])["log"] == ["a", "b", "c"]
    assert len(place.history()) == 5 + 3  # LangGraph marks the fork with a checkpoint of its own
    assert place.run({"n": 0}, crew="steps")["log"] == ["a", "b", "c"] * 2


# ------------------------------------------------------------------ resumption


def test_a_worker_that_takes_over_goes_on_from_the_head_and_feeds_the_input_once(place: Place) -> None:
    ran: list[str] = []
    die = Death(place)

    def node(name: str) -> Callable[[Counting], dict[str, Any]]:
        def run(state: Counting) -> dict[str, Any]:
            ran.append(name)
            if name == "b":
                die()
            return {"n": state["n"] + 1, "log": [name]}

        return run

    place.serve(chain(a=node("a"), b=node("b"), c=node("c")))
    started = die.execute({"n": 0, "log": ["input"]})
    assert place.world.lease(place.thread)["fed"] is True
    assert place.row(started.run).status == "running"
    answer = place.execute(place.take_over(started))
    assert answer == {"n": 3, "log": ["input", "a", "b", "c"]}
    assert ran == ["a", "b", "b", "c"]
    assert place.last().status == "success"


def test_a_run_that_was_never_fed_is_fed_by_the_worker_that_takes_over(place: Place) -> None:
    started = place.start({"n": 0}, crew="steps")
    assert place.execute(place.take_over(started)) == {"n": 3, "log": ["a", "b", "c"]}


def test_an_answer_to_a_question_is_given_once_even_when_its_worker_dies(place: Place) -> None:
    die = Death(place)

    def two(state: Counting) -> dict[str, Any]:
        die()
        return {"log": [f"two: {interrupt('two?')}"]}

    place.serve(chain(one=lambda state: {"log": [f"one: {interrupt('one?')}"]}, two=two))
    place.run({"n": 0})
    started = die.execute(None, command={"resume": "yes"})
    answer = place.execute(place.take_over(started))
    assert answer["log"] == ["one: yes"]
    assert [one["value"] for one in answer["__interrupt__"]] == ["two?"]


def test_a_worker_whose_claim_was_taken_stops_and_writes_nothing(place: Place) -> None:
    ran: list[str] = []

    def losing(state: Counting) -> dict[str, Any]:
        ran.append("a")
        place.world.table.write(Update(key=keys.lease(TENANT, place.thread), set={"owner": "another"}))
        return {"n": 1}

    place.serve(chain(a=losing, b=noting(ran, "b")))
    started = place.start({"n": 0}, durability="sync")
    with pytest.raises(StaleOwner):
        place.execute(started)
    assert ran == ["a"]
    assert place.row(started.run).status == "running"
    assert place.world.lease(place.thread)["owner"] == "another"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_claim_lost_during_the_last_superstep_does_not_finish(place: Place, durability: str) -> None:
    def losing(state: Counting) -> dict[str, Any]:
        place.world.table.write(Update(key=keys.lease(TENANT, place.thread), set={"owner": "another"}))
        return {"n": 1}

    place.serve(chain(a=losing))
    started = place.start({"n": 0}, durability=durability)
    with pytest.raises(StaleOwner):
        place.execute(started)
    assert place.row(started.run).status == "running"


def test_a_run_cancelled_while_it_runs_keeps_its_supersteps_and_ends_interrupted(place: Place) -> None:
    def cancelling(state: Counting) -> dict[str, Any]:
        place.world.table.write(Update(key=keys.lease(TENANT, place.thread), set={"cancel": "interrupt"}))
        return {"n": 1, "log": ["a"]}

    place.serve(chain(a=cancelling, b=step("b"), c=step("c")))
    place.run({"n": 0}, durability="sync")
    assert place.last().status == "interrupted"
    row = place.thread_row()
    assert row["status"] == "interrupted"
    assert row["values"]["log"][0] == "a"
    assert place.world.lease(place.thread).get("run") is None
    assert place.run(None)["log"] == ["a", "b", "c"]


def test_a_table_that_does_not_answer_leaves_the_run_to_be_resumed(place: Place) -> None:
    started = place.start({"n": 0}, crew="steps")
    failure = EndpointConnectionError(endpoint_url="http://db")
    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [failure] * 50
        with pytest.raises(Unavailable):
            place.execute(started)
    assert place.row(started.run).status == "running"
    assert place.execute(place.take_over(started))["n"] == 3


# ------------------------------------------------------------------ stateless


def stateless(place: Place, given: Any, **body: Any) -> tuple[Run, Any]:
    fields = {"assistant_id": "echo", "input": given, **body}
    started = place.world.runs.start_stateless(TENANT, RunCreate.model_validate(fields))
    waited = place.executor.execute(started.run, claimed(started), Telling(logged=False))
    return started.run, waited.result(PATIENCE_S)


def test_a_stateless_run_answers_and_leaves_nothing(place: Place) -> None:
    before = place.world.items()
    place.crews["echo"] = place.crews["steps"]
    _, answer = stateless(place, {"n": 0})
    assert answer == {"n": 3, "log": ["a", "b", "c"]}
    assert place.world.items() == before


@pytest.mark.parametrize("supersteps", [1, 120])
def test_a_stateless_run_leaves_nothing_however_long_it_is(place: Place, supersteps: int) -> None:
    before = place.world.items()
    place.serve(chain(**{f"s{number}": step("x") for number in range(supersteps)}))
    _, answer = stateless(place, {"n": 0, "log": [os.urandom(60_000).hex()]}, config={"recursion_limit": 500})
    assert answer["n"] == supersteps
    assert place.world.items() == before
    assert place.world.objects() == []


def test_a_stateless_run_that_fails_answers_its_error_and_leaves_nothing(place: Place) -> None:
    before = place.world.items()
    place.crews["echo"] = place.crews["failing"]
    _, answer = stateless(place, {"x": "1"})
    assert answer["__error__"]["message"] == "boom: 1"
    assert place.world.items() == before


def test_a_stateless_run_may_be_kept(place: Place) -> None:
    place.crews["echo"] = place.crews["steps"]
    run, answer = stateless(place, {"n": 0}, on_completion="keep")
    assert place.world.threads.get(TENANT, run.thread_id)["values"] == answer
    assert place.row(run).status == "success"


# ------------------------------------------------------------------ stopping, the clock, heartbeats


def test_an_execution_that_is_stopped_before_its_graph_begins_runs_no_node(place: Place) -> None:
    ran: list[str] = []
    place.serve(chain(a=noting(ran, "a")))
    started = place.start({"n": 0})

    async def drive() -> Any:
        execution = Execution(started.run, claimed(started), place.around)
        execution.stop(StaleOwner("lost"))
        return await execution.drive()

    with pytest.raises(StaleOwner):
        place.loop.submit(drive()).result(PATIENCE_S)
    assert ran == []


def test_a_run_whose_client_has_left_ends_without_a_heartbeat(place: Place) -> None:
    begun = threading.Event()

    async def forever(state: Counting) -> dict[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    place.serve(chain(a=forever))
    started, executor = place.start({"n": 0}), place.executor
    future = executor.execute(started.run, claimed(started))
    assert begun.wait(PATIENCE_S)
    executor.stop("another")
    place.world.cancellations.cancel(TENANT, place.thread, started.run.run_id)
    executor.stop(started.run.run_id)
    future.result(PATIENCE_S)
    assert place.row(started.run).status == "interrupted"
    executor.stop(started.run.run_id)


def test_an_execution_that_is_stopped_during_a_node_ends_at_once(place: Place) -> None:
    begun = threading.Event()

    async def forever(state: Counting) -> dict[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    place.serve(chain(a=forever))
    caught: list[Any] = []

    def register(execution: Any) -> Callable[[], None]:
        caught.append(execution)
        return lambda: None

    place.heartbeats.register = register  # type: ignore[method-assign]
    for reason in (StaleOwner("lost"), "interrupt"):
        begun.clear()
        started = place.start({"n": 0})
        future: Future[Any] = place.executor.execute(started.run, claimed(started))
        assert begun.wait(PATIENCE_S)
        caught[-1].stop(reason)
        if isinstance(reason, str):
            future.result(PATIENCE_S)
            assert place.row(started.run).status == "interrupted"
        else:
            with pytest.raises(StaleOwner):
                future.result(PATIENCE_S)
            place.world.endings.finish(
                claimed(started), Outcome(status="interrupted", thread_status="interrupted"), []
            )


def test_ids_go_up_past_a_head_from_a_machine_whose_clock_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(langgraph_ids, "_last_v6_timestamp", None)
    ahead = str(langgraph_ids.uuid6())
    ahead = str(UUID(int=UUID(ahead).int + (1 << 100)))  # years ahead
    assert str(langgraph_ids.uuid6()) < ahead
    move_clock_past(ahead)
    first, second = str(langgraph_ids.uuid6()), str(langgraph_ids.uuid6())
    assert ahead < first < second
    move_clock_past("1ef00000-0000-6000-8000-000000000000")
    move_clock_past(None)
    assert str(langgraph_ids.uuid6()) > second


def test_a_run_after_one_on_a_machine_whose_clock_is_ahead_is_the_newest(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(langgraph_ids, "_last_v6_timestamp", None)
    place.run({"n": 0}, crew="steps")
    ahead = langgraph_ids.UUID(hex=place.last().head or "").time + 10**10
    monkeypatch.setattr(langgraph_ids, "_last_v6_timestamp", ahead)
    place.run({"n": 10}, crew="steps")
    monkeypatch.setattr(langgraph_ids, "_last_v6_timestamp", None)
    place.run({"n": 20}, crew="steps")
    assert place.thread_row()["values"]["n"] == 23
    ids = [state["checkpoint_id"] for state in place.history(limit=100)]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 15


class Beaten:
    """What a heartbeat sees of an execution."""

    def __init__(self, started: Admitted) -> None:
        self.claim = claimed(started)
        self.stopped: list[Any] = []
        self.followed = 0

    def watched(self) -> None:
        self.followed += 1

    def stop(self, reason: Any) -> None:
        self.stopped.append(reason)


@pytest.fixture
def beaten(place: Place) -> Iterator[tuple[Heartbeats, Beaten]]:
    beats = Heartbeats(place.world.leases, place.clock, Logger(service="test"))
    beats._thread = threading.Thread()  # it never starts: the test beats
    one = Beaten(place.start({"n": 0}))
    forget = beats.register(one)
    yield beats, one
    forget()
    assert beats._pulses == {}


def beat(beats: Heartbeats) -> None:
    for pulse in list(beats._pulses.values()):
        beats._renew(pulse)


def test_a_claim_is_renewed_once_its_last_write_is_five_seconds_old(
    place: Place, beaten: tuple[Heartbeats, Beaten]
) -> None:
    beats, one = beaten
    for passed, until in ((4_999, 0), (1, 5_000), (4_999, 5_000), (1, 10_000)):
        place.clock.pass_(passed)
        beat(beats)
        assert place.world.lease(place.thread)["until"] == one.claim.lease.until + until
    assert one.stopped == []


def test_a_process_without_a_run_has_no_heartbeat(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "HEARTBEAT_MS", 50)
    beats = Heartbeats(place.world.leases, place.clock, Logger(service="test"))
    execution, threads = Beaten(place.start({"n": 0})), []
    for _ in range(2):
        forget = beats.register(execution)
        beating = beats._thread
        assert beating is not None
        threads.append(beating)
        forget()
        beating.join(10)
        assert not beating.is_alive()
    assert threads[0] is not threads[1]


def test_a_commit_counts_as_a_heartbeat(place: Place, beaten: tuple[Heartbeats, Beaten]) -> None:
    beats, one = beaten
    place.clock.pass_(4_000)
    one.claim = place.world.leases.commit(one.claim, [sealed(1)])
    place.clock.pass_(4_000)
    with Calls(place.world.cloud.dynamodb, "UpdateItem") as calls:
        beat(beats)
    assert calls.requests == []


def test_a_lost_claim_stops_its_execution(place: Place, beaten: tuple[Heartbeats, Beaten]) -> None:
    beats, one = beaten
    place.world.table.write(Update(key=keys.lease(TENANT, place.thread), set={"owner": "another"}))
    place.clock.pass_(5_000)
    beat(beats)
    assert [type(reason) for reason in one.stopped] == [StaleOwner]


def test_a_cancel_reaches_the_execution_with_its_heartbeat(
    place: Place, beaten: tuple[Heartbeats, Beaten]
) -> None:
    beats, one = beaten
    place.world.table.write(Update(key=keys.lease(TENANT, place.thread), set={"cancel": "rollback"}))
    place.clock.pass_(5_000)
    beat(beats)
    assert one.stopped == ["rollback"]


def test_an_execution_that_cannot_be_stopped_does_not_end_the_heartbeats_of_the_others(
    place: Place, beaten: tuple[Heartbeats, Beaten], monkeypatch: pytest.MonkeyPatch
) -> None:
    beats, one = beaten

    def closed(reason: Any) -> None:
        raise RuntimeError("Event loop is closed")

    monkeypatch.setattr(one, "stop", closed)
    place.world.table.write(Update(key=keys.lease(TENANT, place.thread), set={"owner": "another"}))
    place.clock.pass_(5_000)
    waits = iter((lambda: None, beats._pulses.clear))
    monkeypatch.setattr(heartbeats, "time", SimpleNamespace(sleep=lambda _seconds: next(waits)()))
    beats._beat()
    assert next(waits, None) is None


def test_a_heartbeat_that_is_not_answered_is_tried_again(
    place: Place, beaten: tuple[Heartbeats, Beaten]
) -> None:
    beats, one = beaten
    place.clock.pass_(5_000)
    with Calls(place.world.cloud.dynamodb, "UpdateItem") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://db")]
        beat(beats)
        beat(beats)
    assert len(calls.requests) == 2
    assert one.stopped == []


def test_a_crew_loop_runs_work_from_any_thread_and_ends(place: Place) -> None:
    own = CrewLoop()

    async def where() -> str:
        return threading.current_thread().name

    assert own.submit(where()).result(PATIENCE_S) == "crews"
    pending = own.submit(asyncio.Event().wait())
    own.close()
    own.close()
    assert pending.cancelled()


def test_a_command_and_a_claim_are_what_they_say(place: Place) -> None:
    assert inputs.given_input({"command": {"resume": None}}) == Command(resume=None)
    assert inputs.given_input({"command": None, "input": {"n": 1}}) == {"n": 1}
    started = place.start({"n": 0})
    assert replace(claimed(started), owner="x").owner == "x"


# ------------------------------------------------------------------ the functional API


def test_what_an_entrypoint_returns_is_its_answer_its_state_and_its_values(place: Place) -> None:
    @task
    def doubled(number: int) -> int:
        return 2 * number

    @entrypoint()
    def workflow(given: dict[str, int]) -> dict[str, int]:
        return {"n": doubled(given["n"]).result()}

    place.serve(workflow)
    assert place.run({"n": 4}) == {"n": 8}
    assert place.state()["values"] == {"n": 8}
    assert place.thread_row()["values"] == {"n": 8}
    assert place.world.runs.outcome(TENANT, place.last()) == {"n": 8}
