"""From stored values to the JSON of the API, without LangGraph and without making any object.

The engine renders what it answers with the same function, so that the control plane and a crew
show one state in one way.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

import ormsgpack

from crewline.checkpoints.records import Blob, Record, Value, Write, as_blob
from crewline.errors import CorruptRecord

INTERRUPT: Final = "__interrupt__"
_SOLE: Final = ("__root__", "__end__")
"""The one channel of a graph without named ones, and that of what an entrypoint (LangGraph's functional API) returned."""
_INTERNAL_PREFIXES: Final = ("__", "branch:", "join:")

# LangGraph's msgpack extension codes (langgraph.checkpoint.serde.jsonplus)
_ONE_ARGUMENT, _ARGUMENTS, _KEYWORDS, _ARRAY, _DELTA = 0, 1, 2, 6, 7
_SECRETS: Final = frozenset(("Secret", "SecretStr", "SecretBytes"))


def project_values(record: Record) -> Any:
    """Show the state of a checkpoint: every channel of the graph that has a value in it.

    A `DeltaChannel` has one only where LangGraph made a snapshot. Elsewhere its value is what the
    crew's own reducer makes of the writes of its ancestors, so it is left out: its default would be
    a wrong answer. The crew, which has the reducer, shows it in state and history.

    Args:
        record: The checkpoint.

    Returns:
        JSON values by channel; for a graph without named channels its one value.

    Raises:
        CorruptRecord: A value does not decode.
    """
    written = record.envelope.get("channel_versions", {})
    defaults = {name: value for name, value in record.defaults.items() if name not in written}
    values: dict[str, Value] = {**defaults, **record.channels}
    for name in _SOLE:
        if name in values:
            return project(as_blob(values[name]))
    return {
        name: project(as_blob(value))
        for name, value in values.items()
        if not name.startswith(_INTERNAL_PREFIXES)
    }


def shown_channels(record: Record) -> frozenset[str]:
    """Name the channels that `project_values` shows."""
    written = record.envelope.get("channel_versions", {})
    names = {*record.channels, *(name for name in record.defaults if name not in written)}
    return frozenset(name for name in names if not name.startswith(_INTERNAL_PREFIXES))


def project_interrupts(writes: Iterable[Write]) -> dict[str, list[Any]]:
    """Show the open questions of a checkpoint by task id.

    A task that asked and has been answered since has written something else after.

    Raises:
        CorruptRecord: A question does not decode.
    """
    writes = list(writes)
    answered = {write.task_id for write in writes if write.index >= 0}
    return {
        write.task_id: project(write.value)
        for write in writes
        if write.channel == INTERRUPT and write.task_id not in answered
    }


def project(blob: Blob) -> Any:
    """Show one stored value as JSON.

    Args:
        blob: The value as LangGraph's serialiser spelled it.

    Returns:
        Text, numbers, booleans, None, lists, and dicts with text keys.

    Raises:
        CorruptRecord: The bytes do not decode, or are of a kind that is never stored.
    """
    kind, data = blob
    match kind:
        case "null":
            return None
        case "msgpack":
            return _plain(_unpack(data))
        case "bytes" | "bytearray":
            return base64.b64encode(data).decode()
    raise CorruptRecord(f"A stored value is of kind {kind!r}, which Crewline never writes.")


def _unpack(data: bytes) -> Any:
    try:
        return ormsgpack.unpackb(data, ext_hook=_reveal, option=ormsgpack.OPT_NON_STR_KEYS)
    except ValueError as exc:
        raise CorruptRecord("A stored value does not decode; restore the table from its backup.") from exc


def _reveal(code: int, data: bytes) -> Any:
    """Show an extension value by the data it was made from."""
    parts = _unpack(data)
    if code in (_DELTA, _ARRAY):
        return parts if code == _DELTA else _array(parts)
    module, name, argument = parts[:3]
    if module.startswith("pydantic") and name.partition("[")[0] in _SECRETS:
        return "**********"
    if code == _ONE_ARGUMENT and name == "UUID":
        return f"{argument[:8]}-{argument[8:12]}-{argument[12:16]}-{argument[16:20]}-{argument[20:]}"
    if code == _ARGUMENTS:
        return _from_arguments(name, argument)
    if code == _KEYWORDS and name == "time":
        return _time(argument)
    return argument


def _from_arguments(name: str, arguments: list[Any]) -> Any:
    match name:
        case "Path" | "PosixPath" | "WindowsPath":
            first, *rest = arguments or ["."]
            return first.rstrip("/") + "/" + "/".join(rest) if rest else first
        case "compile":
            return arguments[0]
        case "date":
            return date(*arguments).isoformat()
        case "timedelta":
            return timedelta(*arguments).total_seconds()
        case "Send":
            return {"node": arguments[0], "arg": arguments[1]}
    return arguments


def _time(parts: Mapping[str, Any]) -> str:
    text = f"{parts['hour']:02}:{parts['minute']:02}:{parts['second']:02}"
    if parts["microsecond"]:
        text += f".{parts['microsecond']:06}"
    return text + _offset(parts.get("tzinfo"))


def _offset(zone: Any) -> str:
    """Spell a fixed offset; a zone that has rules is left out, for a time alone does not tell it."""
    seconds = zone[0] if isinstance(zone, list | tuple) and zone else None
    if not isinstance(seconds, int | float):
        return ""
    sign, minutes = "-" if seconds < 0 else "+", int(abs(seconds)) // 60
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}"


def _array(parts: list[Any]) -> Any:
    """Show a numpy array as nested lists, without numpy."""
    dtype, shape, order, data = parts
    formats = {
        "f4": "f",
        "f8": "d",
        "i1": "b",
        "i2": "h",
        "i4": "i",
        "i8": "q",
        "u1": "B",
        "u2": "H",
        "u4": "I",
        "u8": "Q",
    }
    letter: Any = formats.get(dtype[1:])
    if letter is None or order != "C" or dtype[0] == ">" or not all(shape):
        return {"dtype": dtype, "shape": shape}
    return memoryview(data).cast(letter, shape).tolist()


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {
                name if isinstance(name, str) else str(name): _plain(part) for name, part in value.items()
            }
        case list() | tuple():
            return [_plain(part) for part in value]
        case bytes():
            return base64.b64encode(value).decode()
    return value
