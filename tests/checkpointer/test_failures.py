"""Requests that are throttled, refused, in conflict or lost: no duplicate, no gap, and never silence."""

from __future__ import annotations

import operator
import random
from typing import Annotated, Any

import pytest
from langgraph.graph import StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from crewline.engine.checkpointer import DynamoDBCheckpointer
from crewline.errors import CrewlineError, StaleOwner, Unavailable
from tests.checkpointer import wires
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, begin_writes, checkpoint, plain

WRITES = ("PutItem", "TransactWriteItems", "PutObject")
PASSING = {
    "throttled twice": (2, wires.throttled),
    "broken twice": (2, wires.broken),
    "refused twice": (2, wires.refused),
    "unreachable twice": (2, wires.unreachable),
    "in conflict five times": (5, wires.conflicting),
    "lost answers": (3, wires.lost_answer),
}
LASTING = {
    "throttled": wires.throttled,
    "broken": wires.broken,
    "refused": wires.refused,
    "unreachable": wires.unreachable,
    "in conflict": wires.conflicting,
    "lost answers": wires.lost_answer,
}


class State(TypedDict):
    said: Annotated[list[str], operator.add]


def answer(state: State) -> State:
    return {"said": [f"answer {len(state['said'])}"]}


def chat(saver: DynamoDBCheckpointer, node: Any = answer) -> Any:
    builder = StateGraph(State)
    builder.add_node("first", node)
    builder.add_node("second", node)
    builder.set_entry_point("first")
    builder.add_edge("first", "second")
    return builder.compile(checkpointer=saver)


@pytest.fixture
def wire(house: House, monkeypatch: pytest.MonkeyPatch) -> tuple[wires.Wire, DynamoDBCheckpointer]:
    wires.impatient(monkeypatch)
    wire, storage = wires.wired(house.cloud)
    return wire, house.cold(storage=storage)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("fenced", [False, True], ids=["alone", "owner"])
@pytest.mark.parametrize("what", PASSING)
async def test_what_passes_is_waited_for(
    house: House, wire: Any, what: str, *, fenced: bool, durability: Any
) -> None:
    times, fault = PASSING[what]
    line, saver = wire
    if fenced:
        saver.claim_write_ownership("1")
    undisturbed = house.cold()
    for turn in range(2):
        given = {"said": [f"question {turn}"]}
        await chat(undisturbed).ainvoke(given, at("2"), durability=durability)
        with line.failing(wires.first(times, fault, of=WRITES)):
            await chat(saver).ainvoke(given, at("1"), durability=durability)

    assert line.faults >= 2
    assert _history(house, "1") == _history(house, "2")


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("fenced", [False, True], ids=["alone", "owner"])
@pytest.mark.parametrize("what", LASTING)
async def test_what_lasts_is_raised_and_the_thread_goes_on_later(
    house: House, wire: Any, what: str, *, fenced: bool, durability: Any
) -> None:
    line, saver = wire
    if fenced:
        saver.claim_write_ownership("1")
    graph = chat(saver)
    await graph.ainvoke({"said": ["one"]}, at("1"), durability=durability)
    before = _history(house, "1")

    with line.failing(wires.always(LASTING[what], of=WRITES)), pytest.raises(CrewlineError) as failure:
        await graph.ainvoke({"said": ["two"]}, at("1"), durability=durability)

    assert isinstance(failure.value, Unavailable)
    after = _history(house, "1")
    assert after[len(after) - len(before) :] == before
    if what != "lost answers":
        assert after == before
    newest = [*after[0][0]["said"]] if after[0][0] else []
    result = await graph.ainvoke({"said": ["three"]}, at("1"), durability=durability)
    assert result["said"] == [*newest, "three", *result["said"][-2:]]
    assert (await chat(house.cold()).aget_state(at("1"))).values == result


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_synchronous_run_raises_what_lasts(house: House, wire: Any, durability: Any) -> None:
    line, saver = wire
    with line.failing(wires.always(wires.refused, of=WRITES)), pytest.raises(Unavailable):
        chat(saver).invoke({"said": ["one"]}, at("1"), durability=durability)

    assert house.items("1") == []


def test_a_write_that_is_sent_again_has_the_same_bytes_and_token(house: House, wire: Any) -> None:
    line, saver = wire
    saver.claim_write_ownership("1")
    for fault in (wires.conflicting, wires.lost_answer, wires.throttled):
        saver.claim_write_ownership("1")
        found = saver.get_tuple(at("1"))
        line.sent.clear()
        with line.failing(wires.first(2, fault, of=WRITES)):
            saver.put(found.config if found else at("1"), checkpoint({"x": 1}), {}, {"x": 1})

        assert line.operations == ["TransactWriteItems"] * 3
        assert len({body for _, body in line.sent}) == 1


@pytest.mark.parametrize(("tasks", "size"), [(80, 60_000), (205, 10)], ids=["bytes", "actions"])
def test_more_than_a_transaction_holds_goes_as_several_each_fenced(
    house: House, wire: Any, tasks: int, size: int
) -> None:
    line, saver = wire
    saver.claim_write_ownership("1")
    config = saver.put(at("1"), checkpoint({}), {}, {})
    written = [(f"task-{number:03}", "x", random.Random(number).randbytes(size)) for number in range(tasks)]
    for task_id, channel, value in written:
        begin_writes(saver, config, [(channel, value)], task_id)
    line.sent.clear()

    saver.put_writes({"configurable": {**config["configurable"], "__pregel_durability": "sync"}}, [], "none")

    assert line.operations.count("TransactWriteItems") == 1 + (tasks > 90) + (tasks > 180 or size > 10_000)
    found = house.cold().get_tuple(config)
    assert found
    assert found.pending_writes == written
    line.sent.clear()
    for task_id, channel, value in written:
        begin_writes(saver, config, [(channel, value), ("y", value)], task_id)
    house.cold().claim_write_ownership("1")
    with pytest.raises(StaleOwner):
        saver.put(config, checkpoint({}), {}, {})
    assert plain(house.cold().get_tuple(at("1"))) == plain(found)


def test_a_question_whose_write_fails_is_raised(house: House, wire: Any) -> None:
    line, saver = wire

    def ask(state: State) -> State:
        line.fault = wires.always(wires.refused, of=WRITES)
        return {"said": [interrupt("really?")]}

    with pytest.raises(Unavailable):
        chat(saver, ask).invoke({"said": ["one"]}, at("1"))


@pytest.mark.parametrize("fault", [wires.throttled, wires.refused, wires.broken])
def test_a_read_that_fails_is_raised_and_is_never_an_empty_thread(
    house: House, wire: Any, fault: wires.Fault
) -> None:
    line, saver = wire
    config = saver.put(at("1"), checkpoint({"x": 1}), {}, {"x": 1})
    expected = plain(house.cold().get_tuple(config))

    for one in (at("1"), config):
        with line.failing(wires.always(fault, of=("Query", "GetItem"))), pytest.raises(Unavailable):
            saver.get_tuple(one)
        with line.failing(wires.first(2, fault, of=("Query", "GetItem"))):
            assert plain(saver.get_tuple(one)) == expected


@pytest.mark.parametrize("fenced", [False, True], ids=["alone", "owner"])
async def test_a_failure_in_the_middle_of_a_run_leaves_a_checkpoint_to_go_on_from(
    house: House, wire: Any, *, fenced: bool
) -> None:
    line, saver = wire
    if fenced:
        saver.claim_write_ownership("1")
    runs = 0

    def fail(state: State) -> State:
        nonlocal runs
        runs += 1
        if runs == 2:
            line.fault = wires.always(wires.unreachable, of=WRITES)
        return answer(state)

    with pytest.raises(Unavailable):
        await chat(saver, fail).ainvoke({"said": ["one"]}, at("1"), durability="sync")
    line.fault = lambda *_: None

    state = await chat(house.cold()).aget_state(at("1"))
    assert (state.values["said"], state.next) == (["one", "answer 1"], ("second",))
    assert (await chat(saver).ainvoke(None, at("1")))["said"] == ["one", "answer 1", "answer 2"]


def _history(house: House, thread_id: str) -> list[Any]:
    return [
        (one.values, one.next, {**(one.metadata or {})})
        for one in chat(house.cold()).get_state_history(at(thread_id))
    ]
