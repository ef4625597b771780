"""Channels whose value is nowhere but in the writes that led to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from typing_extensions import TypedDict

from crewline.engine.checkpointer import DynamoDBCheckpointer
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at


def _extend(value: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*value, *(one for write in writes for one in write)]


class State(TypedDict):
    said: Annotated[list[str], DeltaChannel(_extend, snapshot_frequency=5)]
    turns: int


def chat(saver: BaseCheckpointSaver[Any]) -> Any:
    def answer(state: State) -> Any:
        turn = state.get("turns", 0)
        return {"said": [f"answer {turn}"], "turns": turn + 1}

    def comment(state: State) -> Any:
        return {"said": ["comment"]}

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_node("comment", comment)
    builder.set_entry_point("answer")
    builder.add_edge("answer", "comment")
    return builder.compile(checkpointer=saver)


def talk(graph: Any, turns: int, thread_id: str = "1") -> list[str]:
    said: list[str] = []
    for turn in range(turns):
        said = graph.invoke({"said": [f"question {turn}"]}, at(thread_id))["said"]
    return said


def states(graph: Any, thread_id: str = "1") -> list[Any]:
    return [(one.values, one.next) for one in graph.get_state_history(at(thread_id))]


@pytest.mark.parametrize("turns", [1, 2, 3, 7])
def test_every_state_of_the_history_is_that_of_langgraphs_own_saver(house: House, turns: int) -> None:
    said = talk(chat(house.saver()), turns)
    memory = chat(InMemorySaver())
    assert talk(memory, turns) == said

    assert states(chat(house.cold())) == states(memory)
    assert len(said) == 3 * turns


def _prune(saver: DynamoDBCheckpointer) -> str:
    saver.prune(["1"], strategy="keep_latest")
    return "1"


def _copy(saver: DynamoDBCheckpointer) -> str:
    saver.copy_thread("1", "2")
    saver.delete_thread("1")
    return "2"


def _copy_and_prune(saver: DynamoDBCheckpointer) -> str:
    saver.copy_thread("1", "2")
    saver.prune(["1", "2"])
    saver.prune(["2"])
    return "2"


@pytest.mark.parametrize("operation", [_prune, _copy, _copy_and_prune])
@pytest.mark.parametrize("turns", [1, 2, 3, 4, 7])
def test_the_state_outlives_what_is_done_to_its_history(
    house: House, operation: Callable[[DynamoDBCheckpointer], str], turns: int
) -> None:
    said = talk(chat(house.saver()), turns)

    thread_id = operation(house.saver())

    graph = chat(house.cold())
    assert graph.get_state(at(thread_id)).values == {"said": said, "turns": turns}
    later = graph.invoke({"said": ["more"]}, at(thread_id))["said"]
    assert later == [*said, "more", f"answer {turns}", "comment"]
    assert chat(house.cold()).get_state(at(thread_id)).values["said"] == later


def test_pruning_removes_what_no_state_needs(house: House) -> None:
    saver = house.saver()
    talk(chat(saver), 7)
    before = len([*saver.list(at("1"))])

    saver.prune(["1"])

    after = [*house.cold().list(at("1"))]
    assert len(after) < before // 2
    assert "said" in after[-1].checkpoint["channel_values"]
    assert all("said" not in one.checkpoint["channel_values"] for one in after[:-1])


def test_the_history_of_a_channel_is_that_of_langgraphs_own_saver(house: House) -> None:
    saver, memory = house.saver(), InMemorySaver()
    for one in (saver, memory):
        talk(chat(one), 4)
    ours, theirs = [*house.cold().list(at("1"))], [*memory.list(at("1"))]

    for mine, other in zip(ours, theirs, strict=True):
        names = ["said", "turns", "absent"]
        found = house.cold().get_delta_channel_history(config=mine.config, channels=names)
        expected = memory.get_delta_channel_history(config=other.config, channels=names)
        assert _values(found) == _values(expected)


def _values(history: Any) -> Any:
    return {
        name: (
            getattr(entry.get("seed"), "value", entry.get("seed")),
            [write[1:] for write in entry["writes"]],
        )
        for name, entry in history.items()
    }


def test_a_fork_holds_only_what_led_to_it(house: House) -> None:
    ours, theirs = chat(house.saver()), chat(InMemorySaver())
    for graph in (ours, theirs):
        talk(graph, 2)
        middle = [*graph.get_state_history(at("1"))][4]
        graph.update_state(middle.config, {"said": ["forked"]}, as_node="comment")
        graph.invoke({"said": ["after"]}, at("1"))

    assert states(chat(house.cold())) == states(theirs)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_the_state_is_the_same_under_every_durability(house: House, durability: Any) -> None:
    graph = chat(house.saver())
    for turn in range(3):
        await graph.ainvoke({"said": [f"question {turn}"]}, at("1"), durability=durability)

    memory = chat(InMemorySaver())
    assert (await chat(house.cold()).aget_state(at("1"))).values["said"] == talk(memory, 3)


def test_deleting_one_run_keeps_the_state_of_the_others(house: House) -> None:
    graph = chat(house.saver())
    run_ids = [f"0198a000-0000-7000-8000-00000000000{number}" for number in range(3)]
    for run_id in run_ids:
        said = graph.invoke({"said": ["question"]}, {**at("1"), "metadata": {"run_id": run_id}})["said"]

    house.saver().delete_for_runs(run_ids[2:])

    assert chat(house.cold()).get_state(at("1")).values["said"] == said[:6]
    runs = {one.metadata.get("run_id") for one in house.cold().list(at("1"))}
    assert runs == {*run_ids[:2]}


@pytest.mark.parametrize("gone", [[0], [1], [0, 1]])
def test_deleting_earlier_runs_keeps_what_the_state_of_a_later_one_lives_in(
    house: House, gone: list[int]
) -> None:
    graph = chat(house.saver())
    run_ids = [f"0198a000-0000-7000-8000-00000000000{number}" for number in range(4)]
    for run_id in run_ids:
        said = graph.invoke({"said": ["question"]}, {**at("1"), "metadata": {"run_id": run_id}})["said"]
    before = {
        one.config["configurable"]["checkpoint_id"]: one.values for one in graph.get_state_history(at("1"))
    }

    house.saver().delete_for_runs([run_ids[number] for number in gone])

    left = [*chat(house.cold()).get_state_history(at("1"))]
    assert left[0].values["said"] == said
    assert all(one.values == before[one.config["configurable"]["checkpoint_id"]] for one in left)
    assert len(left) < len(before) or gone == [0]  # which is before any snapshot


def test_what_was_kept_of_a_deleted_run_goes_with_the_runs_that_needed_it(house: House) -> None:
    graph = chat(house.saver())
    run_ids = [f"0198a000-0000-7000-8000-00000000000{number}" for number in range(2)]
    for run_id in run_ids:
        graph.invoke({"said": ["question"]}, {**at("1"), "metadata": {"run_id": run_id}})

    house.saver().delete_for_runs(run_ids[:1])
    assert [*house.cold().list(at("1"))]
    house.saver().delete_for_runs(run_ids)

    assert house.items("1") == []


def test_a_channel_that_nothing_wrote_keeps_no_ancestor(house: House) -> None:
    builder = StateGraph(State)
    builder.add_node("count", lambda state: {"turns": state.get("turns", 0) + 1})
    builder.set_entry_point("count")
    saver = house.saver()
    graph: Any = builder.compile(checkpointer=saver)
    for _ in range(3):
        graph.invoke({"turns": 1}, at("1"))

    saver.prune(["1"])

    assert len([*house.cold().list(at("1"))]) == 1
