"""The front door: HTTP in, the functions' answers out, many requests at once.

It stands for API Gateway and the Lambda service, and runs the same handlers as AWS: each request
becomes a REST proxy event, goes to the function that the API's resources name, and what the
function yields is sent as it is yielded.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol
from uuid import uuid4

from crewline.http.cors import Cors
from crewline.http.replies import Reply, close
from crewline.http.resources import resource_for
from crewline.local.proxy_events import LambdaContext, Scope, lambda_context, proxy_event, request_path
from crewline.models.cors import CorsPolicy

_logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_THREADS: Final = 32
"""How many answers may be worked out at once; they wait for DynamoDB most of the time."""


_WITHOUT_BODY: Final = frozenset({204, 304})


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
    """

    def __init__(self, functions: Mapping[str, Answer], *, max_body_bytes: int, cors: CorsPolicy) -> None:
        self._functions = functions
        self._cors = Cors(cors)
        self._max_body_bytes = max_body_bytes
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="answer")
        self._clients: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Args:
            scope: The request, by ASGI.
            receive: Where its body comes from.
            send: Where the answer goes.

        Raises:
            Exception: What a reply's body raised after the answer began; the server then breaks
                the connection, so that the client does not take what it has for the whole.
        """
        request_id = str(uuid4())
        try:
            body = await _read_body(receive, self._max_body_bytes)
        except _ClientLeft:
            return
        gone = asyncio.ensure_future(_disconnected(receive))
        self._clients.add(gone)
        try:
            await _deliver(await self._answer(scope, body, request_id), request_id, send, gone)
        except Exception as exc:
            exc.add_note(f"while sending the answer to request {request_id}")
            raise
        finally:
            self._clients.remove(gone)
            gone.cancel()

    def stop(self) -> None:
        """Break every stream, as if its client had left, and start no answer any more.

        Call it in the server's event loop. An answer that is not a stream is still sent.
        """
        for gone in self._clients:
            gone.cancel()
        self._threads.shutdown(wait=False)

    async def _answer(self, scope: Scope, body: bytes | None, request_id: str) -> Reply:
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
        body = json.dumps({"detail": detail, "code": code}).encode()
        origin = next(
            (value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"), None
        )
        return self._cors.mark(Reply(status, {"content-type": "application/json"}, body), origin)


class _ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """Read a request's body; None if it is over the limit, whereupon nobody keeps the rest."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body"):
            return bytes(body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _deliver(reply: Reply, request_id: str, send: Send, gone: asyncio.Future[None]) -> None:
    if isinstance(reply.body, bytes):
        await _send_whole(reply, reply.body, request_id, send)
        return
    sending = asyncio.create_task(_stream(reply, reply.body, request_id, send))
    try:
        await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        # However it ended: only when nobody waits for the next chunk may the iterator be closed.
        await asyncio.wait({sending})
        await close(reply.body)
    if not sending.cancelled():
        sending.result()


async def _send_whole(reply: Reply, body: bytes, request_id: str, send: Send) -> None:
    length = {} if reply.status in _WITHOUT_BODY else {"content-length": str(len(body))}
    await send(_start(reply, request_id, length))
    await send({"type": "http.response.body", "body": body})


async def _stream(reply: Reply, chunks: AsyncIterator[bytes], request_id: str, send: Send) -> None:
    await send(_start(reply, request_id, {}))
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _start(reply: Reply, request_id: str, extra: Mapping[str, str]) -> Message:
    own = {name.lower(): value for name, value in reply.headers.items()}
    headers = {"x-amzn-requestid": request_id, **own, **extra}
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": reply.status, "headers": pairs}
