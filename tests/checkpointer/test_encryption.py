"""Encrypted threads: nothing is readable without the key, and nothing altered is believed."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Command, interrupt

from crewline.engine.checkpointer import DynamoDBCheckpointer
from crewline.engine.serdes import strict_serializer
from crewline.errors import CorruptRecord
from tests.checkpointer.conftest import BUCKET, TABLE, House
from tests.checkpointer.steps import at, checkpoint, plain

SECRET = "the eagle lands at dawn"


def encrypted(house: House, key: bytes = b"k" * 32) -> DynamoDBCheckpointer:
    return house.saver(serde=EncryptedSerializer.from_pycryptodome_aes(strict_serializer(), key=key))


def chat(saver: DynamoDBCheckpointer) -> Any:
    def ask(state: MessagesState) -> Any:
        return {"messages": [("ai", interrupt(f"question: {SECRET}"))]}

    builder = StateGraph(MessagesState)
    builder.add_node("ask", ask)
    builder.set_entry_point("ask")
    return builder.compile(checkpointer=saver)


def talk(house: House) -> None:
    """Fill a thread with a large value, an open question and its answer, each with the secret."""
    config: Any = {**at("1"), "metadata": {"note": SECRET}}
    chat(encrypted(house)).invoke({"messages": [("user", SECRET), ("user", _long())]}, config)
    chat(encrypted(house)).invoke(Command(resume=f"answer: {SECRET}"), config)
    chat(encrypted(house)).invoke({"messages": [("user", SECRET)]}, config)


def _long() -> str:
    return "".join(f"{SECRET} {number * number} " for number in range(20_000))


def test_what_is_stored_holds_no_plain_text_and_comes_back(house: House) -> None:
    talk(house)

    stored = [item["body"]["B"] for item in house.items("1") if "body" in item]
    stored += house.objects("1").values()
    assert len(house.objects("1")) >= 1
    assert len(stored) > 6
    zstd = b"\x28\xb5\x2f\xfd"
    for body in stored:
        for plain_text in (b"eagle", b"messages", b"channel_versions", b"HumanMessage", b"msgpack", zstd):
            assert plain_text not in body
    found = encrypted(house).get_tuple(at("1"))
    assert found
    assert found.metadata["note"] == SECRET  # type: ignore[typeddict-item]
    texts = [one.content for one in found.checkpoint["channel_values"]["messages"]]
    assert texts == [SECRET, _long(), f"answer: {SECRET}", SECRET]
    assert found.pending_writes
    assert found.pending_writes[0][2][0].value == f"question: {SECRET}"


def test_with_another_key_or_without_one_nothing_is_read(house: House) -> None:
    talk(house)

    for saver in (encrypted(house, b"x" * 32), house.saver()):
        with pytest.raises((CorruptRecord, ValueError)):
            saver.get_tuple(at("1"))
        with pytest.raises((CorruptRecord, ValueError)):
            list(saver.list(at("1")))


def test_altered_bytes_of_an_item_are_never_believed(house: House) -> None:
    talk(house)
    expected = [plain(one) for one in encrypted(house).list(at("1"))]
    reader = encrypted(house)

    for item in house.items("1"):
        body = item.get("body", {}).get("B")
        if body is None:
            continue
        for place in range(0, len(body), max(1, len(body) // 12)):
            altered = body[:place] + bytes((body[place] ^ 0x40,)) + body[place + 1 :]
            house.cloud.dynamodb.put_item(TableName=TABLE, Item={**item, "body": {"B": altered}})
            with pytest.raises((CorruptRecord, ValueError, AssertionError)):
                list(reader.list(at("1")))
        house.cloud.dynamodb.put_item(TableName=TABLE, Item=item)
    assert [plain(one) for one in reader.list(at("1"))] == expected


def test_altered_bytes_of_a_plain_item_raise_or_change_nothing(house: House) -> None:
    """Without encryption there is no seal: what does not decode is said to be so."""
    house.saver().put(at("1"), checkpoint({"x": ["a value"]}), {}, {"x": 1})
    [item] = house.items("1")
    reader = house.saver()

    for cut in (0, 1, 5, len(item["body"]["B"]) - 1):
        house.cloud.dynamodb.put_item(TableName=TABLE, Item={**item, "body": {"B": item["body"]["B"][:cut]}})
        with pytest.raises(CorruptRecord):
            reader.get_tuple(at("1"))


@pytest.mark.parametrize("how", ["altered", "missing"])
@pytest.mark.parametrize("kind", ["plain", "encrypted"])
def test_a_large_value_that_was_altered_is_said_to_be_so(house: House, how: str, kind: str) -> None:
    saver = encrypted(house) if kind == "encrypted" else house.saver()
    chat(saver).invoke({"messages": [("user", bytes(range(256)).hex() * 4_000 + _long())]}, at("1"))
    objects = house.objects("1")
    assert objects
    for name, body in objects.items():
        if how == "altered":
            house.cloud.objects.put_object(Bucket=BUCKET, Key=name, Body=body[:-1] + b"?")
        else:
            house.cloud.objects.delete_object(Bucket=BUCKET, Key=name)

    reader = encrypted(house) if kind == "encrypted" else house.saver()
    with pytest.raises(CorruptRecord, match="altered" if how == "altered" else "missing"):
        list(reader.list(at("1")))


def test_a_copy_and_a_pruned_thread_stay_encrypted_and_readable(house: House) -> None:
    talk(house)
    saver = encrypted(house)
    saver.copy_thread("1", "2")
    saver.prune(["1"])

    first, second = saver.get_tuple(at("1")), saver.get_tuple(at("2"))
    assert first
    assert second
    assert first.checkpoint == second.checkpoint
    assert all(b"eagle" not in item["body"]["B"] for item in house.items("1") if "body" in item)
