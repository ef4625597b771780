"""From the outbox to webhook queue and event bus: at least once, in no order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import orjson
from aws_lambda_powertools import Logger

from crewline.errors import CrewlineError
from crewline.models.clocks import Clock
from crewline.models.lifecycles import SOURCE, Happening, event_of
from crewline.models.runs import Run
from crewline.store import outbox
from crewline.store.buses import EventBus
from crewline.store.changes import Put
from crewline.store.keys import Key
from crewline.store.outbox import Item, Listener
from crewline.store.queues import WebhookJob, WebhookQueue
from crewline.store.table import Refused, Table

_SENDERS: Final = 2
"""How many beginnings are published at once, beside the runs that have begun."""


class Outbox:
    """Notes and publishes what happens to runs; safe for many threads.

    Args:
        table: The table.
        queue: Where webhooks wait for their delivery.
        bus: Who is told of every run, if the deployment has one.
        clock: Tells the time.
        logger: Where it is noted that something could not be published yet.
    """

    def __init__(
        self, table: Table, queue: WebhookQueue, bus: EventBus | None, clock: Clock, logger: Logger
    ) -> None:
        self._table = table
        self._queue = queue
        self._bus = bus
        self._clock = clock
        self._logger = logger
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="outbox")

    @property
    def hears_all(self) -> bool:
        """Whether somebody is told of every run, those without a webhook too."""
        return self._bus is not None

    def note(self, tenant: str, run: Run, happening: Happening) -> Put | None:
        """Make the item that a transaction writes in which something happens to a run.

        Args:
            tenant: Whose run.
            run: The run as it is from now on; `heard` says whether its webhook is to be told.
            happening: What happens.

        Returns:
            The write, whose key is to be published; None when nobody listens.
        """
        webhook = run.heard and run.finished
        if not webhook and not self.hears_all:
            return None
        event = event_of(tenant, run, happening).model_dump_json() if self.hears_all else None
        return outbox.put(tenant, run, webhook=webhook, event=event, now_ms=self._clock())

    def publish(self, key: Key) -> None:
        """Tell those who listen what an item says, then remove it.

        Whoever finished the run does this at once and the sweeper does it later, so it may happen
        twice: a receiver then gets two webhooks, or two events, with one id. Who does not answer
        keeps the other from nothing.

        Args:
            key: Of the item, as the transaction wrote it or the sweeper's index shows it.

        Raises:
            Unavailable: DynamoDB, SQS or EventBridge did not answer; the item stays for the sweeper.
        """
        item = outbox.get(self._table, key)
        if item is None:
            return
        told: list[Listener] = []
        failure: CrewlineError | None = None
        for listener, tell in self._listeners(item):
            try:
                tell()
                told.append(listener)
            except CrewlineError as exc:
                failure = exc
        if failure is None:
            self._table.write(outbox.delete(key))
            return
        if told:
            with suppress(Refused):  # somebody else has told all of them
                self._table.write(outbox.keep(key, told))
        raise failure

    def publish_soon(self, key: Key) -> None:
        """Publish beside what follows, which does not wait for it; the sweeper publishes what is left."""
        self._senders.submit(self.try_to_publish, key)

    def try_to_publish(self, key: Key) -> None:
        """Publish, and leave to the sweeper what does not get through."""
        try:
            self.publish(key)
        except CrewlineError as exc:
            self._logger.warning("not published yet, the sweeper will", item=key, reason=exc.message)

    def _listeners(self, item: Item) -> list[tuple[Listener, Callable[[], None]]]:
        found: list[tuple[Listener, Callable[[], None]]] = []
        if item.webhook:
            job = WebhookJob(
                tenant=item.tenant, thread_id=item.thread_id, run_id=item.run_id, status=item.status
            )
            found.append(("webhook", lambda: self._queue.send(job)))
        bus, event = self._bus, item.event
        if bus and event:
            kind = orjson.loads(event)["type"]
            found.append(("event", lambda: bus.put(SOURCE, kind, event)))
        return found
