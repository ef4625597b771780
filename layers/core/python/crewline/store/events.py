"""The event log of a run: frames in batches, each keyed by the position of its last frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import ormsgpack

from crewline.checkpoints.dictionary import compress, decompress
from crewline.errors import CorruptRecord
from crewline.models.events import Batch, Frame, Position, Reference
from crewline.store import keys
from crewline.store.blobs import Blobs
from crewline.store.changes import ABSENT, Put
from crewline.store.items import Item
from crewline.store.table import Table

LARGEST_INLINE: Final = 64 * 1024
"""Bytes of a batch that stay in the item; a larger one goes to S3, which costs less from there on."""
KEPT_S: Final = 8 * 86_400
"""How long events are kept: a day longer than a run without a thread can be read, which removes them with it."""
_LARGEST: Final = 512 * 1024 * 1024
_VERSION: Final = b"\x01"


def put(tenant: str, thread_id: str, run_id: str, batch: Batch, *, blobs: Blobs | None, now: int) -> Put:
    """Make the write of a batch; a large one goes to S3 first.

    No claim fences it: who takes a run over says how far the log of the one before counts. It opens its
    epoch before it looks, so that a reader has either seen no opening, and what it read then counts; or
    has, and shows nothing that is not decided.

    ```
    W1: put 3-7 ── stalls ── W2: claim, open 4-0 ── reads up to 3-7 ── cut: put 4-1 (upto 3-7)
    W1: ─ put 3-9 ──▶ lands before 4-0: W2 reads it, it counts for everybody
    W1: ────────────────────────────────────── put 3-9 ──▶ lands after 4-0: who reads it reads 4-0 too, and waits for the cut
    W1: ──────────────────────────────────────────────────────────────────── put 3-9 ──▶ after 3-7 of an epoch that is over
    W2: open 4-0 ── reads ── stalls ── W3: claim, open 5-0, reads ── W2: cut ──✗ owner is w3: no cut comes after a later opening
    ```

    Raises:
        Unavailable: S3 did not take a large batch.
    """
    body = _VERSION + compress(ormsgpack.packb([_spell(frame) for frame in batch.frames]))
    content: Item = {"body": body}
    if blobs and len(body) > LARGEST_INLINE:
        content = {"blob": blobs.put(tenant, thread_id, body)}
    last = batch.position
    return Put(
        key=keys.event(tenant, run_id, last.epoch, last.seq),
        item={
            **content,
            "attempt": batch.attempt,
            "upto": list(batch.upto) if batch.upto else None,
            keys.TTL: now // 1000 + KEPT_S,
        },
        condition=ABSENT,
    )


def after(
    table: Table,
    blobs: Blobs | None,
    tenant: str,
    thread_id: str,
    run_id: str,
    position: Position,
    *,
    page: int | None = None,
) -> Iterator[Batch]:
    """Read the batches that end after a position, in order, as far as they are consumed.

    Args:
        table: The table.
        blobs: The bucket of large batches.
        tenant: Whose run.
        thread_id: Its thread.
        run_id: The run.
        position: The position.
        page: How many will be consumed, when that is known.

    Raises:
        Unavailable: DynamoDB or S3 did not answer.
        CorruptRecord: A batch does not decode.
    """
    first = keys.event(tenant, run_id, position.epoch, position.seq + 1)
    for item in table.query(first.partition, at_least=first.sort, page=page):
        yield _open(item, blobs, tenant, thread_id, run_id)


def last(table: Table, blobs: Blobs | None, tenant: str, thread_id: str, run_id: str) -> Batch | None:
    """Read the last batch that has frames.

    Raises:
        Unavailable: DynamoDB or S3 did not answer.
        CorruptRecord: It does not decode.
    """
    partition = keys.event(tenant, run_id, 0, 0).partition
    for item in table.query(partition, newest_first=True, page=1):
        batch = _open(item, blobs, tenant, thread_id, run_id)
        if batch.frames:
            return batch
    return None


def _open(item: Item, blobs: Blobs | None, tenant: str, thread_id: str, run_id: str) -> Batch:
    body: bytes | None = item.get("body")
    if body is None:
        if blobs is None:
            raise CorruptRecord(f"Run {run_id} has large events in S3, and there is no bucket.")
        body = blobs.get(tenant, thread_id, item["blob"])
    epoch = int(item[keys.SORT].partition("#")[0])
    try:
        frames = tuple(_read(epoch, parts) for parts in _unpack(body))
    except (ValueError, TypeError, IndexError) as exc:
        raise CorruptRecord(
            f"Events of run {run_id} do not decode; they end by themselves within eight days."
        ) from exc
    upto = item.get("upto")
    return Batch(
        frames=frames,
        attempt=item["attempt"],
        upto=Position(*upto) if upto else None,
        opens=None if frames else epoch,
    )


def _unpack(body: bytes) -> Any:
    if body[:1] != _VERSION:
        raise ValueError("unknown version")
    return ormsgpack.unpackb(decompress(body[1:], most=_LARGEST))


def _spell(frame: Frame) -> list[Any]:
    reference = frame.reference
    stored: Sequence[Any] | bytes | None = frame.data
    if reference:
        where = [reference.namespace, reference.checkpoint_id, reference.names, reference.path]
        stored = [*where, frame.data]
    dated = [] if frame.at is None else [frame.at]
    return [frame.position.seq, frame.mode, frame.namespace, stored, *dated]


def _read(epoch: int, parts: list[Any]) -> Frame:
    seq, mode, namespace, stored, *dated = parts
    position, place, at = Position(epoch, seq), tuple(namespace), dated[0] if dated else None
    if not isinstance(stored, list):
        return Frame(position=position, mode=mode, namespace=place, data=stored, at=at)
    where, checkpoint_id, names, path, data = stored
    return Frame(
        position=position,
        mode=mode,
        namespace=place,
        data=data,
        reference=Reference(
            namespace=where,
            checkpoint_id=checkpoint_id,
            names=None if names is None else tuple(names),
            path=tuple(path),
        ),
    )
