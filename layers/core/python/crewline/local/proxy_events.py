"""What the front door says of a request and of an invocation, in place of API Gateway and Lambda."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from crewline.http import proxy_events
from crewline.http.asgi import Scope
from crewline.local.clouds import ACCOUNT, REGION

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


def proxy_event(scope: Scope, body: bytes, *, resource: str, request_id: str) -> dict[str, Any]:
    """Spell a request as the event of an API on this machine.

    Args:
        scope: The request, by ASGI.
        body: Its whole body.
        resource: The path of the API's resource that answers it.
        request_id: Id of the request.

    Returns:
        The event.
    """
    headers = {"x-forwarded-proto": [scope["scheme"]], **proxy_events.read_headers(scope)}
    context = _request_context(scope, proxy_events.last(headers), resource, request_id)
    return proxy_events.proxy_event(scope, body, headers, context)


def _request_context(scope: Scope, headers: dict[str, str], resource: str, request_id: str) -> dict[str, Any]:
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
        "path": proxy_events.request_path(scope),  # as behind a domain, which hides the stage
        "protocol": f"HTTP/{scope['http_version']}",
        "requestId": request_id,
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
        "requestTimeEpoch": int(now * 1000),
        "resourceId": resource,
        "resourcePath": resource,
        "stage": _STAGE,
    }
