"""Request bodies: JSON, read strictly and within limits, before any route sees them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from crewline.errors import InvalidRequest, TooLarge

DEEPEST: Final = 100
"""Levels of lists and objects; LangGraph, msgpack and orjson each have a limit somewhere above."""

_TAKES_A_LIST: Final = "/runs/batch"
"""The path whose body is a list; elsewhere Powertools would take the first element of one for the body."""
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def read_body(event: Mapping[str, Any], *, most: int) -> Any:
    """Read the JSON body of a request.

    Args:
        event: An API Gateway REST proxy event.
        most: Bytes that a body may have.

    Returns:
        An object, or the list of a batch; None when there is no body.

    Raises:
        TooLarge: The body has more bytes.
        InvalidRequest: It is not UTF-8, is not JSON, is no object where one is due, is nested too deeply, or has a
            number that nothing can store.
    """
    content = _bytes(event)
    if not content:
        return None
    if len(content) > most:
        raise TooLarge(
            f"The body has {len(content):,} bytes; at most {most:,} are taken. "
            "Store large inputs elsewhere and send a reference."
        )
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"The body is not valid JSON: {exc}.") from exc
    if not isinstance(value, dict) and not (isinstance(value, list) and event.get("path") == _TAKES_A_LIST):
        raise InvalidRequest(f"The body must be a JSON object, not a {type(value).__name__}.")
    _check_numbers(content)
    if content.count(b"[") + content.count(b"{") > DEEPEST and any(
        depth > DEEPEST for depth in _depths(value)
    ):
        raise InvalidRequest(f"The body is nested more than {DEEPEST} levels deep.")
    return value


def _bytes(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        try:
            return str(body).encode()
        except UnicodeEncodeError as exc:
            raise InvalidRequest("The body is not valid UTF-8.") from exc
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidRequest("The body says that it is base64, but it is not.") from exc


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
