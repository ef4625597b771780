"""A step from a checkpoint that is read by its id: what the graph did not write is as it was."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from typing_extensions import TypedDict

from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, checkpoint


class State(TypedDict):
    items: list[str]
    seen: Annotated[list[int], operator.add]


def spoiling(saver: Any) -> Any:
    def spoil(state: State) -> Any:
        state["items"].append("spoilt")
        return {"seen": [len(state["items"])]}

    builder = StateGraph(State)
    builder.add_node("spoil", spoil)
    builder.set_entry_point("spoil")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("given", [None, {"seen": [0]}], ids=["goes on", "is asked again"])
@pytest.mark.parametrize("place", [0, 1, 3, 4], ids=["newest", "before it", "turn before", "its input"])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_node_that_changes_its_input_in_place_leaves_it_as_it_was_in_a_fork(
    house: House, given: Any, place: int, durability: Any
) -> None:
    memory = spoiling(InMemorySaver())
    histories = []
    for graph in (spoiling(house.saver()), memory):
        for turn in range(2):
            await graph.ainvoke({"items": [f"turn {turn}"]}, at("1"), durability="sync")
        older = [*graph.get_state_history(at("1"))][place].config
        forking = memory if graph is memory else spoiling(house.cold())
        await forking.ainvoke(given, older, durability=durability)
        reading = memory if graph is memory else spoiling(house.cold())
        histories.append([one.values for one in reading.get_state_history(at("1"))])

    assert histories[0] == histories[1]


@pytest.mark.parametrize("meanwhile", ["nothing", "another is read", "the thread is copied to"])
@pytest.mark.parametrize("read", [True, False], ids=["read", "never read"])
def test_what_was_not_written_is_as_it_was_whatever_happens_before_the_fork(
    house: House, read: bool, meanwhile: str
) -> None:
    saver = house.saver()
    config = base = saver.put(at("1"), checkpoint({"x": ["a"]}), {}, {"x": 1})
    for step in range(3):
        config = saver.put(config, checkpoint({"x": ["a"], "y": step}), {}, {"y": step + 1})
    forking = house.saver()
    if read:
        forking.get_tuple(base)
    if meanwhile == "another is read":
        forking.get_tuple(saver.put(config, checkpoint({"x": ["b"]}), {}, {"x": 2}))
        forking.get_tuple(config)
    elif meanwhile == "the thread is copied to":
        forking.copy_thread("0", "1")

    put = forking.put(base, checkpoint({"x": ["a", "unseen"], "y": 7}), {}, {"y": 7})

    found = house.cold().get_tuple(put)
    assert found
    assert found.checkpoint["channel_values"] == {"x": ["a"], "y": 7}
