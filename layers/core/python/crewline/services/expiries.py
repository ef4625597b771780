"""Expiry: threads that nobody has used for their time are deleted, or lose all but their newest state."""

from __future__ import annotations

from contextlib import suppress

from crewline.models.clocks import Clock
from crewline.services.threads import Threads
from crewline.store import keys, threads
from crewline.store.keys import Key
from crewline.store.queues import PruneJob, RunQueue
from crewline.store.table import Refused, Table


class Expiries:
    """Ends threads whose time is over; safe for many threads."""

    def __init__(self, table: Table, queue: RunQueue, clock: Clock, *, threads: Threads) -> None:
        self._table = table
        self._queue = queue
        self._clock = clock
        self._threads = threads

    def expire(self, key: Key) -> bool:
        """Look at a thread that may have expired, and do what is due.

        A thread that was used since is looked at again when its time is over then, one with a run in
        flight after as long again. One that keeps its newest state expires again and again.

        Args:
            key: Of the thread's row.

        Returns:
            Whether it had expired.

        Raises:
            Unavailable: DynamoDB or SQS did not answer; the next sweep finds it again.
        """
        tenant, thread_id = keys.thread_of(key)
        thread, lease = threads.read(self._table, tenant, thread_id)
        if thread is None or thread.expiry is None:
            return False
        now = self._clock()
        expired = lease.free and thread.expires_ms <= now
        with suppress(Refused):  # somebody has used it in between, or set another time
            if expired and thread.expiry.strategy == "delete":
                self._threads.expire(tenant, thread)
                return True
            if expired:
                self._queue.send(PruneJob(tenant=tenant, thread_id=thread_id))
            later = thread.expires_ms if thread.expires_ms > now else now + thread.expiry.after_s * 1000
            self._table.write(threads.look_again(tenant, thread, at_ms=later))
            return expired
        return False
