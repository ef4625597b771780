"""An app: routes, and how their answers and errors become replies."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.http.authentication import NEEDED, Authentication
from crewline.http.bodies import read_body
from crewline.http.cors import Cors
from crewline.http.errors import error_reply
from crewline.http.replies import Reply
from crewline.http.resolvers import Later, Resolver, Router
from crewline.models.cors import CorsPolicy
from crewline.services.api_keys import Verified

if TYPE_CHECKING:
    from crewline.http.authorization import Gate

JSON: Final = "application/json"


class App:
    """The routes of one function.

    Args:
        routers: Its routes, grouped by noun; some are made later.
        authentication: Tells who sends a request.
        gate: What users' requests go through instead, where the project has its own authentication.
        cors: Which web pages may call them.
        max_body_bytes: A larger request body is refused with 413.
        logger: Where failures are logged.
    """

    def __init__(
        self,
        *routers: Router | Later,
        authentication: Authentication,
        cors: CorsPolicy,
        max_body_bytes: int,
        logger: Logger,
        gate: Gate | None = None,
    ) -> None:
        self._resolver = Resolver()
        for router in routers:
            if isinstance(router, Later):
                self._resolver.include_later(router)
            else:
                self._resolver.include_router(router)
        self._authentication = authentication
        self._gate = gate
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
        return self._cors.mark(self._answer(event, headers, context), headers.get("origin"))

    def _answer(self, event: Mapping[str, Any], headers: Mapping[str, str], context: Any) -> Reply:
        try:
            verified, response = self._respond(event, headers, context)
        except Exception as exc:  # noqa: BLE001 (the edge: every error becomes a reply here, and is logged here)
            request_id = str(getattr(context, "aws_request_id", None) or uuid4())
            return error_reply(exc, path=str(event.get("path")), request_id=request_id, logger=self._logger)
        body: bytes | AsyncIterator[bytes]
        if response.body is None:
            body = b""
        elif isinstance(response.body, AsyncIterator) and verified:
            body = self._authentication.watched(response.body, verified, headers)
        elif isinstance(response.body, bytes | AsyncIterator):
            body = response.body
        else:
            body = str(response.body).encode()
        return Reply(response.status_code, _lower(response.headers), body)

    def _respond(
        self, event: Mapping[str, Any], headers: Mapping[str, str], context: Any
    ) -> tuple[Verified | None, Response[Any]]:
        """Let a request pass, and answer it; also give what has to stay good while the answer goes on."""
        read = functools.partial(read_body, event, most=self._max_body_bytes)
        place = self._resolver.place(event)
        if self._gate and self._gate.watches(place):
            was = functools.cache(read)
            caller, admitted, body = self._gate.admit(place, event, headers, was)
            # Read anew, and only if somebody asks: handlers change what is in a body, too.
            asked = None if body is was() else read
            response = self._resolver.respond(admitted, body, context, caller=caller, sent=event, asked=asked)
            return None, response
        verified = self._admit(place, headers)  # before the body is looked at
        sender = verified.caller if verified else None
        return verified, self._resolver.respond(event, read(), context, caller=sender)

    def _admit(self, place: tuple[str, str] | None, headers: Mapping[str, str]) -> Verified | None:
        """Let a request pass whose sender may do what it asks for; None when nobody has to say who they are."""
        needed = NEEDED.get(place, "admin") if place else None
        if place and needed is None:
            return None
        verified = self._authentication.verify(headers)
        if needed:
            verified.caller.require(needed)
        return verified


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
