"""Answers that take a while: whitespace keeps the line open until the JSON is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from uuid import uuid4

from aws_lambda_powertools import Logger

from crewline.errors import CrewlineError
from crewline.http.apps import to_json

KEEP_ALIVE_S: Final = 5.0


async def keep_alive(
    work: Awaitable[bytes], logger: Logger, *, left: Callable[[], None] | None = None
) -> AsyncIterator[bytes]:
    """Send a newline every few seconds until the work is done, then its result.

    The status has been sent by then, so a failure is told as the LangGraph API tells that of a
    run: `{"__error__": …}`. A client that leaves does not stop the work of a run.

    Args:
        work: Gives the body.
        logger: Where a failure of ours is logged.
        left: Called in a thread when the client leaves before the work is done.

    Yields:
        Newlines, then the body.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=KEEP_ALIVE_S)
            if not task.done():
                yield b"\n"
        yield task.result()
    except CrewlineError as exc:
        yield to_json({"__error__": {"error": type(exc).__name__, "message": exc.message}})
    except Exception:
        incident = uuid4().hex
        logger.exception("answer failed", incident=incident)
        message = f"Internal error; look for incident {incident} in the logs."
        yield to_json({"__error__": {"error": "InternalError", "message": message}})
    finally:
        if left and not task.done():
            asyncio.get_running_loop().run_in_executor(None, left)
