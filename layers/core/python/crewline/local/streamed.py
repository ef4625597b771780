# ruff: noqa: SLF001  private names are what this module is about
"""Answers that functions stream, as they come.

ministack's Runtime API takes every response for JSON text and waits for its end, and its REST APIs know neither
the address of a streaming integration nor what such a function answers. Here a streamed response is kept as the
bytes that came, which is what a plain invocation gives, and an API whose integration streams sends them on as
they come: status and headers first, then each chunk, and no end where the function did not come to one.
"""

from __future__ import annotations

import asyncio
import base64
import contextvars
import functools
import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from crewline.store.functions import SEPARATOR

NAMES: Final = (
    "ministack.core.lambda_runtime:ProvidedWorker._build_handler_class",
    "ministack.core.lambda_runtime:ProvidedWorker._record_result",
    "ministack.core.lambda_runtime:ProvidedWorker.invoke",
    "ministack.core.responses:StreamingResponse",
    "ministack.services.apigateway_v1:_extract_lambda_ref_from_integration_uri",
    "ministack.services.apigateway_v1:_invoke_lambda_proxy_v1",
    "ministack.services.apigateway_v1:_lambda_proxy_response",
)
"""What this module leans on; see `crewline.local.patches`."""

_RESPONSE: Final = re.compile(r"/runtime/invocation/([^/]+)/response/?$")
_MODE: Final = "Lambda-Runtime-Function-Response-Mode"
_ERROR_TYPE: Final = "lambda-runtime-function-error-type"
_ERROR_BODY: Final = "lambda-runtime-function-error-body"
_INTEGRATION: Final = "/response-streaming-invocations"
_FAILED: Final = (None, "Internal server error")
"""No answer, and the text that is sent in its place, with 502."""


class _Listener:
    """Who waits for the chunks of one answer, on an event loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks = asyncio.Queue[bytes | None]()
        self._before = b""
        self._told = False
        self.head: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        """Status and headers, when they are there."""
        self._whole = False

    def put(self, chunk: bytes) -> None:
        """Take the next chunk, from any thread."""
        if not self._told:
            prelude, separator, chunk = (self._before + chunk).partition(SEPARATOR)
            if not separator:
                self._before = prelude
                return
            self._told = True
            self._loop.call_soon_threadsafe(self.head.set_result, json.loads(prelude))
        if chunk:
            self._loop.call_soon_threadsafe(self._chunks.put_nowait, chunk)

    def end(self, *, whole: bool) -> None:
        """Take the end of the invocation, from any thread; the answer is whole unless it failed."""
        self._whole = whole
        self._loop.call_soon_threadsafe(self._chunks.put_nowait, None)

    async def send(self, send: Callable[[Any], Any], _receive: object) -> None:
        """Send the chunks on; without an end where there was none, so that the client sees it."""
        while (chunk := await self._chunks.get()) is not None:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if self._whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


_listening: Final[contextvars.ContextVar[_Listener | None]] = contextvars.ContextVar(
    "listening", default=None
)


def take_streams(worker: Any) -> None:
    """Let the Runtime API take streamed responses: their bytes as they come, and the error in their trailers.

    Args:
        worker: ministack's class of workers that speak the Runtime API.
    """
    stock_build, stock_invoke = worker._build_handler_class, worker.invoke

    @functools.wraps(stock_invoke)
    def invoke(self: Any, *arguments: Any, **options: Any) -> Any:
        # One invocation at a time has this worker, and is in a thread with the context of its request.
        listener = self._listener = _listening.get()
        whole = False
        try:
            result = stock_invoke(self, *arguments, **options)
            whole = result["status"] == "ok"
            return result
        finally:
            if listener:
                listener.end(whole=whole)

    @functools.wraps(stock_build)
    def build(self: Any, generation: int, pending: Any) -> Any:
        base, recorder = stock_build(self, generation, pending), self

        class Handler(base):  # type: ignore[misc, valid-type]
            def do_POST(self) -> None:  # noqa: N802  (the name that http.server calls)
                found = _RESPONSE.search(self.path)
                if found is None or self.headers.get(_MODE) != "streaming":
                    super().do_POST()
                    return
                listener: _Listener | None = recorder._listener
                chunks = []
                for chunk in _chunks(self):
                    chunks.append(chunk)
                    if listener:
                        listener.put(chunk)
                trailers = _trailers(self)
                failed = _ERROR_TYPE in trailers
                if failed:
                    result: Any = json.loads(base64.b64decode(trailers[_ERROR_BODY]))
                else:
                    result = b"".join(chunks)
                taken = recorder._record_result(
                    generation, found[1], "error" if failed else "response", result
                )
                self._respond(202 if taken else 400)

        return Handler

    worker.invoke, worker._build_handler_class = invoke, build


def _chunks(handler: BaseHTTPRequestHandler) -> Iterator[bytes]:
    while size := int(handler.rfile.readline(), 16):
        yield handler.rfile.read(size)
        handler.rfile.readline()


def _trailers(handler: BaseHTTPRequestHandler) -> dict[str, str]:
    trailers = {}
    while line := handler.rfile.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        trailers[name.lower()] = value.strip()
    return trailers


def answer_streaming_integrations(gateway: Any, streaming_response: Any) -> None:
    """Let REST APIs invoke functions through streaming integrations, and send their answers on.

    A function that failed before it began to answer is answered for with 502 and API Gateway's own text; its
    log has the reason.

    Args:
        gateway: ministack's module of REST APIs.
        streaming_response: Its class of bodies that are sent in parts.
    """
    stock_reference = gateway._extract_lambda_ref_from_integration_uri
    stock_response, stock_invoke = gateway._lambda_proxy_response, gateway._invoke_lambda_proxy_v1
    under_way: set[asyncio.Task[Any]] = set()

    def reference(uri: str) -> Any:
        return stock_reference(uri.replace(_INTEGRATION, "/invocations"))

    def response(result: dict[str, Any]) -> Any:
        if result.get("error") or isinstance(result.get("body"), bytes):
            return _FAILED  # bytes: what came of a stream that had no head, or whose head was sent long ago
        return stock_response(result)

    async def invoke(integration: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        if not integration["uri"].endswith(_INTEGRATION):
            return await stock_invoke(integration, *arguments, **options)
        listener = _Listener()
        context = contextvars.copy_context()
        context.run(_listening.set, listener)
        # A task of its own: a client that leaves ends no invocation.
        invocation = asyncio.create_task(stock_invoke(integration, *arguments, **options), context=context)
        under_way.add(invocation)
        invocation.add_done_callback(under_way.discard)
        await asyncio.wait((invocation, listener.head), return_when=asyncio.FIRST_COMPLETED)
        if not listener.head.done():
            return invocation.result()
        head = listener.head.result()
        headers = {**head["headers"], **({"set-cookie": cookies} if (cookies := head.get("cookies")) else {})}
        return head["statusCode"], headers, streaming_response(listener.send)

    gateway._extract_lambda_ref_from_integration_uri = reference
    gateway._lambda_proxy_response = response
    gateway._invoke_lambda_proxy_v1 = invoke
