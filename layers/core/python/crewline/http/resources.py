"""Which function answers which path: one table for the REST API and for the front door.

API Gateway gets one resource a line, method ANY; everything else goes to `api` through
`{proxy+}`. Few resources on purpose: about 90 single methods on one function would pass the
limit of its resource policy.
"""

from __future__ import annotations

import re
from typing import Final, Literal

FunctionName = Literal["api", "crew", "tail"]

RESOURCES: Final[tuple[tuple[str, FunctionName], ...]] = (
    ("/runs/stream", "crew"),
    ("/runs/wait", "crew"),
    ("/threads/{thread_id}/runs/stream", "crew"),
    ("/threads/{thread_id}/runs/wait", "crew"),
    ("/threads/{thread_id}/state", "crew"),
    ("/threads/{thread_id}/state/{proxy+}", "crew"),
    ("/threads/{thread_id}/history", "crew"),
    ("/v1/threads/{thread_id}/rollback", "crew"),
    ("/assistants/{assistant_id}/graph", "crew"),
    ("/assistants/{assistant_id}/schemas", "crew"),
    ("/assistants/{assistant_id}/subgraphs", "crew"),
    ("/assistants/{assistant_id}/subgraphs/{proxy+}", "crew"),
    ("/mcp", "crew"),
    ("/a2a/{assistant_id}", "crew"),
    ("/a2a/{assistant_id}/.well-known/agent-card.json", "crew"),
    ("/.well-known/agent-card.json", "crew"),
    ("/threads/{thread_id}/runs/{run_id}/join", "tail"),
    ("/threads/{thread_id}/runs/{run_id}/stream", "tail"),
    ("/threads/{thread_id}/stream", "tail"),
    ("/threads/{thread_id}/stream/events", "tail"),
    ("/v1/runs/{run_id}/events", "tail"),
)
"""Path of a REST API resource → the function behind it."""

PROXY: Final = "/{proxy+}"
"""The resource that catches every other path, for `api`."""


def _pattern(path: str) -> re.Pattern[str]:
    escaped = re.sub(r"\\\{\w+\\\+\\\}", ".+", re.escape(path).replace("\\+", "\\+"))
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", escaped))


_PATTERNS: Final = tuple((_pattern(path), path, function) for path, function in RESOURCES)


def resource_for(path: str) -> tuple[str, FunctionName]:
    """Choose the resource of a request path as API Gateway would.

    Args:
        path: The path of a request, without query.

    Returns:
        The resource's path and the function behind it.
    """
    path = path.rstrip("/")  # which API Gateway does not mind
    for pattern, resource, function in _PATTERNS:
        if pattern.fullmatch(path):
            return resource, function
    return PROXY, "api"
