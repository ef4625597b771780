"""What a function answers; the streaming bootstrap and the front door send it as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and headers, known at once, and a body that may still be produced."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    """Bytes, or an iterator for any event loop; `aclose()` says that the client has left."""


async def close(chunks: AsyncIterator[bytes]) -> None:
    """Tell a body's iterator that its client has left; one that has ended is told nothing."""
    aclose = getattr(chunks, "aclose", None)
    if aclose is not None:
        await aclose()
