"""Records and late writes as bytes: a version byte, then zstd of msgpack."""

from __future__ import annotations

from typing import Any, Final

import ormsgpack
import zstandard

from crewline.checkpoints.records import LateWrites, Record, Write
from crewline.errors import CorruptRecord

_VERSION: Final = b"\x01"
_LEVEL: Final = 3
LARGEST_BODY: Final = 512 * 1024 * 1024
"""Bytes that a body may unfold to; more is an altered record, not a checkpoint."""


def encode_record(record: Record) -> bytes:
    """Spell a record; its namespace and id are in its key."""
    return _pack(
        [
            record.namespace,
            record.parent_id,
            record.envelope,
            record.metadata,
            record.channels,
            record.defaults,
            [_write_to_list(write) for write in record.parent_writes],
        ]
    )


def decode_record(checkpoint_id: str, body: bytes) -> Record:
    """Read a record.

    Raises:
        CorruptRecord: The bytes are not a record of a version that this code knows.
    """
    try:
        namespace, parent_id, envelope, metadata, channels, defaults, writes = _unpack(body)
        return Record(
            namespace=namespace,
            checkpoint_id=checkpoint_id,
            parent_id=parent_id,
            envelope=envelope,
            metadata=tuple(metadata),
            channels={name: tuple(blob) for name, blob in channels.items()},
            defaults={name: tuple(blob) for name, blob in defaults.items()},
            parent_writes=tuple(_write_from_list(write) for write in writes),
        )
    except (ValueError, TypeError, AttributeError) as exc:
        raise CorruptRecord(
            f"Checkpoint {checkpoint_id} does not decode; restore the table from its backup."
        ) from exc


def encode_writes(late: LateWrites) -> bytes:
    """Spell late writes; their checkpoint is in their key."""
    return _pack([_write_to_list(write) for write in late.writes])


def decode_writes(checkpoint_id: str, body: bytes) -> tuple[Write, ...]:
    """Read late writes.

    Raises:
        CorruptRecord: The bytes are not writes of a version that this code knows.
    """
    try:
        return tuple(_write_from_list(write) for write in _unpack(body))
    except (ValueError, TypeError) as exc:
        raise CorruptRecord(
            f"Writes of checkpoint {checkpoint_id} do not decode; restore the table from its backup."
        ) from exc


def _write_to_list(write: Write) -> list[Any]:
    return [write.task_id, write.task_path, write.index, write.channel, *write.value]


def _write_from_list(parts: list[Any]) -> Write:
    task_id, task_path, index, channel, kind, data = parts
    return Write(task_id=task_id, task_path=task_path, index=index, channel=channel, value=(kind, data))


def _pack(value: Any) -> bytes:
    # One context a call: zstd's are not safe for two threads at once.
    return _VERSION + zstandard.ZstdCompressor(level=_LEVEL).compress(ormsgpack.packb(value))


def _unpack(body: bytes) -> Any:
    if body[:1] != _VERSION:
        raise ValueError("unknown version")
    try:
        if not 0 <= zstandard.frame_content_size(body[1:]) <= LARGEST_BODY:
            raise ValueError("unbelievable size")
        return ormsgpack.unpackb(zstandard.ZstdDecompressor().decompress(body[1:]))
    except zstandard.ZstdError as exc:
        raise ValueError(str(exc)) from exc
