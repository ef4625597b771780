"""What is different between two states."""

from __future__ import annotations

from typing import Any

import pytest

from crewline.cli.changes import compare, shown

HUMAN = {"type": "human", "content": "Hello\nthere", "id": "1"}
AI = {"type": "ai", "content": [{"type": "text", "text": "Hi"}], "id": "2"}


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (None, {"a": 1}, ["+ a: 1"]),
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"b": 2}, ["+ b: 2", "- a: 1"]),
        ({"a": 1}, {"a": True}, ["~ a: 1 → true"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["~ a.c: 2 → 3"]),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, ["+ a[2]: 3"]),
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, ["- a[1]: 2"]),
        ({"a": [1, 2, 3]}, {"a": [1, 5, 3]}, ["~ a[1]: 2 → 5"]),
        ({"a": [1, 1]}, {"a": [1]}, ["- a[1]: 1"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["~ a[0].b: 1 → 2"]),
        ({"a": None}, {"a": "x" * 100}, ["~ a: null → " + '"' + "x" * 58 + "…"]),
        ({"m": [HUMAN]}, {"m": [HUMAN, AI]}, ["+ m[1]: ai: Hi"]),
        ({}, {"m": [HUMAN, AI], "n": [1]}, ["+ m[0]: human: Hello there", "+ m[1]: ai: Hi", "+ n: [1]"]),
        ({"m": [HUMAN]}, {"m": [AI]}, ["~ m[0]: human: Hello there → ai: Hi"]),
        ([1], [1, 2], ["+ [1]: 2"]),
        ("a", "b", ['~ the state: "a" → "b"']),
    ],
)
def test_two_states(before: Any, after: Any, lines: list[str]) -> None:
    assert [change.line().plain for change in compare(before, after)] == lines


def test_a_message_that_calls_tools_says_which() -> None:
    message = {"type": "ai", "content": "", "tool_calls": [{"name": "find"}, {"name": "add"}]}
    assert shown(message) == "ai: calls find, add"


def test_what_programs_get_is_whole() -> None:
    assert [change.json() for change in compare({"a": 1, "b": 2}, {"b": "x" * 500, "c": 3})] == [
        {"change": "changed", "place": "b", "before": 2, "after": "x" * 500},
        {"change": "added", "place": "c", "after": 3},
        {"change": "removed", "place": "a", "before": 1},
    ]


def test_control_characters_are_not_printed() -> None:
    [change] = compare({"a\x1b[1m": 1}, {"a\x1b[1m": "\x9bx"})
    assert "\x1b" not in change.line().plain
    assert "\x9b" not in change.line().plain
