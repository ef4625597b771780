"""The second argument of a handler."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

from streaming_bootstrap.runtime_api import Invocation

_LONGEST_MS: Final = 900_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a handler may know of its invocation; the names are those of Lambda's own client."""

    aws_request_id: str
    invoked_function_arn: str | None
    deadline_ms: int
    """When Lambda ends the invocation, in milliseconds since 1970."""
    identity: Any
    """Has `cognito_identity_id` and `cognito_identity_pool_id`."""
    client_context: Any = None
    """Has `custom`, `env` and `client`; None if the caller sent none."""
    tenant_id: str | None = None
    function_name: str | None = field(default_factory=lambda: os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))
    function_version: str | None = field(
        default_factory=lambda: os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
    )
    memory_limit_in_mb: str | None = field(
        default_factory=lambda: os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    )
    log_group_name: str | None = field(default_factory=lambda: os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME"))
    log_stream_name: str | None = field(default_factory=lambda: os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME"))

    def get_remaining_time_in_millis(self) -> int:
        """Tell how long the invocation may still take."""
        return max(0, self.deadline_ms - _now_ms())


def context_of(invocation: Invocation) -> Context:
    """Read the context of an invocation from its headers; what cannot be read is as if it were not there."""
    headers = invocation.headers
    identity = _json_object(headers.get("Lambda-Runtime-Cognito-Identity")) or {}
    caller = _json_object(headers.get("Lambda-Runtime-Client-Context"))
    deadline = headers.get("Lambda-Runtime-Deadline-Ms", "")
    return Context(
        aws_request_id=invocation.request_id,
        invoked_function_arn=headers.get("Lambda-Runtime-Invoked-Function-Arn"),
        deadline_ms=int(deadline) if deadline.isdecimal() else _now_ms() + _LONGEST_MS,
        identity=SimpleNamespace(
            cognito_identity_id=identity.get("cognitoIdentityId"),
            cognito_identity_pool_id=identity.get("cognitoIdentityPoolId"),
        ),
        client_context=None if caller is None else _client_context(caller),
        tenant_id=headers.get("Lambda-Runtime-Aws-Tenant-Id"),
    )


def _client_context(caller: dict[str, Any]) -> SimpleNamespace:
    client = caller.get("client")
    return SimpleNamespace(
        custom=caller.get("custom"),
        env=caller.get("env"),
        client=SimpleNamespace(**client) if isinstance(client, dict) else None,
    )


def _json_object(text: str | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _now_ms() -> int:
    return int(time.time() * 1000)
