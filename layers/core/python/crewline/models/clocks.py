"""Time and ids, passed in as a `Clock` so that tests can set them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field
from uuid_utils import reseed_rng
from uuid_utils.compat import uuid7

from crewline.errors import InvalidRequest

Clock = Callable[[], int]
"""Milliseconds since the epoch."""


def system_clock() -> int:
    """Tell the time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def ending(context: Any) -> float:
    """Tell when an invocation ends, in seconds of the monotonic clock.

    Args:
        context: The Lambda context.
    """
    left_ms: int = context.get_remaining_time_in_millis()
    return time.monotonic() + left_ms / 1000


def iso(milliseconds: int) -> str:
    """Spell a time as the API does: ISO 8601, microseconds, UTC offset."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="microseconds")


def milliseconds(text: str) -> int:
    """Read a time as the API spells it; the inverse of `iso`."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def new_id() -> str:
    """Make the id of a thread or run: a uuid7, so that ids sort by creation."""
    return str(uuid7())


def reseed() -> None:
    """Draw ids anew: in a process that was restored from a snapshot, or every one of them makes the same ids."""
    reseed_rng()


def parse_id(text: str, kind: str) -> str:
    """Check an id that a caller sent and spell it canonically.

    Args:
        text: The id as it came.
        kind: What it names, for the message: `thread`, `run`, `assistant`, `checkpoint`.

    Returns:
        The id in lower case with dashes.

    Raises:
        InvalidRequest: It is not a UUID.
    """
    try:
        return canonical(text)
    except ValueError as exc:
        raise InvalidRequest(f"Invalid {kind} ID: {exc}.") from None


def canonical(text: str) -> str:
    """Spell a UUID in lower case with dashes.

    Raises:
        ValueError: It is none.
    """
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError(f"must be a UUID, got {text[:60]!r}") from None


def is_id(text: str) -> bool:
    """Tell whether a text is a UUID, spelled in any way."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


Id = Annotated[str, AfterValidator(canonical), Field(json_schema_extra={"format": "uuid"})]
"""A UUID in a body, which may spell it in any way; read as `parse_id` does."""
