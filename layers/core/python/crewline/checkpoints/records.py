"""What is stored of a checkpoint: one record a superstep, and the writes that came late.

A record also holds the pending writes of its *parent*: what the parent's tasks wrote is known when
the child is made, so both are one item. Writes that cannot wait for a child (an interrupt, an
error, a finished task beside a slow one), and writes on a checkpoint that is no longer the newest
of its namespace, are items of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

AFTER_CHILD: Final = "~"
"""Ends the place of late writes that came after the checkpoint's child."""

Blob = tuple[str, bytes]
"""A value as LangGraph's serialiser spells it: type name and bytes."""


@dataclass(frozen=True, slots=True)
class Elements:
    """A list, element by element, each as msgpack: so that a record can say which ones are new.

    Elements are compared by these bytes and never by identity, so a node that changed an object in
    place is seen.
    """

    items: tuple[bytes, ...]

    @property
    def blob(self) -> Blob:
        """The whole list as the serialiser would spell it: an array is its header and its elements."""
        return ("msgpack", _array_header(len(self.items)) + b"".join(self.items))


Value = Blob | Elements
"""What a channel holds."""


def as_blob(value: Value) -> Blob:
    """Spell a channel's value as the serialiser would."""
    return value.blob if isinstance(value, Elements) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One pending write of a task."""

    task_id: str
    task_path: str
    index: int
    """Place among the task's writes; negative for LangGraph's reserved channels."""
    channel: str
    value: Blob

    @property
    def order(self) -> tuple[str, str, int]:
        """LangGraph's `writes_sort_key`: the order in which a superstep applies its writes."""
        return (self.task_path, self.task_id, self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One checkpoint, whole."""

    namespace: str
    checkpoint_id: str
    parent_id: str | None
    envelope: Mapping[str, Any]
    """The checkpoint without its channel values: plain text, numbers, lists and maps."""
    metadata: Blob
    channels: Mapping[str, Value]
    defaults: Mapping[str, Blob] = field(default_factory=dict)
    """Values of channels that nothing has written yet, where their type gives one."""
    parent_writes: tuple[Write, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a stored record is in its chain: a root, and the differences that follow it."""

    depth: int
    """Records since the root; 0 is a root."""
    weight: int
    """Bytes of these records."""
    root_size: int
    """Bytes of the root."""
    expires_s: int | None = None
    """When the root ends by TTL: no difference may outlive it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateWrites:
    """Pending writes of one task that are an item of their own."""

    namespace: str
    checkpoint_id: str
    writes: tuple[Write, ...]
    after_child: bool = False
    """They came when the checkpoint was no longer the newest: after what rides in its child."""

    @property
    def place(self) -> str:
        """What tells this item from others of the same checkpoint; the same call gives the same."""
        first = min(self.writes, key=lambda write: write.index)
        return f"{first.task_id}#{first.index}{AFTER_CHILD if self.after_child else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A record or late writes as bytes, ready for the table."""

    namespace: str
    checkpoint_id: str
    place: str | None
    """Of late writes; None for a record."""
    body: bytes
    root: bool = False
    """The body is a whole checkpoint, not a difference."""
    expires_s: int | None = None
    """When the item ends by TTL."""
    superstep: bool = False
    """The record of a superstep, not of an input, an edit or a fork."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A checkpoint as it is read: its record and the pending writes of its own tasks."""

    record: Record
    writes: tuple[Write, ...]
    link: Link
    asked_in: int = 0
    """The turn of the run that wrote the newest interrupt among the writes."""


def missing_channels(record: Record, metadata: Mapping[str, Any]) -> frozenset[str]:
    """Name the channels whose value is nowhere but in the writes of ancestors; others were never written.

    Args:
        record: The checkpoint.
        metadata: Its metadata, decoded.
    """
    delta = metadata.get("counters_since_delta_snapshot") or {}
    written = frozenset(record.envelope["channel_versions"])
    return frozenset(delta).intersection(written).difference(record.channels)


def merge_writes(*groups: Iterable[Write]) -> tuple[Write, ...]:
    """Unite the writes of one checkpoint, oldest group first, in the order in which they apply.

    Of two writes in the same place the first stays, so that a task that ran again changes nothing;
    of reserved channels (negative index) the last one does.
    """
    merged: dict[tuple[str, int], Write] = {}
    for write in (write for group in groups for write in group):
        place = (write.task_id, write.index)
        if write.index < 0 or place not in merged:
            merged[place] = write
    return tuple(sorted(merged.values(), key=lambda write: write.order))


def _array_header(length: int) -> bytes:
    """Spell the beginning of a msgpack array (specification: fixarray, array 16, array 32)."""
    if length < 16:  # noqa: PLR2004 (fixarray holds its length in four bits)
        return bytes((0x90 | length,))
    if length < 1 << 16:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")
