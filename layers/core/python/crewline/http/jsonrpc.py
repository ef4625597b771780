"""JSON-RPC 2.0, as MCP and A2A speak it over HTTP: one call a request.

Source: https://www.jsonrpc.org/specification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline import errors
from crewline.http.apps import json_response

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603

CallId = str | int | None


class RpcError(Exception):
    """A call that is answered with an error.

    Args:
        code: Of the protocol.
        message: A sentence for the caller.
        data: What a program is told beside it.
        status: The HTTP status; that of an answer when the protocol says nothing of it.
    """

    def __init__(self, code: int, message: str, *, data: Any = None, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: a request, or a notification, which is not answered."""

    method: str
    params: Mapping[str, Any] = field(default_factory=dict)
    call_id: CallId = None
    notifies: bool = False


def read_call(body: Any) -> Call:
    """Read a call.

    Args:
        body: The body of a request, as JSON values.

    Raises:
        RpcError: It is none.
    """
    call_id = body.get("id") if isinstance(body, dict) else None
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0" or not isinstance(body.get("method"), str):
        raise _refused('The body must be one JSON-RPC call: {"jsonrpc": "2.0", "id": …, "method": …}.')
    if isinstance(call_id, bool) or not isinstance(call_id, str | int | None) or body.get("id", "") is None:
        raise _refused("id: must be a text or a whole number; a notification has none.")
    params = body.get("params")
    if not isinstance(params, dict | None):
        raise _refused("params: must be an object.")
    return Call(method=body["method"], params=params or {}, call_id=call_id, notifies="id" not in body)


def repeatable(body: Any) -> dict[str, Any]:
    """Give what makes two calls the same one: not their ids, and not what is said beside their parameters."""
    params = body.get("params") if isinstance(body, dict) else None
    named = (
        {name: value for name, value in params.items() if name != "_meta"} if isinstance(params, dict) else {}
    )
    return {"method": body.get("method") if isinstance(body, dict) else None, "params": named}


def succeeded(call_id: CallId, result: Any) -> dict[str, Any]:
    """Answer a call."""
    return {"jsonrpc": "2.0", "id": call_id, "result": result}


def failed(call_id: CallId, code: int, message: str, data: Any = None) -> dict[str, Any]:
    """Answer a call with an error."""
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": call_id, "error": error}


def refused(call_id: CallId, error: RpcError) -> dict[str, Any]:
    """Answer a call with an error that was raised."""
    return failed(call_id, error.code, error.message, error.data)


_BAD_CALL: Final = (
    errors.BadRequest,
    errors.InvalidRequest,
    errors.NotFound,
    errors.Conflict,
    errors.TooLarge,
)
"""What is wrong with a call itself; other errors are told by the HTTP status, which clients know how to take."""


def answered(body: Any, answer: Callable[[Call], Response[Any]]) -> Response[Any]:
    """Answer a request whose body is a call.

    Args:
        body: As JSON values.
        answer: Answers the call; what it raises of a bad one is the protocol's error.
    """
    call_id: CallId = None
    try:
        call = read_call(body)
        call_id = call.call_id
        return answer(call)
    except RpcError as exc:
        return json_response(refused(call_id, exc), exc.status)
    except _BAD_CALL as exc:
        return json_response(failed(call_id, INVALID_PARAMS, exc.message))


def _refused(message: str) -> RpcError:
    return RpcError(INVALID_REQUEST, message, status=400)
