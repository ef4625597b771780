"""Lists of runs: of a tenant or of one thread, the newest first, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson

from crewline.errors import NotFound
from crewline.models.runs import Run, RunStatus
from crewline.models.users import EVERYTHING, Filters
from crewline.services.runs import Runs
from crewline.services.threads import Threads, batched
from crewline.store import runs
from crewline.store.runs import Pointer
from crewline.store.table import Table

MOST_LOOKED_AT: Final = 1_000
"""Runs that one page looks at: a filter that fits few of them gives a short page, and a place to go on from."""

MOST_BYTES: Final = 4_000_000
"""Bytes of what the runs of a page were asked for and have left, and one run more."""

_POOL: Final = 16
_AT_ONCE: Final = 8
"""Runs whose input and output are in memory beside those of the page."""
_LARGEST_GROUP: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Which runs are listed."""

    limit: int
    before: str | None = None
    """Only runs that were accepted before this one."""
    thread_id: str | None = None
    assistant_id: str | None = None
    statuses: frozenset[RunStatus] | None = None
    """Those that are wanted; all when absent."""
    sees: Filters = EVERYTHING
    """Which runs the caller may see: by the metadata of their threads, or where that is gone by their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """A page of runs."""

    runs: list[tuple[Run, Any]]
    """Each with the values that it left, None unless it is a success."""
    last: str | None
    """Before which run the next page begins; None when there is nothing more."""


class RunLists:
    """Lists runs; safe for many threads.

    Args:
        table: The table.
        runs_: Show what runs have left.
        threads: The threads.
    """

    def __init__(self, table: Table, runs_: Runs, threads: Threads) -> None:
        self._table = table
        self._runs = runs_
        self._threads = threads
        self._pool = ThreadPoolExecutor(_POOL, thread_name_prefix="run lists")

    def page(self, tenant: str, query: RunQuery) -> RunPage:
        """List runs, those that were accepted last first.

        What a run is filtered by is as its row says now. A page can be short, or empty, although others
        follow it.

        Raises:
            InvalidRequest: The thread's id is no UUID.
            NotFound: There is no such thread.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: What a run was asked for, or what it left, does not decode.
        """
        candidates = self._candidates(tenant, query)
        found: list[Run] = []
        last: str | None = None
        for run_id, run in islice(candidates, MOST_LOOKED_AT):
            last = run_id
            if run:
                found.append(run)
            if len(found) == query.limit:
                break
        shown, size = list[tuple[Run, Any]](), 0
        for run, left in self._shown(tenant, found):
            if size >= MOST_BYTES:
                return RunPage(runs=shown, last=shown[-1][0].run_id)
            if run:
                shown.append((run, left))
                size += len(orjson.dumps((run.kwargs.get("input"), left), option=orjson.OPT_NON_STR_KEYS))
        more = next(candidates, None) is not None
        return RunPage(runs=shown, last=last if more else None)

    def _shown(self, tenant: str, found: Iterable[Run]) -> Iterator[tuple[Run | None, Any]]:
        """Read what each run was asked for and what it left, a few at once, as far as they are consumed."""
        for some in batched(found, _AT_ONCE):
            yield from self._pool.map(lambda run: self._show(tenant, run), some)

    def _candidates(self, tenant: str, query: RunQuery) -> Iterator[tuple[str, Run | None]]:
        """Read runs in the order of the list, in ever larger groups; None where one is not wanted, or gone."""
        pointers, group = (
            self._pointers(tenant, query),
            query.limit + 1,
        )  # one more tells whether there is more
        while some := list(islice(pointers, group)):
            wanted = [one for one in some if query.assistant_id in (None, one.assistant_id)]
            rows = runs.read_many(self._table, tenant, wanted, statuses=query.statuses)
            read = {one.run_id: row for one, row in zip(wanted, self._seen(tenant, rows, query), strict=True)}
            yield from ((one.run_id, read.get(one.run_id)) for one in some)
            group = min(2 * group, _LARGEST_GROUP)

    def _seen(self, tenant: str, rows: list[Run | None], query: RunQuery) -> list[Run | None]:
        """Leave out what the caller may not see."""
        if not query.sees:
            return rows
        ids = list({row.thread_id for row in rows if row})
        metadata = {one.thread_id: one.metadata for one in self._threads.rows(tenant, ids)}
        return [
            row if row and query.sees.match(metadata.get(row.thread_id, row.metadata)) else None
            for row in rows
        ]

    def _pointers(self, tenant: str, query: RunQuery) -> Iterator[Pointer]:
        if query.thread_id is None:
            return runs.listed(self._table, tenant, before=query.before, wanted=query.limit, pool=self._pool)
        thread, _ = self._threads.read(tenant, query.thread_id)
        return runs.listed_on(
            self._table, tenant, thread.thread_id, before=query.before, page=query.limit + 1
        )

    def _show(self, tenant: str, run: Run) -> tuple[Run | None, Any]:
        """Give a run with its large kwargs, and the values that it left; None when it is gone since."""
        try:
            whole = run if run.kwargs else self._runs.get(tenant, run.thread_id, run.run_id)
        except NotFound:
            return None, None
        return whole, self._runs.outcome(tenant, whole) if whole.status == "success" else None
