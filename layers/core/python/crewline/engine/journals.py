"""The journal of one execution: what the checkpointer has been given and the table does not have yet.

Entries gather for a moment, or while the last write is under way, and go as one fenced group; what
is left when the run ends goes into the finishing transaction. A short run so writes once.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from crewline.checkpoints.records import LateWrites, Record, Snapshot, Write, merge_writes
from crewline.errors import RunCancelled
from crewline.services.leases import Entry

LINGER_S: Final = 0.02
"""How long a first entry waits for others."""

Place = tuple[str, str]
"""Namespace and checkpoint id."""


class Journal:
    """Entries of one execution, in order; safe for the loop and the threads of its nodes.

    Args:
        commit: Writes a group under the fence. None keeps everything in memory: the run is
            stateless, and its checkpoints are gone with it.
        on_failure: Called once when a commit in the background fails; the failure itself is raised
            at the next call and at the end.
    """

    def __init__(
        self, commit: Callable[[Sequence[Entry]], None] | None, *, on_failure: Callable[[], None]
    ) -> None:
        self._commit = commit
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._ready: list[Entry] = []
        self._open: dict[Place, list[Write]] = {}
        self._known: dict[Place, tuple[Write, ...]] = {}
        self._records: dict[Place, Record] = {}
        self._newest: dict[str, str] = {}
        self._background: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.failure: BaseException | None = None

    def saw(self, snapshot: Snapshot, *, newest: bool) -> None:
        """Remember a checkpoint that was read from the table."""
        record = snapshot.record
        with self._lock:
            place = (record.namespace, record.checkpoint_id)
            if place not in self._records:
                self._known[place] = snapshot.writes
                if newest:
                    self._newest.setdefault(record.namespace, record.checkpoint_id)

    def put(self, record: Record) -> None:
        """Take a new checkpoint; its parent's open writes ride in it when it directly follows.

        Raises:
            BaseException: What a commit in the background failed with.
        """
        self._check()
        with self._lock:
            follows = record.parent_id is not None and self._newest.get(record.namespace) == record.parent_id
            if follows and record.parent_id is not None:
                riding = self._open.pop((record.namespace, record.parent_id), [])
                record = replace(record, parent_writes=merge_writes(riding))
            self._ready += [*self._late(record.namespace), record]
            self._newest[record.namespace] = record.checkpoint_id
            self._records[(record.namespace, record.checkpoint_id)] = record

    def put_writes(self, place: Place, writes: Sequence[Write]) -> None:
        """Take pending writes of a task; ordinary ones that are there already stay as they are.

        Raises:
            BaseException: What a commit in the background failed with.
        """
        self._check()
        with self._lock:
            known = self._known.get(place, ())
            have = {(write.task_id, write.index) for write in known if write.index >= 0}
            new = [write for write in writes if (write.task_id, write.index) not in have]
            self._known[place] = merge_writes(known, new)
            self._open.setdefault(place, []).extend(new)

    def read(self, namespace: str, checkpoint_id: str | None) -> Snapshot | None:
        """Find a checkpoint that this execution has written; the newest one without an id."""
        with self._lock:
            checkpoint_id = checkpoint_id or self._newest.get(namespace, "")
            record = self._records.get((namespace, checkpoint_id))
            return (
                Snapshot(record=record, writes=self._known.get((namespace, checkpoint_id), ()))
                if record
                else None
            )

    def schedule(self) -> None:
        """See to it that entries are written soon; on the loop only."""
        if self._commit and (self._background is None or self._background.done()):
            self._background = asyncio.get_running_loop().create_task(self._write_soon())

    def flush(self) -> None:
        """Write everything now.

        Raises:
            StaleOwner: Somebody else has claimed the run since.
            RunCancelled: Somebody asked the run to stop; the entries are kept for the finish.
            Unavailable: DynamoDB or S3 did not answer; the entries are kept.
        """
        if self._commit is None:
            return
        with self._writing:
            entries = self._take()
            try:
                if entries:
                    self._commit(entries)
            except BaseException as exc:
                with self._lock:
                    self._ready[:0] = entries
                self.failure = exc
                raise

    async def close(self) -> Sequence[Entry]:
        """Stop writing in the background and give what is left, for the finishing transaction.

        A write that is under way is waited for: the finish must come after it.

        Raises:
            StaleOwner: A commit in the background found that somebody else has claimed the run.
            Unavailable: A commit in the background could not reach DynamoDB or S3.
        """
        self._closing.set()
        if self._background:
            await asyncio.gather(self._background, return_exceptions=True)
        if self.failure and not isinstance(self.failure, RunCancelled):
            raise self.failure
        return self._take()

    async def _write_soon(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), LINGER_S)
        try:
            while self._waiting() and not self._closing.is_set():
                await asyncio.to_thread(self.flush)
        except Exception:  # kept in self.failure, raised at the next call and at close
            self._on_failure()
            if self.failure is None:
                raise

    def _waiting(self) -> bool:
        with self._lock:
            return bool(self._ready or self._open)

    def _check(self) -> None:
        if self.failure:
            raise self.failure

    def _take(self) -> list[Entry]:
        with self._lock:
            entries = [*self._ready, *self._late()]
            self._ready = []
            return entries

    def _late(self, namespace: str | None = None) -> list[Entry]:
        """Turn open writes into items of their own: one a task, and one for each reserved channel."""
        late: list[Entry] = []
        for place in [place for place in self._open if namespace in (None, place[0])]:
            groups: dict[tuple[str, int], list[Write]] = {}
            for write in self._open.pop(place):
                groups.setdefault((write.task_id, min(write.index, 0)), []).append(write)
            late += [
                LateWrites(namespace=place[0], checkpoint_id=place[1], writes=merge_writes(group))
                for group in groups.values()
            ]
        return late
