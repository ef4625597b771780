"""Large, many, deep, edited: what a thread may hold."""

from __future__ import annotations

import operator
import random
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from crewline.errors import TooLarge
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, plain

pytestmark = pytest.mark.thorough

KB, MB = 1_000, 1_000_000


class Box(TypedDict, total=False):
    value: Any
    total: Annotated[list[int], operator.add]


def noise(size: int) -> bytes:
    """Make bytes that do not compress."""
    return random.Random(size).randbytes(size)


def boxes(node: Any, saver: Any) -> Any:
    builder = StateGraph(Box)
    builder.add_node("node", node)
    builder.set_entry_point("node")
    return builder.compile(checkpointer=saver)


def keep(state: Box) -> Box:
    return {"total": [1]}


@pytest.mark.parametrize("size", [600 * KB, 30 * MB])
def test_a_large_value_comes_back(house: House, size: int) -> None:
    value = noise(size)
    boxes(keep, house.saver()).invoke({"value": value}, at("1"))

    again = boxes(keep, house.cold())

    assert again.get_state(at("1")).values["value"] == value
    assert again.invoke({"total": [1]}, at("1")) == {"value": value, "total": [1, 1, 1]}


@pytest.mark.parametrize("size", [600 * KB, 30 * MB])
async def test_a_large_value_that_a_node_writes_comes_back(house: House, size: int) -> None:
    value = noise(size)

    def make(state: Box) -> Box:
        return {"value": value}

    await boxes(make, house.saver()).ainvoke({}, at("1"), durability="sync")

    assert (await boxes(keep, house.cold()).aget_state(at("1"))).values["value"] == value


def test_a_large_interrupt_comes_back(house: House) -> None:
    question = noise(600 * KB)
    boxes(lambda _: {"value": interrupt(question)}, house.saver()).invoke({}, at("1"))

    [asked] = boxes(keep, house.cold()).get_state(at("1")).interrupts

    assert asked.value == question


def test_without_a_bucket_a_large_value_is_refused_and_the_checkpoint_before_stays(house: House) -> None:
    graph = boxes(keep, house.saver(bucket=None))
    graph.invoke({"value": "small"}, at("1"))
    before = [plain(one) for one in house.cold().list(at("1"))]

    with pytest.raises(TooLarge, match=r"thread 1 has 6\d\d,\d\d\d bytes.*bucket"):
        graph.invoke({"value": noise(600 * KB)}, at("1"))

    assert [plain(one) for one in house.cold().list(at("1"))] == before
    again = boxes(keep, house.saver(bucket=None))
    assert again.invoke({"value": "small again"}, at("1")) == {"value": "small again", "total": [1, 1]}


def test_values_close_below_the_item_limit_come_back_without_a_bucket(house: House) -> None:
    graph = boxes(keep, house.saver(bucket=None))
    for turn in range(30):
        graph.invoke({"value": noise(180 * KB + turn)}, at("1"))

    saver = house.saver(bucket=None)
    saver.copy_thread("1", "2")
    saver.prune(["1"])

    for thread_id in ("1", "2"):
        found = boxes(keep, house.saver(bucket=None)).get_state(at(thread_id)).values
        assert found == {"value": noise(180 * KB + 29), "total": [1] * 30}


# ------------------------------------------------------------------ lists of messages


def chat(node: Any, saver: Any) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.set_entry_point("node")
    return builder.compile(checkpointer=saver)


def answer(state: MessagesState) -> Any:
    return {"messages": [AIMessage("answer", id=f"answer-{len(state['messages'])}")]}


def test_five_thousand_messages_come_back_and_a_turn_stores_only_its_own(house: House) -> None:
    messages = [HumanMessage(f"message {number}", id=str(number)) for number in range(5_000)]
    chat(answer, house.saver()).invoke({"messages": messages}, at("1"))
    stored = len(house.items("1"))

    graph = chat(answer, house.cold())
    graph.invoke({"messages": [HumanMessage("one more", id="last")]}, at("1"))

    found = chat(answer, house.cold()).get_state(at("1")).values["messages"]
    assert found[:5_000] == messages
    assert [one.id for one in found[5_000:]] == ["answer-5000", "last", "answer-5002"]
    new = house.items("1")[stored:]
    assert sum(len(item["body"]["B"]) for item in new if "body" in item) < 2 * KB


def test_messages_edited_and_deleted_in_the_middle_come_back_so(house: House) -> None:
    memory, graph = chat(answer, InMemorySaver()), chat(answer, house.saver())
    for turn in range(12):
        for one in (memory, graph):
            one.invoke({"messages": [HumanMessage(f"question {turn}", id=f"question-{turn}")]}, at("1"))
    changes: list[Any] = [
        HumanMessage("edited", id="question-5"),
        RemoveMessage(id="question-3"),
        RemoveMessage(id="answer-1"),
        HumanMessage("edited twice", id="question-8"),
    ]
    for change in changes:
        for one in (memory, graph):
            one.invoke({"messages": [change]}, at("1"))

    theirs = [one.values for one in memory.get_state_history(at("1"))]
    ours = [one.values for one in chat(answer, house.cold()).get_state_history(at("1"))]
    assert ours == theirs


def test_a_node_that_changes_its_input_in_place_leaves_the_past_as_it_was(house: House) -> None:
    def spoil(state: MessagesState) -> Any:
        state["messages"][0].content = "spoilt"
        state["messages"].append(AIMessage("smuggled", id="smuggled"))
        return {"messages": [AIMessage("answer")]}

    def spoil_value(state: Box) -> Any:
        state["value"]["inner"].append("spoilt")
        return {"total": [len(state["value"]["inner"])]}

    def question() -> Any:
        return {"messages": [HumanMessage("question", id="1")]}

    def box() -> Any:
        return {"value": {"inner": ["as given"]}}

    cases: list[Any] = [(chat, spoil, question), (boxes, spoil_value, box)]
    for build, node, given in cases:
        thread_id = build.__name__
        histories = []
        for saver in (InMemorySaver(), house.saver()):
            graph = build(node, saver)
            for _ in range(
                2
            ):  # "sync": otherwise LangGraph itself may store an object after the node has had it
                graph.invoke(given(), at(thread_id), durability="sync")
            reader = build(node, saver if isinstance(saver, InMemorySaver) else house.cold())
            histories.append([_texts(one.values) for one in reader.get_state_history(at(thread_id))])
        assert histories[1] == histories[0]


def _texts(values: Any) -> Any:
    return [one.content for one in values["messages"]] if "messages" in values else values


# ------------------------------------------------------------------ many and deep


def _fan_out(saver: Any, width: int) -> Any:
    def spread(state: Box) -> Any:
        return [Send("work", {"value": number}) for number in range(width)]

    def work(state: Box) -> Any:
        return {"total": [state["value"]]}

    def collect(state: Box) -> Any:
        return {"value": sum(state["total"])}

    builder = StateGraph(Box)
    builder.add_node("work", work)
    builder.add_node("collect", collect)
    builder.set_conditional_entry_point(spread, ["work"])
    builder.add_edge("work", "collect")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_two_hundred_tasks_of_one_superstep_write_in_order(house: House, durability: Any) -> None:
    width = 200
    result = await _fan_out(house.saver(), width).ainvoke({}, at("1"), durability=durability)
    memory = InMemorySaver()
    await _fan_out(memory, width).ainvoke({}, at("1"), durability=durability)

    assert result == {"value": sum(range(width)), "total": [*range(width)]}
    ours, theirs = [*house.cold().list(at("1"))], [*memory.list(at("1"))]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.checkpoint["channel_values"] == other.checkpoint["channel_values"]
        assert [write[1:] for write in mine.pending_writes or ()] == [
            write[1:] for write in other.pending_writes or ()
        ]


def test_two_hundred_tasks_of_a_synchronous_graph_write_in_order(house: House) -> None:
    result = _fan_out(house.saver(), 200).invoke({}, at("1"))

    assert _fan_out(house.cold(), 200).get_state(at("1")).values == result
    assert result["total"] == [*range(200)]


def _nested(saver: Any, depth: int) -> Any:
    graph: Any = None
    for level in range(depth):
        builder = StateGraph(Box)
        if graph is None:
            builder.add_node("inner", lambda _: {"value": interrupt("how deep?"), "total": [0]})
        else:
            builder.add_node("inner", graph)
        builder.set_entry_point("inner")
        graph = builder.compile(checkpointer=saver if level == depth - 1 else None)
    return graph


async def test_twelve_nested_graphs_stop_and_go_on_in_another_process(house: House) -> None:
    await _nested(house.saver(), 13).ainvoke({"total": []}, at("1"))

    graph = _nested(house.cold(), 13)
    [asked] = (await graph.aget_state(at("1"))).interrupts
    result = await graph.ainvoke(Command(resume="very"), at("1"))

    assert asked.value == "how deep?"
    assert result["value"] == "very"
    namespaces = {one.config["configurable"]["checkpoint_ns"] for one in house.cold().list(at("1", None))}
    assert len(namespaces) == 13
    assert max(map(len, namespaces)) > 400


# ------------------------------------------------------------------ turns


def _questions(saver: Any) -> Any:
    def ask(state: Box) -> Any:
        first = interrupt("first?")
        second = interrupt("second?")
        return {"value": [first, second], "total": [1]}

    def beside(state: Box) -> Any:
        return {"total": [2]}

    builder = StateGraph(Box)
    builder.add_node("ask", ask)
    builder.add_node("beside", beside)
    builder.set_entry_point("ask")
    builder.set_entry_point("beside")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_run_that_asks_twice_goes_on_in_another_process_each_time(
    house: House, durability: Any
) -> None:
    asked = await _questions(house.saver()).ainvoke({}, at("1"), durability=durability)
    again = await _questions(house.cold()).ainvoke(Command(resume="a"), at("1"), durability=durability)
    done = await _questions(house.cold()).ainvoke(Command(resume="b"), at("1"), durability=durability)

    assert [one["__interrupt__"][0].value for one in (asked, again)] == ["first?", "second?"]
    assert done == {"value": ["a", "b"], "total": [1, 2]}
    assert (await _questions(house.cold()).aget_state(at("1"))).values == done


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_synchronous_run_that_asks_goes_on_in_another_process(house: House, durability: Any) -> None:
    _questions(house.saver()).invoke({}, at("1"), durability=durability)
    _questions(house.cold()).invoke(Command(resume="a"), at("1"), durability=durability)
    done = _questions(house.cold()).invoke(Command(resume="b"), at("1"), durability=durability)

    assert done == {"value": ["a", "b"], "total": [1, 2]}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_every_durability_leaves_what_langgraphs_own_saver_would(house: House, durability: Any) -> None:
    saver, memory = house.saver(), InMemorySaver()
    for turn in range(4):
        for one in (saver, memory):
            given: Any = {"messages": [HumanMessage(f"question {turn}", id=str(turn))]}
            graph = chat(answer, one)
            if turn % 2:
                graph.invoke(given, at("1"), durability=durability)
            else:
                await graph.ainvoke(given, at("1"), durability=durability)

    ours = [
        (one.values, one.next, one.metadata) for one in chat(answer, house.cold()).get_state_history(at("1"))
    ]
    theirs = [(one.values, one.next, one.metadata) for one in chat(answer, memory).get_state_history(at("1"))]
    assert ours == theirs
