"""Pending writes: their order, who wins, and when they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.base import CheckpointMetadata, get_checkpoint_metadata

from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, begin_writes, checkpoint, plain

ERROR, SCHEDULED, INTERRUPT, RESUME = "__error__", "__scheduled__", "__interrupt__", "__resume__"


def test_writes_come_by_task_path_then_task_then_index_as_a_number(house: House) -> None:
    saver = house.saver()
    first = saver.put(at("1"), checkpoint({"x": 1}), {}, {"x": 1})
    many = [("x", number) for number in range(12)]

    saver.put_writes(first, many, "task-b", "~__pregel_pull, a")
    saver.put_writes(first, many, "task-a", "~__pregel_pull, b")
    saver.put_writes(first, many, "task-c", "~__pregel_pull, a")

    found = house.cold().get_tuple(first)
    assert found
    assert found.pending_writes == [
        (task, "x", number) for task in ("task-b", "task-c", "task-a") for number in range(12)
    ]


def test_writes_that_ride_in_the_child_come_in_the_same_order(house: House) -> None:
    saver = house.saver()
    first = saver.put(at("1"), checkpoint({"x": 1}), {}, {"x": 1})
    many = [("x", number) for number in range(12)]

    begin_writes(saver, first, many, "task-b", "a")
    begin_writes(saver, first, many, "task-a", "b")
    begin_writes(saver, first, many, "task-c", "a")
    saver.put(first, checkpoint({"x": 2}), {}, {"x": 2})

    found = house.cold().get_tuple(first)
    assert found
    assert found.pending_writes == [
        (task, "x", number) for task in ("task-b", "task-c", "task-a") for number in range(12)
    ]


@pytest.mark.parametrize("channel", [ERROR, SCHEDULED, INTERRUPT, RESUME])
def test_a_reserved_channel_keeps_the_last_write(house: House, channel: str) -> None:
    saver = house.saver()
    first = saver.put(at("1"), checkpoint({}), {}, {})

    saver.put_writes(first, [(channel, "old")], "task")
    saver.put_writes(first, [(channel, "new")], "task")

    found = house.cold().get_tuple(first)
    assert found
    assert found.pending_writes == [("task", channel, "new")]


def test_an_ordinary_channel_keeps_the_first_write(house: House) -> None:
    saver = house.saver()
    first = saver.put(at("1"), checkpoint({}), {}, {})

    saver.put_writes(first, [("x", "old")], "task")
    saver.put_writes(first, [("x", "new"), ("y", "more")], "task")

    found = house.cold().get_tuple(first)
    assert found
    assert found.pending_writes == [("task", "x", "old"), ("task", "y", "more")]


def test_an_ordinary_channel_keeps_the_first_write_of_another_process(house: House) -> None:
    first_process = house.saver()
    config = first_process.put(at("1"), checkpoint({}), {}, {})
    second_process = house.saver()
    second_process.get_tuple(at("1"))
    second_process.put_writes(config, [("x", "old")], "task")

    first_process.get_tuple(at("1"))
    first_process.put_writes(config, [("x", "new")], "task")

    found = house.cold().get_tuple(config)
    assert found
    assert found.pending_writes == [("task", "x", "old")]


def test_an_answer_given_again_on_an_older_checkpoint_replaces_the_first(house: House) -> None:
    saver = house.saver()
    asked = saver.put(at("1"), checkpoint({}), {}, {})
    begin_writes(saver, asked, [(RESUME, "first answer")], "task")
    saver.put(asked, checkpoint({}), {}, {})

    again = house.cold()
    again.get_tuple(asked)
    again.put_writes(asked, [(RESUME, "second answer")], "task")

    found = house.cold().get_tuple(asked)
    assert found
    assert found.pending_writes == [("task", RESUME, "second answer")]


def test_a_task_that_runs_again_on_an_older_checkpoint_changes_nothing(house: House) -> None:
    saver = house.saver()
    config = older = saver.put(at("1"), checkpoint({}), {}, {})
    for step in range(3):
        begin_writes(saver, config, [("x", step)], "task")
        config = saver.put(config, checkpoint({"x": step}), {}, {"x": step + 1})

    saver.put_writes(older, [("x", "again")], "task")

    found = house.cold().get_tuple(older)
    assert found
    assert found.pending_writes == [("task", "x", 0)]


def test_writes_that_come_before_their_checkpoint_are_found_with_it(house: House) -> None:
    saver = house.saver()
    first = saver.put(at("1"), checkpoint({}), {}, {})
    second = checkpoint({"x": 1})

    saver.put_writes(at("1", "", second["id"]), [("x", "early")], "task")
    before = house.cold().get_tuple(at("1"))
    saver.put(first, second, {}, {"x": 1})

    after = house.cold().get_tuple(at("1"))
    assert before
    assert before.config == first
    assert after
    assert (after.checkpoint["id"], after.pending_writes) == (second["id"], [("task", "x", "early")])


def test_a_namespace_whose_oldest_checkpoint_never_came_is_still_listed(house: House) -> None:
    saver = house.saver()
    lost, kept = checkpoint({}), checkpoint({"x": 1})
    saver.put_writes(at("1", "", lost["id"]), [("x", "early")], "task")
    saver.put(at("1"), kept, {}, {"x": 1})

    assert [one.checkpoint["id"] for one in house.cold().list(at("1", None))] == [kept["id"]]


async def test_writes_that_come_while_a_checkpoint_is_written_are_found(house: House) -> None:
    saver = house.saver()
    first = await saver.aput(at("1"), checkpoint({}), {}, {})
    second = checkpoint({"x": 1})

    await asyncio.gather(
        saver.aput(first, second, {}, {"x": 1}),
        saver.aput_writes(first, [("x", "of the first")], "task-1"),
        saver.aput_writes(at("1", "", second["id"]), [("x", "of the second")], "task-2"),
    )

    written = [await house.cold().aget_tuple(at("1", "", one)) for one in (_id(first), second["id"])]
    assert [one and one.pending_writes for one in written] == [
        [("task-1", "x", "of the first")],
        [("task-2", "x", "of the second")],
    ]


def test_what_is_stored_as_metadata_is_what_langgraph_would_store(house: House) -> None:
    config: Any = {
        "configurable": {
            "thread_id": "1",
            "checkpoint_ns": "",
            "user": "ada",
            "__pregel_secret": "no",
            "checkpoint_map": {},
        },
        "metadata": {"run_id": "run-1", "thread_id": "1", "langgraph_step": 3, "nul": "a\0b"},
    }

    metadata: CheckpointMetadata = {"source": "loop", "step": 3, "parents": {}}

    put = house.saver().put(config, checkpoint({}), metadata, {})

    found = house.cold().get_tuple(put)
    assert found
    assert found.metadata == get_checkpoint_metadata(config, metadata)
    assert dict(found.metadata).items() >= {"user": "ada", "run_id": "run-1", "nul": "ab"}.items()


def test_a_reader_that_knows_an_older_state_sees_what_another_process_wrote(house: House) -> None:
    mine, other = house.saver(), house.saver()
    first = mine.put(at("1"), checkpoint({"x": 1}), {}, {"x": 1})
    assert plain(other.get_tuple(at("1"))) == plain(mine.get_tuple(at("1")))

    other.put_writes(first, [(INTERRUPT, "question")], "task")

    for config in (at("1"), first):
        found = mine.get_tuple(config)
        assert found
        assert found.pending_writes == [("task", INTERRUPT, "question")]
    second = other.put(first, checkpoint({"x": 2}), {}, {"x": 2})
    assert plain(mine.get_tuple(at("1"))) == plain(house.cold().get_tuple(second))
    other.delete_thread("1")
    assert [mine.get_tuple(config) for config in (at("1"), first, second)] == [None] * 3


def test_a_fork_in_one_process_after_a_step_in_another_loses_no_write(house: House) -> None:
    mine, other = house.saver(), house.saver()
    base = mine.put(at("1"), checkpoint({"x": 0}), {}, {"x": 1})
    other.get_tuple(at("1"))
    begin_writes(other, base, [("x", "of the other")], "task-1")
    other.put(base, checkpoint({"x": 1}), {}, {"x": 2})

    mine.get_tuple(base)
    begin_writes(mine, base, [("x", "mine")], "task-2")
    mine.put(base, checkpoint({"x": 2}), {}, {"x": 3})

    expected = [("task-1", "x", "of the other"), ("task-2", "x", "mine")]
    by_id = house.cold().get_tuple(base)
    listed = [*house.cold().list(at("1"))][-1]
    assert by_id
    assert (by_id.pending_writes, listed.pending_writes) == (expected, expected)


def _id(config: Any) -> str:
    return str(config["configurable"]["checkpoint_id"])
