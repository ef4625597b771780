"""The history of a thread: which states it has been in, and which run left each; without LangGraph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crewline.checkpoints.projection import project, project_values
from crewline.checkpoints.records import Record, as_blob
from crewline.errors import CorruptRecord, Unavailable
from crewline.models.leases import Lease
from crewline.services.threads import Threads
from crewline.store.records import Records

MOST_LOOKED: Final = 500
"""Checkpoints that one request looks at: a run may have made a thousand, of which one is shown."""
MOST_BYTES: Final = 4_000_000
"""Bytes of the states of a page, and one state more."""
_TRIES: Final = 5
"""How often a history is read anew that has lost records meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A state that a thread has been in."""

    checkpoint_id: str
    run_id: str | None
    """The run that made it; None for what was set, edited or rolled back."""
    values: Any
    created_at: str


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a history, the newest first."""

    states: Sequence[Past]
    cursor: str | None
    """Where the next part begins; None at the end. A page may be short, or empty, and yet not be the last."""


class Histories:
    """The histories of all threads; safe for many threads."""

    def __init__(self, records: Records, threads: Threads) -> None:
        self._records = records
        self._threads = threads

    def list(
        self, tenant: str, thread_id: str, *, limit: int, cursor: str | None, supersteps: bool = False
    ) -> Page:
        """List what a thread's state has been, the newest first: what each run left, and what no run made.

        A run in flight has left nothing yet. What the graph keeps in a `DeltaChannel` is not shown: only the crew's
        own code can tell it.

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            limit: How many at most.
            cursor: Where to go on, as the page before said it.
            supersteps: Every checkpoint, also of a run in flight.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such thread.
            Unavailable: DynamoDB or S3 did not answer, or the thread kept losing records.
            CorruptRecord: A stored checkpoint does not decode.
        """
        for _ in range(_TRIES):
            thread, lease = self._threads.read(tenant, thread_id)
            walk = self._walk(tenant, thread.thread_id, lease, cursor, supersteps=supersteps)
            try:
                return _page(walk, limit)
            except CorruptRecord:  # what is missing may have gone with its thread, or because that was pruned
                _, now = self._threads.read(tenant, thread_id)
                if now.epoch == lease.epoch:
                    raise
        raise Unavailable(
            f"Thread {thread_id} kept losing records while its history was read; try again in a moment."
        )

    def _walk(
        self, tenant: str, thread_id: str, lease: Lease, after: str | None, *, supersteps: bool
    ) -> Iterator[tuple[Record, str | None, bool]]:
        """Go through the checkpoints after one; tell of each which run made it, and whether it is shown.

        The checkpoints of a run lie together, for a thread has one run at a time: the newest is what the run left.
        """
        if lease.head is None:
            return
        newer: str | None = None
        records = self._records.seen_under(lease)
        for snapshot in records.newest_first(tenant, thread_id, "", upto=after or lease.head):
            run_id = project(snapshot.record.metadata).get("run_id")
            if snapshot.record.checkpoint_id != after:
                left = run_id is None or run_id not in (newer, lease.run)
                yield snapshot.record, run_id, supersteps or left
            newer = run_id


def _page(walk: Iterator[tuple[Record, str | None, bool]], limit: int) -> Page:
    """Take a page of what a walk through a history comes by."""
    found: list[Past] = []
    looked = size = 0
    last: str | None = None
    for record, run_id, shown in walk:
        full = len(found) == limit or size >= MOST_BYTES
        if looked == MOST_LOOKED or (full and shown):
            return Page(found, last)
        looked, last = looked + 1, record.checkpoint_id
        if shown:
            found.append(_past(record, run_id))
            size += sum(len(as_blob(value)[1]) for value in record.channels.values())
    return Page(found, None)


def _past(record: Record, run_id: str | None) -> Past:
    return Past(
        checkpoint_id=record.checkpoint_id,
        run_id=run_id,
        values=project_values(record),
        created_at=record.envelope["ts"],
    )
