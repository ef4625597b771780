# ruff: noqa: SLF001  private names are what this module is about
"""Answers that functions stream, taken by the emulator and given on whole.

ministack's Runtime API takes every response for JSON text, and its REST APIs know neither the address of a
streaming integration nor what such a function answers. Here a streamed response is kept as the bytes that
came, a plain invocation gives these, and an API takes them apart: what a client gets is what API Gateway
would have sent it, at the end.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from crewline.store.functions import SEPARATOR

NAMES: Final = (
    "ministack.core.lambda_runtime:ProvidedWorker._build_handler_class",
    "ministack.core.lambda_runtime:ProvidedWorker._record_result",
    "ministack.services.apigateway_v1:_extract_lambda_ref_from_integration_uri",
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


def take_streams(worker: Any) -> None:
    """Let the Runtime API take streamed responses: their bytes as they are, and the error in their trailers.

    Args:
        worker: ministack's class of workers that speak the Runtime API.
    """
    stock = worker._build_handler_class

    @functools.wraps(stock)
    def build(self: Any, generation: int, pending: Any) -> Any:
        base = stock(self, generation, pending)

        class Handler(base):  # type: ignore[misc, valid-type]
            def do_POST(self) -> None:  # noqa: N802  (the name that http.server calls)
                found = _RESPONSE.search(self.path)
                if found is None or self.headers.get(_MODE) != "streaming":
                    super().do_POST()
                    return
                body, trailers = _read_stream(self)
                if _ERROR_TYPE in trailers:
                    failure = json.loads(base64.b64decode(trailers[_ERROR_BODY]))
                    taken = recorder._record_result(generation, found[1], "error", failure)
                else:
                    taken = recorder._record_result(generation, found[1], "response", body)
                self._respond(202 if taken else 400)

        recorder = self
        return Handler

    worker._build_handler_class = build


def _read_stream(handler: BaseHTTPRequestHandler) -> tuple[bytes, dict[str, str]]:
    chunks = []
    while size := int(handler.rfile.readline(), 16):
        chunks.append(handler.rfile.read(size))
        handler.rfile.readline()
    trailers = {}
    while line := handler.rfile.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        trailers[name.lower()] = value.strip()
    return b"".join(chunks), trailers


def answer_streaming_integrations(gateway: Any) -> None:
    """Let REST APIs invoke functions through streaming integrations, and take their answers apart.

    A function that failed is answered with 502 and API Gateway's own text; its log has the reason.

    Args:
        gateway: ministack's module of REST APIs.
    """
    stock_reference = gateway._extract_lambda_ref_from_integration_uri
    stock_response = gateway._lambda_proxy_response

    def reference(uri: str) -> Any:
        return stock_reference(uri.replace(_INTEGRATION, "/invocations"))

    def response(result: dict[str, Any]) -> Any:
        body = result.get("body")
        if result.get("error"):
            return _FAILED
        return _taken_apart(body) if isinstance(body, bytes) else stock_response(result)

    gateway._extract_lambda_ref_from_integration_uri = reference
    gateway._lambda_proxy_response = response


def _taken_apart(answer: bytes) -> tuple[dict[str, Any] | None, str | None]:
    prelude, separator, body = answer.partition(SEPARATOR)
    if not separator:
        return _FAILED
    head = json.loads(prelude)
    taken = {"statusCode": head["statusCode"], "headers": head["headers"], "body": body}
    if cookies := head.get("cookies"):
        taken["multiValueHeaders"] = {"set-cookie": cookies}
    return taken, None
