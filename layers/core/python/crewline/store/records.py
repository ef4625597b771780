"""Checkpoint records and late writes in the table.

The root's latest checkpoint is the lease's head, never the highest id. In the other namespaces it
is the highest id: the executor moves LangGraph's clock past the newest id before it writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crewline.checkpoints.codec import decode_record, decode_writes, encode_record, encode_writes
from crewline.checkpoints.records import LateWrites, Record, Snapshot, Write, merge_writes
from crewline.store import keys
from crewline.store.blobs import Blobs
from crewline.store.changes import Put
from crewline.store.items import Item
from crewline.store.table import Table

LARGEST_INLINE: Final = 350_000
"""Bytes of a body that stay in the item; an item over 400 KB would be refused."""
_PAGE: Final = 4
"""Items that one read asks for: a record, a few late writes, its child."""


class Records:
    """The checkpoints of all threads; safe for many threads."""

    def __init__(self, table: Table, blobs: Blobs) -> None:
        self._table = table
        self._blobs = blobs

    def put(self, tenant: str, thread_id: str, entry: Record | LateWrites) -> Put:
        """Make the write of a record or of late writes; large bodies go to S3 first.

        Unconditional: it is always part of a transaction that the lease fences.

        Raises:
            Unavailable: S3 did not take a large body.
        """
        if isinstance(entry, Record):
            key = keys.record(tenant, thread_id, entry.namespace, entry.checkpoint_id)
            body = encode_record(entry)
        else:
            key = keys.late_writes(tenant, thread_id, entry.namespace, entry.checkpoint_id, entry.place)
            body = encode_writes(entry)
        if len(body) <= LARGEST_INLINE:
            return Put(key=key, item={"body": body})
        return Put(key=key, item={"blob": self._blobs.put(tenant, thread_id, body)})

    def latest(
        self, tenant: str, thread_id: str, namespace: str, *, head: str | None = None
    ) -> Snapshot | None:
        """Read the newest checkpoint of a namespace.

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            namespace: The checkpoint namespace.
            head: The head pointer, for the root namespace; without one the highest id is taken.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        return next(self.newest_first(tenant, thread_id, namespace, upto=head, page=_PAGE), None)

    def get(self, tenant: str, thread_id: str, namespace: str, checkpoint_id: str) -> Snapshot | None:
        """Read one checkpoint; its writes may ride in the record that follows it.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        prefix = keys.namespace_prefix(namespace)
        record: Record | None = None
        late: list[Write] = []
        items = self._table.query(
            keys.thread_partition(tenant, thread_id),
            prefix=prefix,
            at_least=f"{prefix}{checkpoint_id}",
            page=_PAGE,
        )
        for item in items:
            found_id, place = _parse(item, prefix)
            if found_id == checkpoint_id and place is None:
                record = self._record(tenant, thread_id, checkpoint_id, item)
            elif found_id == checkpoint_id and record:
                late.extend(self._writes(tenant, thread_id, checkpoint_id, item))
            else:
                child = self._record(tenant, thread_id, found_id, item) if record and place is None else None
                riding = child.parent_writes if child and child.parent_id == checkpoint_id else ()
                return Snapshot(record=record, writes=merge_writes(late, riding)) if record else None
        return Snapshot(record=record, writes=merge_writes(late)) if record else None

    def newest_first(
        self,
        tenant: str,
        thread_id: str,
        namespace: str,
        *,
        upto: str | None = None,
        before: str | None = None,
        page: int | None = None,
    ) -> Iterator[Snapshot]:
        """Read the checkpoints of a namespace, the newest first, as far as they are consumed.

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            namespace: The checkpoint namespace.
            upto: Begin at this checkpoint.
            before: Begin after this checkpoint.
            page: Items per request.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        prefix = keys.namespace_prefix(namespace)
        bound = upto or before
        items = self._table.query(
            keys.thread_partition(tenant, thread_id),
            prefix=prefix,
            at_most=f"{prefix}{bound}{keys.LATE_INFIX}\U0010ffff" if bound else None,
            newest_first=True,
            page=page,
        )
        riding: dict[str, tuple[Write, ...]] = {}
        late: dict[str, list[Write]] = {}
        for item in items:
            found_id, place = _parse(item, prefix)
            if place is not None:
                late.setdefault(found_id, []).extend(self._writes(tenant, thread_id, found_id, item))
                continue
            record = self._record(tenant, thread_id, found_id, item)
            if record.parent_id and record.parent_writes:
                riding[record.parent_id] = record.parent_writes
            if found_id == before:
                continue
            yield Snapshot(
                record=record, writes=merge_writes(late.pop(found_id, ()), riding.pop(found_id, ()))
            )

    def _record(self, tenant: str, thread_id: str, checkpoint_id: str, item: Item) -> Record:
        return decode_record(checkpoint_id, self._body(tenant, thread_id, item))

    def _writes(self, tenant: str, thread_id: str, checkpoint_id: str, item: Item) -> tuple[Write, ...]:
        return decode_writes(checkpoint_id, self._body(tenant, thread_id, item))

    def _body(self, tenant: str, thread_id: str, item: Item) -> bytes:
        body: bytes | None = item.get("body")
        return body if body is not None else self._blobs.get(tenant, thread_id, item["blob"])


def _parse(item: Item, prefix: str) -> tuple[str, str | None]:
    """Split a sort key into checkpoint id and, for late writes, their place."""
    checkpoint_id, infix, place = item[keys.SORT].removeprefix(prefix).partition(keys.LATE_INFIX)
    return checkpoint_id, place if infix else None
