"""The outbox: what happened to a run and has not yet been sent to those who listen."""

from __future__ import annotations

from crewline.models.runs import RunStatus
from crewline.store import keys
from crewline.store.changes import Delete, Put
from crewline.store.keys import Key
from crewline.store.queues import WebhookJob
from crewline.store.table import Table


def put(tenant: str, thread_id: str, run_id: str, *, status: RunStatus, now_ms: int) -> Put:
    """Note that a run somebody listens to has ended; part of the finishing transaction, fenced by the lease.

    The item is in the sweeper's index until it is published.

    ```
    W: finish ──▶ rows and item together ── send ── delete
    W: finish ──▶ rows and item, dies                          S: finds the item ── send ── delete
    W: finish ── send, dies                                    S: finds the item ── sends again ── delete
    ```

    Args:
        tenant: Whose run.
        thread_id: Its thread.
        run_id: The run.
        status: How it ended.
        now_ms: The time.
    """
    return Put(
        key=keys.outbox(tenant, run_id, now_ms),
        item={
            "tenant": tenant,
            "thread_id": thread_id,
            "run_id": run_id,
            "status": status,
            **keys.in_flight(thread_id, now_ms),
        },
    )


def get(table: Table, key: Key) -> WebhookJob | None:
    """Read an item as the message that it becomes.

    Returns:
        The message; None when it has been published.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(key)
    if item is None:
        return None
    return WebhookJob(
        tenant=item["tenant"], thread_id=item["thread_id"], run_id=item["run_id"], status=item["status"]
    )


def delete(key: Key) -> Delete:
    """Remove an item that has been published; removing it twice is harmless."""
    return Delete(key=key)
