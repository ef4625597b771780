"""Thread search: which entries and indexes answer a search, and how much work one may be.

A page costs the same at any number of threads when one list has its answer in order: all threads or
those of one status, by a time; those with one metadata value, by creation. Every other search looks
at the threads of the shortest list that has all of its answer, or walks a list in order and leaves
out what does not fit. Both are bounded: past that it is refused, for a part of an answer would look
like the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, cast

from crewline.errors import InvalidRequest
from crewline.models.clocks import parse_id
from crewline.models.searches import FoundThread, ThreadCount, ThreadSearch, contains, look_up, path_steps
from crewline.models.threads import Thread, ThreadWire
from crewline.services.threads import Threads
from crewline.store import entries, keys, leases, listings, threads
from crewline.store.table import Table

MOST_KEYS: Final = 10_000
"""Places of a list that one search looks at: about 600 read units of an index, 375 of entries."""
MOST_ROWS: Final = 2_000
"""Threads whose rows one search reads: a read unit each."""
MOST_STATES: Final = 500
"""Threads whose state one search reads to filter by values: up to 14 read units each."""
SHORT: Final = 1_000
"""A list of at most so many threads is looked at as a whole."""

MOST_PROBES: Final = 8
"""Metadata values whose lists are tried for being short."""

_POOL: Final = 16
_GROUP: Final = 100
_STATES_GROUP: Final = 32
_AHEAD: Final = 400
"""Places of an index to read ahead when some of its threads will not fit."""
_LISTED: Final = {"created_at": keys.THREADS_BY_CREATED, "updated_at": keys.THREADS_BY_UPDATED}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search."""

    threads: Sequence[FoundThread]
    total: int
    """How many threads there are up to the end of this page, and one more when others follow."""
    following: int | None
    """The offset of the next page; None when nothing follows."""


@dataclass(frozen=True, slots=True)
class _Found:
    thread: Thread
    shown: ThreadWire | None = None
    """With its state, when the search has read that already."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A list of threads that has all of an answer."""

    ids: Iterable[str]
    ordered: bool = False
    """It has the order of the answer; otherwise what fits is sorted, and so all of it looked at."""
    exact: bool = False
    """It has nothing else: what comes before a page need not be read."""


class Searches:
    """Searches the threads of all tenants; safe for many threads."""

    def __init__(self, table: Table, threads_: Threads) -> None:
        self._table = table
        self._threads = threads_
        self._pool = ThreadPoolExecutor(_POOL, thread_name_prefix="search")

    def search(self, tenant: str, query: ThreadSearch) -> Page:
        """Find threads; filters apply before paging.

        Args:
            tenant: Whose threads.
            query: What is wanted.

        Raises:
            InvalidRequest: An id is no UUID, or the search is more work than one request may be.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A newest checkpoint does not decode.
        """
        source = self._source(tenant, query, wanted=query.offset + query.limit + 1)
        look = self._walk if source.ordered else self._sort
        found, more = look(tenant, query, source)
        end = query.offset + len(found)
        return Page(self._shown(tenant, query, found), end + more, end if more else None)

    def count(self, tenant: str, query: ThreadCount) -> int:
        """Count threads.

        Raises:
            InvalidRequest: An id is no UUID, or counting is more work than one request may be.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A newest checkpoint does not decode.
        """
        if query.ids is None and not query.metadata and not query.values:
            index = keys.THREADS_BY_STATUS if query.status else keys.THREADS_BY_CREATED
            counted = listings.count(
                self._table, tenant, index, most=MOST_KEYS, pool=self._pool, status=query.status
            )
        elif pair := _only_pair(query):
            counted = sum(1 for _ in islice(self._entries(tenant, *pair), MOST_KEYS + 1))
        else:
            source = self._source(tenant, ThreadSearch(**query.model_dump()), wanted=SHORT)
            return sum(len(group) for group in self._matching(tenant, query, source.ids, group=_GROUP))
        if counted > MOST_KEYS:
            raise _too_much(f"counted {MOST_KEYS:,} threads")
        return counted

    # ------------------------------------------------------------------ where the answer is

    def _source(self, tenant: str, query: ThreadSearch, *, wanted: int) -> _Source:
        """Choose what to look at: the list that is the answer, a short one that has it, or one in its order."""
        if query.ids is not None:
            return _Source(list(dict.fromkeys(parse_id(one, "thread") for one in query.ids)))
        newest_first, created = query.sort_order == "desc", query.sort_by == "created_at"
        if created and (pair := _only_pair(query)):
            found = self._entries(tenant, *pair, newest_first=newest_first, page=min(wanted, SHORT))
            return _Source(found, ordered=True, exact=True)
        by_status = query.status if query.sort_by == "updated_at" else None
        exact = not query.metadata and not query.values and query.status == by_status
        if not exact:
            short = self._shortest(tenant, query)
            if short is not None:
                return _Source(short)
            if created and (pair := next(iter(_pairs(query)), None)):
                return _Source(self._entries(tenant, *pair, newest_first=newest_first), ordered=True)
        found = listings.in_order(
            self._table,
            tenant,
            keys.THREADS_BY_STATUS if by_status else _LISTED.get(query.sort_by, keys.THREADS_BY_CREATED),
            wanted=min(wanted if exact else max(wanted, _AHEAD), SHORT),
            pool=self._pool,
            status=by_status,
            newest_first=newest_first,
        )
        return _Source(found, ordered=query.sort_by in _LISTED, exact=exact)

    def _shortest(self, tenant: str, query: ThreadCount) -> list[str] | None:
        """Find the shortest list that has the whole answer; None when none is short."""
        lists = [self._entries(tenant, *pair, page=SHORT + 1) for pair in _pairs(query)[:MOST_PROBES]]
        if query.status:
            index, wanted = keys.THREADS_BY_STATUS, SHORT + 1
            lists.append(
                listings.in_order(
                    self._table, tenant, index, wanted=wanted, pool=self._pool, status=query.status
                )
            )
        begun = [list(islice(one, SHORT + 1)) for one in lists]
        return min((one for one in begun if len(one) <= SHORT), key=len, default=None)

    def _entries(
        self, tenant: str, name: str, value: Any, *, newest_first: bool = True, page: int = SHORT
    ) -> Iterator[str]:
        return entries.in_order(self._table, tenant, name, value, page=page, newest_first=newest_first)

    # ------------------------------------------------------------------ what is in it

    def _walk(self, tenant: str, query: ThreadSearch, source: _Source) -> tuple[list[_Found], bool]:
        """Go through a list in the order of the answer; give the page, and whether others follow it."""
        ids, skip, found = iter(source.ids), query.offset, list[_Found]()
        if source.exact:
            skipped = sum(1 for _ in islice(ids, min(skip, MOST_KEYS)))
            if skipped < skip and skipped == MOST_KEYS:
                raise _too_much(f"skipped {MOST_KEYS:,} threads")
            skip = 0
        try:
            for group in self._matching(tenant, query, ids, group=query.limit + 1):
                found += group[skip:]
                skip = max(0, skip - len(group))
                if len(found) > query.limit:
                    return found[: query.limit], True
        except InvalidRequest:
            if len(found) < query.limit:
                raise
            return found, True  # the page is whole; nobody has looked whether anything follows it
        return found, False

    def _sort(self, tenant: str, query: ThreadSearch, source: _Source) -> tuple[list[_Found], bool]:
        """Look at every thread of a list and sort what fits; give the page, and whether others follow it."""
        found = [one for group in self._matching(tenant, query, source.ids, group=_GROUP) for one in group]
        found.sort(
            key=lambda one: (getattr(one.thread, query.sort_by), one.thread.thread_id),
            reverse=query.sort_order == "desc",
        )
        end = query.offset + query.limit
        return found[query.offset : end], len(found) > end

    def _matching(
        self, tenant: str, query: ThreadCount, ids: Iterable[str], *, group: int
    ) -> Iterator[list[_Found]]:
        """Read the threads of a list, in ever larger groups, and give those that fit as they are now.

        Raises:
            InvalidRequest: The list goes on after as many as one request looks at.
        """
        largest = _STATES_GROUP if query.values else _GROUP
        rows = states = matched = 0
        ids, group = iter(ids), min(group, largest)
        while some := list(islice(ids, group)):
            if rows >= MOST_ROWS or states >= MOST_STATES:
                what = f"the state of {states:,} threads" if query.values else f"{rows:,} threads"
                raise _too_much(f"looked at {what}, of which {matched:,} fit")
            found = [_Found(one) for one in threads.read_many(self._table, tenant, some) if _fits(one, query)]
            rows += len(some)
            if query.values:
                states += len(found)
                shown = self._with_state(tenant, found)
                found = [
                    _Found(one.thread, row)
                    for one, row in zip(found, shown, strict=True)
                    if contains(row["values"], query.values)
                ]
            matched += len(found)
            yield found
            group = min(2 * group, largest)

    # ------------------------------------------------------------------ what is shown of it

    def _shown(self, tenant: str, query: ThreadSearch, found: Sequence[_Found]) -> list[FoundThread]:
        if query.needs_state and not query.values:
            rows = self._with_state(tenant, found)
        else:
            rows = [one.shown or one.thread.wire(None, {}) for one in found]
        return [_selected(row, query) for row in rows]

    def _with_state(self, tenant: str, found: Sequence[_Found]) -> list[ThreadWire]:
        rows = [one.thread for one in found]
        held = leases.read_many(self._table, tenant, [row.thread_id for row in rows])
        return list(self._pool.map(lambda row, lease: self._threads.show(tenant, row, lease), rows, held))


def _pairs(query: ThreadCount) -> list[tuple[str, Any]]:
    """Name the metadata values that have a list of their threads."""
    return [(name, value) for name, value in (query.metadata or {}).items() if entries.is_scalar(value)]


def _only_pair(query: ThreadCount) -> tuple[str, Any] | None:
    """Name the one metadata value that a search is for, when it is for nothing else."""
    pairs = _pairs(query)
    alone = len(query.metadata or {}) == 1 and query.ids is None and not query.values and not query.status
    return pairs[0] if alone and pairs else None


def _fits(thread: Thread, query: ThreadCount) -> bool:
    return query.status in (None, thread.status) and contains(thread.metadata, query.metadata or {})


def _selected(row: ThreadWire, query: ThreadSearch) -> FoundThread:
    names = row if query.select is None else query.select
    shown: dict[str, Any] = {name: row[name] for name in names if name in row}  # type: ignore[literal-required]
    if query.extract:
        shown["extracted"] = {alias: look_up(row, path_steps(path)) for alias, path in query.extract.items()}
    return cast("FoundThread", shown)


def _too_much(done: str) -> InvalidRequest:
    return InvalidRequest(
        f"This is more work than one request may be: it {done}, and there are more. Narrow it to a metadata value "
        "that fewer threads have, or read page by page, sorted by created_at or updated_at, with a smaller offset."
    )
