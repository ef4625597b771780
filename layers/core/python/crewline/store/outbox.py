"""The outbox: what happened to a run and has not yet been sent to those who listen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from crewline.models.runs import Run, RunStatus
from crewline.store import keys
from crewline.store.changes import EXISTS, Delete, Put, Update
from crewline.store.keys import Key
from crewline.store.table import Table

Listener = Literal["webhook", "event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that happened, and who has not been told of it yet."""

    tenant: str
    thread_id: str
    run_id: str
    status: RunStatus
    webhook: bool = False
    """The run's webhook is to be told."""
    event: str | None = None
    """What the event bus is to be told, as JSON."""


def put(tenant: str, run: Run, *, webhook: bool, event: str | None, now_ms: int) -> Put:
    """Note what happened to a run somebody listens to; part of the transaction in which it happens, fenced by the lease.

    The item is in the sweeper's index until it is published. It has the whole event, for the run's
    row may go with the same transaction.

    ```
    W: finish ──▶ rows and item together ── send ── delete
    W: finish ──▶ rows and item, dies                          S: finds the item ── send ── delete
    W: finish ── send, dies                                    S: finds the item ── sends again ── delete
    W: finish ── sends to one, the other does not answer ── keep ──▶ S: sends to the other ── delete
    ```

    Args:
        tenant: Whose run.
        run: The run, as it is from now on.
        webhook: Whether its webhook is told.
        event: What the event bus is told.
        now_ms: The time.
    """
    return Put(
        key=keys.outbox(tenant, run.run_id, now_ms, ended=run.finished),
        item={
            "tenant": tenant,
            "thread_id": run.thread_id,
            "run_id": run.run_id,
            "status": run.status,
            "webhook": webhook or None,
            "event": event,
            **keys.in_flight(run.thread_id, now_ms),
        },
    )


def get(table: Table, key: Key) -> Item | None:
    """Read an item.

    Returns:
        The item; None when it has been published.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(key)
    if item is None:
        return None
    return Item(
        tenant=item["tenant"],
        thread_id=item["thread_id"],
        run_id=item["run_id"],
        status=item["status"],
        webhook=item.get("webhook", False),
        event=item.get("event"),
    )


def keep(key: Key, told: Sequence[Listener]) -> Update:
    """Note who has been told, so that whoever is told later is told alone.

    ```
    W: sends to one ── S: sends to both, deletes ── W: keep ──✗ it is gone
    ```
    """
    return Update(key=key, remove=tuple(told), condition=EXISTS)


def delete(key: Key) -> Delete:
    """Remove an item that has been published; removing it twice is harmless."""
    return Delete(key=key)
