"""Metadata entries: one item for every scalar in a thread's metadata, by which a search finds the thread.

They are exact at all times: the transaction that changes the row's metadata writes and removes them,
and its condition is that the values which it replaces are still there. So there is nothing to mend
after a crash, and a search by one equality needs no index.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from crewline.models.threads import Thread
from crewline.store import keys
from crewline.store.changes import Delete, Put
from crewline.store.keys import Key
from crewline.store.table import Table

Scalar = str | int | float | bool | None


def is_scalar(value: Any) -> bool:
    """Tell whether a metadata value has an entry; objects and arrays have none."""
    return isinstance(value, Scalar)


def changes(tenant: str, thread: Thread, metadata: Mapping[str, Any]) -> list[Put | Delete]:
    """Spell how a thread's entries change when some metadata keys get new values.

    They belong into the transaction that sets those values, conditional on the old ones.

    ```
    A: read a=1 ── a=2, entry 1 becomes entry 2 ──▶      B: read a=1 ── a=3, entry 1 becomes entry 3 ──✗ a moved: B reads again
    ```

    Args:
        tenant: Whose thread.
        thread: The thread as it was read; one that is in no list has no entries.
        metadata: The keys that get new values.
    """
    replaced = {name: value for name, value in thread.metadata.items() if name in metadata}
    before, after = _keys(tenant, thread, replaced), _keys(tenant, thread, metadata)
    return [
        *(Delete(key=key) for key in before if key not in after),
        *(Put(key=key, item={}) for key in after if key not in before),
    ]


def of_new(tenant: str, thread: Thread) -> list[Put]:
    """Spell the entries of a new thread; part of the transaction that makes its row."""
    return [Put(key=key, item={}) for key in _keys(tenant, thread, thread.metadata)]


def of_deleted(tenant: str, thread: Thread) -> list[Delete]:
    """Remove the entries of a thread; part of the transaction that removes its row, as it was read."""
    return [Delete(key=key) for key in _keys(tenant, thread, thread.metadata)]


def in_order(
    table: Table, tenant: str, name: str, value: Scalar, *, page: int, newest_first: bool = True
) -> Iterator[str]:
    """List the ids of the threads that have a metadata value, in the order of their creation.

    Args:
        table: The table.
        tenant: Whose threads.
        name: The metadata key.
        value: Its value.
        page: Entries per request.
        newest_first: Or the oldest first.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    partition = keys.metadata_partition(tenant, name, _canonical(value))
    for item in table.query(partition, newest_first=newest_first, page=page, keys_only=True):
        yield keys.listed_thread(item[keys.SORT])


def _keys(tenant: str, thread: Thread, metadata: Mapping[str, Any]) -> list[Key]:
    return [
        keys.metadata_entry(tenant, name, _canonical(value), thread.created_at, thread.thread_id)
        for name, value in metadata.items()
        if thread.listed and is_scalar(value)
    ]


def _canonical(value: Scalar) -> str:
    """Spell a scalar so that equal ones have one spelling: 1 and 1.0 are the same number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)  # orjson spells no number over 64 bits
