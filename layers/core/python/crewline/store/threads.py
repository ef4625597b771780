"""Thread rows.

Metadata is a map of JSON texts, one per key, so that two patches of different keys never lose
one another: each is an update of its own keys, conditional on the values that it replaces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from crewline.models.clocks import milliseconds
from crewline.models.leases import Lease
from crewline.models.threads import Expiry, Thread, ThreadStatus
from crewline.store import entries, keys, leases
from crewline.store.changes import ABSENT, EXISTS, Delete, Put, Update, Write
from crewline.store.items import Item
from crewline.store.table import Table

_UNLISTED: Final = dict.fromkeys(
    (
        keys.THREADS_BY_CREATED.partition,
        keys.THREADS_BY_CREATED.sort,
        keys.THREADS_BY_UPDATED.partition,
        keys.THREADS_BY_UPDATED.sort,
        keys.THREADS_BY_STATUS.partition,
        keys.THREADS_BY_STATUS.sort,
    )
)
_NOTHING: Final[Mapping[str, Any]] = {}


def dump(value: Any) -> str:
    """Spell a JSON value as the text that is stored."""
    return orjson.dumps(value).decode()


def from_item(item: Mapping[str, Any]) -> Thread:
    """Read a thread row."""
    return Thread(
        thread_id=item["thread_id"],
        created_at=item["created_at"],
        updated_at=item["updated_at"],
        state_updated_at=item["state_updated_at"],
        status=item["status"],
        metadata={name: orjson.loads(text) for name, text in item["metadata"].items()},
        config=orjson.loads(item["config"]),
        error=orjson.loads(item["error"]) if "error" in item else None,
        listed=keys.THREADS_BY_UPDATED.partition in item,
        expiry=Expiry(after_s=item["expiry_s"], strategy=item["expiry_strategy"])
        if "expiry_s" in item
        else None,
    )


def read(table: Table, tenant: str, thread_id: str) -> tuple[Thread | None, Lease]:
    """Read a thread and its lease in one query.

    Returns:
        The row, None when there is no such thread, and the lease.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    partition = keys.thread_partition(tenant, thread_id)
    items = {item[keys.SORT]: item for item in table.query(partition, prefix=keys.HEAD_PREFIX)}
    row = items.get(keys.THREAD_SORT)
    return (from_item(row) if row else None), leases.from_item(items.get(keys.LEASE_SORT))


def read_many(table: Table, tenant: str, thread_ids: Sequence[str]) -> list[Thread]:
    """Read the rows of some threads, strongly consistent; those that are not there are left out.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    found = table.get_many([keys.thread(tenant, thread_id) for thread_id in thread_ids])
    return [from_item(item) for item in found if item]


def create(tenant: str, thread: Thread, *, token: str = "") -> Put:
    """Write the row of a new thread.

    The token tells the writer that a row which refuses it is its own: the write landed, but its
    answer was lost on the way and it was sent again.

    ```
    A: create t ──▶ row          B: create t ──✗ it exists: 409, or the row that is there
    ```
    """
    return Put(
        key=keys.thread(tenant, thread.thread_id),
        item={**_item(tenant, thread), **({} if thread.listed else _UNLISTED), "token": token or None},
        condition=ABSENT,
    )


def merge_metadata(
    tenant: str,
    thread: Thread,
    metadata: Mapping[str, Any],
    *,
    updated_at: str,
    expiry: Expiry | None = None,
    most: int | None = None,
) -> list[Write]:
    """Set some metadata keys and leave the others as they are; the row, and its entries when some change.

    ```
    A: read {} ── set a=1 ──▶ {a}        B: read {} ── set b=2 ──▶ {a, b}, in any order
    A: read a=1 ── set a=2 ──▶           B: read a=1 ── set a=3 ──✗ a moved: B reads again, and then sets it
    D: delete ──▶ no row and no entries  A: set a=1 ──✗ the row is gone: 404, nothing comes back
    ```

    Args:
        tenant: Whose thread.
        thread: The thread as it was read.
        metadata: The keys and their new values.
        updated_at: The time.
        expiry: When the thread ends by itself from now on; as before when absent.
        most: How many keys the row may have already.
    """
    listing = keys.by_updated(tenant, thread.thread_id, updated_at) if thread.listed else {}
    update = Update(
        key=keys.thread(tenant, thread.thread_id),
        set={"updated_at": updated_at, **listing, **_expiry(thread.thread_id, expiry, updated_at)},
        entries=_texts(metadata),
        expected=_expected(thread, metadata),
        condition=EXISTS if most is None else f"{EXISTS} AND size(#metadata) <= :most",
        parameters={} if most is None else {"most": most},
    )
    return [update, *entries.changes(tenant, thread, metadata)]


def set_busy(
    tenant: str,
    thread_id: str,
    *,
    config: Mapping[str, Any],
    updated_at: str,
    thread: Thread | None = None,
    metadata: Mapping[str, Any] = _NOTHING,
    named: Mapping[str, Any] = _NOTHING,
) -> list[Write]:
    """Show that a run is in flight; part of the starting transaction, fenced by its lease.

    ```
    S: start ──▶ lease, row and entries together      D: delete ── S: start ──✗ the row is gone: 404
    S: read no crew ── P: patch graph_id ── S: start ──✗ graph_id moved: S reads again
    S: remembers crew a ── P: patch graph_id ── S: start ──✗ the row names another: S reads it, and names a
    ```

    Args:
        tenant: Whose thread.
        thread_id: The thread.
        config: What the run was configured with.
        updated_at: The time.
        thread: The thread as it was read, when metadata changes.
        metadata: The keys that get new values.
        named: What its metadata is taken to say, when it was not read.
    """
    update = Update(
        key=keys.thread(tenant, thread_id),
        set={**_status(tenant, thread_id, "busy", updated_at), "config": dump(config)},
        entries=_texts(metadata),
        expected=_expected(thread, metadata) if thread else dict(_texts(named)),
        condition=EXISTS,
    )
    return [update, *(entries.changes(tenant, thread, metadata) if thread else ())]


def set_config(tenant: str, thread_id: str, config: Mapping[str, Any]) -> Update:
    """Show the config of the run in flight, when it is not the one that it started with.

    ```
    W: settle ──▶ run row and thread row together, or none      D: delete ── W: settle ──✗ the row is gone
    ```
    """
    return Update(key=keys.thread(tenant, thread_id), set={"config": dump(config)}, condition=EXISTS)


def set_outcome(
    tenant: str,
    thread_id: str,
    *,
    status: ThreadStatus,
    error: Mapping[str, Any] | None,
    updated_at: str,
) -> Update:
    """Show how the last run left the thread; part of the finishing transaction, fenced by the lease.

    ```
    W: finish ──▶ lease, run row and thread row together, or none
    ```
    """
    return Update(
        key=keys.thread(tenant, thread_id),
        set={
            **_status(tenant, thread_id, status, updated_at),
            "state_updated_at": updated_at,
            "error": dump(error) if error else None,
        },
        condition=EXISTS,
    )


def set_status(tenant: str, thread_id: str, *, status: ThreadStatus, updated_at: str) -> Update:
    """Show the status that a rolled back run leaves: the state and its error are those from before.

    ```
    W: finish, rolled back ──▶ lease, run row and thread row together, or none
    ```
    """
    return Update(
        key=keys.thread(tenant, thread_id),
        set=_status(tenant, thread_id, status, updated_at),
        condition=EXISTS,
    )


def look_again(tenant: str, thread: Thread, *, at_ms: int) -> Update:
    """Put off when the sweeper looks at a thread that expires.

    ```
    S: reads (used since) ── look again ──▶ later      P: patch, ttl ── S: look again ──✗ another ttl: as P has set it
    ```
    """
    return Update(
        key=keys.thread(tenant, thread.thread_id),
        set=keys.expiring(thread.thread_id, at_ms),
        condition=f"{EXISTS} AND #expiry_s = :seen",
        parameters={"seen": thread.expiry.after_s if thread.expiry else 0},
    )


def delete(tenant: str, thread: Thread, *, unused: bool = False) -> list[Write]:
    """Remove the row and its entries: from now on the thread is not found; the rest is purged from the queue.

    ```
    A: read ── delete ──▶ row and entries gone, tombstone      B: read ── delete ──✗ no row: 404
    A: read {a: 1} ── P: a=2 ── delete ──✗ metadata moved: A reads again, and removes the entry that is there
    S: read (expired) ─ U: patch, or a run that started and ended ── delete, unused ──✗ used since: it stays
    ```

    Args:
        tenant: Whose thread.
        thread: The thread as it was read.
        unused: Only if it was not used since, and ends as it did.
    """
    condition = "#metadata = :metadata"
    parameters: dict[str, Any] = {"metadata": _map(thread.metadata)}
    if unused and thread.expiry:
        condition += " AND #updated_at = :seen AND #expiry_s = :after"
        parameters |= {"seen": thread.updated_at, "after": thread.expiry.after_s}
    row = Delete(key=keys.thread(tenant, thread.thread_id), condition=condition, parameters=parameters)
    return [row, *entries.of_deleted(tenant, thread)]


def delete_private(tenant: str, thread_id: str) -> Delete:
    """Remove the row of a stateless run's thread, which has no entries, in the transaction that ends the run."""
    return Delete(key=keys.thread(tenant, thread_id), condition=EXISTS)


def _expiry(thread_id: str, expiry: Expiry | None, updated_at: str) -> Item:
    if expiry is None:
        return {}
    return {
        "expiry_s": expiry.after_s,
        "expiry_strategy": expiry.strategy,
        **keys.expiring(thread_id, milliseconds(updated_at) + expiry.after_s * 1000),
    }


def _map(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {name: dump(value) for name, value in metadata.items()}


def _texts(metadata: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    return {("metadata", name): text for name, text in _map(metadata).items()}


def _expected(thread: Thread, metadata: Mapping[str, Any]) -> dict[tuple[str, str], str | None]:
    was = _map(thread.metadata)
    return {("metadata", name): was.get(name) for name in metadata}


def _status(tenant: str, thread_id: str, status: ThreadStatus, updated_at: str) -> Item:
    return {
        "status": status,
        "updated_at": updated_at,
        **keys.by_updated(tenant, thread_id, updated_at),
        **keys.by_status(tenant, thread_id, status, updated_at),
    }


def _item(tenant: str, thread: Thread) -> Item:
    return {
        "thread_id": thread.thread_id,
        "created_at": thread.created_at,
        "state_updated_at": thread.state_updated_at,
        "metadata": _map(thread.metadata),
        "config": dump(thread.config),
        "error": dump(thread.error) if thread.error else None,
        **keys.by_created(tenant, thread.thread_id, thread.created_at),
        **_status(tenant, thread.thread_id, thread.status, thread.updated_at),
        **_expiry(thread.thread_id, thread.expiry, thread.updated_at),
    }
