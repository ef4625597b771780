"""JSON that comes from outside, read strictly: what passes can be stored and shown again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from crewline.errors import InvalidRequest

DEEPEST: Final = 100
"""Levels of lists and objects; LangGraph, msgpack and orjson each have a limit somewhere above."""

_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def read_json(content: bytes) -> Any:
    """Read a JSON text.

    Args:
        content: The text, as UTF-8.

    Raises:
        InvalidRequest: It is not UTF-8, is not JSON, is nested too deeply, or has a number that nothing can store.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The body is not valid JSON: {exc}.") from exc
    _check_numbers(content)
    if content.count(b"[") + content.count(b"{") > DEEPEST and any(
        depth > DEEPEST for depth in _depths(value)
    ):
        raise InvalidRequest(f"The body is nested more than {DEEPEST} levels deep.")
    return value


def _check_numbers(content: bytes) -> None:
    """Refuse whole numbers over 64 bits: orjson rounds them to floats without a word."""
    if _LONG_NUMBER.search(content):
        json.loads(content, parse_int=_whole_number)


def _whole_number(digits: str) -> int:
    # 20 digits and a sign hold every 64-bit number; int() of a very long text is slow.
    number = int(digits) if len(digits) <= 21 else _LARGEST + 1  # noqa: PLR2004
    if not _SMALLEST <= number <= _LARGEST:
        raise InvalidRequest(
            f"The body has the number {digits[:30]}, which does not fit 64 bits; send it as text."
        )
    return number


def _depths(value: Any) -> Iterator[int]:
    waiting = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        yield depth
        parts = one.values() if isinstance(one, dict) else one
        waiting += [(part, depth + 1) for part in parts if isinstance(part, dict | list)]
