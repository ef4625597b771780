"""What comes back as an object, and what stays data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any
from unittest.mock import patch

import ormsgpack
import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import StateGraph
from pydantic import BaseModel
from typing_extensions import TypedDict

from crewline.engine.checkpointer import DynamoDBCheckpointer
from crewline.engine.serdes import strict_serializer
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, checkpoint


class Address(BaseModel):
    city: str


class Person(BaseModel):
    name: str
    home: Address
    former: list[Address] = []


@dataclass
class Stranger:
    name: str


def _extend(old: list[Any], new: list[Any]) -> list[Any]:
    return [*old, *new]


class State(TypedDict):
    person: Person
    seen: Annotated[list[Any], _extend]


def _compiled(saver: DynamoDBCheckpointer) -> Any:
    def move(state: State) -> Any:
        person = state["person"]
        moved = Person(name=person.name, home=Address(city="Turin"), former=[*person.former, person.home])
        return {"person": moved, "seen": [Stranger("guest")]}

    builder = StateGraph(State)
    builder.add_node("move", move)
    builder.set_entry_point("move")
    return builder.compile(checkpointer=saver)


def test_the_types_of_a_graphs_state_come_back_without_being_listed(house: House) -> None:
    ada = Person(name="Ada", home=Address(city="London"))
    _compiled(house.saver()).invoke({"person": ada, "seen": []}, at("1"))

    graph = _compiled(house.saver())
    state = graph.get_state(at("1")).values
    graph.invoke({"seen": []}, at("1"))

    assert state["person"] == Person(name="Ada", home=Address(city="Turin"), former=[Address(city="London")])
    again = _compiled(house.cold()).get_state(at("1")).values
    assert [place.city for place in again["person"].former] == ["London", "Turin"]


def test_a_type_that_nobody_named_comes_back_as_plain_data(house: House) -> None:
    ada = Person(name="Ada", home=Address(city="London"))
    _compiled(house.saver()).invoke({"person": ada, "seen": []}, at("1"))

    by_graph = _compiled(house.saver()).get_state(at("1")).values
    by_itself = house.saver().get_tuple(at("1"))

    assert by_graph["seen"] == [{"name": "guest"}]
    assert by_itself
    assert by_itself.checkpoint["channel_values"]["person"] == {
        "name": "Ada",
        "home": {"city": "Turin"},
        "former": [{"city": "London"}],
    }


def test_a_type_that_is_named_comes_back_as_an_object(house: House) -> None:
    ada = Person(name="Ada", home=Address(city="London"))
    _compiled(house.saver()).invoke({"person": ada, "seen": []}, at("1"))

    found = house.saver(allowed_types=[(Stranger.__module__, "Stranger")]).get_tuple(at("1"))

    assert found
    assert found.checkpoint["channel_values"]["seen"] == [Stranger("guest")]


def test_the_clone_with_an_allow_list_reads_what_the_original_writes(house: House) -> None:
    original = house.saver()
    clone = original.with_allowlist([(Stranger.__module__, "Stranger")])
    config = original.put(
        at("1"), checkpoint({"x": Stranger("a"), "y": [Stranger("b")]}), {}, {"x": 1, "y": 1}
    )
    original.put_writes(config, [("x", Stranger("c"))], "task")

    for one in (original, clone):
        found = one.get_tuple(at("1"))
        listed = [*one.list(at("1"))]
        assert found
        assert [entry.checkpoint["channel_values"] for entry in listed] == [
            found.checkpoint["channel_values"]
        ]
        expected: list[Any] = [Stranger(name) if one is clone else {"name": name} for name in "abc"]
        values = found.checkpoint["channel_values"]
        assert [values["x"], *values["y"], found.pending_writes and found.pending_writes[0][2]] == expected


def test_an_encrypting_serialiser_keeps_its_encryption_in_the_clone(house: House) -> None:
    serde = EncryptedSerializer.from_pycryptodome_aes(strict_serializer(), key=b"k" * 32)
    clone = house.saver(serde=serde).with_allowlist([(Stranger.__module__, "Stranger")])

    clone.put(at("1"), checkpoint({"x": Stranger("a secret name")}), {}, {"x": 1})

    found = clone.get_tuple(at("1"))
    assert found
    assert found.checkpoint["channel_values"] == {"x": Stranger("a secret name")}
    assert b"a secret name" not in repr(house.items("1")).encode()


CONSTRUCTORS = {
    "with one argument": (0, ("os", "system", "touch {}")),
    "with arguments": (1, ("os", "system", ("touch {}",))),
    "with keywords": (2, ("os", "system", {"command": "touch {}"})),
    "by a method": (3, ("os", "system", "touch {}", "__call__")),
    "as a pydantic model": (5, ("os", "system", {"command": "touch {}"}, "model_validate_json")),
}


@pytest.mark.parametrize("how", CONSTRUCTORS)
def test_a_function_that_a_record_names_is_never_called(house: House, how: str) -> None:
    code, parts = CONSTRUCTORS[how]
    attack = ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))

    class Attacker(JsonPlusSerializer):
        def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
            return ("msgpack", attack) if obj == "attack" else super().dumps_typed(obj)

    attacker = house.saver(serde=Attacker())
    config = attacker.put(at("1"), checkpoint({"x": "attack", "y": ["attack"]}), {}, {"x": 1, "y": 1})
    attacker.put_writes(config, [("x", "attack")], "task")

    with patch.object(os, "system") as system:
        for reader in (house.saver(), house.saver().with_allowlist([("os", "path")])):
            found = reader.get_tuple(at("1"))
            assert found
            assert not callable(found.checkpoint["channel_values"]["x"])
    system.assert_not_called()
