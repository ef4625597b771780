"""What handlers give, in whatever form, as a prelude and chunks."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

_SEPARATOR: Final = bytes(8)
_WITHOUT_BODY: Final = frozenset({204, 304})
_END: Final = object()


class Answer:
    """Prelude and chunks of one answer: `prelude` once, then iterate, and `aclose` in any case.

    Args:
        given: What the handler returned: an object with `status`, `headers` and `body`, or a
            generator whose first item has status and headers.

    Raises:
        TypeError: It is neither.
    """

    def __init__(self, given: Any) -> None:
        whole = hasattr(given, "status") and hasattr(given, "body")
        self._head: Any = given if whole else None
        self._empty = whole and isinstance(given.body, bytes | str) and not given.body
        self._items = _iterate(given.body if whole else given)

    async def prelude(self) -> bytes:
        """Give status and headers as Lambda's integrations read them, the separator included.

        Raises:
            TypeError: The generator did not yield status and headers first.
        """
        head = self._head
        if head is None:
            head = await anext(self._items, _END)
        if head is _END:
            raise TypeError("The handler yielded nothing; its first item must have status and headers.")
        return _spell(head, empty=self._empty) + _SEPARATOR

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._items)
        if isinstance(chunk, str):
            return chunk.encode()
        return chunk if isinstance(chunk, bytes) else bytes(memoryview(chunk))

    async def aclose(self) -> None:
        """Let the producer clean up, however far it came."""
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()


def _spell(head: Any, *, empty: bool) -> bytes:
    """Spell status, headers and cookies as JSON.

    An empty answer says so: with nothing behind the prelude the connection to the client has been
    seen to stay open, and only the length tells the client that it has everything.
    """
    status = _field(head, "status") or _field(head, "statusCode")
    if not isinstance(status, int):
        raise TypeError(f"A prelude must have an HTTP status, not {status!r}.")
    headers: dict[str, str] = {}
    cookies = [str(cookie) for cookie in _field(head, "cookies") or ()]
    for name, value in (_field(head, "headers") or {}).items():
        values = [str(value)] if isinstance(value, str | int) else [str(one) for one in value]
        if name.lower() == "set-cookie":  # the one header whose lines cannot be joined
            cookies += values
        else:
            headers[name] = ", ".join(values)
    if empty and status not in _WITHOUT_BODY:
        headers["content-length"] = "0"
    return json.dumps({"statusCode": int(status), "headers": headers, "cookies": cookies}).encode()


def _field(head: Any, name: str) -> Any:
    return head.get(name) if isinstance(head, Mapping) else getattr(head, name, None)


def _iterate(body: Any) -> AsyncIterator[Any]:
    if isinstance(body, bytes | bytearray | memoryview | str):
        return _once(body)
    if hasattr(body, "__aiter__"):
        return aiter(body)
    if hasattr(body, "__iter__") and not isinstance(body, Mapping):
        return _Threaded(iter(body))
    raise TypeError(
        f"The handler gave {type(body).__name__}: neither status, headers and body, nor a generator."
    )


async def _once(body: Any) -> AsyncIterator[Any]:
    yield body


class _Threaded(AsyncIterator[Any]):
    """A plain iterator, advanced in a thread: what it waits for does not stop the event loop."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._context = contextvars.copy_context()

    async def __anext__(self) -> Any:
        item = await asyncio.get_running_loop().run_in_executor(None, self._advance)
        if item is _END:
            raise StopAsyncIteration
        return item

    def _advance(self) -> Any:
        return self._context.run(next, self._items, _END)

    async def aclose(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._context.run, close)
