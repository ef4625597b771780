"""An app: routes, and how their answers and errors become replies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from uuid import uuid4

import orjson
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response, Router

from crewline.http.bodies import read_body
from crewline.http.cors import Cors
from crewline.http.errors import error_reply
from crewline.http.replies import Reply
from crewline.http.resolvers import Resolver
from crewline.models.cors import CorsPolicy

JSON: Final = "application/json"


class App:
    """The routes of one function.

    Args:
        routers: Its routes, grouped by noun.
        cors: Which web pages may call them.
        max_body_bytes: A larger request body is refused with 413.
        logger: Where failures are logged.
    """

    def __init__(self, *routers: Router, cors: CorsPolicy, max_body_bytes: int, logger: Logger) -> None:
        self._resolver = Resolver()
        for router in routers:
            self._resolver.include_router(router)
        self._resolver.prepare()
        self._cors = Cors(cors)
        self._max_body_bytes = max_body_bytes
        self._logger = logger

    def answer(self, event: Mapping[str, Any], context: Any) -> Reply:
        """Answer one request; any number at once, from any thread.

        Args:
            event: An API Gateway REST proxy event.
            context: The Lambda context.

        Returns:
            The reply; never raises.
        """
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        if event.get("httpMethod") == "OPTIONS":
            return self._cors.preflight(headers)
        return self._cors.mark(self._answer(event, context), headers.get("origin"))

    def _answer(self, event: Mapping[str, Any], context: Any) -> Reply:
        try:
            body_read = read_body(event, most=self._max_body_bytes)
            response = self._resolver.respond(event, body_read, context)
        except Exception as exc:  # noqa: BLE001 (the edge: every error becomes a reply here, and is logged here)
            request_id = str(getattr(context, "aws_request_id", None) or uuid4())
            return error_reply(exc, request_id=request_id, logger=self._logger)
        body: bytes | AsyncIterator[bytes]
        if response.body is None:
            body = b""
        elif isinstance(response.body, bytes | AsyncIterator):
            body = response.body
        else:
            body = str(response.body).encode()
        return Reply(response.status_code, _lower(response.headers), body)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """Answer with JSON.

    Args:
        value: Any JSON value; numbers that JSON has no word for become null.
        status: The HTTP status.
        headers: More headers.
    """
    return Response(status, JSON, to_json(value), dict(headers or {}))


def empty_response(status: int = 204) -> Response[Any]:
    """Answer without a body."""
    return Response(status)


def to_json(value: Any) -> bytes:
    """Spell a value as JSON text."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)


def _lower(headers: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.lower(): value if isinstance(value, str) else ", ".join(value) for name, value in headers.items()
    }
