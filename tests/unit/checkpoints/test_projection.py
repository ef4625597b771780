"""What is stored is shown as the JSON that a person expects, without LangGraph and without any object."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import deque, namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.types import Interrupt, Send
from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from crewline.checkpoints.projection import project, project_interrupts, project_values
from crewline.checkpoints.records import Record, Write
from crewline.errors import CorruptRecord

SERIALIZER = JsonPlusSerializer(allowed_msgpack_modules=None)


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Kind(StrEnum):
    A = "a"


class Point(NamedTuple):
    x: int
    y: int


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 (the untyped kind, too)


class Address(BaseModel):
    city: str
    since: date | None = None


class Person(BaseModel):
    name: str
    address: Address
    tags: set[str] = set()
    password: SecretStr = SecretStr("hunter2")


@dataclass
class Order:
    number: int
    person: Person
    lines: list[Decimal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Slotted:
    n: int


ADA = Person(name="Ada", address=Address(city="London", since=date(1815, 12, 10)), tags={"math"})
ADA_JSON = {
    "name": "Ada",
    "address": {"city": "London", "since": "1815-12-10"},
    "tags": ["math"],
    "password": "**********",
}


def shown(value: Any) -> Any:
    """What a stored value is shown as; it is JSON, and that survives being sent."""
    projected = project(SERIALIZER.dumps_typed(value))
    sent = orjson.loads(orjson.dumps(projected))
    assert sent == projected or "nan" in repr(projected) or "inf" in repr(projected)
    return projected


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (-(2**63), -(2**63)),
        (2**64 - 1, 2**64 - 1),
        (1.5, 1.5),
        ("text é😀", "text é😀"),
        ([], []),
        ({}, {}),
        ((1, (2,)), [1, [2]]),
        (b"\x00\xff", "AP8="),
        (bytearray(b"\x00\xff"), "AP8="),
        ({"in": b"\x00\xff"}, {"in": "AP8="}),
        ({1: "int", "a": {2: 3}}, {"1": "int", "a": {"2": 3}}),
        (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006+00:00"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),  # noqa: DTZ001 (a naive one, too)
        (datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), "2026-07-01T00:00:00+02:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (time(3, 4, 5, 6), "03:04:05.000006"),
        (time(3, 4, tzinfo=UTC), "03:04:00+00:00"),
        (time(3, 4, tzinfo=timezone(timedelta(hours=-2))), "03:04:00-02:00"),
        (timedelta(days=1, seconds=2, microseconds=500_000), 86402.5),
        (ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        (UUID("0199c7a0-0000-7000-8000-00000000abcd"), "0199c7a0-0000-7000-8000-00000000abcd"),
        (Decimal("1.10"), "1.10"),
        (ip_address("10.0.0.1"), "10.0.0.1"),
        (ip_network("fe80::/10"), "fe80::/10"),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Kind.A, "a"),
        ({1}, [1]),
        (frozenset({"a"}), ["a"]),
        (deque([1, 2]), [1, 2]),
        (Path("/etc/hosts"), "/etc/hosts"),
        (Path("a/b.txt"), "a/b.txt"),
        (Path(), "."),
        (Path("/"), "/"),
        (re.compile("^a+$", re.IGNORECASE), "^a+$"),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Pair("a", Point(1, 2)), {"left": "a", "right": {"x": 1, "y": 2}}),
        (Slotted(1), {"n": 1}),
        (ADA, ADA_JSON),
        (
            Order(1, ADA, [Decimal("1.5")]),
            {"number": 1, "person": ADA_JSON, "lines": ["1.5"]},
        ),
        ({"deep": [{"er": (ADA, {Color.RED})}]}, {"deep": [{"er": [ADA_JSON, ["red"]]}]}),
        (Send("node", {"n": date(2026, 1, 2)}), {"node": "node", "arg": {"n": "2026-01-02"}}),
        (
            Interrupt(value={"question": "?"}, id="i"),
            {"value": {"question": "?"}, "id": "i", "response_schema": None},
        ),
        (SecretStr("hunter2"), "**********"),
        (SecretBytes(b"hunter2"), "**********"),
        (Secret[str]("hunter2"), "**********"),
        ({"nested": [SecretStr("hunter2")]}, {"nested": ["**********"]}),
        (ValueError("boom"), "ValueError('boom')"),
        (
            Document("text", metadata={"page": 1}),
            {"id": None, "metadata": {"page": 1}, "page_content": "text", "type": "Document"},
        ),
    ],
    ids=repr,
)
def test_a_value_is_shown_as_a_person_expects(value: Any, wanted: Any) -> None:
    assert shown(value) == wanted
    assert type(shown(value)) is type(wanted)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_no_word_for_becomes_null_when_it_is_sent(number: float) -> None:
    projected = project(SERIALIZER.dumps_typed({"n": [number, 1.5]}))
    assert orjson.loads(orjson.dumps(projected)) == {"n": [None, 1.5]}


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage("hello", id="1", name="Ada", additional_kwargs={"a": [1]}),
        HumanMessageChunk(content="hel"),
        AIMessage("hi", id="2", response_metadata={"model": "m"}),
        AIMessage(
            "",
            tool_calls=[{"name": "f", "args": {"x": 1}, "id": "c", "type": "tool_call"}],
            invalid_tool_calls=[
                {"name": "g", "args": "{", "id": "d", "error": "e", "type": "invalid_tool_call"}
            ],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        ),
        AIMessageChunk(
            content="h",
            tool_call_chunks=[{"name": "f", "args": "{", "id": "c", "index": 0, "type": "tool_call_chunk"}],
        ),
        AIMessage([{"type": "text", "text": "part"}, "plain"]),
        SystemMessage("be kind"),
        ToolMessage("4", tool_call_id="c", status="error", artifact={"raw": 4}),
        FunctionMessage(content="4", name="f"),
        ChatMessage(content="hi", role="judge"),
        RemoveMessage(id="1"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_is_shown_as_its_model_dump(message: BaseMessage) -> None:
    assert shown(message) == message.model_dump()
    assert shown({"messages": [message]}) == {"messages": [message.model_dump()]}
    assert shown(message)["type"] == message.type


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda one: st.lists(one) | st.dictionaries(st.text(st.characters(codec="utf-8")), one),
)


@given(json_values)
def test_json_is_shown_as_it_is(value: Any) -> None:
    assert project(SERIALIZER.dumps_typed(value)) == value


# ------------------------------------------------------------------ bytes that are not what they should be


@pytest.mark.parametrize(
    "blob",
    [
        ("msgpack", b"\xc1"),
        ("msgpack", b""),
        ("pickle", b"\x80\x04N."),
        ("json", b"{}"),
        ("", b""),
    ],
)
def test_what_is_never_stored_is_corrupt(blob: tuple[str, bytes]) -> None:
    with pytest.raises(CorruptRecord):
        project(blob)


@pytest.mark.parametrize(
    "altered",
    [
        b"\xc7\x01\x00\xc0",
        b"\xc7\x01\x05\x90",
        b"\xc7\x02\x01\x91\xa0",
        b"\xc7\x01\x06\xc0",
        b"\xc7\x01\x63\x93",
    ],
)
def test_an_altered_extension_is_corrupt(altered: bytes) -> None:
    with pytest.raises(CorruptRecord):
        project(("msgpack", altered))


def test_a_date_that_does_not_exist_is_corrupt() -> None:
    kind, data = SERIALIZER.dumps_typed(date(2026, 1, 2))
    with pytest.raises(CorruptRecord):
        project((kind, data.replace(b"\x01\x02", b"\x0d\x02")))


# ------------------------------------------------------------------ records and writes


def make(value: Any) -> tuple[str, bytes]:
    return SERIALIZER.dumps_typed(value)


def record(
    channels: dict[str, Any], defaults: dict[str, Any] | None = None, *, written: Sequence[str] = ()
) -> Record:
    return Record(
        namespace="",
        checkpoint_id="c",
        parent_id=None,
        envelope={"channel_versions": dict.fromkeys([*channels, *written], 1)},
        metadata=make({}),
        channels={name: make(value) for name, value in channels.items()},
        defaults={name: make(value) for name, value in (defaults or {}).items()},
    )


def test_the_values_of_a_checkpoint_are_its_named_channels() -> None:
    internal = {"__start__": 1, "__pregel_tasks": [], "branch:to:a": None, "join:a+b:c": None}
    assert project_values(record({"n": 1, "list": [2], **internal})) == {"n": 1, "list": [2]}


def test_a_channel_that_nothing_has_written_shows_its_default() -> None:
    assert project_values(record({"n": 1}, {"log": [], "n": 0})) == {"n": 1, "log": []}


def test_a_written_channel_whose_value_is_elsewhere_is_left_out_and_never_shown_as_its_default() -> None:
    assert project_values(record({"n": 1}, {"said": [], "log": []}, written=["said"])) == {"n": 1, "log": []}


def test_the_snapshot_of_a_delta_channel_is_shown_as_its_value() -> None:
    assert project_values(record({"said": _DeltaSnapshot(["a", "b"])})) == {"said": ["a", "b"]}


def test_a_graph_without_named_channels_shows_its_one_value() -> None:
    assert project_values(record({"__root__": [1, 2], "__start__": 0})) == [1, 2]


def write(task: str, index: int, channel: str, value: Any) -> Write:
    return Write(task_id=task, task_path="", index=index, channel=channel, value=make(value))


def test_open_questions_are_shown_by_their_task() -> None:
    asked = [Interrupt(value="sure?", id="i")]
    assert project_interrupts([write("a", -3, "__interrupt__", asked), write("b", 0, "n", 1)]) == {
        "a": [{"value": "sure?", "id": "i", "response_schema": None}]
    }


def test_a_question_that_was_answered_is_not_open() -> None:
    asked = write("a", -3, "__interrupt__", [Interrupt(value="sure?", id="i")])
    assert project_interrupts([asked, write("a", -4, "__resume__", ["yes"])]) != {}
    assert project_interrupts([asked, write("a", -4, "__resume__", ["yes"]), write("a", 0, "n", 1)]) == {}


def test_the_projection_loads_neither_langgraph_nor_langchain() -> None:
    code = (
        "import sys, crewline.checkpoints.projection, crewline.checkpoints.codec\n"
        "print([name for name in sys.modules if name.split('.')[0].startswith(('langgraph', 'langchain', 'pydantic'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_type_that_a_state_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dangerous_state.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    made: Callable[..., Any] = type(
        "State", (BaseModel,), {"__annotations__": {"n": int}, "__module__": "dangerous_state"}
    )
    assert shown(made(n=1)) == {"n": 1}
    assert "dangerous_state" not in sys.modules
