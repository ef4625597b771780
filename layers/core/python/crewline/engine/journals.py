"""The journal of one writer: what the checkpointer has been given and the table does not have yet.

Under a lease, entries gather for a moment, or while the last write is under way, and go as one
fenced group; what is left when the run ends goes into the finishing transaction. A short run so
writes once. Without a lease there is no finish to wait for: whoever gives an entry waits until it
is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal

from crewline.checkpoints.codec import Base, seal_record, seal_writes
from crewline.checkpoints.projection import shown_channels
from crewline.checkpoints.records import LateWrites, Link, Record, Sealed, Snapshot, Write, merge_writes
from crewline.errors import RunCancelled

LINGER_S: Final = 0.02
"""How long a first entry waits for others, and a write for the child that it may ride in."""

Late = Literal["stuck", "aged", "all"]
Place = tuple[str, str]
"""Namespace and checkpoint id."""


@dataclass(slots=True)
class _Open:
    """Writes on a checkpoint that wait for the child they may ride in."""

    since: float
    writes: list[Write] = field(default_factory=list)


class Journal:
    """Entries of one writer of one thread, in order; safe for the loop and the threads of its nodes.

    Args:
        commit: Writes a group. None keeps everything in memory: for a stateless run, whose checkpoints
            are gone with it, and for an edit, which takes them all at its end.
        on_failure: Called once when a commit in the background fails; the failure itself is raised
            at the next call and at the end.
        expires: Tells when a root that is written now may end by TTL, in epoch seconds.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Sealed]], None] | None,
        *,
        on_failure: Callable[[], None] = lambda: None,
        expires: Callable[[Link | None], int | None] = lambda _link: None,
    ) -> None:
        self._commit = commit
        self._on_failure = on_failure
        self._expires = expires
        self._lock = self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._ready: list[Sealed] = []
        self._open: dict[Place, _Open] = {}
        self._known: dict[Place, tuple[Write, ...]] = {}
        self._bases: dict[Place, Base] = {}
        self._newest: dict[str, str] = {}
        self._older: dict[str, Snapshot] = {}
        self._flushes = 0
        self._written: dict[str, str] = {}
        self._shown: dict[Place, frozenset[str]] = {}
        self._background: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self.failure: BaseException | None = None
        self.grown = False
        """It was given something that need not be done again: a checkpoint, or what a task has ended with."""

    @property
    def in_memory(self) -> bool:
        """Whether nothing reaches the table before the end."""
        return self._commit is None

    # ------------------------------------------------------------------ what is there

    def saw(self, snapshot: Snapshot, *, newest: bool) -> None:
        """Remember a checkpoint that was read from the table.

        Args:
            snapshot: The checkpoint.
            newest: It was read as the newest of its namespace.
        """
        record = snapshot.record
        place = (record.namespace, record.checkpoint_id)
        with self._lock:
            self._shown[place] = shown_channels(record)
            self._known[place] = merge_writes(snapshot.writes, self._known.get(place, ()))
            if self._newest.get(record.namespace) == record.checkpoint_id and place in self._bases:
                return  # what this writer holds is newer than what it read
            self._written.setdefault(record.namespace, record.checkpoint_id)
            if newest:
                self._advance(record.namespace, record.checkpoint_id)
                self._bases[place] = (record, snapshot.link)
            else:
                self._older[record.namespace] = snapshot  # one is enough: whoever forks reads it just before

    def follow(self, namespace: str, newest: str) -> None:
        """Learn which checkpoint is the newest of a namespace: no other is built on, or has writes that ride."""
        with self._lock:
            if self._newest.get(namespace) != newest:
                self._advance(namespace, newest)

    def read(self, namespace: str, checkpoint_id: str | None) -> Snapshot | None:
        """Find a checkpoint that this writer holds; the newest one without an id."""
        with self._lock:
            place = (namespace, checkpoint_id or self._newest.get(namespace, ""))
            if place not in self._bases:
                return None
            record, link = self._bases[place]
            return Snapshot(record=record, writes=self._known.get(place, ()), link=link)

    def line(self, namespace: str, checkpoint_id: str | None) -> list[Snapshot]:
        """Follow a checkpoint and its ancestors as far as this writer holds them, the newest first."""
        found: list[Snapshot] = []
        held = self.read(namespace, checkpoint_id)
        while held:
            found.append(held)
            parent_id = held.record.parent_id
            held = self.read(namespace, parent_id) if parent_id else None
        return found

    def origin(self, namespace: str, checkpoint_id: str) -> Snapshot | None:
        """Find what a new checkpoint comes from: one that this writer holds, or the older one it read last."""
        with self._lock:
            held = self.read(namespace, checkpoint_id) or self._older.get(namespace)
            return held if held and held.record.checkpoint_id == checkpoint_id else None

    # ------------------------------------------------------------------ what is new

    def put(self, record: Record, *, superstep: bool = False) -> None:
        """Take a new checkpoint; its parent's open writes ride in it when it directly follows.

        Args:
            record: The checkpoint.
            superstep: Whether a superstep made it, not an input, an edit or a fork.

        Raises:
            BaseException: What a commit in the background failed with.
        """
        self._check()
        with self._lock:
            base: Base | None = None
            if record.parent_id is not None and self._newest.get(record.namespace) == record.parent_id:
                place = (record.namespace, record.parent_id)
                riding = self._open.pop(place, None)
                record = replace(record, parent_writes=merge_writes(riding.writes if riding else ()))
                base = self._bases.get(place)
            sealed, link = self._seal(record, base)
            self.grown = True
            self._ready.append(replace(sealed, superstep=superstep))
            self._advance(record.namespace, record.checkpoint_id)
            self._bases[(record.namespace, record.checkpoint_id)] = (record, link)
            self._shown[(record.namespace, record.checkpoint_id)] = shown_channels(record)
            self._changed.notify_all()

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
            if new:
                # Reserved channels have a negative index: a failure or a question, after which the task begins anew.
                self.grown |= any(write.index >= 0 for write in new)
                self._known[place] = merge_writes(known, new)
                self._open.setdefault(place, _Open(time.monotonic())).writes.extend(new)

    # ------------------------------------------------------------------ writing it

    def schedule(self) -> None:
        """See to it that entries are written soon; on the loop only."""
        if self._commit and (self._background is None or self._background.done()):
            self._background = asyncio.get_running_loop().create_task(self._write_soon())

    def ridden(self, place: Place) -> bool:
        """Wait for the child that open writes may ride in; tell whether they are on their way.

        The child cannot come while the record before it is being written, so the wait begins anew
        when a write ends.
        """
        with self._changed:
            while place in self._open:
                seen = self._flushes
                moved = self._changed.wait_for(partial(self._settled, place, seen), LINGER_S)
                if not moved and not self._writing.locked():
                    return False
            return True

    def _settled(self, place: Place, flushes: int) -> bool:
        return place not in self._open or self._flushes != flushes

    def flush(self, late: Late = "stuck") -> None:
        """Write what is ready.

        Args:
            late: Which open writes become items of their own: those that no child can carry any
                more (`stuck`), also those that have waited long enough (`aged`), or `all`.

        Raises:
            StaleOwner: Somebody else has claimed the thread since.
            RunCancelled: Somebody asked the run to stop; the entries are kept for the finish.
            Unavailable: DynamoDB or S3 did not answer; the entries are kept.
            TooLarge: A value is over the item limit, and there is no bucket.
        """
        if self._commit is None:
            return
        with self._writing:
            entries = self._take(late)
            try:
                if entries:
                    self._commit(entries)
                    self._note(entries)
            except BaseException as exc:
                with self._lock:
                    self._ready[:0] = entries
                self.failure = exc
                raise
            finally:
                with self._changed:
                    self._flushes += 1
                    self._changed.notify_all()

    async def close(self) -> Sequence[Sealed]:
        """Stop writing in the background and give what is left, for the finishing transaction.

        A write that is under way is waited for: the finish must come after it.

        Raises:
            StaleOwner: A commit in the background found that somebody else has claimed the run.
            Unavailable: A commit in the background could not reach DynamoDB or S3.
        """
        self._closing.set()
        if self._background:
            await asyncio.gather(self._background, return_exceptions=True)
        if self._writing.locked():  # a write whose caller was cancelled goes on in its thread
            await asyncio.to_thread(self._await_write)
        if self.failure and not isinstance(self.failure, RunCancelled):
            raise self.failure
        return self._take("all")

    async def _write_soon(self) -> None:
        try:
            while self._waiting() and not self._closing.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), LINGER_S)
                    break
                await asyncio.to_thread(self.flush, "aged")
                while self._ready and not self._closing.is_set():
                    await asyncio.to_thread(self.flush)
        except Exception:  # kept in self.failure, raised at the next call and at close
            self._on_failure()
            if self.failure is None:
                raise

    def written(self, namespace: str, checkpoint_id: str) -> bool:
        """Tell whether a checkpoint of this writer is in the table."""
        with self._lock:
            return self._written.get(namespace, "") >= checkpoint_id

    def shown(self, namespace: str, checkpoint_id: str) -> frozenset[str] | None:
        """Name the channels whose values a checkpoint of this writer has; None when it knows no such one."""
        with self._lock:
            return self._shown.get((namespace, checkpoint_id))

    def _note(self, entries: Sequence[Sealed]) -> None:
        with self._lock:
            for entry in entries:
                if entry.place is None:
                    self._written[entry.namespace] = entry.checkpoint_id

    def _await_write(self) -> None:
        with self._writing:
            pass

    def _waiting(self) -> bool:
        with self._lock:
            return bool(self._ready or self._open)

    def _check(self) -> None:
        if self.failure:
            raise self.failure

    def _take(self, late: Late) -> list[Sealed]:
        with self._lock:
            entries = [*self._late(late), *self._ready]  # writes before the fork that they led to
            self._ready = []
            self._changed.notify_all()
            return entries

    def _seal(self, record: Record, base: Base | None) -> tuple[Sealed, Link]:
        expires = self._expires(base[1] if base else None)
        if base and expires is not None and base[1].expires_s != expires:
            base = None  # the root would end too early: begin a chain that lasts
        return seal_record(record, base, expires_s=expires)

    def _advance(self, namespace: str, checkpoint_id: str) -> None:
        """Make a checkpoint the newest of its namespace, and let go of the one before.

        Nothing reads it from here again: LangGraph asks for the newest, or for older ones that the
        table has. Only a checkpoint that is still to be written keeps its place.
        """
        before = self._newest.get(namespace)
        self._newest[namespace] = checkpoint_id
        waiting = {(entry.namespace, entry.checkpoint_id) for entry in self._ready}
        for place in [place for place in self._bases if place[0] == namespace]:
            if place != (namespace, checkpoint_id) and place not in waiting and place[1] != before:
                del self._bases[place]
                self._known.pop(place, None)

    def _late(self, which: Late) -> list[Sealed]:
        """Turn open writes that will not ride into items of their own."""
        expired = time.monotonic() - LINGER_S
        late: list[Sealed] = []
        for place, opened in list(self._open.items()):
            stuck = self._newest.get(place[0], place[1]) > place[1]
            if stuck or which == "all" or (which == "aged" and opened.since <= expired):
                late += self._seal_writes(place, self._open.pop(place).writes, after_child=stuck)
        return late

    def _seal_writes(self, place: Place, writes: Sequence[Write], *, after_child: bool) -> list[Sealed]:
        """Make items of the writes on a checkpoint: one a task, and one for each reserved channel."""
        groups: dict[tuple[str, int], list[Write]] = {}
        for write in writes:
            groups.setdefault((write.task_id, min(write.index, 0)), []).append(write)
        expires_s = self._bases[place][1].expires_s if place in self._bases else self._expires(None)
        return [
            seal_writes(
                LateWrites(
                    namespace=place[0],
                    checkpoint_id=place[1],
                    writes=merge_writes(group),
                    after_child=after_child,
                ),
                expires_s=expires_s,
            )
            for group in groups.values()
        ]
