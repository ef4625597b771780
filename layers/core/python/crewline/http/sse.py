"""Frames as server-sent events of the LangGraph API: names, filters, ids, accumulated messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

import orjson

from crewline.models.events import END, ERROR, LAST_EPOCH, LIFECYCLE, METADATA, START, Frame, Position

HEARTBEAT: Final = b": heartbeat\r\n\r\n"
CONTENT_TYPE: Final = "text/event-stream; charset=utf-8"
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_ID: Final = re.compile(r"(\d{1,10})-(\d{1,10})(?:\.(\d{1,4}))?")

Place = tuple[Position, int]
"""A position, and which of the events that its frame became."""
_ALL: Final = 10_000


def parse_id(text: str | None) -> Place | None:
    """Read `Last-Event-ID`.

    Returns:
        After which event to go on; the start for `-1`, `0` and whatever was never given out; None
        without the header.
    """
    if text is None:
        return None
    found = _ID.fullmatch(text)
    if found is None or int(found[1]) > LAST_EPOCH:
        return (START, _ALL)
    return (Position(int(found[1]), int(found[2])), int(found[3]) if found[3] else 0)


def spell(event: str | None, data: bytes, event_id: str | None = None) -> bytes:
    """Spell one event; without a name it is what browsers call a message."""
    name = f"event: {event}\r\n" if event else ""
    ident = f"id: {event_id}\r\n" if event_id else ""
    return name.encode() + b"data: " + data + b"\r\n" + ident.encode() + b"\r\n"


class Renderer:
    """Turns the frames of one run into events; keeps what messages have accumulated to.

    Args:
        modes: What is to be shown; None for all that the run was asked for.
        filtered: The modes are a follower's choice: its `metadata` is left out too.
        tuples: Messages are shown chunk by chunk; else as accumulated messages.
        after: What the client has already.
    """

    def __init__(
        self,
        modes: Collection[str],
        *,
        filtered: bool = False,
        after: Place | None = None,
    ) -> None:
        self._modes = frozenset(modes)
        self._filtered = filtered
        self._tuples = "messages-tuple" in self._modes
        self._after = after or (START, _ALL)
        self._messages: dict[str, dict[str, Any]] = {}
        self.last = self._after[0]
        """The position of the last frame."""
        self.failed = False
        """Whether the run's error was among them."""

    @property
    def accumulates(self) -> bool:
        """Whether an event depends on those before it: then frames must be read from the start."""
        return "messages" in self._modes and not self._tuples

    def render(self, frame: Frame) -> bytes:
        """Spell the events that a frame becomes; none when they are filtered or known already."""
        self.last = max(self.last, frame.position)
        self.failed = self.failed or frame.mode == ERROR
        spelled = []
        for part, (event, data) in enumerate(self._events(frame)):
            if (frame.position, part) > self._after:
                ident = f"{frame.position}.{part}" if part else str(frame.position)
                spelled.append(spell(event, data, ident))
        return b"".join(spelled)

    def _events(self, frame: Frame) -> Iterator[tuple[str, bytes]]:
        data = frame.data or b"null"
        if frame.mode in LIFECYCLE:
            if frame.mode != METADATA or not self._filtered:
                yield frame.mode, data
            return
        suffix = "".join(f"|{part}" for part in frame.namespace)
        if frame.mode != "messages":
            if frame.mode in self._modes:
                yield f"{frame.mode}{suffix}", data
        elif self._tuples:
            yield f"messages{suffix}", data
        elif "messages" in self._modes:
            for event, value in self._accumulate(*orjson.loads(data)):
                yield f"{event}{suffix}", orjson.dumps(value)

    def _accumulate(self, message: dict[str, Any], metadata: Any) -> Iterator[tuple[str, Any]]:
        message_id = message.get("id") or ""
        if message.get("type") != "AIMessageChunk":
            if message_id not in self._messages:
                yield "messages/metadata", {message_id: {"metadata": metadata}}
            yield "messages/complete", [message]
            return
        if message_id not in self._messages:
            yield "messages/metadata", {message_id: {"metadata": metadata}}
            self._messages[message_id] = {**message, "type": "ai"}
        else:
            _merge(self._messages[message_id], message)
        yield "messages/partial", [_shown(self._messages[message_id])]


def _merge(whole: dict[str, Any], chunk: dict[str, Any]) -> None:
    """Add a chunk to a message, as LangChain adds chunks up."""
    whole["content"] = _joined(whole.get("content"), chunk.get("content"))
    for piece in chunk.get("tool_call_chunks") or ():
        _merge_call(whole.setdefault("tool_call_chunks", []), piece)
    for name in ("usage_metadata", "response_metadata", "additional_kwargs"):
        if chunk.get(name):
            whole[name] = {**(whole.get(name) or {}), **chunk[name]}


def _joined(before: Any, more: Any) -> Any:
    if isinstance(before, str) and isinstance(more, str):
        return before + more
    blocks: list[Any] = [before] if isinstance(before, str) and before else list(before or ())
    following: list[Any] = [more] if isinstance(more, str) and more else list(more or ())
    for block in following:
        last: Any = blocks[-1] if blocks else None
        if _continues(last, block):
            blocks[-1] = {**last, **block, "text": last.get("text", "") + block.get("text", "")}
        else:
            blocks.append(block)
    return blocks


def _continues(last: Any, block: Any) -> bool:
    return (
        isinstance(last, dict)
        and isinstance(block, dict)
        and last.get("type") == block.get("type") == "text"
        and last.get("index") == block.get("index")
    )


def _merge_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    for call in calls:
        if call.get("index") is not None and call["index"] == piece.get("index"):
            call["args"] = (call.get("args") or "") + (piece.get("args") or "")
            call["name"] = call.get("name") or piece.get("name")
            call["id"] = call.get("id") or piece.get("id")
            return
    calls.append(dict(piece))


def _shown(message: dict[str, Any]) -> dict[str, Any]:
    """Show an accumulated message as a whole one, with the tool calls that its chunks make so far."""
    shown = {name: value for name, value in message.items() if name != "tool_call_chunks"}
    if calls := message.get("tool_call_chunks"):
        shown["tool_calls"] = [
            {
                "name": call.get("name"),
                "args": _arguments(call.get("args")),
                "id": call.get("id"),
                "type": "tool_call",
            }
            for call in calls
        ]
    return shown


def _arguments(text: str | None) -> Any:
    try:
        return orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}


def is_end(frame: Frame) -> bool:
    """Tell whether nothing follows a frame."""
    return frame.mode == END
