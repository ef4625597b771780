"""Threads: create, read, patch, delete and purge."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, TypeVar
from uuid import uuid4

import orjson

from crewline.checkpoints.projection import project_interrupts, project_values
from crewline.checkpoints.records import Snapshot
from crewline.errors import Conflict, InvalidRequest, KeyReused, NotFound, ThreadExists, TooLarge, Unavailable
from crewline.models.clocks import Clock, iso, new_id, parse_id
from crewline.models.leases import DRAFT_MS, Lease
from crewline.models.threads import (
    CREW_KEYS,
    MOST_METADATA_KEYS,
    Expiry,
    QuestionWire,
    StorageWire,
    Thread,
    ThreadCreate,
    ThreadPatch,
    ThreadWire,
    expiry_of,
)
from crewline.models.users import EVERYTHING, Filters
from crewline.store import drafts, entries, idempotency, keys, leases, threads, tombstones
from crewline.store.blobs import Blobs
from crewline.store.changes import MOST_GROUPED, Delete, Write
from crewline.store.idempotency import Made, Once
from crewline.store.keys import Key
from crewline.store.queues import PurgeJob, RunQueue
from crewline.store.records import Records
from crewline.store.table import Refused, Table

T = TypeVar("T")

_TRIES: Final = 20
_PAUSE_S: Final = 0.01
_TOMBSTONE_S: Final = 86_400
_LARGEST_FIELD: Final = 64 * 1024
"""Bytes of metadata or config: a row holds 400 KB."""


class Threads:
    """The threads of all tenants; safe for many threads."""

    def __init__(
        self,
        table: Table,
        blobs: Blobs,
        records: Records,
        queue: RunQueue,
        clock: Clock,
        *,
        expiry: Expiry | None = None,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records
        self._queue = queue
        self._clock = clock
        self.expiry = expiry
        """When threads that nobody said more of end by themselves."""

    def create(
        self, tenant: str, body: ThreadCreate, *, once: Once | None = None, sees: Filters = EVERYTHING
    ) -> ThreadWire:
        """Make a thread.

        Args:
            tenant: Whose thread.
            body: What it is to be.
            once: Names the request, so that a repetition gives the same thread.
            sees: Which threads the caller may see.

        Returns:
            The thread as the API answers it; the one that is there when the id is taken, and the
            caller said `do_nothing` and may see it.

        Raises:
            InvalidRequest: There are too many keys.
            TooLarge: The metadata is too large.
            ThreadExists: The id is taken.
            Conflict: A thread with this id was deleted and is still being purged, or the same key
                came with another body.
            NotFound: The thread that the first such request made has been deleted.
            Unavailable: DynamoDB did not answer; the thread may or may not be there.
        """
        thread = self.new(body)
        thread_id = thread.thread_id
        token = uuid4().hex
        changes: list[Write] = [threads.create(tenant, thread, token=token), *entries.of_new(tenant, thread)]
        if body.thread_id:
            changes.append(tombstones.unearth(tenant, thread_id))
        if once:
            made = Made(thread_id=thread_id, run_id=None, digest=once.digest, created_at=thread.created_at)
            changes.append(idempotency.put(tenant, once, made, now=self._clock()))
        try:
            self._write(changes)
        except Refused as exc:
            if once and (item := exc.items.get(len(changes) - 1)) and "digest" in item:
                return self.repeated(tenant, once, idempotency.from_item(item), sees=sees)
            if 0 not in exc.items:
                raise Conflict(
                    f"Thread {thread_id} was deleted and is still being removed; try again in a moment.",
                    details={"retry_after": 2},
                ) from exc
            if (exc.items[0] or {}).get("token") == token:
                return thread.wire(None, {})
            if body.if_exists == "do_nothing":
                found = self.get(tenant, thread_id)
                if sees.match(found["metadata"]):
                    return found
            raise ThreadExists(
                f"Thread {thread_id} exists already; pass if_exists='do_nothing' to use it as it is."
            ) from exc
        return thread.wire(None, {})

    def new(self, body: ThreadCreate) -> Thread:
        """Describe the thread that a request asks for; nothing is written.

        Raises:
            InvalidRequest: There are too many keys.
            TooLarge: The metadata is too large.
        """
        now = iso(self._clock())
        metadata = dict(body.metadata or {})
        if body.graph_id:
            metadata["graph_id"] = body.graph_id
        check_size("metadata", metadata)
        _check_number(metadata)
        return Thread(
            thread_id=body.thread_id or new_id(),
            created_at=now,
            updated_at=now,
            state_updated_at=now,
            status="idle",
            metadata=metadata,
            expiry=expiry_of(body.ttl) or self.expiry,
        )

    def read(self, tenant: str, thread_id: str) -> tuple[Thread, Lease]:
        """Read a thread's row and lease, as they are now.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such thread.
            Unavailable: DynamoDB did not answer.
        """
        thread, lease = threads.read(self._table, tenant, parse_id(thread_id, "thread"))
        if thread is None:
            raise not_found(thread_id)
        return thread, lease

    def rows(self, tenant: str, thread_ids: Sequence[str]) -> list[Thread]:
        """Read the rows of some threads, as they are now; those that are not there are left out.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        return threads.read_many(self._table, tenant, thread_ids)

    def questions(self, tenant: str, thread_id: str, lease: Lease) -> list[str]:
        """Find the ids of the questions that are open at a thread's head.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: The newest checkpoint does not decode.
        """
        snapshot = self._latest(tenant, thread_id, lease)
        asked = project_interrupts(snapshot.writes) if snapshot else {}
        return [question["id"] for questions in asked.values() for question in questions]

    def get(self, tenant: str, thread_id: str, *, ttl: bool = False) -> ThreadWire:
        """Show a thread with its values and open questions, and if asked for when it ends by itself.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such thread.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: Its newest checkpoint does not decode.
        """
        thread, lease = self.read(tenant, thread_id)
        shown = self.show(tenant, thread, lease)
        return {**shown, "ttl": thread.ttl()} if ttl else shown

    def storage(self, tenant: str, thread_id: str) -> StorageWire:
        """Tell how many bytes the checkpoints of a thread take.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such thread.
            Unavailable: DynamoDB or S3 did not answer.
        """
        thread_id = self.row(tenant, thread_id).thread_id
        sizes = self._blobs.sizes(tenant, thread_id)
        found = list(self._records.storage(tenant, thread_id))
        blobs = [sizes.get(keys.blob(tenant, thread_id, blob), 0) for _, _, blob in found if blob]
        records = [size for late, size, blob in found if not late and not blob]
        writes = [size for late, size, blob in found if late and not blob]
        return {
            "thread_id": thread_id,
            "total_bytes": sum(records) + sum(blobs) + sum(writes),
            "checkpoints": {"count": len(records), "bytes": sum(records)},
            "channel_values": {"count": len(blobs), "bytes": sum(blobs)},
            "pending_writes": {"count": len(writes), "bytes": sum(writes)},
        }

    def patch(self, tenant: str, thread_id: str, body: ThreadPatch) -> None:
        """Merge metadata into a thread's, key by key; set when it ends by itself.

        Raises:
            InvalidRequest: The id is no UUID, or the thread would have too many keys.
            TooLarge: The thread's metadata would be too large.
            NotFound: There is no such thread.
            Unavailable: DynamoDB did not answer, or others kept changing the same keys.
        """
        for attempt in range(_TRIES):
            thread = self.row(tenant, thread_id)
            merged = {**thread.metadata, **body.metadata}
            added = len(merged) - len(thread.metadata)
            if added:  # a copy may have one key more than a client can give it
                _check_number(merged)
            check_size("metadata", merged)
            changes = threads.merge_metadata(
                tenant,
                thread,
                body.metadata,
                updated_at=iso(self._clock()),
                expiry=expiry_of(body.ttl),
                most=MOST_METADATA_KEYS + len(CREW_KEYS) - added if added else None,
            )
            try:
                self._write(changes)
            except Refused:
                pause(attempt)
            else:
                return
        raise Unavailable(f"The metadata of thread {thread_id} kept changing; try again in a moment.")

    def delete(self, tenant: str, thread_id: str) -> None:
        """Delete a thread: at once for every reader, and for a worker that executes a run on it.

        What is left of it is purged from the queue.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such thread.
            Unavailable: DynamoDB did not answer.
        """
        thread_id = parse_id(thread_id, "thread")
        for attempt in range(_TRIES):
            thread = self.row(tenant, thread_id)
            burial = tombstones.bury(tenant, thread_id, now=self._clock())
            try:
                self._table.transact([*threads.delete(tenant, thread), burial])
                break
            except Refused:
                pause(attempt)
        else:
            raise Unavailable(f"The metadata of thread {thread_id} kept changing; try again in a moment.")
        self._send_purge(tenant, thread_id)

    def expire(self, tenant: str, thread: Thread) -> None:
        """Delete a thread that nobody has used for its time.

        Args:
            tenant: Whose thread.
            thread: Its row as it was read.

        Raises:
            Refused: Somebody has used it since, or does.
            Unavailable: DynamoDB did not answer.
        """
        burial = tombstones.bury(tenant, thread.thread_id, now=self._clock(), idle=True)
        self._table.transact([*threads.delete(tenant, thread, unused=True), burial])
        self._send_purge(tenant, thread.thread_id)

    def purge(self, tenant: str, thread_id: str) -> None:
        """Remove what is left of a deleted thread; repeatable, and harmless for any other thread.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; the message comes again.
        """
        lease = leases.from_item(self._table.get(keys.lease(tenant, thread_id)))
        if not lease.deleted or lease.purged or not self._given_up(tenant, thread_id, lease):
            return
        deleted = lease.deleted
        buried = tombstones.still_buried(tenant, thread_id, deleted=deleted)
        rest = tombstones.lay_to_rest(
            tenant, thread_id, deleted=deleted, ends_at_s=self._clock() // 1000 + _TOMBSTONE_S
        )
        try:
            for found in batched(self._leftovers(tenant, thread_id), MOST_GROUPED):
                self._table.transact([buried, *(Delete(key=key) for key in found)])
            large = self._blobs.list(tenant, thread_id)
            self._table.transact([buried])  # what was listed is the deleted thread's
            self._blobs.delete(large)
            self._table.write(rest)
        except Refused:
            return  # another delivery was faster, and the id may be in use again

    def _write(self, changes: Sequence[Write]) -> None:
        if len(changes) == 1:
            self._table.write(changes[0])  # half the cost
        else:
            self._table.transact(changes)

    def row(self, tenant: str, thread_id: str) -> Thread:
        """Read a thread's row alone, as it is now.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such thread.
            Unavailable: DynamoDB did not answer.
        """
        item = self._table.get(keys.thread(tenant, parse_id(thread_id, "thread")))
        if item is None:
            raise not_found(thread_id)
        return threads.from_item(item)

    def _send_purge(self, tenant: str, thread_id: str) -> None:
        with suppress(Unavailable):  # it is deleted: the sweeper finds the tombstone, and sends the message
            self._queue.send(PurgeJob(tenant=tenant, thread_id=thread_id))

    def _given_up(self, tenant: str, thread_id: str, lease: Lease) -> bool:
        """Tell whether nobody writes what is to be purged; a draft whose time is over is given up here."""
        if lease.draft is None:
            return True
        now = self._clock()
        if (lease.deleted or now) + DRAFT_MS > now:
            return False
        try:
            self._table.write(drafts.give_up(tenant, thread_id, token=lease.draft, now=now))
        except Refused:
            return False  # completed after all, or given up by another delivery, which goes on
        return True

    def _leftovers(self, tenant: str, thread_id: str) -> Iterator[Key]:
        partition = keys.thread_partition(tenant, thread_id)
        for item in self._table.query(partition, keys_only=True):
            sort = item[keys.SORT]
            if sort in (keys.LEASE_SORT, keys.THREAD_SORT):
                continue
            if sort.startswith(keys.RUN_PREFIX):
                yield from self._run_leftovers(tenant, sort.removeprefix(keys.RUN_PREFIX))
            yield Key(partition, sort)

    def _run_leftovers(self, tenant: str, run_id: str) -> Iterator[Key]:
        yield keys.run_pointer(tenant, run_id)
        events = keys.event(tenant, run_id, 0, 0).partition
        for item in self._table.query(events, keys_only=True):
            yield Key(events, item[keys.SORT])

    def repeated(self, tenant: str, once: Once, made: Made, *, sees: Filters = EVERYTHING) -> ThreadWire:
        """Answer a request that was made before with the thread that it made then.

        Raises:
            KeyReused: It was another request with the same key.
            NotFound: The thread has been deleted, and its id may be that of one that the caller may not see.
            Unavailable: DynamoDB or S3 did not answer.
        """
        if made.digest != once.digest:
            raise KeyReused(
                f"Idempotency-Key {once.key[:100]!r} was used for thread {made.thread_id} with another body; send a new key."
            )
        found = self.get(tenant, made.thread_id)
        if not sees.match(found["metadata"]):
            raise not_found(made.thread_id)
        return found

    def show(self, tenant: str, thread: Thread, lease: Lease) -> ThreadWire:
        """Show a thread that was read, with its values and open questions.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: Its newest checkpoint does not decode.
        """
        snapshot = self._latest(tenant, thread.thread_id, lease)
        if snapshot is None:
            return thread.wire(None, {})
        asked: dict[str, list[QuestionWire]] = {
            task_id: [{"id": question["id"], "value": question["value"]} for question in questions]
            for task_id, questions in project_interrupts(snapshot.writes).items()
        }
        return thread.wire(project_values(snapshot.record), asked)

    def _latest(self, tenant: str, thread_id: str, lease: Lease) -> Snapshot | None:
        if lease.head is None:
            return None
        return self._records.seen_under(lease).latest(
            tenant, thread_id, "", head=lease.head, chain=lease.chain
        )


def pause(attempt: int) -> None:
    """Wait a moment before something that others have changed is decided again; longer each time."""
    time.sleep(random.uniform(0, _PAUSE_S * min(attempt, 10)))  # noqa: S311 (jitter)


def _check_number(metadata: Mapping[str, Any]) -> None:
    own = len(metadata.keys() - CREW_KEYS)
    if own > MOST_METADATA_KEYS:
        raise InvalidRequest(
            f"A thread can have {MOST_METADATA_KEYS} metadata keys, not {own}; keep what nobody searches for in one object."
        )


def check_size(name: str, value: Any) -> None:
    """Refuse what would fill a row: there must be room for what happens to it later.

    Raises:
        TooLarge: The value is over the limit.
    """
    size = len(orjson.dumps(value))
    if size > _LARGEST_FIELD:
        raise TooLarge(
            f"{name} has {size:,} bytes, {_LARGEST_FIELD:,} at most; keep large values in the state."
        )


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Divide items into lists of at most a size (itertools has it from Python 3.12 on)."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def not_found(thread_id: str) -> NotFound:
    """Say that there is no such thread."""
    return NotFound(f"Thread with ID {thread_id} not found.")
