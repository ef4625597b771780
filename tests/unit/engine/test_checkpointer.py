"""The checkpointer against LangGraph's own in-memory saver: the same graphs leave the same state."""

from __future__ import annotations

import asyncio
import copy
import operator
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, Send, StateSnapshot, interrupt
from typing_extensions import TypedDict

from crewline.checkpoints.records import Sealed
from crewline.engine.checkpointer import DynamoDBCheckpointer, Storage
from crewline.engine.crews import Graph
from crewline.engine.inputs import with_checkpointer
from crewline.engine.journals import Journal
from crewline.errors import StaleOwner
from crewline.models.leases import Claim, Lease
from crewline.models.runs import RunCreate
from crewline.models.threads import ThreadCreate
from crewline.services.endings import Outcome
from crewline.store import leases
from tests.unit.store.worlds import TENANT, World, claimed, uuid6

SERIALIZER = JsonPlusSerializer(allowed_msgpack_modules=None)
DURABILITIES = ["sync", "async", "exit"]
Turn = tuple[Any, dict[str, Any]]


# ------------------------------------------------------------------ graphs


class Counting(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def step(name: str) -> Any:
    return lambda state: {"n": state.get("n", 0) + 1, "log": [name]}


def counting() -> Graph:
    graph = StateGraph(Counting)
    for before, name in ((START, "a"), ("a", "b"), ("b", "c")):
        graph.add_node(name, step(name))
        graph.add_edge(before, name)
    return graph.compile()


class Listing(TypedDict, total=False):
    items: list[str]
    answer: str
    seen: Annotated[list[int], operator.add]


def spoil(state: Listing) -> dict[str, Any]:
    state["items"].append("spoilt")
    return {"seen": [len(state["items"])]}


def spoil_after_asking(state: Listing) -> dict[str, Any]:
    answer = interrupt("go on?")
    state["items"].append("spoilt")
    return {"answer": answer}


def look(state: Listing) -> dict[str, Any]:
    return {"seen": [len(state["items"])]}


def listing(first: Any) -> Graph:
    graph = StateGraph(Listing)
    graph.add_node("first", first).add_node("look", look).add_node("again", look)
    graph.add_edge(START, "first").add_edge("first", "look").add_edge("look", "again")
    return graph.compile()


def asking_twice() -> Graph:
    def ask(state: Counting) -> dict[str, Any]:
        return {"log": [interrupt("first?"), interrupt("second?")]}

    graph = StateGraph(Counting).add_node("before", step("before")).add_node("ask", ask)
    return graph.add_edge(START, "before").add_edge("before", "ask").compile()


WIDE = [f"w{number}" for number in range(15)]


def wide() -> Graph:
    """Fifteen parallel tasks, then one that writes fifteen channels; the first time one of them fails."""
    tries: Counter[str] = Counter()
    others = asyncio.Event()

    def fan(state: Counting) -> list[Send]:
        return [Send("work", {"n": number}) for number in range(15)]

    async def work(state: Counting) -> dict[str, Any]:
        tries[str(state["n"])] += 1
        if len(tries) == 15:
            others.set()
        if state["n"] == 7 and tries["7"] == 1:
            await others.wait()
            for _ in range(20):  # until the others' writes are taken in
                await asyncio.sleep(0)
            raise ValueError("boom")
        assert tries[str(state["n"])] <= (2 if state["n"] == 7 else 1), "a finished task ran again"
        return {"log": [f"w{state['n']}"]}

    graph = StateGraph(Counting).add_node("work", work)
    return graph.add_conditional_edges(START, fan, ["work"]).compile()


def nested() -> Graph:
    def inner_ask(state: Counting) -> dict[str, Any]:
        return {"log": [f"inner {interrupt('inner?')}"], "n": state.get("n", 0) + 10}

    inner = StateGraph(Counting).add_node("x", step("x")).add_node("ask", inner_ask)
    inner.add_edge(START, "x").add_edge("x", "ask")
    outer = StateGraph(Counting).add_node("first", step("first")).add_node("inner", inner.compile())
    outer.add_node("last", step("last"))
    return outer.add_edge(START, "first").add_edge("first", "inner").add_edge("inner", "last").compile()


def chatting() -> Graph:
    def reply(state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", f"echo {len(state['messages'])}")]}

    return StateGraph(MessagesState).add_node("reply", reply).add_edge(START, "reply").compile()


# ------------------------------------------------------------------ harness


class Driver:
    """Executes turns on one thread under its lease, as an execution does."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.thread_id: str = world.threads.create(TENANT, ThreadCreate())["thread_id"]
        self.claim: Claim | None = None
        self.commits: list[Sequence[Sealed]] = []

    def lease(self) -> Lease:
        return self.claim.lease if self.claim else leases.from_item(self.world.lease(self.thread_id))

    @property
    def storage(self) -> Storage:
        world = self.world
        return Storage(
            records=world.records, checkpoints=world.checkpoints, leases=world.leases, clock=world.clock
        )

    def reader(self) -> DynamoDBCheckpointer:
        return DynamoDBCheckpointer.over(self.storage, TENANT, serde=SERIALIZER, lease=lambda _: self.lease())

    def _commit(self, entries: Sequence[Sealed]) -> None:
        assert self.claim is not None
        self.commits.append(entries)
        self.claim = self.world.leases.commit(self.claim, entries)

    def begin(self) -> tuple[DynamoDBCheckpointer, Journal]:
        self.claim = claimed(self.world.runs.start(TENANT, self.thread_id, RunCreate(assistant_id="echo")))
        journal = Journal(self._commit, on_failure=lambda: None)
        checkpointer = DynamoDBCheckpointer.over(
            self.storage, TENANT, serde=SERIALIZER, lease=lambda _: self.lease(), journal=journal
        )
        return checkpointer, journal

    async def turn(self, graph: Graph, given: Any, **options: Any) -> Any:
        checkpointer, journal = self.begin()
        try:
            return await invoke(graph, checkpointer, self.thread_id, given, **options)
        finally:
            entries = await journal.close()  # moves the claim: a write may be under way
            assert self.claim is not None
            self.world.endings.finish(self.claim, Outcome(status="success", thread_status="idle"), entries)
            self.claim = None


async def invoke(
    graph: Graph,
    saver: BaseCheckpointSaver[Any],
    thread_id: str,
    given: Any,
    *,
    at: str | None = None,
    **options: Any,
) -> Any:
    configurable = {"thread_id": thread_id, "checkpoint_ns": "", **({"checkpoint_id": at} if at else {})}
    try:
        result = await with_checkpointer(graph, saver).ainvoke(
            copy.deepcopy(given), {"configurable": configurable}, **options
        )
    except ValueError as exc:
        return repr(exc)
    if "__interrupt__" in result:  # ids differ from run to run
        result["__interrupt__"] = [one.value for one in result["__interrupt__"]]
    return result


@pytest.fixture
def driver(world: World) -> Driver:
    return Driver(world)


async def states(
    graph: Graph, saver: BaseCheckpointSaver[Any], thread_id: str, namespace: str = ""
) -> list[StateSnapshot]:
    config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace}}
    return [state async for state in with_checkpointer(graph, saver).aget_state_history(config)]


def parent_id(state: StateSnapshot) -> str | None:
    return state.parent_config["configurable"]["checkpoint_id"] if state.parent_config else None


def metadata(state: StateSnapshot) -> dict[str, Any]:
    return {**state.metadata} if state.metadata else {}


def shown(history: list[StateSnapshot]) -> list[Any]:
    """A history without what differs from run to run: ids and times."""
    places: dict[str | None, int | None] = {None: None}
    places |= {state.config["configurable"]["checkpoint_id"]: place for place, state in enumerate(history)}
    return [
        {
            "values": state.values,
            "next": state.next,
            "metadata": {name: metadata(state).get(name) for name in ("source", "step")},
            "parent": places.get(parent_id(state), "elsewhere"),
            "tasks": [
                (
                    task.name,
                    task.error and repr(task.error),
                    [one.value for one in task.interrupts],
                    task.result,
                )
                for task in state.tasks
            ],
        }
        for state in history
    ]


def writes(saver: BaseCheckpointSaver[Any], thread_id: str, namespace: str = "") -> Any:
    """The pending writes of the newest checkpoint, task by task, without the tasks' ids."""
    found = saver.get_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace}})
    assert found is not None
    by_task: dict[str, list[Any]] = {}
    for task, channel, value in found.pending_writes or ():
        by_task.setdefault(task, []).append(
            (
                channel,
                getattr(value, "value", value)
                if not isinstance(value, (list, tuple))
                else [getattr(one, "value", one) for one in value],
            )
        )
    return sorted(by_task.values(), key=repr)


async def compare(
    driver: Driver, make: Callable[[], Graph], turns: list[Turn]
) -> tuple[Any, list[StateSnapshot]]:
    """Take the same turns here and with the in-memory saver, and compare everything that can be read."""
    ours, theirs, memory = make(), make(), InMemorySaver(serde=SERIALIZER)
    result: Any = None
    for given, options in turns:
        result = await driver.turn(ours, given, **options)
        assert result == await invoke(theirs, memory, "t", given, **options)
        history = await states(ours, driver.reader(), driver.thread_id)
        assert shown(history) == shown(await states(theirs, memory, "t"))
        assert writes(driver.reader(), driver.thread_id) == writes(memory, "t")
    return result, history


# ------------------------------------------------------------------ the same as in memory


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_chain_of_nodes_leaves_the_same_history(driver: Driver, durability: str) -> None:
    options = {"durability": durability}
    result, history = await compare(driver, counting, [({"n": 0}, options), ({"n": 5}, options)])
    assert (result["n"], result["log"]) == (8, ["a", "b", "c"] * 2)
    assert len(history) == (2 if durability == "exit" else 10)


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_messages_add_up_over_turns(driver: Driver, durability: str) -> None:
    turns: list[Turn] = [
        (
            {"messages": [{"role": "user", "content": f"turn {number}", "id": f"u{number}"}]},
            {"durability": durability},
        )
        for number in range(4)
    ]
    ours = chatting()
    for given, options in turns:
        result = await driver.turn(ours, given, **options)
    assert [message.content for message in result["messages"]][-2:] == ["turn 3", "echo 7"]
    state = await with_checkpointer(ours, driver.reader()).aget_state(
        {"configurable": {"thread_id": driver.thread_id}}
    )
    assert state.values == result


async def test_an_input_that_a_node_changes_in_place_is_stored_as_it_was(driver: Driver) -> None:
    await compare(driver, lambda: listing(spoil), [({"items": ["one"]}, {}), ({"items": ["two"]}, {})])


async def test_a_state_that_a_resumed_node_changes_in_place_is_stored_as_it_was(driver: Driver) -> None:
    await compare(
        driver, lambda: listing(spoil_after_asking), [({"items": ["one"]}, {}), (Command(resume="yes"), {})]
    )


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_node_that_asks_twice_is_answered_twice(driver: Driver, durability: str) -> None:
    options = {"durability": durability}
    turns: list[Turn] = [({"n": 0}, options), (Command(resume="1"), options), (Command(resume="2"), options)]
    result, _ = await compare(driver, asking_twice, turns)
    assert result["log"] == ["before", "1", "2"]


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_node_that_failed_runs_again_and_its_finished_neighbours_do_not(
    driver: Driver, durability: str
) -> None:
    options = {"durability": durability}
    result, _ = await compare(driver, wide, [({"n": 0}, options), (None, options)])
    assert result["log"] == WIDE


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_subgraph_keeps_its_checkpoints_in_a_namespace_of_its_own(
    driver: Driver, durability: str
) -> None:
    options = {"durability": durability}
    result, history = await compare(driver, nested, [({"n": 0}, options), (Command(resume="yes"), options)])
    assert result == {"n": 13, "log": ["first", "first", "x", "inner yes", "last"]}
    assert len(history) == 5
    namespaces = Counter(
        sort.split("#")[1] for _, sort in driver.world.items() if sort.startswith("C#") and "#W#" not in sort
    )
    assert namespaces[""] == 5
    (inner,) = set(namespaces) - {""}
    assert inner.startswith("inner:")
    assert namespaces[inner] == 4


async def test_the_state_of_a_subgraph_is_read_with_its_parents(driver: Driver) -> None:
    graph = nested()
    await driver.turn(graph, {"n": 0})
    config: RunnableConfig = {"configurable": {"thread_id": driver.thread_id}}
    state = await with_checkpointer(graph, driver.reader()).aget_state(config, subgraphs=True)
    inner = state.tasks[0].state
    assert isinstance(inner, StateSnapshot)
    assert inner.values == {"n": 2, "log": ["first", "x"]}
    assert inner.next == ("ask",)


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_fork_from_an_older_checkpoint_goes_on_from_there(driver: Driver, durability: str) -> None:
    graph, memory = counting(), InMemorySaver(serde=SERIALIZER)
    await driver.turn(graph, {"n": 0}, durability=durability)
    await invoke(graph, memory, "t", {"n": 0}, durability=durability)
    ours, theirs = await states(graph, driver.reader(), driver.thread_id), await states(graph, memory, "t")
    for given in (None, {"n": 100}):
        places = [history[2].config["configurable"]["checkpoint_id"] for history in (ours, theirs)]
        result = await driver.turn(graph, given, at=places[0], durability=durability)
        assert result == await invoke(graph, memory, "t", given, at=places[1], durability=durability)
        after = await states(graph, driver.reader(), driver.thread_id)
        assert shown(after) == shown(await states(graph, memory, "t"))
    assert [state.values for state in after[-5:]] == [state.values for state in ours]
    newest = driver.reader().get_tuple({"configurable": {"thread_id": driver.thread_id}})
    assert newest is not None
    assert newest.config["configurable"]["checkpoint_id"] == driver.lease().head


async def test_a_fork_writes_nothing_into_the_records_it_starts_from(driver: Driver) -> None:
    graph = counting()
    await driver.turn(graph, {"n": 0})
    before = driver.world.items()
    history = await states(graph, driver.reader(), driver.thread_id)
    await driver.turn(graph, None, at=history[2].config["configurable"]["checkpoint_id"])
    after = driver.world.items()
    assert all(after[key] == item for key, item in before.items() if key[1].startswith("C#"))


# ------------------------------------------------------------------ what a saver must do besides


async def test_the_writes_of_a_task_come_back_in_the_order_of_their_numbers(driver: Driver) -> None:
    checkpointer, journal = driver.begin()
    checkpoint: Any = {
        "v": 4,
        "id": uuid6(1),
        "ts": "now",
        "channel_values": {},
        "channel_versions": {},
        "versions_seen": {},
        "updated_channels": None,
    }
    config: RunnableConfig = {"configurable": {"thread_id": driver.thread_id, "checkpoint_ns": ""}}
    stored = checkpointer.put(config, checkpoint, {"source": "loop", "step": 0, "parents": {}}, {})
    many = [(f"c{number}", number) for number in range(14)]
    checkpointer.put_writes(stored, many, "task-b", "~x")
    checkpointer.put_writes(stored, many[:2], "task-a", "~x")
    checkpointer.put_writes(stored, [("c0", "ignored")], "task-b", "~x")
    journal.flush("all")
    for reader in (checkpointer, driver.reader()):
        found = reader.get_tuple({"configurable": {"thread_id": driver.thread_id, "checkpoint_ns": ""}})
        assert found is not None
        assert found.pending_writes == [("task-a", *one) for one in many[:2]] + [
            ("task-b", *one) for one in many
        ]


async def test_writes_on_a_checkpoint_of_an_earlier_run_are_read_back_before_they_are_stored(
    driver: Driver,
) -> None:
    await driver.turn(counting(), {"n": 0})
    checkpointer, journal = driver.begin()
    config: RunnableConfig = {"configurable": {"thread_id": driver.thread_id, "checkpoint_ns": ""}}
    head = checkpointer.get_tuple(config)
    assert head is not None
    checkpointer.put_writes(head.config, [("log", ["new"])], "task", "~x")
    for reading in (config, head.config):
        found = checkpointer.get_tuple(reading)
        assert found is not None
        assert found.pending_writes == [("task", "log", ["new"])]
    await journal.close()


async def test_a_thread_without_state_has_no_checkpoint(driver: Driver) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": driver.thread_id}}
    assert driver.reader().get_tuple(config) is None
    assert list(driver.reader().list(config)) == []
    at: RunnableConfig = {"configurable": {"thread_id": driver.thread_id, "checkpoint_id": uuid6(1)}}
    assert driver.reader().get_tuple(at) is None


async def listed(driver: Driver, **query: Any) -> list[int]:
    config: RunnableConfig = {"configurable": {"thread_id": driver.thread_id}}
    found: AsyncIterator[Any] = driver.reader().alist(config, **query)
    return [one.metadata["step"] async for one in found]


async def test_a_list_has_a_limit_a_filter_and_a_place_to_begin(driver: Driver) -> None:
    await driver.turn(counting(), {"n": 0})
    assert await listed(driver) == [3, 2, 1, 0, -1]
    assert await listed(driver, limit=2) == [3, 2]
    assert await listed(driver, limit=0) == []
    assert await listed(driver, filter={"step": 1}) == [1]
    assert await listed(driver, filter={"source": "loop"}, limit=3) == [3, 2, 1]
    assert await listed(driver, filter={"source": "nothing"}) == []
    middle = list(driver.reader().list({"configurable": {"thread_id": driver.thread_id}}))[1]
    assert await listed(driver, before=middle.config) == [1, 0, -1]
    only = driver.reader().list(middle.config)
    assert [one.config for one in only] == [middle.config]


async def test_metadata_holds_what_the_config_of_the_run_says(driver: Driver) -> None:
    checkpointer, journal = driver.begin()
    config: RunnableConfig = {
        "configurable": {"thread_id": driver.thread_id, "checkpoint_ns": "", "user": "ada", "__internal": 1},
        "metadata": {"run_id": "r"},
    }
    await with_checkpointer(counting(), checkpointer).ainvoke({"n": 0}, config)
    found = checkpointer.get_tuple(config)
    assert found is not None
    assert found.metadata["run_id"] == "r"
    assert "__internal" not in found.metadata
    await journal.close()


@pytest.mark.parametrize(("durability", "commits"), [("sync", 5), ("exit", 0)])
async def test_only_durability_sync_writes_at_every_superstep(
    driver: Driver, durability: str, commits: int
) -> None:
    await driver.turn(counting(), {"n": 0}, durability=durability)
    assert len(driver.commits) >= commits if commits else driver.commits == []


async def test_a_short_run_under_durability_async_is_one_write_at_its_end(driver: Driver) -> None:
    await driver.turn(chatting(), {"messages": [("user", "hi")]})
    assert driver.commits == []


async def test_a_stale_worker_fails_with_the_error_that_langgraph_looks_for(driver: Driver) -> None:
    checkpointer, journal = driver.begin()
    claim = driver.claim
    assert claim is not None
    driver.world.threads.delete(TENANT, driver.thread_id)
    config: RunnableConfig = {"configurable": {"thread_id": driver.thread_id, "checkpoint_ns": ""}}
    with pytest.raises(StaleOwner):
        await with_checkpointer(counting(), checkpointer).ainvoke({"n": 0}, config, durability="sync")
    with pytest.raises(StaleOwner):
        await journal.close()
    assert [sort for _, sort in driver.world.items() if sort.startswith("C#")] == []
