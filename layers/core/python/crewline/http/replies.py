"""What a function answers, before it is buffered (Lambda proxy) or streamed (front door)."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and headers, known at once, and a body that may still be produced."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    """Bytes, or an iterator for any event loop; `aclose()` says that the client has left."""


async def buffered(reply: Reply) -> dict[str, Any]:
    """Wait for the whole reply and spell it as a Lambda proxy response.

    Args:
        reply: The reply of a function.

    Returns:
        `statusCode`, `headers`, `body`, `isBase64Encoded`.
    """
    body = reply.body if isinstance(reply.body, bytes) else b"".join([chunk async for chunk in reply.body])
    try:
        text, encoded = body.decode(), False
    except UnicodeDecodeError:
        text, encoded = base64.b64encode(body).decode(), True
    return {
        "statusCode": reply.status,
        "headers": dict(reply.headers),
        "body": text,
        "isBase64Encoded": encoded,
    }
