"""Runs that outlive an invocation: where they stop, what they keep, how they go on."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import orjson
import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from typing_extensions import TypedDict

from crewline.engine.crews import Graph
from crewline.engine.executor import Executor
from crewline.engine.slices import ENDING_S
from crewline.models.events import START as FIRST
from crewline.models.leases import Claim, Continues
from crewline.models.runs import Run, RunCreate, Usage
from crewline.services.events import Events
from crewline.services.runs import Admitted
from crewline.store import leases
from tests.unit.engine.places import PATIENCE_S, Counting, Place, chain
from tests.unit.store.worlds import TENANT, claimed

SLICE_S = 300.0
MOMENT_S = 1.0
"""What a node gets in real seconds that is to be given up: it waits for ever."""


class Sliced:
    """A place whose invocations have little time, by a clock that only the nodes move."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.now = 0.0
        self.ran: list[str] = []
        self.slices = 0

    def node(self, name: str, *, takes: float = 100.0) -> Callable[[Counting], dict[str, Any]]:
        """A node that takes some time and notes that it ran, outside of the state."""

        def run(state: Counting) -> dict[str, Any]:
            self.now += takes
            self.ran.append(name)
            return {"n": state.get("n", 0) + 1, "log": [name]}

        return run

    def slice(self, started: Admitted, *, lasts: float = SLICE_S) -> Any:
        """Execute one slice of a claimed run in a process of its own."""
        self.slices += 1
        around = replace(self.place.around, monotonic=lambda: self.now)
        executor = Executor(around, self.place.loop)
        ends = self.now + lasts + ENDING_S
        return executor.execute(started.run, claimed(started), ends=ends).result(PATIENCE_S)

    def go_on(self, started: Admitted) -> Admitted:
        """Claim the run for another slice, as the worker does."""
        claim = self.place.world.leases.claim(TENANT, self.place.thread, started.run.run_id, execution=1)
        assert isinstance(claim, Claim)
        return Admitted(run=self.place.row(started.run), claim=claim)

    def finish(self, started: Admitted) -> Any:
        """Execute slices until the run has ended."""
        answer = self.slice(started)
        while isinstance(answer, Continues):
            assert self.slices < 50
            started = self.go_on(started)
            answer = self.slice(started)
        return answer

    def lease(self) -> Any:
        return leases.from_item(self.place.world.lease(self.place.thread))

    def told(self, run: Run) -> list[tuple[str, bytes | None]]:
        """What the log tells from the first event on."""
        world = self.place.world
        events = Events(world.table, world.blobs, world.records, self.place.clock)
        frames, position, found = [], FIRST, None
        while found is None or found:
            found = events.after(TENANT, run.thread_id, run.run_id, position, ended=True)
            frames += found
            position = frames[-1].position
        return [(frame.mode, frame.data) for frame in frames]


@pytest.fixture
def sliced(place: Place) -> Sliced:
    return Sliced(place)


def ten(sliced: Sliced, **takes: float) -> Graph:
    return chain(**{f"n{number}": sliced.node(f"n{number}", **takes) for number in range(10)})


NAMES = [f"n{number}" for number in range(10)]


def test_a_run_goes_on_slice_after_slice_and_each_node_runs_once(place: Place, sliced: Sliced) -> None:
    place.serve(ten(sliced))
    started = place.start({}, stream_mode=["updates"])
    assert sliced.finish(started) == {"n": 10, "log": NAMES}
    assert sliced.ran == NAMES
    assert sliced.slices >= 4
    run = place.row(started.run)
    assert (run.status, place.thread_row()["status"]) == ("success", "idle")
    assert sliced.lease().free
    assert list(place.world.executions.started) == [f"{run.run_id}-1"]
    ended = [line for line in place.world.metrics() if "Slices" in line]
    assert ended == [{"service": "test", "Crew": "echo", "Slices": 1}] * (sliced.slices - 1)


def test_a_stream_follows_across_slices_without_a_gap(place: Place, sliced: Sliced) -> None:
    place.serve(ten(sliced))
    started = place.start({}, stream_mode=["updates"])
    sliced.finish(started)
    told = sliced.told(started.run)
    assert [list(_json(data)) for mode, data in told if mode == "updates"] == [[name] for name in NAMES]
    assert {_json(data)["attempt"] for mode, data in told if mode == "metadata"} == {1}
    assert [mode for mode, _ in told].count("end") == 1


def test_nothing_is_given_back_before_something_was_done(place: Place, sliced: Sliced) -> None:
    place.serve(ten(sliced, takes=SLICE_S))
    started = place.start({})
    sliced.finish(started)
    assert sliced.ran == NAMES
    assert sliced.slices == 10


def test_the_margin_is_as_long_as_the_longest_node_may_be_next_time(place: Place, sliced: Sliced) -> None:
    names = ("long", "short", "last")
    takes = {"long": 80.0, "short": 95.0, "last": 20.0}
    place.serve(chain(**{name: sliced.node(name, takes=takes[name]) for name in names}))
    answer = sliced.slice(place.start({}))
    # After 175 of 300 seconds, another node of 95 may take 142: it would not fit.
    assert isinstance(answer, Continues)
    assert sliced.ran == ["long", "short"]
    assert answer.claim.lease.longest == 95_000


def test_one_long_node_makes_no_slice_shorter_than_half(place: Place, sliced: Sliced) -> None:
    names = ("a", "b", "c", "d", "e")
    place.serve(
        chain(long=sliced.node("long", takes=290), **{name: sliced.node(name, takes=40) for name in names})
    )
    started = place.start({})
    sliced.finish(started)
    assert sliced.ran == ["long", *names]
    assert sliced.slices == 3  # long; a to d, as the fourth ends after 160 of 300 seconds; e


def test_a_subgraph_goes_on_where_it_stopped(place: Place, sliced: Sliced) -> None:
    inner = chain(**{name: sliced.node(name) for name in ("a", "b", "c", "d", "e")})
    place.serve(_around(inner, sliced.node("after")))
    started = place.start({})
    answer = sliced.finish(started)
    assert sliced.ran == ["a", "b", "c", "d", "e", "after"]
    assert sliced.slices > 1
    assert answer["n"] == 6


def test_a_graph_that_a_tool_calls_goes_on_where_it_stopped(place: Place, sliced: Sliced) -> None:
    late = _endless_once(sliced.node("late"))
    inner = chain(quick=sliced.node("quick", takes=0), late=late)

    @tool
    async def research() -> list[str]:
        """Look for something."""
        return list((await inner.ainvoke({}))["log"])

    async def tools(state: Counting) -> dict[str, Any]:
        return {"log": await research.ainvoke({})}

    place.serve(chain(tools=tools))
    started = place.start({})
    assert isinstance(sliced.slice(started, lasts=MOMENT_S), Continues)
    assert sliced.finish(sliced.go_on(started))["log"] == ["quick", "late"]
    assert sliced.ran == ["quick", "late"]


def _as_task(name: str, node: Any) -> Any:
    decorate: Any = task(name=name)
    return decorate(node)


def test_a_workflow_goes_on_at_the_task_that_was_given_up(place: Place, sliced: Sliced) -> None:
    quick = _as_task("quick", sliced.node("quick", takes=0))
    slow = _as_task("slow", _endless_once(sliced.node("late")))

    @entrypoint()
    async def flow(given: Counting) -> None:
        await quick(given)
        await slow(given)

    place.serve(flow)
    started = place.start({})
    assert isinstance(sliced.slice(started, lasts=MOMENT_S), Continues)
    sliced.finish(sliced.go_on(started))
    assert sliced.ran == ["quick", "late"]
    assert place.row(started.run).status == "success"


def test_a_task_that_had_a_whole_slice_is_the_runs_error(place: Place, sliced: Sliced) -> None:
    endless = _as_task("endless", _for_ever)

    @entrypoint()
    async def flow(given: Counting) -> None:
        await endless(given)

    place.serve(flow)
    answer = sliced.slice(place.start({}), lasts=MOMENT_S)
    assert answer["__error__"]["error"] == "NodeTimeout"
    assert "Node endless " in answer["__error__"]["message"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability_goes_on(place: Place, sliced: Sliced, durability: str) -> None:
    place.serve(ten(sliced))
    started = place.start({}, durability=durability)
    assert sliced.finish(started)["log"] == NAMES
    assert sliced.ran == NAMES


def test_a_question_ends_a_run_of_several_slices(place: Place, sliced: Sliced) -> None:
    def ask(state: Counting) -> dict[str, Any]:
        return {"log": [interrupt("go on?")]}

    names = ("a", "b", "c", "d")
    place.serve(chain(**{name: sliced.node(name) for name in names}, ask=ask))
    answer = sliced.finish(place.start({}))
    assert answer["__interrupt__"][0]["value"] == "go on?"
    assert place.thread_row()["status"] == "interrupted"
    resumed = place.start(None, command={"resume": "yes"})
    assert sliced.finish(resumed)["log"] == [*names, "yes"]
    assert sliced.ran == list(names)


def test_usage_that_only_messages_tell_counts_over_slices(place: Place, sliced: Sliced) -> None:
    def answering(number: int) -> Any:
        used: Any = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}

        def node(state: MessagesState) -> dict[str, Any]:
            sliced.now += 100.0
            return {"messages": [AIMessage("hi", id=str(number), usage_metadata=used)]}

        return node

    graph = StateGraph(MessagesState)
    graph.add_sequence([(str(number), answering(number)) for number in range(5)])
    graph.add_edge(START, "0")
    place.serve(graph.compile())
    started = place.start({"messages": []})
    sliced.finish(started)
    assert sliced.slices > 2
    assert place.row(started.run).usage == Usage(input_tokens=10, output_tokens=5)


def test_the_recursion_limit_counts_over_slices(place: Place, sliced: Sliced) -> None:
    place.serve(ten(sliced))
    started = place.start({}, config={"recursion_limit": 6})
    answer = sliced.finish(started)
    assert answer["__error__"]["error"] == "GraphRecursionError"
    assert sliced.ran == NAMES[:6]


def test_a_subgraph_has_the_whole_recursion_limit_in_every_slice(place: Place, sliced: Sliced) -> None:
    inner = chain(**{name: sliced.node(name) for name in ("v", "w", "x", "y", "z")})
    outer = StateGraph(Counting)
    before = START
    for name in ("a", "b", "c", "inner"):
        node: Any = inner if name == "inner" else sliced.node(name)
        outer.add_node(name, node)
        outer.add_edge(before, name)
        before = name
    place.serve(outer.compile())
    answer = sliced.finish(place.start({}, config={"recursion_limit": 7}))
    assert sliced.slices > 2
    assert sliced.ran == ["a", "b", "c", "v", "w", "x", "y", "z"]
    assert answer["n"] == 8


# ------------------------------------------------------------------ stopped meanwhile


def test_a_cancel_between_two_slices_ends_the_run(place: Place, sliced: Sliced) -> None:
    place.serve(ten(sliced))
    started = place.start({})
    assert isinstance(sliced.slice(started), Continues)
    done = list(sliced.ran)
    place.world.cancellations.cancel(TENANT, place.thread, started.run.run_id)
    if not sliced.lease().free:
        sliced.slice(sliced.go_on(started))
    assert sliced.ran == done
    assert place.row(started.run).status == "interrupted"
    assert place.state()["values"]["log"] == done


def test_a_rollback_between_two_slices_leaves_nothing(place: Place, sliced: Sliced) -> None:
    place.serve(ten(sliced))
    before = place.thread_row()["values"]
    started = place.start({})
    assert isinstance(sliced.slice(started), Continues)
    place.world.cancellations.cancel(TENANT, place.thread, started.run.run_id, "rollback")
    if not sliced.lease().free:
        sliced.slice(sliced.go_on(started))
    assert place.thread_row()["values"] == before
    assert sliced.lease().head is None


@pytest.mark.parametrize("strategy", ["enqueue", "interrupt", "rollback"])
def test_a_run_that_comes_between_two_slices_does_what_it_would_have_done(
    place: Place, sliced: Sliced, strategy: str
) -> None:
    place.serve(ten(sliced))
    first = place.start({})
    assert isinstance(sliced.slice(first), Continues)
    begun = list(sliced.ran)
    second = place.world.runs.create(
        TENANT,
        place.thread,
        RunCreate.model_validate({"assistant_id": "echo", "input": {}, "multitask_strategy": strategy}),
    )
    sliced.ran.clear()
    while sliced.lease().run == first.run.run_id:
        sliced.slice(sliced.go_on(first))
    assert sliced.ran == ([name for name in NAMES if name not in begun] if strategy == "enqueue" else [])
    claim = place.world.leases.claim(TENANT, place.thread, second.run_id)
    assert isinstance(claim, Claim)
    assert claim.lease.channel == "queue"
    sliced.finish(Admitted(run=place.row(second), claim=claim))
    log = place.state()["values"]["log"]
    earlier = {"enqueue": NAMES, "interrupt": begun, "rollback": []}
    assert log == [*earlier[strategy], *NAMES]
    assert place.row(second).status == "success"


def test_a_cancel_while_a_slice_ends_is_seen_at_its_last_write(place: Place, sliced: Sliced) -> None:
    started = place.start({})

    def cancelling(state: Counting) -> dict[str, Any]:
        sliced.now += SLICE_S
        sliced.ran.append("cancelling")
        place.world.cancellations.cancel(TENANT, place.thread, started.run.run_id)
        return {"log": ["cancelling"]}

    place.serve(chain(cancelling=cancelling, after=sliced.node("after")))
    sliced.slice(started)
    assert sliced.ran == ["cancelling"]
    assert place.row(started.run).status == "interrupted"
    assert place.thread_row()["status"] == "interrupted"  # a node was next
    assert sliced.lease().free


# ------------------------------------------------------------------ out of time


async def _for_ever(state: Any) -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


def test_a_node_that_had_a_whole_slice_is_the_runs_error(place: Place, sliced: Sliced) -> None:
    place.serve(chain(endless=_for_ever))
    started = place.start({})
    answer = sliced.slice(started, lasts=MOMENT_S)
    assert answer["__error__"]["error"] == "NodeTimeout"
    assert "endless" in answer["__error__"]["message"]
    assert "1 seconds" in answer["__error__"]["message"]
    assert place.row(started.run).status == "error"
    assert sliced.lease().free


def _endless_once(node: Callable[[Counting], dict[str, Any]]) -> Callable[[Counting], Any]:
    """A node that has to be given up the first time."""
    tries = iter([_for_ever])

    async def run(state: Counting) -> dict[str, Any]:
        if endless := next(tries, None):
            await endless(state)
        return node(state)

    return run


def test_a_node_that_began_late_begins_anew_in_the_next_slice(place: Place, sliced: Sliced) -> None:
    late = _endless_once(sliced.node("late"))
    place.serve(chain(first=sliced.node("first", takes=0), late=late))
    started = place.start({})
    answer = sliced.slice(started, lasts=MOMENT_S)
    assert isinstance(answer, Continues)
    assert sliced.finish(sliced.go_on(started))["log"] == ["first", "late"]
    assert sliced.ran == ["first", "late"]


def _around(inner: Graph, after: Any) -> Graph:
    outer = StateGraph(Counting)
    outer.add_node("inner", inner)
    outer.add_node("after", after)
    outer.add_edge(START, "inner")
    outer.add_edge("inner", "after")
    return outer.compile()


@pytest.mark.parametrize("forking", [False, True])
def test_a_run_whose_slices_leave_nothing_ends_as_an_error(
    place: Place, sliced: Sliced, *, forking: bool
) -> None:
    inner = chain(**{name: sliced.node(name) for name in "abcde"})
    inner.checkpointer = False
    place.serve(_around(inner, sliced.node("after")))
    body: dict[str, Any] = {}
    if forking:
        place.run({})
        (origin,) = (state for state in place.history() if state["next"] == ["inner"])
        body = {"checkpoint_id": origin["checkpoint"]["checkpoint_id"]}
    sliced.ran.clear()
    started = place.start(None if forking else {}, **body)
    answer = sliced.finish(started)
    assert answer["__error__"]["error"] == "NodeTimeout"
    assert "inner" in answer["__error__"]["message"]
    assert "300 seconds" in answer["__error__"]["message"]
    assert sliced.ran == ["a", "b", "a", "b"]
    assert place.row(started.run).status == "error"
    assert sliced.lease().free


def test_a_graph_without_a_checkpointer_that_asks_to_drain_does_so_for_nothing(
    place: Place, sliced: Sliced
) -> None:
    inner = chain(a=_draining, b=sliced.node("b"))
    inner.checkpointer = False
    place.serve(_around(inner, sliced.node("after")))
    assert sliced.finish(place.start({}))["__error__"]["error"] == "NodeTimeout"
    assert sliced.slices == 2


class Merging(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def test_what_ran_beside_a_node_that_was_given_up_is_kept(place: Place, sliced: Sliced) -> None:
    tries = iter([_for_ever])

    async def slow(state: Merging) -> dict[str, Any]:
        if endless := next(tries, None):
            await endless(state)
        sliced.ran.append("slow")
        return {"log": ["slow"]}

    def noting(name: str) -> Any:
        def node(state: Merging) -> dict[str, Any]:
            sliced.ran.append(name)
            return {"log": [name]}

        return node

    graph = StateGraph(Merging)
    graph.add_node("begin", noting("begin"))
    graph.add_node("quick", noting("quick"))
    graph.add_node("slow", slow)
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "quick")
    graph.add_edge("begin", "slow")
    place.serve(graph.compile())
    started = place.start({})
    assert isinstance(sliced.slice(started, lasts=MOMENT_S), Continues)
    assert sliced.finish(sliced.go_on(started))["log"] == ["begin", "quick", "slow"]
    assert sliced.ran == ["begin", "quick", "slow"]


def test_a_crew_may_end_its_slice_by_itself(place: Place, sliced: Sliced) -> None:
    place.serve(chain(a=_draining, b=sliced.node("b")))
    started = place.start({})
    assert isinstance(sliced.slice(started), Continues)
    assert sliced.finish(sliced.go_on(started))["log"] == ["draining", "b"]


def test_a_stateless_run_in_its_request_that_drains_is_an_error(place: Place, sliced: Sliced) -> None:
    place.serve(chain(a=_draining, b=sliced.node("b")))
    started = place.world.runs.start_stateless(
        TENANT, RunCreate.model_validate({"assistant_id": "echo", "input": {}})
    )
    assert sliced.slice(started)["__error__"]["error"] == "GraphDrained"


def _draining(state: Counting, runtime: Runtime[None]) -> dict[str, Any]:
    assert runtime.control
    runtime.control.request_drain()
    return {"log": ["draining"]}


def test_a_stateless_run_in_its_request_has_no_other_slice(place: Place, sliced: Sliced) -> None:
    place.serve(chain(endless=_for_ever))
    body = {"assistant_id": "echo", "input": {}}
    started = place.world.runs.start_stateless(TENANT, RunCreate.model_validate(body))
    answer = sliced.slice(started, lasts=MOMENT_S)
    assert answer["__error__"]["error"] == "RunTimeout"
    assert "background" in answer["__error__"]["message"]


def _json(data: bytes | None) -> Any:
    return orjson.loads(data or b"null")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.endings.time.sleep", lambda _seconds: None)
