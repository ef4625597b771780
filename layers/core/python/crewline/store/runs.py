"""Run rows and the pointers from a run id to its thread."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from crewline.errors import CorruptRecord
from crewline.models.runs import Run, RunError, RunStatus, Usage, unsaid
from crewline.settings import UNDEPLOYED
from crewline.store import keys
from crewline.store.blobs import Blobs
from crewline.store.changes import ABSENT, EXISTS, Delete, Put, Update
from crewline.store.items import Item
from crewline.store.table import Table
from crewline.store.threads import dump

LARGEST_INLINE: Final = 100_000
"""Bytes of kwargs that stay in the row; a row over 400 KB would be refused."""

_SMALLEST_PAGE: Final = 16
"""Pointers that cost no more to read than one."""


class Pointer(NamedTuple):
    """A run as lists have it; its row may be gone."""

    run_id: str
    thread_id: str
    assistant_id: str


def put(tenant: str, run: Run, blobs: Blobs) -> Put:
    """Write the row of a new run; part of the starting transaction.

    Large kwargs go to S3 first: a row never points at what is not there.

    ```
    S: upload ── S: start ──▶ row      S: upload, dies ── an object without a row, removed with the thread
    ```

    Raises:
        Unavailable: S3 did not take the kwargs.
    """
    return Put(
        key=keys.run(tenant, run.thread_id, run.run_id),
        item={
            "run_id": run.run_id,
            "thread_id": run.thread_id,
            "assistant_id": run.assistant_id,
            "graph_id": run.graph_id,
            "status": run.status,
            "created_at": run.created_at,
            "updated_at": run.updated_at,
            **_asked(tenant, run, blobs),
            "multitask_strategy": run.multitask_strategy,
            "error": dump(run.error.wire()) if run.error else None,
            "head": run.head,
            "turn": run.turn,
            "heard": run.heard or None,
            "started_at": run.started_at,
            "assumed": run.assumed or None,
            "build": run.build,
            "user": dump(dict(run.user)) if run.user else None,
        },
        condition=ABSENT,
    )


def settle(tenant: str, run: Run, blobs: Blobs) -> Update:
    """Write what a run is asked for again: its assistant is not what it was taken for.

    In one transaction with a check that its claim is held, before anything of it executes.

    ```
    W: start (assumed) ── W: settle ──▶ executes with the assistant's config
    W: start (assumed), dies      W2: claims ── settle ──▶ nothing of the run was in the table yet
    W: stalls                     W2: claims               W: settle ──✗ not its claim: it stops
    ```

    Raises:
        Unavailable: S3 did not take the kwargs.
    """
    return Update(
        key=keys.run(tenant, run.thread_id, run.run_id),
        set={**_asked(tenant, run, blobs), "assumed": None, "heard": run.heard or None},
        condition=EXISTS,
    )


def put_pointer(tenant: str, run: Run) -> Put:
    """Write the pointer from a run id to its thread, which lists the run too; part of the starting transaction."""
    return Put(
        key=keys.run_pointer(tenant, run.run_id),
        item={"thread_id": run.thread_id, "assistant_id": run.assistant_id},
    )


def set_running(
    tenant: str, thread_id: str, run_id: str, *, updated_at: str, started_at: str, first: bool = False
) -> Update:
    """Show that a run is executed; written beside loading, without the fence.

    ```
    D: delete run ──▶ no row                          W: set running ──✗ no row: nothing comes back
    W1: claims, stalls ── W2: claims, finishes        W1: set running ──✗ it has ended
    W1: claims, dies ── W2: claims ── set running, first ──▶ with the item that tells that it has begun
    W1: claims, stalls ── W2: set running, first ──▶  W1: set running, first ──✗ that is told already
    ```

    Args:
        tenant: Whose run.
        thread_id: Its thread.
        run_id: The run.
        updated_at: The time.
        started_at: When it was first claimed.
        first: Only if nothing says yet that it has begun.
    """
    return Update(
        key=keys.run(tenant, thread_id, run_id),
        set={"status": "running", "updated_at": updated_at, "started_at": started_at},
        condition="#status IN (:pending, :running)"
        + (" AND attribute_not_exists(#started_at)" if first else ""),
        parameters={"pending": "pending", "running": "running"},
    )


def set_ended(
    tenant: str,
    thread_id: str,
    run_id: str,
    *,
    status: RunStatus,
    ended_at: str,
    owner: str,
    started_at: str | None = None,
    error: RunError | None = None,
    head: str | None = None,
    usage: Usage | None = None,
) -> Update:
    """Show what became of a run; part of the finishing transaction, fenced by the lease.

    ```
    D: delete run ──▶ no row      W: set ended ──✗ no row: nothing comes back
    ```
    """
    return Update(
        key=keys.run(tenant, thread_id, run_id),
        set={
            "status": status,
            "updated_at": ended_at,
            "ended_at": ended_at,
            "ended_by": owner,  # tells a worker whose answer was lost that it was its own finish
            **({"started_at": started_at} if started_at else {}),
            **({"error": dump(error.wire())} if error else {}),
            **({"head": head} if head else {}),
            **({"usage": list(_numbers(usage))} if usage else {}),
        },
        condition=EXISTS,
    )


def set_superseded(
    tenant: str, thread_id: str, run_id: str, *, ended_at: str, owner: str | None = None
) -> Update:
    """Show that a run which waited was cancelled; part of the transaction that removes its marker.

    ```
    C: cancel queued ──▶ marker gone, row interrupted, together      W: set running ──✗ it has ended
    ```
    """
    return Update(
        key=keys.run(tenant, thread_id, run_id),
        set={
            "status": "interrupted",
            "updated_at": ended_at,
            "ended_at": ended_at,
            **({"ended_by": owner} if owner else {}),
        },
        condition="#status = :pending",
        parameters={"pending": "pending"},
    )


def delete(tenant: str, thread_id: str, run_id: str, *, must_exist: bool = True) -> Delete:
    """Remove a run's row; every later update of it is conditional on its existence.

    ```
    D: delete ──▶ no row      W: set running, set ended ──✗ no row: nothing comes back
    ```
    """
    return Delete(key=keys.run(tenant, thread_id, run_id), condition=EXISTS if must_exist else None)


def delete_pointer(tenant: str, run_id: str) -> Delete:
    """Remove the pointer from a run id to its thread."""
    return Delete(key=keys.run_pointer(tenant, run_id))


def get(
    table: Table, blobs: Blobs | None, tenant: str, thread_id: str, run_id: str, *, whole: bool = True
) -> Run | None:
    """Read one run row.

    Args:
        table: The table.
        blobs: The bucket for large kwargs.
        tenant: Whose run.
        thread_id: Its thread.
        run_id: The run.
        whole: Also what it was asked for, when that is in S3; else its kwargs are empty then.

    Raises:
        Unavailable: DynamoDB or S3 did not answer.
        CorruptRecord: Its large kwargs are missing or altered.
    """
    item = table.get(keys.run(tenant, thread_id, run_id))
    return _from_item(item, blobs, tenant, whole=whole) if item else None


def thread_of(table: Table, tenant: str, run_id: str) -> str | None:
    """Find the thread of a run by the run's id alone; the run may be gone.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(keys.run_pointer(tenant, run_id))
    return item["thread_id"] if item else None


def read_many(
    table: Table,
    tenant: str,
    places: Sequence[Pointer],
    *,
    statuses: Container[RunStatus] | None = None,
) -> list[Run | None]:
    """Read the rows of many runs; the kwargs of one are empty when they are large.

    Returns:
        The runs, in the order of their pointers; None where one is gone, or has another status.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    items = table.get_many([keys.run(tenant, one.thread_id, one.run_id) for one in places])
    return [
        _from_item(item, None, tenant, whole=False)
        if item and (statuses is None or item["status"] in statuses)
        else None
        for item in items
    ]


def listed(
    table: Table, tenant: str, *, before: str | None, wanted: int, pool: Executor
) -> Iterator[Pointer]:
    """List a tenant's runs, the newest first, by their pointers.

    The first pages of all partitions are read at once, when the iterator is first consumed.

    Args:
        table: The table.
        tenant: Whose runs.
        before: Only those that were accepted before this one.
        wanted: How many the caller is likely to consume.
        pool: Where partitions are read.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    page = max(_SMALLEST_PAGE, 2 * wanted // keys.SHARDS)
    parts = [
        table.query(partition, at_most=before, newest_first=True, page=page)
        for partition in keys.run_pointer_partitions(tenant)
    ]
    firsts = pool.map(lambda part: list(islice(part, 1)), parts)
    found = [chain(first, rest) for first, rest in zip(firsts, parts, strict=True)]
    for item in heapq.merge(*found, key=itemgetter(keys.SORT), reverse=True):
        if item[keys.SORT] != before:
            yield Pointer(item[keys.SORT], item["thread_id"], item["assistant_id"])


def listed_on(
    table: Table, tenant: str, thread_id: str, *, before: str | None, page: int
) -> Iterator[Pointer]:
    """List the runs of a thread, the newest first.

    Args:
        table: The table.
        tenant: Whose thread.
        thread_id: The thread.
        before: Only those that were accepted before this one.
        page: Rows per request.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    partition, prefix = keys.thread_partition(tenant, thread_id), keys.RUN_PREFIX
    last = keys.run(tenant, thread_id, before).sort if before else None
    only = ("run_id", "assistant_id")
    for item in table.query(partition, prefix=prefix, at_most=last, newest_first=True, page=page, only=only):
        if item["run_id"] != before:
            yield Pointer(item["run_id"], thread_id, item["assistant_id"])


def newest_first(
    table: Table, blobs: Blobs, tenant: str, thread_id: str, *, status: RunStatus | None = None
) -> Iterator[Run]:
    """Read the runs of a thread, the newest first, as far as they are consumed; of one status, or all.

    Raises:
        Unavailable: DynamoDB or S3 did not answer.
        CorruptRecord: Large kwargs are missing or altered.
    """
    partition = keys.thread_partition(tenant, thread_id)
    for item in table.query(partition, prefix=keys.RUN_PREFIX, newest_first=True):
        if status in (None, item["status"]):
            yield _from_item(item, blobs, tenant)


def _asked(tenant: str, run: Run, blobs: Blobs) -> Item:
    # What is null is not kept: with it most rows would outgrow 1 KB, and every write of them cost twice as much.
    kwargs = orjson.dumps({name: value for name, value in run.kwargs.items() if value is not None})
    large = blobs.put(tenant, run.thread_id, kwargs) if len(kwargs) > LARGEST_INLINE else None
    return {
        "kwargs": None if large else kwargs.decode(),
        "kwargs_blob": large,
        "metadata": dump(run.metadata),
    }


def _from_item(item: Mapping[str, Any], blobs: Blobs | None, tenant: str, *, whole: bool = True) -> Run:
    stored: str | bytes = item.get("kwargs", "" if whole else "{}")
    if not stored:
        if blobs is None:
            raise CorruptRecord(f"Run {item['run_id']} has large kwargs in S3, and there is no bucket.")
        stored = blobs.get(tenant, item["thread_id"], item["kwargs_blob"])
    said = orjson.loads(stored)
    return Run(
        run_id=item["run_id"],
        thread_id=item["thread_id"],
        assistant_id=item["assistant_id"],
        graph_id=item["graph_id"],
        status=item["status"],
        created_at=item["created_at"],
        updated_at=item["updated_at"],
        kwargs={**dict.fromkeys(unsaid()), **said} if said else {},
        metadata=orjson.loads(item["metadata"]),
        multitask_strategy=item["multitask_strategy"],
        error=RunError(**orjson.loads(item["error"])) if "error" in item else None,
        head=item.get("head"),
        turn=item.get("turn", 0),
        heard=item.get("heard", False),
        assumed=item.get("assumed", False),
        started_at=item.get("started_at"),
        ended_at=item.get("ended_at"),
        usage=_usage(*item["usage"]) if "usage" in item else None,
        build=item.get("build", UNDEPLOYED),  # one that was started before builds were kept
        user=orjson.loads(item["user"]) if "user" in item else None,
    )


def _numbers(usage: Usage) -> Sequence[int]:
    tokens = (usage.input_tokens, usage.output_tokens)
    return (*tokens, usage.micro_usd) if usage.micro_usd else tokens


def _usage(input_tokens: int, output_tokens: int, micro_usd: int = 0) -> Usage:
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, micro_usd=micro_usd)
