"""Messages as protocol v2 tells them: block by block, each with a beginning, what is added, and an end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

_ROLES: Final = {"ai": "ai", "AIMessageChunk": "ai", "human": "human", "system": "system", "tool": "tool"}
_DETAILS: Final = {
    "ls_provider": "provider",
    "ls_model_name": "model",
    "ls_model_type": "model_type",
    "langgraph_node": "langgraph_node",
}
"""What of a message's metadata is shown, and by which name."""
_AS_TOOL_CALLS: Final = frozenset(
    ("tool_use", "input_json_delta", "tool_call", "tool_call_chunk", "function_call")
)
"""Blocks of providers that LangChain shows as tool calls, beside the content."""
_APPENDED: Final = {"text": "text", "reasoning": "reasoning"}
_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {})


class Said(NamedTuple):
    """One thing said of a message."""

    namespace: tuple[str, ...]
    node: str | None
    data: dict[str, Any]


@dataclass(slots=True)
class _Piece:
    """What a message, or a chunk of one, has of one block."""

    key: tuple[Any, ...]
    """The same for every piece of a block."""
    block: dict[str, Any]


@dataclass(slots=True)
class _Open:
    """A message that is being said."""

    namespace: tuple[str, ...]
    node: str | None
    task: str | None
    ident: dict[str, Any]
    """On everything said of it: how clients tell messages apart that are said at the same time."""
    index: int = -1
    key: tuple[Any, ...] | None = None
    block: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    response: dict[str, Any] = field(default_factory=dict)


class Messages:
    """The messages of one run; pure."""

    def __init__(self) -> None:
        self._open: dict[tuple[tuple[str, ...], str], _Open] = {}

    def take(
        self, namespace: tuple[str, ...], message: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> Iterator[Said]:
        """Tell a message, or a chunk of one."""
        key = (namespace, str(message.get("id") or metadata.get("langgraph_checkpoint_ns") or ""))
        if message.get("type") not in _ROLES:
            return
        if message["type"] != "AIMessageChunk":
            if key in self._open:
                yield from self._finish(key)
                return
            self._open[key], said = _begin(namespace, message, metadata)
            yield said
        elif key not in self._open:
            self._open[key], said = _begin(namespace, message, metadata)
            yield said
        yield from self._add(self._open[key], message)
        if message["type"] != "AIMessageChunk" or message.get("chunk_position") == "last":
            yield from self._finish(key)

    def end_task(self, namespace: tuple[str, ...], task: str) -> Iterator[Said]:
        """Finish what a task has said: it is over."""
        for key in [key for key, one in self._open.items() if key[0] == namespace and one.task == task]:
            yield from self._finish(key)

    def end_step(self, namespace: tuple[str, ...]) -> Iterator[Said]:
        """Finish what was said in a namespace: its superstep is over."""
        for key in [key for key in self._open if key[0] == namespace]:
            yield from self._finish(key)

    def finish(self) -> Iterator[Said]:
        """Finish every message: the run has ended well."""
        for key in list(self._open):
            yield from self._finish(key)

    def abandon(self, reason: str) -> Iterator[Said]:
        """Give up what was not said to the end."""
        for one in self._open.values():
            yield _said(one, "error", message=reason)
        self._open.clear()

    def _add(self, one: _Open, message: Mapping[str, Any]) -> Iterator[Said]:
        for piece in _pieces(message):
            if piece.key != one.key:
                yield from _finish_block(one)
                one.index += 1
                one.key = piece.key
                one.block = _blank(piece.block)
                yield _said(one, "content-block-start", index=one.index, content=one.block)
            one.block, delta = _extended(one.block, piece.block)
            if delta:
                yield _said(one, "content-block-delta", index=one.index, delta=delta)
        for name, value in (message.get("usage_metadata") or {}).items():
            one.usage[name] = _sum(one.usage.get(name), value)
        one.response |= message.get("response_metadata") or {}

    def _finish(self, key: tuple[tuple[str, ...], str]) -> Iterator[Said]:
        one = self._open.pop(key)
        yield from _finish_block(one)
        more: dict[str, Any] = {}
        if one.usage:
            more["usage"] = one.usage
        if one.response:
            more["metadata"] = one.response
        yield _said(one, "message-finish", **more)


def plain(value: Any) -> Any:
    """Show a state's messages without the fields that say nothing."""
    if isinstance(value, list):
        return [plain(part) for part in value]
    if not isinstance(value, dict) or value.get("type") not in _ROLES or "content" not in value:
        return value
    shown = {name: part for name, part in value.items() if name == "content" or part not in _EMPTY}
    return {**shown, "type": _ROLES[value["type"]]}


def _begin(
    namespace: tuple[str, ...], message: Mapping[str, Any], metadata: Mapping[str, Any]
) -> tuple[_Open, Said]:
    ident: dict[str, Any] = {"id": message.get("id")}
    if message["type"] == "AIMessageChunk" and message.get("id"):
        ident["run_id"] = str(message["id"]).rpartition("run--")[2]  # LangChain names a message by its call
    place = str(metadata.get("langgraph_checkpoint_ns") or "").split("|")
    _, _, task = place[-1].partition(":")
    one = _Open(namespace, metadata.get("langgraph_node"), task or None, ident)
    details = {name: metadata[given] for given, name in _DETAILS.items() if metadata.get(given)}
    more = {name: message[name] for name in ("name", "tool_call_id") if message.get(name)}
    role = _ROLES[message["type"]]
    return one, _said(one, "message-start", role=role, metadata=details, **more)


def _said(one: _Open, event: str, **data: Any) -> Said:
    return Said(one.namespace, one.node, {"event": event, **one.ident, **data})


def _pieces(message: Mapping[str, Any]) -> Iterator[_Piece]:
    content = message.get("content")
    for number, part in enumerate(content if isinstance(content, list) else [content]):
        block = {"type": "text", "text": part} if isinstance(part, str) else part
        if not isinstance(block, dict) or block.get("text") == "" or block.get("type") in _AS_TOOL_CALLS:
            continue
        if block.get("type") == "thinking":
            block = {"type": "reasoning", "reasoning": block.get("thinking") or ""}
        kind, place = block.get("type"), part.get("index") if isinstance(part, dict) else None
        if kind in _APPENDED:
            yield _Piece((kind, place), block)
        else:
            yield _Piece((kind, number if place is None else place), block)
    chunks = message.get("tool_call_chunks")
    for number, chunk in enumerate(chunks or ()):
        place = chunk.get("index")
        yield _Piece(("tool_call", number if place is None else place), {**chunk, "type": "tool_call_chunk"})
    if not chunks:
        for number, call in enumerate(message.get("tool_calls") or ()):
            whole = {name: call.get(name) for name in ("id", "name")}
            arguments = orjson.dumps(call.get("args") or {}).decode()
            yield _Piece(("tool_call", number), {"type": "tool_call_chunk", **whole, "args": arguments})


def _blank(block: Mapping[str, Any]) -> dict[str, Any]:
    """Show a block as it begins; one of a kind that is never added to begins whole."""
    kind = block.get("type")
    if name := _APPENDED.get(str(kind)):
        return {"type": kind, name: ""}
    if kind == "tool_call_chunk":
        return {"type": kind, "id": block.get("id"), "name": block.get("name"), "args": ""}
    return dict(block)


def _extended(
    block: dict[str, Any], piece: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Add a piece to a block, and say what that changes."""
    kind = str(block.get("type"))
    if name := _APPENDED.get(kind):
        more = piece.get(name) or ""
        extended = {**block, **{key: value for key, value in piece.items() if key != "index"}}
        return {**extended, name: block[name] + more}, {"type": f"{kind}-delta", name: more} if more else None
    if kind == "tool_call_chunk":
        fields = {
            "type": kind,
            "id": block["id"] or piece.get("id"),
            "name": block["name"] or piece.get("name"),
            "args": block["args"] + (piece.get("args") or ""),
        }
        # Fields replace fields: older clients know no delta that adds to the arguments.
        return fields, {"type": "block-delta", "fields": fields} if fields != block else None
    return {**block, **piece}, None


def _finish_block(one: _Open) -> Iterator[Said]:
    if one.key is not None:
        yield _said(one, "content-block-finish", index=one.index, content=_finished(one.block))
    one.key = None


def _finished(block: dict[str, Any]) -> dict[str, Any]:
    if block.get("type") != "tool_call_chunk":
        return block
    call = {"id": block["id"], "name": block["name"]}
    try:
        arguments = orjson.loads(block["args"] or "{}")
    except orjson.JSONDecodeError as exc:
        return {"type": "invalid_tool_call", **call, "args": block["args"], "error": str(exc)}
    return {"type": "tool_call", **call, "args": arguments}


def _sum(before: Any, more: Any) -> Any:
    if isinstance(before, int) and isinstance(more, int):
        return before + more
    if isinstance(before, dict) and isinstance(more, dict):
        return {name: _sum(before.get(name), more.get(name)) for name in {**before, **more}}
    return before if more is None else more
