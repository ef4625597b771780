"""Copies of threads: state, history and open questions, under a new id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

from crewline.errors import Conflict, CorruptRecord, Unavailable
from crewline.models.clocks import Clock, iso, parse_id
from crewline.models.leases import Lease
from crewline.models.threads import Thread, ThreadStatus, ThreadWire
from crewline.services.drafts import Drafts
from crewline.services.threads import Threads
from crewline.store import idempotency, keys, threads
from crewline.store.changes import Put
from crewline.store.idempotency import Once
from crewline.store.records import Records
from crewline.store.table import Table

FORKED_FROM: Final = "forked_from"
"""Metadata of a copy: the thread it was made of."""
_NOTHING: Final[Mapping[str, Any]] = {}
_TRIES: Final = 3


class _Moved(Exception):
    """Records of the original went while they were being read."""


class Copies:
    """Copies threads; safe for many threads."""

    def __init__(
        self, table: Table, records: Records, clock: Clock, *, threads: Threads, drafts: Drafts
    ) -> None:
        self._table = table
        self._records = records
        self._clock = clock
        self._threads = threads
        self._drafts = drafts

    def copy(
        self,
        tenant: str,
        thread_id: str,
        *,
        once: Once | None = None,
        stamps: Mapping[str, Any] = _NOTHING,
    ) -> ThreadWire:
        """Make a thread that has what another one has had until now, and goes its own way from there.

        What a run in flight has committed is copied, what it commits meanwhile is not. The copy
        carries on the count of runs, so that no run of it is taken for one of the original.

        ```
        C: reads lease (head h5) ── copies up to h5 ── reads lease (head h7) ── complete ──▶ copy at h5
        C: reads lease (head h5) ─ R: undo, head h2 ─ C: reads lease ──✗ records went: C begins again
        C: reads lease (run r) ─ r: rolled back ─ s: commits ─ C: reads lease ──✗ r has no row: C begins again
        C: copies ── dies ··· the draft is purged
        ```

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            once: Names the request, so that a repetition gives the same copy.
            stamps: Metadata of the copy, over that of the thread.

        Returns:
            The copy, as the API answers it.

        Raises:
            InvalidRequest: The id is no UUID.
            Conflict: There is no such thread, or the same key came with another body.
            NotFound: The copy that the first such request made has been deleted.
            Unavailable: DynamoDB or S3 did not answer, or the thread kept losing records.
            CorruptRecord: A large value is missing or was altered.
        """
        source = parse_id(thread_id, "thread")
        if once and (made := idempotency.get(self._table, tenant, once, now=self._clock())):
            return self._threads.repeated(tenant, once, made)
        for _ in range(_TRIES):
            thread, lease = threads.read(self._table, tenant, source)
            if thread is None:
                raise Conflict("Conflict")
            with suppress(_Moved):
                return self._copy(tenant, thread, lease, once, stamps)
        raise Unavailable(f"Thread {source} kept losing records while it was copied; try again in a moment.")

    def _copy(
        self, tenant: str, source: Thread, lease: Lease, once: Once | None, stamps: Mapping[str, Any]
    ) -> ThreadWire:
        target = str(uuid4())
        with self._drafts.draft(tenant, target) as draft:
            try:
                self._drafts.write(draft, self._records_of(tenant, source.thread_id, lease, target))
            except CorruptRecord:
                self._check(tenant, source, lease)  # what is missing may have gone with its record
                raise
            self._check(tenant, source, lease)
            earlier = self._drafts.complete(draft, self._row(source, lease, target, stamps), lease, once=once)
        if once and earlier:
            return self._threads.repeated(tenant, once, earlier)
        return self._threads.get(tenant, target)

    def _records_of(self, tenant: str, source: str, lease: Lease, target: str) -> Iterator[Put]:
        if lease.newest is None:
            return
        yield from self._records.seen_under(lease).copied(
            tenant, source, target, upto=lease.newest, turn=lease.turn if lease.run else lease.seq
        )

    def _check(self, tenant: str, source: Thread, before: Lease) -> None:
        """Make sure that nothing has gone since the lease was read: commits only add."""
        thread, now = threads.read(self._table, tenant, source.thread_id)
        same = thread is not None and thread.created_at == source.created_at
        if not same or now.pruned != before.pruned or now.undoing != before.undoing:
            raise _Moved
        # A run that has ended meanwhile: if it was rolled back, its row went with what it wrote.
        ended = before.run if before.run != now.run else None
        if ended and self._table.get(keys.run(tenant, source.thread_id, ended)) is None:
            raise _Moved

    def _row(self, thread: Thread, lease: Lease, target: str, stamps: Mapping[str, Any]) -> Thread:
        now = iso(self._clock())
        status: ThreadStatus = thread.status
        if not lease.free:
            # In the middle of a run something is next; before its first superstep it is as it was.
            status = lease.was if lease.head == lease.base else "interrupted"
        return replace(
            thread,
            thread_id=target,
            created_at=now,
            updated_at=now,
            state_updated_at=now,
            status=status,
            metadata={**thread.metadata, FORKED_FROM: thread.thread_id, **stamps},
            listed=True,
        )
