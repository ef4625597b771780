"""Crons, as they are and with what is to be done for them at EventBridge Scheduler.

The row is the truth; schedules are derived from it. Whoever changes when a cron is due notes in the
same write that its schedules are not in line, and which of them may be there. The note is in the
sweeper's index until they are.

```
A: create or change ──▶ row, note ── makes and deletes schedules ── settle ──▶ no note
A: change ──▶ row, note ── dies                S: finds the note ── makes and deletes schedules ── settle
A: change ──▶ revision 2 ── makes 2, deletes 1     B: change ──▶ revision 3 ── A: settle ──✗ it is B's: B settles
A: change ──▶ revision 2 ── stalls ── B: change ──▶ revision 3 ── makes 3, deletes 2 ── settle ── A: makes 2
                            ··· 2 fires ── its revision is not the row's: nothing starts, 2 is deleted
A or S: makes ──✗ Scheduler never takes it ── disable ──▶ revision + 1, note ── deletes schedules ── settle
D: delete ──▶ tombstone, note ── deletes schedules ── delete ──▶ no row
```

A row is always written whole, under a new token; whoever changes it, or starts a run of it, names
the token of the row that was read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from crewline.models.crons import Cron
from crewline.models.users import NOBODY, Sender
from crewline.store import keys
from crewline.store.changes import ABSENT, Check, Delete, Put, Update
from crewline.store.table import Table
from crewline.store.threads import dump

_AS_READ: Final = "#token = :token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A cron as it is stored."""

    cron: Cron
    token: str
    """Names this writing of the row."""
    revision: int = 1
    """Counts the changes of when it is due; the names of its schedules have it."""
    since: int = 0
    """When its schedule began to count, in milliseconds: what was due before starts nothing."""
    placed: tuple[str, ...] = ()
    """Names of all schedules that may be there."""
    unsettled: bool = False
    """Whether they are still to be brought in line with the row."""
    deleted: bool = False


def get(table: Table, tenant: str, cron_id: str) -> Row | None:
    """Read one cron, strongly consistent; one that was deleted too, as long as its schedules may be there.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(keys.cron(tenant, cron_id))
    return row_from_item(item) if item else None


def rows(table: Table, tenant: str) -> Iterator[Row]:
    """Read the crons of a tenant, as far as they are consumed; none that was deleted.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    found = map(row_from_item, table.query(keys.crons_partition(tenant)))
    return (row for row in found if not row.deleted)


def put(tenant: str, row: Row, *, before: Row | None, now: int) -> Put:
    """Write a row: a new one, or in the place of the one that was read.

    ```
    A: read (token t) ── change ──▶ token a      B: read (token t) ── change ──✗ B reads again
    ```
    """
    cron = row.cron
    return Put(
        key=keys.cron(tenant, cron.cron_id),
        item={
            "cron_id": cron.cron_id,
            "assistant_id": cron.assistant_id,
            "thread_id": cron.thread_id,
            "schedule": cron.schedule,
            "timezone": cron.timezone,
            "end_time": cron.end_time,
            "enabled": cron.enabled,
            "payload": dump(cron.payload),
            "metadata": dump(cron.metadata),
            "on_run_completed": cron.on_run_completed,
            "sender": dump(kept) if (kept := cron.sender.kept()) else None,
            "created_at": cron.created_at,
            "updated_at": cron.updated_at,
            "token": row.token,
            "revision": row.revision,
            "since": row.since,
            "placed": list(row.placed),
            "deleted": row.deleted or None,
            **(keys.in_flight(cron.cron_id, now) if row.unsettled else {}),
        },
        condition=_AS_READ if before else ABSENT,
        parameters={"token": before.token} if before else {},
    )


def settle(tenant: str, row: Row, *, placed: tuple[str, ...]) -> Update:
    """Take the note off a row whose schedules are in line with it.

    ```
    A: read (token t) ── schedules ── settle ──▶ no note
    A: read (token t) ── schedules ── B: change ──▶ token b, note ── A: settle ──✗ the note is B's
    ```
    """
    return Update(
        key=keys.cron(tenant, row.cron.cron_id),
        set={
            "placed": list(placed),
            keys.LEASES_IN_FLIGHT.partition: None,
            keys.LEASES_IN_FLIGHT.sort: None,
        },
        condition=_AS_READ,
        parameters={"token": row.token},
    )


def delete(tenant: str, row: Row) -> Delete:
    """Remove the tombstone of a cron whose schedules are gone.

    ```
    D: deletes schedules ── delete ──▶ no row      S: the same ── delete ──✗ no row: done already
    ```
    """
    return Delete(
        key=keys.cron(tenant, row.cron.cron_id), condition=_AS_READ, parameters={"token": row.token}
    )


def unchanged(tenant: str, row: Row) -> Check:
    """Let a run of a cron start only while nobody has written the row since it was read.

    ```
    F: read (enabled) ── D: delete, or disable ──▶ token d ── F: start ──✗ F reads again: nothing starts
    F: read (enabled) ── F: start ──▶ run                    D: delete ──▶ the run goes on
    ```
    """
    return Check(key=keys.cron(tenant, row.cron.cron_id), condition=_AS_READ, parameters={"token": row.token})


def row_from_item(item: Mapping[str, Any]) -> Row:
    """Read a row."""
    return Row(
        cron=Cron(
            cron_id=item["cron_id"],
            assistant_id=item["assistant_id"],
            thread_id=item.get("thread_id"),
            schedule=item["schedule"],
            timezone=item.get("timezone"),
            end_time=item.get("end_time"),
            enabled=item["enabled"],
            payload=orjson.loads(item["payload"]),
            metadata=orjson.loads(item["metadata"]),
            on_run_completed=item.get("on_run_completed"),
            sender=Sender.of(orjson.loads(item["sender"])) if "sender" in item else NOBODY,
            created_at=item["created_at"],
            updated_at=item["updated_at"],
        ),
        token=item["token"],
        revision=item["revision"],
        since=item["since"],
        placed=tuple(item["placed"]),
        unsettled=keys.LEASES_IN_FLIGHT.sort in item,
        deleted=item.get("deleted", False),
    )
