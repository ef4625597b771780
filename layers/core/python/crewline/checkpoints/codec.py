"""Records and late writes as bytes: a version byte, then zstd of msgpack.

A record is a *root*, which holds its checkpoint whole, or a *difference* to its parent. A root is
written when there is no parent to build on, after 110 records, and when the differences since the
last one outweigh 48 KB and half of that root: so a state is read with one query, whatever the age
of the thread, and the roots of two hundred turns take less room than what is new in them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, TypeVar

import ormsgpack

from crewline.checkpoints.dictionary import compress, decompress
from crewline.checkpoints.differences import (
    apply_channels,
    apply_map,
    channel_difference,
    map_difference,
    value_from,
    whole_value,
)
from crewline.checkpoints.records import LateWrites, Link, Record, Sealed, Write
from crewline.errors import CorruptRecord

T = TypeVar("T")

LONGEST_CHAIN: Final = 110
"""Records of a chain, its root included.

What the roots take grows with the square of the thread's age divided by this; what a read takes
grows with it: 14 read units for a full chain of small differences.
"""
LIGHTEST_LIMIT: Final = 48 * 1024
"""Bytes of differences that never call for a root: twelve read units."""

_VERSION: Final = b"\x01"
_ROOT, _DIFFERENCE = 0, 1
_PARTS: Final = 5
"""What follows kind, namespace and parent: envelope, metadata, channels, defaults, writes."""
LARGEST_BODY: Final = 512 * 1024 * 1024
"""Bytes that a body may unfold to; more is an altered record, not a checkpoint."""

Base = tuple[Record, Link]
"""A record that a difference can build on, and its place in its chain."""


def seal_record(
    record: Record, base: Base | None = None, *, expires_s: int | None = None
) -> tuple[Sealed, Link]:
    """Spell a record: as a difference when there is a parent to build on and its chain is not used up.

    Args:
        record: The checkpoint.
        base: Its parent, when that is what the table has or will have before it.
        expires_s: When the item may end by TTL; a difference ends with its root.

    Returns:
        The item, and its place in its chain.
    """
    if base and base[1].depth + 1 < LONGEST_CHAIN:
        parent, link = base
        body = _pack(_difference(record, parent))
        grown = Link(
            depth=link.depth + 1,
            weight=link.weight + len(body),
            root_size=link.root_size,
            expires_s=link.expires_s,
        )
        if grown.weight <= max(LIGHTEST_LIMIT, link.root_size // 2):
            return _sealed(record, body, root=False, expires_s=link.expires_s), grown
    body = _pack(_whole(record))
    link = Link(depth=0, weight=0, root_size=len(body), expires_s=expires_s)
    return _sealed(record, body, root=True, expires_s=expires_s), link


def seal_writes(late: LateWrites, *, expires_s: int | None = None) -> Sealed:
    """Spell late writes; their checkpoint is in their key."""
    return Sealed(
        namespace=late.namespace,
        checkpoint_id=late.checkpoint_id,
        place=late.place,
        body=_pack([_write_to_list(write) for write in late.writes]),
        expires_s=expires_s,
    )


class Opened:
    """A record as it was read, before the parent it may build on is known."""

    def __init__(self, checkpoint_id: str, body: bytes, *, expires_s: int | None = None) -> None:
        """Read a record.

        Raises:
            CorruptRecord: The bytes are not a record of a version that this code knows.
        """
        self.checkpoint_id = checkpoint_id
        self._size = len(body)
        self._expires_s = expires_s
        _read(checkpoint_id, lambda: self._open(_unpack(body)))

    def _open(self, parts: list[Any]) -> None:
        self._kind, self.namespace, self.parent_id, *self._rest = parts
        if self._kind not in (_ROOT, _DIFFERENCE) or len(self._rest) != _PARTS:
            raise ValueError("not a record")

    @property
    def root(self) -> bool:
        """Whether it holds its checkpoint whole."""
        return bool(self._kind == _ROOT)

    @cached_property
    def parent_writes(self) -> tuple[Write, ...]:
        """The pending writes of its parent that ride in it."""
        return _read(self.checkpoint_id, lambda: tuple(_write_from_list(write) for write in self._rest[-1]))

    def build(self, base: Base | None) -> Base:
        """Make the whole record.

        Args:
            base: The parent, for a difference.

        Returns:
            The record, and its place in its chain.

        Raises:
            CorruptRecord: The parent is missing, or the difference does not fit it.
        """
        if self.root:
            link = Link(depth=0, weight=0, root_size=self._size, expires_s=self._expires_s)
            return _read(self.checkpoint_id, self._build_root), link
        if base is None:
            raise CorruptRecord(
                f"Checkpoint {self.checkpoint_id} builds on {self.parent_id}, which is missing."
            )
        parent, before = base
        link = Link(
            depth=before.depth + 1,
            weight=before.weight + self._size,
            root_size=before.root_size,
            expires_s=before.expires_s,
        )
        return _read(self.checkpoint_id, lambda: self._build_on(parent)), link

    def _build_root(self) -> Record:
        envelope, metadata, channels, defaults, _ = self._rest
        return Record(
            namespace=self.namespace,
            checkpoint_id=self.checkpoint_id,
            parent_id=self.parent_id,
            envelope=envelope,
            metadata=_pair(metadata),
            channels={name: value_from(operation) for name, operation in channels.items()},
            defaults={name: _pair(blob) for name, blob in defaults.items()},
            parent_writes=self.parent_writes,
        )

    def _build_on(self, parent: Record) -> Record:
        envelope, metadata, channels, defaults, _ = self._rest
        return Record(
            namespace=self.namespace,
            checkpoint_id=self.checkpoint_id,
            parent_id=self.parent_id,
            envelope=apply_map(parent.envelope, envelope),
            metadata=_pair(metadata),
            channels=apply_channels(parent.channels, channels),
            defaults=parent.defaults
            if defaults is None
            else {name: _pair(b) for name, b in defaults.items()},
            parent_writes=self.parent_writes,
        )


def open_writes(checkpoint_id: str, body: bytes) -> tuple[Write, ...]:
    """Read late writes.

    Raises:
        CorruptRecord: The bytes are not writes of a version that this code knows.
    """
    return _read(checkpoint_id, lambda: tuple(_write_from_list(write) for write in _unpack(body)))


def _whole(record: Record) -> list[Any]:
    return [
        _ROOT,
        record.namespace,
        record.parent_id,
        record.envelope,
        record.metadata,
        {name: whole_value(value) for name, value in record.channels.items()},
        record.defaults,
        [_write_to_list(write) for write in record.parent_writes],
    ]


def _difference(record: Record, parent: Record) -> list[Any]:
    return [
        _DIFFERENCE,
        record.namespace,
        record.parent_id,
        map_difference(parent.envelope, record.envelope),
        record.metadata,
        channel_difference(parent.channels, record.channels),
        None if record.defaults == parent.defaults else record.defaults,
        [_write_to_list(write) for write in record.parent_writes],
    ]


def _sealed(record: Record, body: bytes, *, root: bool, expires_s: int | None) -> Sealed:
    return Sealed(
        namespace=record.namespace,
        checkpoint_id=record.checkpoint_id,
        place=None,
        body=body,
        root=root,
        expires_s=expires_s,
    )


def _pair(parts: list[Any]) -> tuple[str, bytes]:
    kind, data = parts
    return (kind, data)


def _write_to_list(write: Write) -> list[Any]:
    return [write.task_id, write.task_path, write.index, write.channel, *write.value]


def _write_from_list(parts: list[Any]) -> Write:
    task_id, task_path, index, channel, kind, data = parts
    return Write(task_id=task_id, task_path=task_path, index=index, channel=channel, value=(kind, data))


def _read(checkpoint_id: str, reading: Callable[[], T]) -> T:
    try:
        return reading()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as exc:
        raise CorruptRecord(
            f"Checkpoint {checkpoint_id} does not decode; restore the table from its backup."
        ) from exc


def _pack(value: Any) -> bytes:
    return _VERSION + compress(ormsgpack.packb(value))


def _unpack(body: bytes) -> Any:
    if body[:1] != _VERSION:
        raise ValueError("unknown version")
    return ormsgpack.unpackb(decompress(body[1:], most=LARGEST_BODY))
