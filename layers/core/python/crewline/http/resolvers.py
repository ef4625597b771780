"""Powertools' REST resolver, made safe for many requests at once.

The resolver keeps the request it serves on itself and on a class attribute: right for Lambda,
where an environment serves one request at a time, wrong for the front door (with 8 threads half of
the answers were another request's). Here each request's state is in a context variable.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, api_gateway
from aws_lambda_powertools.event_handler.api_gateway import Response, Route
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from crewline.errors import NotFound
from crewline.http.errors import MethodNotAllowed
from crewline.http.preferences import once
from crewline.models.api_keys import Caller
from crewline.store.idempotency import Once

_TEXTS: Final = frozenset(("key", "namespace"))
"""Names in a query that have one text, which may be any."""


class _WithBody(APIGatewayProxyEvent):
    """An event that has been read: its body as JSON, whatever the content type says, and its query."""

    def __init__(self, event: Mapping[str, Any], body: Any) -> None:
        super().__init__({**event, **spell_query(read_query(event)), "body": "", "isBase64Encoded": False})
        self._body = body

    @property
    def json_body(self) -> Any:
        """The body as it was read."""
        return self._body

    @property
    def headers(self) -> dict[str, str]:
        """The headers; bodies are JSON here, so nothing is parsed by content type."""
        headers: dict[str, str] = super().headers
        headers.pop("content-type", None)
        return headers


def read_query(event: Mapping[str, Any]) -> dict[str, list[str]]:
    """Read the lists in a query: a name that comes several times, or JSON, as JavaScript's SDKs send them."""
    given: dict[str, list[str]] = event.get("multiValueQueryStringParameters") or {}
    read = {
        name: texts if name in _TEXTS else [one for text in texts for one in _texts(text)]
        for name, texts in given.items()
    }
    return {name: texts for name, texts in read.items() if texts}


def spell_query(query: Mapping[str, list[str]]) -> dict[str, Any]:
    """Spell a query as an event has it."""
    return {
        "queryStringParameters": {name: texts[-1] for name, texts in query.items()} or None,
        "multiValueQueryStringParameters": dict(query) or None,
    }


def _texts(text: str) -> list[str]:
    if text.startswith("["):
        with contextlib.suppress(orjson.JSONDecodeError):
            value = orjson.loads(text)
            if isinstance(value, list) and all(isinstance(one, str) for one in value):
                return value
    return [text]


@dataclass(slots=True)
class _Request:
    event: APIGatewayProxyEvent
    lambda_context: Any
    caller: Caller | None
    sent: Mapping[str, Any]
    asked: Callable[[], Any] | None = None
    """Reads the body as it was sent, where the route has another one."""
    context: dict[str, Any] = field(default_factory=dict)
    frames: list[str] = field(default_factory=list)


_REQUEST: ContextVar[_Request] = ContextVar("request")


class Router(api_gateway.Router):
    """Routes of one noun; what they ask of the request is right while they answer, and not in a stream that goes on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @property
    def caller(self) -> Caller:
        """Who sends the request being served.

        Raises:
            LookupError: The route asks nobody for a key, so nobody knows.
        """
        caller = _REQUEST.get().caller
        if caller is None:
            raise LookupError(f"{_REQUEST.get().event.path} is answered whoever asks.")
        return caller

    @property
    def sent(self) -> Mapping[str, Any]:
        """The event of the request being served, as it came."""
        return _REQUEST.get().sent

    def once(self, route: str, body: Any) -> Once | None:
        """Read `Idempotency-Key` of the request being served.

        Args:
            route: Method and path.
            body: What the request asks for, as JSON values. Where a project's own code has changed that, what
                was sent counts: what is put into a request, a time say, may be another each time.

        Raises:
            InvalidRequest: The key is empty or too long.
        """
        request = _REQUEST.get()
        asked = request.asked() if request.asked else body
        return once(request.event.headers, route, asked, request.caller)


@dataclass(frozen=True)
class Later:
    """Routes that are made when the first request comes that they may answer: no other cold start pays for them.

    Args:
        paths: A regular expression of whole paths, without slashes at the end, with all that they answer.
        make: Makes them, and imports what they need.
    """

    paths: str
    make: Callable[[], Iterable[Router]]

    def answers(self, path: str) -> bool:
        """Tell whether a path may be theirs."""
        return re.fullmatch(self.paths, path.rstrip("/")) is not None


class Resolver(APIGatewayRestResolver):
    """Routes and validates any number of requests at once.

    A route returns a `Response`; unlike Powertools' own `resolve`, `respond` hands it back as it
    is, so that its body may be an iterator that has not begun.
    """

    def __init__(self) -> None:
        self._own: dict[str, Any] = {}
        self._prepared: set[Route] = set()
        self._preparing = threading.Lock()
        self._later: tuple[Later, ...] = ()
        super().__init__(enable_validation=True, debug=False)
        # Answers are rendered by the routes: validating them again would walk every value twice.
        del self._response_validation_middleware
        self.exception_handler(Exception)(_raise)
        self.exception_handler(NotFoundError)(_raise_not_found)

    def include_later(self, later: Later) -> None:
        """Include routes when the first request comes that they may answer."""
        self._later = (*self._later, later)

    def place(self, event: Mapping[str, Any]) -> tuple[str, str] | None:
        """Tell which route answers a request.

        Args:
            event: An API Gateway REST proxy event.

        Returns:
            Its method and path, as the OpenAPI document spells them; None when there is none.
        """
        method = event["httpMethod"]
        # In the order in which Powertools looks for the one that it calls.
        found = (route.openapi_path for route in self._matching(event["path"]) if route.method == method)
        path = next(found, None)
        return None if path is None else (method, path)

    def respond(
        self,
        event: Mapping[str, Any],
        body: Any,
        context: Any,
        *,
        caller: Caller | None,
        sent: Mapping[str, Any] | None = None,
        asked: Callable[[], Any] | None = None,
    ) -> Response[Any]:
        """Answer one request.

        Args:
            event: An API Gateway REST proxy event.
            body: Its body, as it was read.
            context: The Lambda context.
            caller: Who sends it; None when nobody has to say.
            sent: The event as it came, where that was another.
            asked: Reads the body as it was sent, where that was another.

        Returns:
            What the route returned.

        Raises:
            Exception: What the route, or the validation of the request, raised.
        """
        request = _Request(_WithBody(event, body), context, caller, event if sent is None else sent, asked)
        self._check_method(request.event)
        self._prepare(request.event)
        token = _REQUEST.set(request)
        try:
            return self._resolve().response
        finally:
            _REQUEST.reset(token)

    def _check_method(self, event: APIGatewayProxyEvent) -> None:
        """Refuse a method that a path does not have, also when one with more parameters would take it."""
        routes = self._matching(event.path)
        fewest = min((route.rule.groups for route in routes), default=0)
        allowed = {route.method for route in routes if route.rule.groups == fewest}
        if allowed and event.http_method not in allowed:
            raise MethodNotAllowed(event.http_method, allowed)

    def _prepare(self, event: APIGatewayProxyEvent) -> None:
        """Build the stack and models of the routes that may answer, not of all at a cold start.

        Left to Powertools, two first requests would race for it.
        """
        for route in self._matching(event.path):
            if route.method == event.http_method and route not in self._prepared:
                with self._preparing:
                    _ = route.dependant, route.body_field
                    if not route._middleware_stack_built:  # noqa: SLF001
                        route._build_middleware_stack(router_middlewares=self._router_middlewares, app=self)  # noqa: SLF001
                    self._prepared.add(route)

    def _matching(self, path: str) -> list[Route]:
        path = self._remove_prefix(path)
        if any(later.answers(path) for later in self._later):
            self._include_now(path)
        return [route for route in (*self._static_routes, *self._dynamic_routes) if route.rule.match(path)]

    def _include_now(self, path: str) -> None:
        with self._preparing:  # of two first requests, one
            for later in self._later:
                if later.answers(path):
                    for router in list(later.make()):  # all of them, or none
                        self.include_router(router)
                    # A new tuple: other requests go through the one that was there.
                    self._later = tuple(one for one in self._later if one is not later)

    @property
    def current_event(self) -> APIGatewayProxyEvent:  # type: ignore[override]
        """The request being served."""
        return _REQUEST.get().event

    @property
    def lambda_context(self) -> Any:  # type: ignore[override]
        """The Lambda context of the request being served."""
        return _REQUEST.get().lambda_context

    @property
    def context(self) -> dict[str, Any]:
        """Powertools' scratch pad for the request being served."""
        request = _REQUEST.get(None)
        return self._own if request is None else request.context

    @context.setter
    def context(self, value: dict[str, Any]) -> None:
        self._own = value

    @property
    def processed_stack_frames(self) -> list[str]:
        """Powertools' debugging aid for the request being served."""
        request = _REQUEST.get(None)
        return [] if request is None else request.frames

    @processed_stack_frames.setter
    def processed_stack_frames(self, value: list[str]) -> None:
        """Ignore what the base class sets when it is made."""


def _raise(error: Exception) -> Response[Any]:
    """Let an error out to the app, which maps and logs it; Powertools would log it a second time."""
    raise error


def _raise_not_found(_: NotFoundError) -> Response[Any]:
    raise NotFound("Not Found")
