"""From the outbox to the queue: at least once, in no order."""

from __future__ import annotations

from crewline.store import outbox
from crewline.store.keys import Key
from crewline.store.queues import WebhookQueue
from crewline.store.table import Table


class Outbox:
    """Publishes what finished runs have left to say; safe for many threads."""

    def __init__(self, table: Table, queue: WebhookQueue) -> None:
        self._table = table
        self._queue = queue

    def publish(self, key: Key) -> None:
        """Send what an item says, then remove it.

        Whoever finished the run does this at once and the sweeper does it later, so it may happen
        twice: a receiver then gets two webhooks with one id.

        Args:
            key: Of the item, as the finishing transaction wrote it or the sweeper's index shows it.

        Raises:
            Unavailable: DynamoDB or SQS did not answer; the item stays for the sweeper.
        """
        job = outbox.get(self._table, key)
        if job is None:
            return
        self._queue.send(job)
        self._table.write(outbox.delete(key))
