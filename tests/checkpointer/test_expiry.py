"""Threads that expire: never half of a state, and never one that is still written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import MessagesState, StateGraph
from typing_extensions import TypedDict

from crewline.checkpoints.codec import Opened
from crewline.engine.checkpointer import DynamoDBCheckpointer
from tests.checkpointer.conftest import TABLE, House
from tests.checkpointer.steps import at, checkpoint, plain

LIFE_S = 1_000


class Clock:
    """A clock that is set by hand; DynamoDB removes nothing by it, readers must."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000

    def __call__(self) -> int:
        return self.now_s * 1_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


def living(house: House, clock: Clock, *, ttl_seconds: int | None = LIFE_S) -> DynamoDBCheckpointer:
    return house.cold(storage=house.cloud.storage(clock=clock), ttl_seconds=ttl_seconds)


def chat(saver: DynamoDBCheckpointer) -> Any:
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda state: {"messages": [("ai", f"answer {len(state['messages'])}")]})
    builder.set_entry_point("answer")
    return builder.compile(checkpointer=saver)


def texts(saver: DynamoDBCheckpointer, thread_id: str = "1") -> list[str]:
    return [one.content for one in chat(saver).get_state(at(thread_id)).values.get("messages", ())]


def talk(house: House, clock: Clock, turns: int, *, every_s: int) -> int:
    """Take turns some time apart, each in a new process."""
    for turn in range(turns):
        chat(living(house, clock)).invoke({"messages": [("user", f"question {turn}")]}, at("1"))
        clock.now_s += every_s
    return 2 * turns


@pytest.mark.parametrize("every_s", [1, 30, 70, 300, 999])
def test_a_thread_that_is_written_again_lives_on_whole(house: House, clock: Clock, every_s: int) -> None:
    said = talk(house, clock, 15, every_s=every_s)

    assert len(texts(living(house, clock))) == said


def test_a_difference_never_outlives_what_it_builds_on(house: House, clock: Clock) -> None:
    talk(house, clock, 25, every_s=60)

    ends: dict[str, int] = {}
    differences = 0
    for item in house.items("1"):
        checkpoint_id = item["SK"]["S"].split("#")[2]
        if "#W#" not in item["SK"]["S"] and "body" in item:
            opened = Opened(checkpoint_id, item["body"]["B"])
            ends[checkpoint_id] = int(item["ttl"]["N"])
            if not opened.root:
                differences += 1
                assert ends[checkpoint_id] == ends[opened.parent_id or ""]
    assert differences > 25
    assert len(set(ends.values())) > 2


def test_what_has_expired_is_read_by_nobody_although_it_is_there(house: House, clock: Clock) -> None:
    talk(house, clock, 2, every_s=0)
    assert len(texts(living(house, clock))) == 4

    clock.now_s += LIFE_S + 1

    late = living(house, clock)
    assert house.items("1")
    assert late.get_tuple(at("1")) is None
    assert [*late.list(at("1")), *late.list(at("1", None))] == []
    chat(late).invoke({"messages": [("user", "anew")]}, at("1"))
    assert texts(living(house, clock)) == ["anew", "answer 1"]


def test_a_checkpoint_that_has_expired_is_not_found_by_its_id(house: House, clock: Clock) -> None:
    saver = living(house, clock)
    config = saver.put(at("1"), checkpoint({"x": 1}), {}, {"x": 1})
    saver.put_writes(config, [("x", 2)], "task")
    clock.now_s += LIFE_S + 1

    assert [one.get_tuple(config) for one in (saver, living(house, clock))] == [None, None]


def test_without_a_time_to_live_nothing_expires(house: House, clock: Clock) -> None:
    saver = living(house, clock, ttl_seconds=None)
    config = saver.put(at("1"), checkpoint({"x": 1}), {}, {"x": 1})
    saver.put_writes(config, [("x", 2)], "task")

    assert all("ttl" not in item for item in house.items("1"))


def test_a_copy_lives_as_long_as_a_new_thread_and_holds_nothing_that_had_expired(
    house: House, clock: Clock
) -> None:
    said = talk(house, clock, 10, every_s=200)
    saver = living(house, clock)
    before = [plain(one) for one in saver.list(at("1"))]

    saver.copy_thread("1", "2")

    assert [plain(one) for one in living(house, clock).list(at("2"))] == before
    clock.now_s += LIFE_S - 1
    assert len(texts(living(house, clock), "2")) == said


def test_a_copy_can_be_read_when_dynamodb_has_removed_a_root_before_its_differences(
    house: House, clock: Clock
) -> None:
    said = talk(house, clock, 10, every_s=200)
    oldest = house.items("1")[0]
    house.cloud.dynamodb.delete_item(TableName=TABLE, Key={name: oldest[name] for name in ("PK", "SK")})
    saver = living(house, clock)

    saver.copy_thread("1", "2")

    copied = [*living(house, clock).list(at("2"))]
    assert len(copied[0].checkpoint["channel_values"]["messages"]) == said
    saver.prune(["1", "2"])
    assert len(texts(living(house, clock))) == len(texts(living(house, clock), "2")) == said


def _extend(value: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*value, *(one for write in writes for one in write)]


class Delta(TypedDict):
    said: Annotated[list[str], DeltaChannel(_extend)]


def test_a_channel_that_lives_in_older_writes_lives_on_whole(house: House, clock: Clock) -> None:
    def compiled() -> Any:
        builder = StateGraph(Delta)
        builder.add_node("answer", lambda _: {"said": ["answer"]})
        builder.set_entry_point("answer")
        return builder.compile(checkpointer=living(house, clock))

    for turn in range(5):
        compiled().invoke({"said": [f"question {turn}"]}, at("1"))
        clock.now_s += 400

    said = [text for turn in range(5) for text in (f"question {turn}", "answer")]
    assert compiled().get_state(at("1")).values["said"] == said
