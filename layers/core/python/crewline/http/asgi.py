"""Replies over ASGI: a request is read whole, its answer sent as it comes, and an end is the right one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from crewline.http.replies import Reply, close

Scope = MutableMapping[str, Any]
"""What ASGI says of a request."""
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_WITHOUT_BODY: Final = frozenset({204, 304})


class Application:
    """An ASGI application that answers each request with a reply.

    Args:
        answer: Gives the reply to a request, its body and its id; the body is None if it is over the limit.
        identify: Names a request.
        max_body_bytes: Nobody keeps more of a request's body.
    """

    def __init__(
        self,
        answer: Callable[[Scope, bytes | None, str], Awaitable[Reply]],
        *,
        identify: Callable[[Scope], str],
        max_body_bytes: int,
    ) -> None:
        self._answer = answer
        self._identify = identify
        self._max_body_bytes = max_body_bytes
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
        request_id = self._identify(scope)
        try:
            body = await _read_body(receive, self._max_body_bytes)
        except _ClientLeft:
            return
        gone = asyncio.ensure_future(_disconnected(receive))
        self._clients.add(gone)
        try:
            await _deliver(await self._answer(scope, body, request_id), send, gone)
        except Exception as exc:
            exc.add_note(f"while sending the answer to request {request_id}")
            raise
        finally:
            self._clients.remove(gone)
            gone.cancel()

    def stop(self) -> None:
        """Break every stream, as if its client had left.

        Call it in the server's event loop. An answer that is not a stream is still sent.
        """
        for gone in self._clients:
            gone.cancel()


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


async def _deliver(reply: Reply, send: Send, gone: asyncio.Future[None]) -> None:
    if isinstance(reply.body, bytes):
        await _send_whole(reply, reply.body, send)
        return
    sending = asyncio.create_task(_stream(reply, reply.body, send))
    try:
        await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        # However it ended: only when nobody waits for the next chunk may the iterator be closed.
        await asyncio.wait({sending})
        await close(reply.body)
    if not sending.cancelled():
        sending.result()


async def _send_whole(reply: Reply, body: bytes, send: Send) -> None:
    length = {} if reply.status in _WITHOUT_BODY else {"content-length": str(len(body))}
    await send(_start(reply, length))
    await send({"type": "http.response.body", "body": body})


async def _stream(reply: Reply, chunks: AsyncIterator[bytes], send: Send) -> None:
    await send(_start(reply, {}))
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _start(reply: Reply, extra: Mapping[str, str]) -> Message:
    headers = {**{name.lower(): value for name, value in reply.headers.items()}, **extra}
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": reply.status, "headers": pairs}
