"""Errors as HTTP: one table from class to status, and a body as each API spells it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import orjson
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from crewline import errors
from crewline.http.replies import Reply


class MethodNotAllowed(errors.CrewlineError):
    """The path is known, but not with this method."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"Method {method} is not allowed here; use {self.allowed}.")


class Denied(errors.CrewlineError):
    """The project's own authentication refuses the request, with a status of its own.

    Args:
        status: The HTTP status.
        detail: A sentence for the caller.
        headers: More headers of the answer.
    """

    code = "denied"

    def __init__(self, status: int, detail: str, headers: Mapping[str, str]) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


STATUS: Final[dict[type[errors.CrewlineError], int]] = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.InvalidRequest: 422,
    errors.LimitExceeded: 429,
    errors.Unhealthy: 500,
    errors.Unavailable: 503,
}
"""Error class → status; a subclass takes that of its nearest listed base."""
_INVALID: Final = STATUS[errors.InvalidRequest]
"""What the API of Crewship, and JSON-RPC, answer with 400."""

_OURS: Final = "Value error, "
"""What pydantic puts before the sentence of a rule of our own."""
_JSON: Final = {"content-type": "application/json"}
_CREWSHIP: Final = re.compile("/(v1|webhooks)(/.*)?")
"""Paths of the API of Crewship."""
_RPC: Final = re.compile("/mcp/?|/a2a/[^/]+/?")
"""Paths that speak JSON-RPC."""
_RPC_CODES: Final = {errors.InvalidRequest.code: -32600, errors.BadRequest.code: -32600}
"""A word of ours → its code there; -32000, which is for the server to use, for every other."""


def speaks_crewship(path: str) -> bool:
    """Tell whether a path belongs to the API of Crewship, and not to that of the LangGraph Server."""
    return _CREWSHIP.fullmatch(path) is not None


def speaks_rpc(path: str) -> bool:
    """Tell whether a path is answered with JSON-RPC."""
    return _RPC.fullmatch(path) is not None


def error_body(path: str, message: str, code: str) -> bytes:
    """Spell an error as the API of a path does: `{"detail": text}`, `{"error": {"message": text}}`, or as JSON-RPC.

    Args:
        path: The path of the request.
        message: A sentence for a person.
        code: A word for a program.
    """
    if speaks_crewship(path):
        return orjson.dumps({"error": {"message": message, "code": code}})
    if speaks_rpc(path):
        error = {"code": _RPC_CODES.get(code, -32000), "message": message, "data": {"code": code}}
        return orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    return orjson.dumps({"detail": message, "code": code})


def error_reply(error: Exception, *, path: str, request_id: str, logger: Logger) -> Reply:
    """Spell an error as the API of a path does, and log it, once.

    Args:
        error: What a route raised.
        path: The path of the request.
        request_id: Names the request, for an error that is ours.
        logger: Where it is logged.

    Returns:
        The reply; an unexpected exception's text is in the log and never in the reply.
    """
    status, message, code, headers = _told(error, path, request_id, logger)
    if status == _INVALID and (speaks_crewship(path) or speaks_rpc(path)):
        status = STATUS[errors.BadRequest]
    return Reply(status, {**_JSON, **headers}, error_body(path, message, code))


def _told(
    error: Exception, path: str, request_id: str, logger: Logger
) -> tuple[int, str, str, dict[str, str]]:
    """Give status, sentence, code and headers of an error."""
    if isinstance(error, RequestValidationError):
        describe = describe_fields if speaks_crewship(path) else describe_validation
        return _INVALID, describe(error), errors.InvalidRequest.code, {}
    if isinstance(error, Denied):
        return (
            error.status,
            error.message,
            error.code,
            {name.lower(): text for name, text in error.headers.items()},
        )
    status = next((STATUS[base] for base in type(error).__mro__ if base in STATUS), None)
    if status is None or not isinstance(error, errors.CrewlineError):
        logger.error("request failed", request_id=request_id, exc_info=error)
        return 500, f"Internal error; look for request {request_id} in the logs.", "internal", {}
    if status >= 500:  # noqa: PLR2004 (HTTP's own line)
        logger.warning("request failed", request_id=request_id, reason=error.message)
    retry_after = getattr(error, "retry_after", None) or error.details.get("retry_after")
    headers = {"retry-after": str(retry_after)} if retry_after else {}
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allowed
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return status, error.message, error.code, headers


def describe_validation(error: RequestValidationError) -> str:
    """Say in one sentence which fields of a request are wrong and how."""
    parts = [f"{where}: {what}" for where, what, _ in _wrong(error)]
    return "Invalid request: " + "; ".join(parts) + "."


def describe_fields(error: RequestValidationError) -> str:
    """Say the same as the API of Crewship does: `deployment_id is required`."""
    named = ((where.removeprefix("query."), what, kind) for where, what, kind in _wrong(error))
    return "; ".join(
        f"{where} is required" if kind == "missing" else f"{where}: {what}" for where, what, kind in named
    )


def _wrong(error: RequestValidationError) -> Iterator[tuple[str, str, str]]:
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"] if part != "body")
        yield where or "body", _first_lower(str(item["msg"]).removeprefix(_OURS)), str(item["type"])


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]
