"""Lists of threads: by the time of their creation or last update, all or those of one status.

A list is spread over the shards of an index, which are read at once and merged. An index is a little
behind its table: who lists reads the rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import chain
from typing import Final

from crewline.models.threads import ThreadStatus
from crewline.store import keys
from crewline.store.keys import Index
from crewline.store.table import Table

_SMALLEST_PAGE: Final = 16
"""Entries of an index that cost no more than one."""
_SPARE: Final = 8


def in_order(
    table: Table,
    tenant: str,
    index: Index,
    *,
    wanted: int,
    pool: Executor,
    status: ThreadStatus | None = None,
    newest_first: bool = True,
) -> Iterator[str]:
    """List the ids of a tenant's threads in the order of an index.

    The first pages of all shards are read at once, when the iterator is first consumed.

    Args:
        table: The table.
        tenant: Whose threads.
        index: By which they are listed.
        wanted: How many the caller is likely to consume; a shard has its share of them, give or take some.
        pool: Where shards are read.
        status: Only those of this status, in the index by status.
        newest_first: Or the oldest first.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    shards = _shards(table, tenant, index, wanted, status=status, newest_first=newest_first)
    first: Iterator[list[str]] = pool.map(lambda pages: next(pages, []), shards)
    found = [chain(begun, chain.from_iterable(rest)) for begun, rest in zip(first, shards, strict=True)]
    for sort in heapq.merge(*found, reverse=newest_first):
        yield keys.listed_thread(sort)


def count(
    table: Table, tenant: str, index: Index, *, most: int, pool: Executor, status: ThreadStatus | None = None
) -> int:
    """Count a tenant's threads in an index, all or those of one status.

    Returns:
        How many there are, some more than `most` when there are more than that.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    shards = _shards(table, tenant, index, most, status=status)
    found = 0
    while shards and found <= most:
        pages: list[list[str]] = list(pool.map(lambda pages: next(pages, []), shards))
        found += sum(map(len, pages))
        shards = [shard for shard, page in zip(shards, pages, strict=True) if page]
    return found


def _shards(
    table: Table,
    tenant: str,
    index: Index,
    wanted: int,
    *,
    status: ThreadStatus | None,
    newest_first: bool = True,
) -> list[Iterator[list[str]]]:
    share = -(-wanted // keys.SHARDS)
    page = max(_SMALLEST_PAGE, share + share // 4 + _SPARE)
    return [
        table.index_pages(index, partition, newest_first=newest_first, page=page)
        for partition in keys.listed_partitions(tenant, status)
    ]
