"""Answers that take a while: whitespace keeps the line open until the JSON is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

from aws_lambda_powertools import Logger

from crewline.errors import CrewlineError
from crewline.http.apps import to_json
from crewline.models.clocks import ending

KEEP_ALIVE_S: Final = 5.0
_MARGIN_S: Final = 5.0
"""What is left of an invocation when an answer that is not complete is broken off."""


class OutOfTime(CrewlineError):
    """The function's time is up before the answer is complete; the line is broken, so that nobody takes it for whole."""

    code = "out_of_time"


def last_moment(context: Any) -> float:
    """Tell when an answer that is not complete has to be broken off, by the monotonic clock.

    Args:
        context: The Lambda context.
    """
    return ending(context) - _MARGIN_S


def patience(longest: float, until: float) -> float:
    """Tell how long to wait for the next part of an answer, in seconds.

    Args:
        longest: After how long the client wants to hear something.
        until: The last moment, of `last_moment`.

    Raises:
        OutOfTime: It is over.
    """
    left = until - time.monotonic()
    if left <= 0:
        raise OutOfTime(
            "The function's time is up before the answer is complete; whoever asks again goes on."
        )
    return min(longest, left)


async def spelled(work: Awaitable[Any]) -> bytes:
    """Wait for a value, and spell it as JSON."""
    return to_json(await work)


def _failure(error: str, message: str) -> bytes:
    """Spell a failure as the LangGraph API tells that of a run."""
    return to_json({"__error__": {"error": error, "message": message}})


async def keep_alive(
    work: Awaitable[bytes],
    logger: Logger,
    *,
    until: float,
    left: Callable[[], None] | None = None,
    failure: Callable[[str, str], bytes] = _failure,
) -> AsyncIterator[bytes]:
    """Send a newline every few seconds until the work is done, then its result.

    The status has been sent by then, so a failure is told in the body. A client that leaves does not
    stop the work of a run.

    Args:
        work: Gives the body.
        logger: Where a failure of ours is logged.
        until: When the function's time is up, of `last_moment`.
        left: Called in a thread when the client leaves before the work is done.
        failure: Spells what kind of error there was, and a sentence about it; as the LangGraph API does when absent.

    Yields:
        Newlines, then the body.

    Raises:
        OutOfTime: The function's time is up, and the work is not done.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=patience(KEEP_ALIVE_S, until))
            if not task.done():
                yield b"\n"
        yield task.result()
    except OutOfTime:
        left = None  # we leave, not the client
        raise
    except CrewlineError as exc:
        yield failure(type(exc).__name__, exc.message)
    except Exception:
        incident = uuid4().hex
        logger.exception("answer failed", incident=incident)
        yield failure("InternalError", f"Internal error; look for incident {incident} in the logs.")
    finally:
        if not task.done():
            task.cancel()  # nobody waits for it any more; a run that executes goes on
            if left:
                asyncio.get_running_loop().run_in_executor(None, left)
