"""HTTP requests as a REST API hands them to a function: proxy events, format 1.0.

Source: "Lambda proxy integrations in API Gateway", Amazon API Gateway developer guide.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from crewline.local.clouds import ACCOUNT, REGION

Scope = MutableMapping[str, Any]
"""What ASGI says of a request."""

_STAGE: Final = "local"
_TIMEOUT: Final = 900.0
"""The functions' own limit, in seconds."""


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """The second argument of a function."""

    function_name: str
    aws_request_id: str
    deadline: float
    """Monotonic time at which Lambda would end the invocation."""
    memory_limit_in_mb: int = 1769
    function_version: str = "$LATEST"

    @property
    def invoked_function_arn(self) -> str:
        """The ARN of the function."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"

    @property
    def log_group_name(self) -> str:
        """The log group of the function."""
        return f"/aws/lambda/{self.function_name}"

    @property
    def log_stream_name(self) -> str:
        """The log stream of this process."""
        return _STAGE

    def get_remaining_time_in_millis(self) -> int:
        """Tell how long the invocation may still take, in milliseconds."""
        return max(0, round((self.deadline - time.monotonic()) * 1000))


def lambda_context(function: str, request_id: str) -> LambdaContext:
    """Make the context of an invocation that begins now.

    Args:
        function: Name of the function.
        request_id: Id of the invocation.

    Returns:
        A context with 900 seconds left.
    """
    return LambdaContext(function, request_id, time.monotonic() + _TIMEOUT)


def request_path(scope: Scope) -> str:
    """Read the path of a request as it was sent: percent-encoded, without the query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")


def proxy_event(scope: Scope, body: bytes, *, resource: str, request_id: str) -> dict[str, Any]:
    """Spell a request as a REST API proxy event.

    Args:
        scope: The request, by ASGI.
        body: Its whole body; base64 in the event if it is not UTF-8 text.
        resource: The path of the API's resource that answers it.
        request_id: Id of the request.

    Returns:
        The event.
    """
    path = request_path(scope)
    headers = _grouped((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    query = _grouped(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    text, encoded = _body(body)
    return {
        "resource": resource,
        "path": path,
        "httpMethod": scope["method"],
        "headers": _last(headers),
        "multiValueHeaders": headers,
        "queryStringParameters": _last(query) or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": _path_parameters(resource, path) or None,
        "stageVariables": None,
        "requestContext": _request_context(scope, _last(headers), path, resource, request_id),
        "body": text,
        "isBase64Encoded": encoded,
    }


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, value in pairs:
        groups.setdefault(name, []).append(value)
    return groups


def _last(groups: dict[str, list[str]]) -> dict[str, str]:
    return {name: values[-1] for name, values in groups.items()}


def _body(body: bytes) -> tuple[str | None, bool]:
    if not body:
        return None, False
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True


def _path_parameters(resource: str, path: str) -> dict[str, str]:
    parts = path.strip("/").split("/")
    parameters = {}
    for position, name in enumerate(resource.strip("/").split("/")):
        if name.endswith("+}"):
            parameters[name[1:-2]] = unquote("/".join(parts[position:]))
        elif name.startswith("{"):
            parameters[name[1:-1]] = unquote(parts[position])
    return {name: value for name, value in parameters.items() if value}


def _request_context(
    scope: Scope, headers: dict[str, str], path: str, resource: str, request_id: str
) -> dict[str, Any]:
    now = time.time()
    return {
        "accountId": ACCOUNT,
        "apiId": _STAGE,
        "domainName": headers.get("host", ""),
        "extendedRequestId": request_id,
        "httpMethod": scope["method"],
        "identity": {
            "sourceIp": (scope.get("client") or ("",))[0],
            "userAgent": headers.get("user-agent"),
            "accessKey": None,
            "accountId": None,
            "caller": None,
            "user": None,
            "userArn": None,
        },
        "path": f"/{_STAGE}{path}",
        "protocol": f"HTTP/{scope['http_version']}",
        "requestId": request_id,
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
        "requestTimeEpoch": int(now * 1000),
        "resourceId": resource,
        "resourcePath": resource,
        "stage": _STAGE,
    }
