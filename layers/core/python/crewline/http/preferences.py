"""What a caller asks for in headers: to wait for a run, to get no body, to have a request take effect once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from crewline.errors import InvalidRequest
from crewline.models.api_keys import Caller
from crewline.store.idempotency import Once

LONGEST_WAIT_S: Final = 60.0
"""How long `Prefer: wait` holds a request; a run that takes longer is answered as in the background."""
LONGEST_KEY: Final = 255
"""Characters of an Idempotency-Key."""

_WAIT: Final = re.compile(r"(?:^|[,;\s])wait(?:\s*=\s*\"?(\d{1,6})\"?)?(?=$|[,;\s])", re.IGNORECASE)
_MINIMAL: Final = re.compile(r"(?:^|[,;\s])return\s*=\s*\"?minimal\"?(?=$|[,;\s])", re.IGNORECASE)
_MARGIN_S: Final = 3.0
"""What an answer takes."""


def wait_s(headers: Mapping[str, str], context: Any) -> float | None:
    """Read `Prefer: wait`, with or without seconds (RFC 7240).

    Args:
        headers: Of the request.
        context: The Lambda context: an invocation must answer before its time is up.

    Returns:
        How long to wait for the run; None when the caller does not want to.
    """
    found = _WAIT.search(headers.get("prefer") or "")
    if found is None:
        return None
    left: float = context.get_remaining_time_in_millis() / 1000 - _MARGIN_S
    return max(0.0, min(LONGEST_WAIT_S, left, float(found[1] or LONGEST_WAIT_S)))


def minimal(headers: Mapping[str, str]) -> bool:
    """Tell whether the caller wants no body back: `Prefer: return=minimal` (RFC 7240)."""
    return _MINIMAL.search(headers.get("prefer") or "") is not None


def once(headers: Mapping[str, str], route: str, body: Any, caller: Caller | None) -> Once | None:
    """Read `Idempotency-Key`: the same key of the same user on the same route takes effect once.

    Args:
        headers: Of the request.
        route: Method and path.
        body: What the request asks for, as JSON values.
        caller: Who sends it: two users who send the same key send two requests.

    Raises:
        InvalidRequest: The key is empty or too long.
    """
    key = headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidRequest(f"Idempotency-Key: send 1 to {LONGEST_KEY} characters, not {len(key)}.")
    user = caller.sender.user if caller else None
    return Once.of(f"{user.identity}\n{route}" if user else route, key, body)
