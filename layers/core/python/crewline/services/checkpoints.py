"""What is done to whole histories of checkpoints: copy, prune, and delete by thread or by run.

Every step leaves each checkpoint that stays readable: what a difference builds on is made part of
it before that goes, and records go newest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from crewline.checkpoints.codec import seal_record, seal_writes
from crewline.checkpoints.records import LateWrites, Sealed, Snapshot, Write
from crewline.store import keys
from crewline.store.blobs import Blobs
from crewline.store.changes import Change, Delete, Put, body_bytes, grouped
from crewline.store.keys import Key
from crewline.store.records import Records
from crewline.store.table import Table


class Checkpoints:
    """Operations on the checkpoints of whole threads; each may be repeated after a crash."""

    def __init__(self, table: Table, blobs: Blobs | None, records: Records) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records

    def remember_run(self, tenant: str, run_id: str, thread_id: str, *, expires_s: int | None) -> None:
        """Note on which thread a run wrote, so that it can be found by its id.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        item = {"thread_id": thread_id, keys.TTL: expires_s}
        self._table.write(Put(key=keys.run_thread(tenant, run_id, thread_id), item=item))

    def threads_of(self, tenant: str, run_id: str) -> list[str]:
        """Find the threads on which a run wrote.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        partition = keys.run_threads_partition(tenant, run_id)
        return sorted({item["thread_id"] for item in self._table.query(partition)})

    def write(self, tenant: str, thread_id: str, entries: Sequence[Sealed]) -> None:
        """Write entries one after the other, without a fence: the thread has one writer.

        Oldest first, so that a crash between two leaves the checkpoint before, whole.

        Raises:
            TooLarge: A value is over the item limit, and there is no bucket.
            Unavailable: DynamoDB or S3 did not answer; writing the same entries again is harmless.
        """
        for entry in entries:
            self._table.write(self._records.put(tenant, thread_id, entry))

    def delete_thread(self, tenant: str, thread_id: str) -> None:
        """Remove every checkpoint of a thread, and its large values.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; the rest is removed when it is called again.
        """
        self._delete(reversed(list(self._records.keys_of(tenant, thread_id))))
        if self._blobs:
            self._blobs.delete(self._blobs.list(tenant, thread_id))

    def delete_runs(
        self,
        tenant: str,
        thread_id: str,
        wrote: Callable[[Snapshot], bool],
        missing: Callable[[Snapshot], frozenset[str]],
    ) -> None:
        """Remove the checkpoints of a thread that some runs wrote, but not what the state of others lives in.

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            wrote: Whether one of the runs wrote a checkpoint.
            missing: The channels whose value a checkpoint does not hold, but its ancestors' writes.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; the rest is removed when it is called again.
            CorruptRecord: A stored body does not decode.
        """
        for namespace in self._records.namespaces(tenant, thread_id):
            snapshots = list(self._records.newest_first(tenant, thread_id, namespace))
            dropped = {one.record.checkpoint_id for one in snapshots if wrote(one)}
            others = [one for one in snapshots if one.record.checkpoint_id not in dropped]
            self._drop(tenant, thread_id, snapshots, dropped - with_ancestors(others, snapshots, missing))

    def keep_latest(self, tenant: str, thread_id: str, missing: Callable[[Snapshot], frozenset[str]]) -> None:
        """Remove every checkpoint but the newest of each namespace, and what its state lives in.

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            missing: The channels whose value a checkpoint does not hold, but its ancestors' writes.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; the rest is removed when it is called again.
            CorruptRecord: A stored body does not decode.
        """
        for namespace in self._records.namespaces(tenant, thread_id):
            snapshots = list(self._records.newest_first(tenant, thread_id, namespace))
            kept = with_ancestors(snapshots[:1], snapshots, missing)
            dropped = {one.record.checkpoint_id for one in snapshots} - kept
            self._drop(tenant, thread_id, snapshots, dropped)

    def copy(self, tenant: str, source: str, target: str, *, expires_s: int | None) -> None:
        """Copy every checkpoint of a thread to another, oldest first: at any time it has a whole one.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; what was copied stays, and copying again is harmless.
            CorruptRecord: A large value is missing or was altered.
        """
        self._write(self._records.copied(tenant, source, target, expires_s=expires_s))

    def renew(
        self,
        tenant: str,
        thread_id: str,
        namespace: str,
        *,
        upto: str,
        missing: Callable[[Snapshot], frozenset[str]],
        expires_s: int,
    ) -> None:
        """Let a checkpoint, and the ancestors that its state lives in, end later.

        Each is written again whole, with its writes as items of their own; doing it twice is harmless.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; nothing was lost, call it again.
            CorruptRecord: A stored body does not decode.
        """
        snapshots = list(self._records.newest_first(tenant, thread_id, namespace, upto=upto))
        kept = with_ancestors(snapshots[:1], snapshots, missing)
        entries: list[Sealed] = []
        for one in reversed([one for one in snapshots if one.record.checkpoint_id in kept]):
            entries.append(seal_record(one.record, expires_s=expires_s)[0])
            entries += _as_late(one, one.writes, expires_s)
        self._write(self._records.put(tenant, thread_id, entry) for entry in entries)

    def _drop(self, tenant: str, thread_id: str, snapshots: Sequence[Snapshot], dropped: set[str]) -> None:
        if not dropped:
            return
        entries = entries_without(snapshots, dropped)
        self._write([self._records.put(tenant, thread_id, entry) for entry in entries])
        gone = [
            key
            for key in self._records.keys_of(tenant, thread_id)
            if belongs(key, keys.namespace_prefix(snapshots[0].record.namespace), dropped)
        ]
        self._delete(reversed(gone))

    def _write(self, changes: Iterable[Change]) -> None:
        """Carry out writes in order, as few transactions as their number and size allow."""
        for group in grouped(changes, body_bytes):
            self._table.transact(group)

    def _delete(self, found: Iterable[Key]) -> None:
        self._write(Delete(key=key) for key in found)


def with_ancestors(
    ends: Sequence[Snapshot], snapshots: Sequence[Snapshot], missing: Callable[[Snapshot], frozenset[str]]
) -> set[str]:
    """Find some checkpoints, each with its ancestors back to where every channel has had a value."""
    by_id = {one.record.checkpoint_id: one for one in snapshots}
    passed: set[tuple[str, frozenset[str]]] = set()
    for end in ends:
        wanted = missing(end)
        cursor: Snapshot | None = end
        while cursor:
            wanted = wanted.difference(cursor.record.channels)
            place = (cursor.record.checkpoint_id, wanted)
            if place in passed:
                break  # another end has gone on from here
            passed.add(place)
            cursor = by_id.get(cursor.record.parent_id or "") if wanted else None
    return {checkpoint_id for checkpoint_id, _ in passed}


def entries_without(snapshots: Sequence[Snapshot], dropped: set[str]) -> list[Sealed]:
    """Make what has to be written before some checkpoints of a namespace can go: what stays is whole without them.

    Args:
        snapshots: All checkpoints of the namespace, the newest first.
        dropped: The ids of those that are to go.

    Returns:
        Roots in place of the differences that build on them, and writes that ride in them; oldest first.
    """
    by_id = {one.record.checkpoint_id: one for one in snapshots}
    entries: list[Sealed] = []
    for one in reversed(snapshots):
        record = one.record
        if record.checkpoint_id in dropped:
            if record.parent_id in by_id and record.parent_id not in dropped and record.parent_writes:
                parent = by_id[record.parent_id]
                entries += _as_late(parent, record.parent_writes, parent.link.expires_s)
        elif _builds_on(one, by_id, dropped):
            entries.append(seal_record(record, expires_s=one.link.expires_s)[0])
    return entries


def _builds_on(one: Snapshot, by_id: dict[str, Snapshot], dropped: set[str]) -> bool:
    """Tell whether a difference builds, directly or not, on a record that goes."""
    cursor: Snapshot | None = one
    while cursor and cursor.link.depth:
        if cursor.record.parent_id in dropped:
            return True
        cursor = by_id.get(cursor.record.parent_id or "")
    return False


def _as_late(one: Snapshot, writes: Sequence[Write], expires_s: int | None) -> list[Sealed]:
    """Make items of their own of the writes of a checkpoint."""
    groups: dict[tuple[str, int], list[Write]] = {}
    for write in writes:
        groups.setdefault((write.task_id, min(write.index, 0)), []).append(write)
    return [
        seal_writes(
            LateWrites(
                namespace=one.record.namespace,
                checkpoint_id=one.record.checkpoint_id,
                writes=tuple(group),
            ),
            expires_s=expires_s,
        )
        for group in groups.values()
    ]


def belongs(key: Key, prefix: str, checkpoint_ids: set[str]) -> bool:
    """Tell whether a key is that of some checkpoints of a namespace, or of their late writes."""
    return (
        key.sort.startswith(prefix)
        and key.sort.removeprefix(prefix).partition(keys.LATE_INFIX)[0] in checkpoint_ids
    )
