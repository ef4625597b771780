"""Writes as values: expressions name attributes and parameters, and never hold text of a user."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewline.store.changes import ABSENT, EXISTS, Change, Delete, Put, Update
from crewline.store.keys import Key
from tests.unit.store.worlds import World

KEY = Key("T#acme#t", "S")


def expressions(change: Change) -> list[str]:
    wire = change.wire()
    return [wire[name] for name in ("UpdateExpression", "ConditionExpression") if name in wire]


def test_an_update_sets_adds_and_removes() -> None:
    assert Update(key=KEY, set={"a": 1, "b": None}, add={"c": 2}, remove=("d",)).wire() == {
        "Key": {"PK": {"S": "T#acme#t"}, "SK": {"S": "S"}},
        "UpdateExpression": "SET #a = :set0 ADD #c :add0 REMOVE #b, #d",
        "ExpressionAttributeNames": {"#a": "a", "#b": "b", "#c": "c", "#d": "d"},
        "ExpressionAttributeValues": {":set0": {"N": "1"}, ":add0": {"N": "2"}},
    }


def test_a_put_carries_its_key_and_leaves_out_what_is_none() -> None:
    assert Put(key=KEY, item={"a": 1, "b": None}, condition=ABSENT).wire() == {
        "Item": {"PK": {"S": "T#acme#t"}, "SK": {"S": "S"}, "a": {"N": "1"}},
        "ConditionExpression": "attribute_not_exists(#PK)",
        "ExpressionAttributeNames": {"#PK": "PK"},
    }


def test_a_delete_without_a_condition_names_only_its_key() -> None:
    assert Delete(key=KEY).wire() == {"Key": {"PK": {"S": "T#acme#t"}, "SK": {"S": "S"}}}


def test_a_condition_declares_the_names_and_parameters_it_uses() -> None:
    wire = Delete(
        key=KEY, condition="#owner = :owner AND #seq < :n", parameters={"owner": "me", "n": 5}
    ).wire()
    assert wire["ExpressionAttributeNames"] == {"#owner": "owner", "#seq": "seq"}
    assert wire["ExpressionAttributeValues"] == {":owner": {"S": "me"}, ":n": {"N": "5"}}


def test_an_update_that_changes_nothing_has_no_expression() -> None:
    assert "UpdateExpression" not in Update(key=KEY, condition=EXISTS).wire()


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_a_users_text_is_only_in_names_and_values(metadata: dict[str, str]) -> None:
    change = Update(
        key=KEY, set={"at": "now"}, entries={("metadata", name): text for name, text in metadata.items()}
    )
    wire = change.wire()
    parts = [f"#metadata.#key{count} = :key{count}" for count in range(len(metadata))]
    assert wire["UpdateExpression"] == ", ".join(["SET #at = :set0", *parts])
    named = wire["ExpressionAttributeNames"]
    assert [named[f"#key{count}"] for count in range(len(metadata))] == list(metadata)


RESERVED = ("name", "status", "owner", "until", "drop", "ttl", "error", "user", "size", "values", "key")


def test_reserved_words_and_strange_keys_are_written_as_they_are(world: World) -> None:
    world.table.write(Put(key=KEY, item={"metadata": {}, "gone": 1}))
    strange = ["a.b", "#x", ":y", "a b", "[0]", "é😀", "status"]
    after = world.table.write(
        Update(
            key=KEY,
            set=dict.fromkeys(RESERVED, 1),
            entries={("metadata", name): name for name in strange},
            remove=("gone",),
            condition=" AND ".join([EXISTS, *(f"attribute_not_exists(#{name})" for name in RESERVED)]),
        )
    )
    assert after["metadata"] == {name: name for name in strange}
    assert {name: after[name] for name in RESERVED} == dict.fromkeys(RESERVED, 1)
    assert "gone" not in after


def test_none_removes_an_attribute(world: World) -> None:
    world.table.write(Put(key=KEY, item={"a": 1, "b": 2}))
    assert world.table.write(Update(key=KEY, set={"a": None, "b": 3})) == {
        "PK": KEY.partition,
        "SK": "S",
        "b": 3,
    }


@pytest.mark.parametrize(
    "change",
    [
        Put(key=KEY, item={"a": 1}, condition="#a = :old", parameters={"old": 0}),
        Update(key=KEY, set={"a": 1}, condition="#a = :old", parameters={"old": 0}),
        Delete(key=KEY, condition="#a = :old", parameters={"old": 0}),
    ],
)
def test_every_kind_of_write_is_carried_out_when_its_condition_holds(world: World, change: Any) -> None:
    world.table.write(Put(key=KEY, item={"a": 0}))
    world.table.write(change)
    assert (world.table.get(KEY) or {}).get("a") == (None if isinstance(change, Delete) else 1)
