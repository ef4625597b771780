"""What is stored of a checkpoint: one record a superstep, and the writes that came late.

A record holds its checkpoint whole, and the pending writes of its *parent*: what the parent's
tasks wrote is known when the child is made, so both are one item. Writes that cannot wait for a
child (an interrupt, an error, a finished task beside a slow one), and writes on a checkpoint that
is no longer the newest of its namespace, are items of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Blob = tuple[str, bytes]
"""A value as LangGraph's serialiser spells it: type name and bytes."""


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
    """One checkpoint."""

    namespace: str
    checkpoint_id: str
    parent_id: str | None
    envelope: Mapping[str, Any]
    """The checkpoint without its channel values: plain text, numbers, lists and maps."""
    metadata: Blob
    channels: Mapping[str, Blob]
    defaults: Mapping[str, Blob] = field(default_factory=dict)
    """Values of channels that nothing has written yet, where their type gives one."""
    parent_writes: tuple[Write, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LateWrites:
    """Pending writes of one task that are an item of their own."""

    namespace: str
    checkpoint_id: str
    writes: tuple[Write, ...]

    @property
    def place(self) -> str:
        """What tells this item from others of the same checkpoint; the same call gives the same."""
        first = min(self.writes, key=lambda write: write.index)
        return f"{first.task_id}#{first.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A checkpoint as it is read: its record and the pending writes of its own tasks."""

    record: Record
    writes: tuple[Write, ...]


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
