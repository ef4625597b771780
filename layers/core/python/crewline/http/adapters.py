"""A function's handler behind AWS Lambda Web Adapter, in place of the streaming bootstrap.

The adapter is an extension of Lambda: it takes the events of the Runtime API, sends each as an HTTP request
to this process, and streams back what it is answered. Here its requests become events again. What API
Gateway and Lambda said of one comes in two headers, which the adapter sets itself, whatever a client has
sent under these names.

Source: https://aws.github.io/aws-lambda-web-adapter/ and the adapter's own tests.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import orjson
import uvicorn

from crewline.errors import BadRequest
from crewline.http.asgi import Application, Scope
from crewline.http.errors import error_reply
from crewline.http.proxy_events import proxy_event, read_headers, request_path
from crewline.http.replies import Reply
from crewline.observability import make_logger

REQUEST_CONTEXT: Final = "x-amzn-request-context"
LAMBDA_CONTEXT: Final = "x-amzn-lambda-context"

_MAX_BODY_BYTES: Final = 10_000_000
"""More than API Gateway hands to any function; the function has a limit of its own."""

_LARGEST_HEADERS: Final = 65_536
"""API Gateway takes 10 KB of a client, and what it says itself repeats some of that."""

_KEEP_ALIVE_S: Final = 75
"""Longer than the adapter keeps a connection, so that none is closed under a request."""

Answer = Callable[[dict[str, Any], Any], Reply]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a handler may know of its invocation, by the names of Lambda's own client."""

    aws_request_id: str
    invoked_function_arn: str
    deadline_ms: int
    """When Lambda ends the invocation, in milliseconds since 1970."""

    def get_remaining_time_in_millis(self) -> int:
        """Tell how long the invocation may still take."""
        return max(0, self.deadline_ms - int(time.time() * 1000))


def adapted(answer: Answer) -> Application:
    """Make an ASGI application of a handler.

    Args:
        answer: The handler.
    """
    logger = make_logger("adapter", "INFO")

    async def respond(scope: Scope, body: bytes | None, request_id: str) -> Reply:
        try:
            event, context = _read(scope, body or b"")
        except BadRequest as exc:
            return error_reply(exc, path=request_path(scope), request_id=request_id, logger=logger)
        # In a thread, as a handler may wait: an answer that streams goes on.
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(None, run, answer, event, context)

    return Application(respond, identify=_identify, max_body_bytes=_MAX_BODY_BYTES)


def _read(scope: Scope, body: bytes) -> tuple[dict[str, Any], Context]:
    """Make the event and the context of a request again.

    Raises:
        BadRequest: It did not come from the adapter.
    """
    headers = read_headers(scope)
    told = _json(headers.pop(LAMBDA_CONTEXT, []))
    asked = _json(headers.pop(REQUEST_CONTEXT, []))
    try:
        context = Context(
            aws_request_id=told["request_id"],
            invoked_function_arn=told["invoked_function_arn"],
            deadline_ms=int(told["deadline"]),
        )
        return proxy_event(scope, body, headers, asked), context
    except KeyError as exc:
        raise BadRequest(
            "This function is served to AWS Lambda Web Adapter alone, which tells of the invocation in the headers "
            f"{REQUEST_CONTEXT} and {LAMBDA_CONTEXT}; send the request to the API."
        ) from exc


def _json(values: list[str]) -> Mapping[str, Any]:
    """Read a header that the adapter sets, which comes exactly once."""
    try:
        value = orjson.loads(values[0].encode("latin-1")) if len(values) == 1 else None
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {}


def _identify(scope: Scope) -> str:
    return str(_json(read_headers(scope).get(LAMBDA_CONTEXT, [])).get("request_id") or uuid4())


def main() -> None:
    """Serve the function's handler to the adapter, until Lambda ends the process.

    The environment says which (`_HANDLER`, as on Lambda) and where (`AWS_LWA_PORT`). The adapter takes
    no event before the port is open, and it is opened once the handler is there.
    """
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    answer: Answer = getattr(importlib.import_module(module), name)
    uvicorn.run(
        adapted(answer),
        host="127.0.0.1",
        port=int(os.environ["AWS_LWA_PORT"]),
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_LARGEST_HEADERS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
