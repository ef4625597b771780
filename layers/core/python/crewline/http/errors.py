"""Errors as HTTP: one table from class to status, one body."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

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
    errors.Unavailable: 503,
}
"""Error class → status; a subclass takes that of its nearest listed base."""

_OURS: Final = "Value error, "
"""What pydantic puts before the sentence of a rule of our own."""
_JSON: Final = {"content-type": "application/json"}


def error_reply(error: Exception, *, request_id: str, logger: Logger) -> Reply:
    """Spell an error as the LangGraph API does, `{"detail": text}`, and log it, once.

    Args:
        error: What a route raised.
        request_id: Names the request, for an error that is ours.
        logger: Where it is logged.

    Returns:
        The reply; an unexpected exception's text is in the log and never in the reply.
    """
    if isinstance(error, RequestValidationError):
        return _reply(422, describe_validation(error), "invalid_request")
    status = next((STATUS[base] for base in type(error).__mro__ if base in STATUS), None)
    if status is None or not isinstance(error, errors.CrewlineError):
        logger.error("request failed", request_id=request_id, exc_info=error)
        return _reply(500, f"Internal error; look for request {request_id} in the logs.", "internal")
    if status >= 500:  # noqa: PLR2004 (HTTP's own line)
        logger.warning("request failed", request_id=request_id, reason=error.message)
    retry_after = getattr(error, "retry_after", None) or error.details.get("retry_after")
    headers = {"retry-after": str(retry_after)} if retry_after else {}
    if isinstance(error, MethodNotAllowed):
        headers["allow"] = error.allowed
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return _reply(status, error.message, error.code, headers)


def describe_validation(error: RequestValidationError) -> str:
    """Say in one sentence which fields of a request are wrong and how."""
    parts = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"] if part != "body")
        parts.append(f"{where or 'body'}: {_first_lower(str(item['msg']).removeprefix(_OURS))}")
    return "Invalid request: " + "; ".join(parts) + "."


def _first_lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _reply(status: int, detail: str, code: str, headers: dict[str, str] | None = None) -> Reply:
    body: dict[str, Any] = {"detail": detail, "code": code}
    return Reply(status, {**_JSON, **(headers or {})}, orjson.dumps(body))
