"""Assistants as tools: every one has a name of its own that every client takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewline.http.mcp.tools import LONGEST_NAME, answer, describe, name_tools
from crewline.models.assistants import Assistant, default_assistant_id


def assistant(count: int, name: str, graph_id: str = "echo", *, default: bool = False) -> Assistant:
    return Assistant(
        assistant_id=default_assistant_id(graph_id)
        if default
        else f"{count:08d}-0000-7000-8000-000000000000",
        graph_id=graph_id,
        name=name,
        created_at=f"2026-01-01T00:00:{count:02d}.000000+00:00",
        updated_at="2026-01-01T00:00:00.000000+00:00",
    )


def test_a_crew_is_called_as_it_is_called_whatever_its_assistant_was_renamed_to() -> None:
    renamed = assistant(5, "Parrot", default=True)
    assert name_tools([assistant(1, "echo"), renamed]) == {
        "echo": renamed,
        "echo-00000001": assistant(1, "echo"),
    }


def test_of_one_name_the_oldest_has_it() -> None:
    older, younger = assistant(1, "a b"), assistant(2, "a/b")
    assert name_tools([younger, older]) == {"a_b": older, "a_b-00000002": younger}


@given(st.lists(st.text(min_size=1, max_size=300), max_size=8))
def test_every_assistant_has_a_name_that_every_client_takes(names: list[str]) -> None:
    named = name_tools([assistant(count, name) for count, name in enumerate(names)])
    assert len(named) == len(names)
    assert all(re.fullmatch(rf"[A-Za-z0-9_.-]{{1,{LONGEST_NAME}}}", name) for name in named)


@pytest.mark.parametrize("schema", [None, {"type": "string"}, {}])
def test_a_tool_takes_an_object_whatever_is_known_of_it(schema: dict[str, str] | None) -> None:
    described = describe("echo", assistant(1, "Echo"), {"input_schema": schema})
    assert described == {"name": "echo", "title": "Echo", "inputSchema": {"type": "object"}}


def test_an_answer_that_is_no_object_is_structured_only_where_it_may_be() -> None:
    assert answer(["a"], objects=True) == {"content": [{"type": "text", "text": '["a"]'}], "isError": False}
    assert answer(["a"], objects=False)["structuredContent"] == ["a"]
