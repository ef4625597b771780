"""Queue markers: the runs that wait on a busy thread, in the order of their acceptance."""

from __future__ import annotations

from dataclasses import dataclass

from crewline.store import keys
from crewline.store.changes import ABSENT, Delete, Put
from crewline.store.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One run that waits."""

    run_id: str
    turn: int
    """Its place in the queue."""
    due: int = 0
    """When it may begin, if it was delayed; in milliseconds since the epoch."""
    heard: bool = False
    """Somebody listens for its end."""
    yields: bool = False
    """What the lease says of the run when it is handed the thread."""


def put(tenant: str, thread_id: str, marker: Marker) -> Put:
    """Write a marker; part of the transaction that queues its run, fenced by the lease's `seq`."""
    return Put(
        key=keys.marker(tenant, thread_id, marker.turn),
        item={
            "run_id": marker.run_id,
            "turn": marker.turn,
            "due": marker.due or None,
            "heard": marker.heard or None,
            "yields": marker.yields or None,
        },
        condition=ABSENT,
    )


def delete(tenant: str, thread_id: str, marker: Marker) -> Delete:
    """Remove a marker; refused when its run has been handed the thread, or was cancelled."""
    return Delete(
        key=keys.marker(tenant, thread_id, marker.turn),
        condition="#run_id = :run_id",
        parameters={"run_id": marker.run_id},
    )


def in_order(table: Table, tenant: str, thread_id: str) -> list[Marker]:
    """Read the markers of a thread, the oldest first.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    partition = keys.thread_partition(tenant, thread_id)
    return [
        Marker(
            run_id=item["run_id"],
            turn=item["turn"],
            due=item.get("due", 0),
            heard=item.get("heard", False),
            yields=item.get("yields", False),
        )
        for item in table.query(partition, prefix=keys.MARKER_PREFIX)
    ]
