"""Failures as Lambda wants to be told of them."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import dataclass
from typing import Final

_LONGEST_MESSAGE: Final = 4_000
_MOST_FRAMES: Final = 30
# A failure in the middle of a stream travels in a header line; servers limit those.


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, with what the Runtime API takes of it."""

    kind: str
    """Such as `Runtime.ImportModuleError`, or the exception's class."""
    message: str
    frames: list[str]
    request_id: str | None = None

    def body(self) -> bytes:
        """Spell the failure as the Runtime API reads it."""
        return json.dumps(self._fields()).encode()

    def log(self) -> None:
        """Write one line to the function's log."""
        print(json.dumps({"level": "ERROR", **self._fields()}), file=sys.stderr)  # noqa: T201 (the log)

    def _fields(self) -> dict[str, object]:
        return {
            "errorType": self.kind,
            "errorMessage": self.message,
            "requestId": self.request_id or "",
            "stackTrace": self.frames,
        }


def failure_of(exc: BaseException, *, kind: str | None = None, request_id: str | None = None) -> Failure:
    """Describe an exception.

    Args:
        exc: The exception.
        kind: Lambda's name for such failures; the exception's class without it.
        request_id: The invocation that failed.
    """
    return Failure(
        kind=kind or type(exc).__name__,
        message=str(exc)[:_LONGEST_MESSAGE],
        frames=traceback.format_tb(exc.__traceback__)[-_MOST_FRAMES:],
        request_id=request_id,
    )
