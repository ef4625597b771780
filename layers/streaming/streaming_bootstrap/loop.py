"""The loop: initialise, then answer one event after another, until the Runtime API breaks."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from streaming_bootstrap.answers import Answer
from streaming_bootstrap.contexts import context_of
from streaming_bootstrap.failures import failure_of
from streaming_bootstrap.handlers import Handler, HandlerNotLoaded, load, pass_snapshot, set_search_path
from streaming_bootstrap.runtime_api import Invocation, Response, RuntimeApi, RuntimeApiBroken

_TRACE: Final = "_X_AMZN_TRACE_ID"


def main(arguments: Sequence[str]) -> int:
    """Serve the function's invocations.

    Args:
        arguments: None in the managed runtime, which says by its environment what the handler is. In a
            container image the handler's name, to be found in the current folder and wherever the image's
            Python looks, as with `python -m awslambdaric`.

    Returns:
        The status to exit with, never 0: whoever gets here needs a new sandbox.
    """
    if arguments:
        handler, sys.path[0] = arguments[0], ""  # the current folder
    else:
        handler = os.environ["_HANDLER"]
        set_search_path()
    # Lambda's own client has a root handler too, so that functions need only choose a level.
    logging.basicConfig(stream=sys.stdout, format="[%(levelname)s]\t%(name)s\t%(message)s")
    api = RuntimeApi(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        return _serve(api, handler)
    except RuntimeApiBroken as exc:
        failure_of(exc).log()
        return 1


def _serve(api: RuntimeApi, name: str) -> int:
    try:
        module, handler = load(name)
    except Exception as exc:  # noqa: BLE001 (whatever a function raises while it is imported)
        failure = failure_of(exc, kind=exc.kind if isinstance(exc, HandlerNotLoaded) else None)
        failure.log()
        api.report_init(failure)
        return 1
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start" and (
        status := pass_snapshot(api, module)
    ):
        return status
    runner = asyncio.Runner()
    while True:
        invocation = api.next()
        runner.run(_answer(api, handler, invocation), context=contextvars.copy_context())


async def _answer(api: RuntimeApi, handler: Handler, invocation: Invocation) -> None:
    """Answer one event; what its handler raises is reported, and its producer closed in any case."""
    answer: Answer | None = None
    response: Response | None = None
    try:
        try:
            answer = Answer(await _call(handler, invocation))
            response = await api.respond(invocation.request_id, await answer.prelude())
            async for chunk in answer:
                await response.send(chunk)
        finally:
            if answer is not None:
                await answer.aclose()
        await response.finish()
    except RuntimeApiBroken:
        raise
    # A handler may raise anything, and CancelledError when a task that it awaited was cancelled.
    except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001
        failure = failure_of(exc, request_id=invocation.request_id)
        failure.log()
        if response is None:
            api.report(invocation.request_id, failure)
        else:
            await response.fail(failure)
    finally:
        if response is not None:
            response.close()


async def _call(handler: Handler, invocation: Invocation) -> Any:
    _set_trace(invocation.headers.get("Lambda-Runtime-Trace-Id"))
    event = json.loads(invocation.payload)
    # In a thread, as a handler may wait: what else runs in this loop goes on, and it may have a loop of its own.
    run = contextvars.copy_context().run
    loop = asyncio.get_running_loop()
    given = await loop.run_in_executor(None, run, handler, event, context_of(invocation))
    return await given if inspect.isawaitable(given) else given


def _set_trace(trace: str | None) -> None:
    if trace is None:
        os.environ.pop(_TRACE, None)
    else:
        os.environ[_TRACE] = trace
