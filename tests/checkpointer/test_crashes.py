"""A process that stops before or after any of its requests: what it had committed is there, and whole."""

from __future__ import annotations

import operator
import random
from itertools import count
from typing import Annotated, Any

import pytest
from langgraph.graph import StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from crewline.engine.checkpointer import DynamoDBCheckpointer
from tests.checkpointer import wires
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, begin_writes, checkpoint, plain


class State(TypedDict, total=False):
    said: Annotated[list[str], operator.add]
    large: bytes


def _answer(state: State) -> State:
    return {"said": [f"answer {len(state['said'])}"]}


def _ask(state: State) -> State:
    if state["said"][-2] != "ask me":
        return {"said": ["nothing to ask"]}
    return {"said": [interrupt("really?")]}


def _load(state: State) -> State:
    return {"large": random.Random(len(state["said"])).randbytes(70_000)}


def chat(saver: DynamoDBCheckpointer) -> Any:
    builder = StateGraph(State)
    builder.add_node("answer", _answer)
    builder.add_node("ask", _ask)
    builder.add_node("load", _load)
    builder.set_entry_point("answer")
    builder.add_edge("answer", "ask")
    builder.add_edge("answer", "load")
    return builder.compile(checkpointer=saver)


def story(saver: DynamoDBCheckpointer, thread_id: str, durability: Any, *, fenced: bool) -> None:
    """Live through three turns; in the second the graph asks, and is answered."""
    if fenced:
        saver.claim_write_ownership(thread_id)
    graph = chat(saver)
    turns: list[Any] = [{"said": ["hello"]}, {"said": ["ask me"]}, Command(resume="yes"), {"said": ["bye"]}]
    for given in turns:
        graph.invoke(given, at(thread_id), durability=durability)


def _read(house: House, thread_id: str) -> list[Any]:
    """Read the whole history, oldest first, and its last checkpoints also by their ids."""
    listed = [*house.cold().list(at(thread_id))]
    for one in listed[:2]:
        assert plain(house.cold().get_tuple(one.config)) == plain(one)
    newest = house.cold().get_tuple(at(thread_id))
    assert plain(newest) == (plain(listed[0]) if listed else None)
    return [
        (one.checkpoint["channel_values"], one.metadata["step"], one.metadata["source"])
        for one in listed[::-1]
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("durability", "fenced"),
    [("sync", False), ("async", True), ("exit", False), ("exit", True)],
    ids=["sync-alone", "async-owner", "exit-alone", "exit-owner"],
)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_process_that_stops_at_any_request_leaves_what_it_had_committed(
    house: House, durability: Any, *, fenced: bool, after: bool
) -> None:
    wire, storage = wires.wired(house.cloud)
    story(house.cold(storage=storage), "undisturbed", durability, fenced=fenced)
    undisturbed = _read(house, "undisturbed")
    requests = len(wire.sent)
    assert requests > 8
    reached = set()

    for number in count():
        thread_id = str(number)
        wire.sent.clear()
        stopped = False
        with wire.failing(wires.stop_at(wire, number, after=after)):
            try:
                story(house.cold(storage=storage), thread_id, durability, fenced=fenced)
            except wires.Stopped:
                stopped = True

        found = _read(house, thread_id)
        assert found == undisturbed[: len(found)]
        reached.add(len(found))
        _goes_on(house, thread_id, found, fenced=fenced)
        if not stopped and number >= requests // 2:  # some writes go together, or do not, as time allows
            break

    assert reached >= {0, len(undisturbed)}
    if durability != "exit":
        assert len(reached) > len(undisturbed) // 2


def _goes_on(house: House, thread_id: str, found: list[Any], *, fenced: bool) -> None:
    saver = house.cold()
    if fenced:
        saver.claim_write_ownership(thread_id)
    before: list[str] = found[-1][0].get("said", []) if found else []
    result = chat(saver).invoke({"said": ["again"]}, at(thread_id))
    assert result["said"][: len(before)] == before
    assert "again" in result["said"][len(before) :]
    later = _read(house, thread_id)
    assert later[: len(found)] == found
    assert later[-1][0] == result


def test_a_fork_is_never_there_without_the_writes_that_led_to_it(house: House) -> None:
    wire, storage = wires.wired(house.cloud)
    saver = house.cold(storage=storage)
    base = saver.put(at("1"), checkpoint({"x": 0}), {}, {"x": 1})
    saver.put(base, checkpoint({"x": 1}), {}, {"x": 2})
    saver.get_tuple(base)
    begin_writes(saver, base, [("delta", "fork")], "task")
    wire.sent.clear()

    with wire.failing(wires.stop_at(wire, 1, after=False)), pytest.raises(wires.Stopped):
        saver.put(base, checkpoint({"x": "fork"}), {}, {"x": 3})

    newest, older = house.cold().get_tuple(at("1")), house.cold().get_tuple(base)
    assert newest
    assert older
    forked = newest.checkpoint["channel_values"] == {"x": "fork"}
    assert older.pending_writes or not forked
