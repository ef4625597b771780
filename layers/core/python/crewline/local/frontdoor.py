"""The front door: HTTP in, the functions' answers out, many requests at once.

It stands for API Gateway and the Lambda service, and runs the same handlers as AWS: each request
becomes a REST proxy event, goes to the function that the API's resources name, and what the
function yields is sent as it is yielded.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, Protocol
from uuid import uuid4

from crewline.http.asgi import Application, Receive, Scope, Send
from crewline.http.cors import Cors
from crewline.http.errors import error_body
from crewline.http.proxy_events import request_path
from crewline.http.replies import Reply
from crewline.http.resources import resource_for
from crewline.local.proxy_events import LambdaContext, lambda_context, proxy_event
from crewline.models.cors import CorsPolicy

_logger = logging.getLogger(__name__)

_THREADS: Final = 32
"""How many answers may be worked out at once; they wait for DynamoDB most of the time."""


class Answer(Protocol):
    """The entry point of a function's handler: from any thread, many at once."""

    def __call__(self, event: dict[str, Any], context: LambdaContext, /) -> Reply:
        """Answer one request."""


class FrontDoor:
    """An ASGI application that puts requests to functions.

    Args:
        functions: Name of a function → how it answers.
        max_body_bytes: A larger request body is answered with 413 here, as API Gateway does.
        cors: Which web pages may read the answers that no function gives.
        replaced: Whether another process may take this one's place. A connection then ends with what was streamed
            on it: a client would send its next request to a process that is ending.
    """

    def __init__(
        self,
        functions: Mapping[str, Answer],
        *,
        max_body_bytes: int,
        cors: CorsPolicy,
        replaced: bool = False,
    ) -> None:
        self._replaced = replaced
        self._functions = functions
        self._cors = Cors(cors)
        self._max_body_bytes = max_body_bytes
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="answer")
        self._application = Application(
            self._answer, identify=lambda _scope: str(uuid4()), max_body_bytes=max_body_bytes
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see `Application`."""
        await self._application(scope, receive, send)

    def stop(self) -> None:
        """Break every stream, as if its client had left, and start no answer any more.

        Call it in the server's event loop. An answer that is not a stream is still sent.
        """
        self._application.stop()
        self._threads.shutdown(wait=False)

    async def _answer(self, scope: Scope, body: bytes | None, request_id: str) -> Reply:
        reply = await self._ask(scope, body, request_id)
        last = {"connection": "close"} if self._replaced and not isinstance(reply.body, bytes) else {}
        return replace(reply, headers={"x-amzn-requestid": request_id, **last, **reply.headers})

    async def _ask(self, scope: Scope, body: bytes | None, request_id: str) -> Reply:
        if body is None:
            detail = f"The request body is over the limit of {self._max_body_bytes} bytes."
            return self._error(scope, 413, detail, "too_large")
        resource, function = resource_for(request_path(scope))
        event = proxy_event(scope, body, resource=resource, request_id=request_id)
        context = lambda_context(function, request_id)
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, run, self._functions[function], event, context)
        except Exception:
            _logger.exception("Request %s failed", request_id)
            return self._error(scope, 500, f"Internal error; request id {request_id}.", "internal")

    def _error(self, scope: Scope, status: int, detail: str, code: str) -> Reply:
        body = error_body(request_path(scope), detail, code)
        origin = next(
            (value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None
        )
        return self._cors.mark(Reply(status, {"content-type": "application/json"}, body), origin)
