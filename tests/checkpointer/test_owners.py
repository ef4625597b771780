"""Write ownership: whoever claimed last is the only writer."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.graph import MessagesState, StateGraph

from crewline.engine.checkpointer import DynamoDBCheckpointer
from crewline.errors import StaleOwner
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, checkpoint, plain


async def test_what_a_stale_owner_puts_fails_and_is_nowhere(house: House) -> None:
    first, second = house.saver(), house.saver()
    await first.aclaim_write_ownership("1")
    config = await first.aput(at("1"), checkpoint({"x": 1}), {}, {"x": 1})
    await second.aclaim_write_ownership("1")
    before = house.items("1")

    with pytest.raises(StaleOwner) as refusal:
        await first.aput(config, checkpoint({"x": 2}), {}, {"x": 2})

    assert refusal.value.is_stale_write_owner_error is True
    assert house.items("1") == before
    assert len([*house.cold().list(at("1"))]) == 1


async def test_what_a_stale_owner_writes_fails_and_is_nowhere(house: House) -> None:
    first, second = house.saver(), house.saver()
    await first.aclaim_write_ownership("1")
    config = await first.aput(at("1"), checkpoint({"x": 1}), {}, {"x": 1})
    await second.aclaim_write_ownership("1")
    before = house.items("1")

    with pytest.raises(StaleOwner) as refusal:
        await first.aput_writes(config, [("__interrupt__", "mine")], "task")

    assert refusal.value.is_stale_write_owner_error is True
    assert house.items("1") == before
    found = house.cold().get_tuple(config)
    assert found
    assert found.pending_writes == []


def test_a_stale_owner_stays_refused_and_a_new_claim_lets_it_write_again(house: House) -> None:
    first, second = house.saver(), house.saver()
    first.claim_write_ownership("1")
    second.claim_write_ownership("1")
    theirs = second.put(at("1"), checkpoint({"x": "theirs"}), {}, {"x": 1})

    for _ in range(2):
        first.get_tuple(at("1"))
        with pytest.raises(StaleOwner):
            first.put(theirs, checkpoint({"x": "mine"}), {}, {"x": 2})
    first.claim_write_ownership("1")
    first.get_tuple(at("1"))
    first.put(theirs, checkpoint({"x": "mine"}), {}, {"x": 2})

    with pytest.raises(StaleOwner):
        second.put(theirs, checkpoint({"x": "theirs again"}), {}, {"x": 2})
    newest = house.cold().get_tuple(at("1"))
    assert newest
    assert newest.checkpoint["channel_values"] == {"x": "mine"}


def test_the_claim_of_one_thread_is_not_that_of_another(house: House) -> None:
    first, second = house.saver(), house.saver()
    first.claim_write_ownership("1")
    first.claim_write_ownership("2")
    second.claim_write_ownership("1")

    first.put(at("2"), checkpoint({"x": 1}), {}, {"x": 1})

    with pytest.raises(StaleOwner):
        first.put(at("1"), checkpoint({"x": 1}), {}, {"x": 1})


def _chat(saver: DynamoDBCheckpointer, meanwhile: Any = None) -> Any:
    def answer(state: MessagesState) -> Any:
        if meanwhile:
            meanwhile()
        return {"messages": [("ai", "answer")]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.set_entry_point("answer")
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_run_whose_thread_is_claimed_meanwhile_raises(house: House, durability: Any) -> None:
    first, second = house.saver(), house.saver()
    first.claim_write_ownership("1")
    await _chat(first).ainvoke({"messages": [("user", "one")]}, at("1"), durability=durability)
    before = plain(house.cold().get_tuple(at("1")))

    def claim() -> None:
        second.claim_write_ownership("1")
        nonlocal before
        before = plain(house.cold().get_tuple(at("1")))

    with pytest.raises(StaleOwner):
        await _chat(first, claim).ainvoke({"messages": [("user", "two")]}, at("1"), durability=durability)

    assert plain(house.cold().get_tuple(at("1"))) == before
    result = await _chat(second).ainvoke({"messages": [("user", "three")]}, at("1"), durability=durability)
    assert result["messages"][-1].content == "answer"
