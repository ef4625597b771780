"""Drafts: a thread is written in as many transactions as it takes, and seen from the last one on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import uuid4

from crewline.errors import Conflict, CrewlineError, ThreadExists, Unavailable
from crewline.models.clocks import Clock
from crewline.models.leases import Lease
from crewline.models.threads import Thread
from crewline.store import drafts, entries, idempotency, keys, threads
from crewline.store.changes import ABSENT, Change, Check, Put, body_bytes, grouped
from crewline.store.idempotency import Made, Once
from crewline.store.queues import PurgeJob, RunQueue
from crewline.store.table import Refused, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The right to write a thread that nobody sees yet."""

    tenant: str
    thread_id: str
    token: str


class Drafts:
    """Drafts of threads; safe for many threads."""

    def __init__(self, table: Table, queue: RunQueue, clock: Clock) -> None:
        self._table = table
        self._queue = queue
        self._clock = clock

    @contextmanager
    def draft(self, tenant: str, thread_id: str) -> Iterator[Draft]:
        """Reserve an id for a thread; what was written is purged when the block fails.

        Raises:
            ThreadExists: A thread has the id.
            Conflict: A thread with this id was deleted and is still being purged, or is being written.
            Unavailable: DynamoDB did not answer.
        """
        draft = Draft(tenant=tenant, thread_id=thread_id, token=uuid4().hex)
        self._begin(draft)
        try:
            yield draft
        except BaseException:
            with suppress(CrewlineError):  # else the sweeper finds it
                self._give_up(draft)
            raise

    def write(self, draft: Draft, changes: Iterable[Put]) -> None:
        """Write a part of a draft; the changes are taken one by one, so there may be many.

        Raises:
            Conflict: The draft took too long and was given up.
            Unavailable: DynamoDB or S3 did not answer.
        """
        for group in grouped(changes, body_bytes):
            self._transact(draft, [self._unfinished(draft), *group])

    def complete(
        self, draft: Draft, thread: Thread, lease: Lease, *, once: Once | None = None
    ) -> Made | None:
        """Make the thread visible, whole, unless the same request has made one already.

        Args:
            draft: The draft.
            thread: Its row.
            lease: Where it begins: head, chain, newest id and count of runs.
            once: Names the request.

        Returns:
            None when it is there; what the same request made when that was faster: the draft is then
            given up.

        Raises:
            Conflict: The draft took too long and was given up.
            Unavailable: DynamoDB did not answer; the thread may or may not be there.
        """
        seen = drafts.complete(draft.tenant, draft.thread_id, token=draft.token, lease=lease)
        row = threads.create(draft.tenant, thread, token=draft.token)
        changes: list[Change] = [seen, row, *entries.of_new(draft.tenant, thread)]
        if once:
            made = Made(thread_id=thread.thread_id, digest=once.digest, created_at=thread.created_at)
            changes.append(idempotency.put(draft.tenant, once, made, now=self._clock()))
        try:
            self._table.transact(changes)
        except Refused as exc:
            if (exc.items.get(1) or {}).get("token") == draft.token:
                return None  # it landed, but the answer was lost
            if once and (item := exc.items.get(len(changes) - 1)):
                self._give_up(draft)
                return idempotency.from_item(item)
            raise _given_up(draft) from exc
        return None

    def _begin(self, draft: Draft) -> None:
        key = keys.thread(draft.tenant, draft.thread_id)
        start = drafts.begin(draft.tenant, draft.thread_id, token=draft.token, now=self._clock())
        try:
            self._table.transact([Check(key=key, condition=ABSENT), start])
        except Refused as exc:
            if 0 in exc.items:
                raise ThreadExists(
                    f"Thread {draft.thread_id} exists already; pass if_exists='do_nothing' to use it as it is."
                ) from exc
            if (exc.items.get(1) or {}).get("draft") != draft.token:
                raise Conflict(
                    f"Thread {draft.thread_id} is being made, or was deleted and is still being removed; "
                    "try again in a moment.",
                    details={"retry_after": 2},
                ) from exc

    def _unfinished(self, draft: Draft) -> Check:
        return drafts.unfinished(draft.tenant, draft.thread_id, token=draft.token)

    def _transact(self, draft: Draft, changes: Sequence[Change]) -> None:
        try:
            self._table.transact(changes)
        except Refused as exc:
            raise _given_up(draft) from exc

    def _give_up(self, draft: Draft) -> None:
        now = self._clock()
        with suppress(Refused):  # completed after all, or given up already
            self._table.write(drafts.give_up(draft.tenant, draft.thread_id, token=draft.token, now=now))
            with suppress(Unavailable):
                self._queue.send(PurgeJob(tenant=draft.tenant, thread_id=draft.thread_id))


def _given_up(draft: Draft) -> Conflict:
    return Conflict(
        f"Thread {draft.thread_id} took too long to be made, and was given up; try again.",
        details={"retry_after": 2},
    )
