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
from crewline.models.containment import contains
from crewline.models.searches import FoundThread, ThreadCount, ThreadSearch, look_up, path_steps
from crewline.models.threads import Thread, ThreadStatus, ThreadWire
from crewline.services.threads import Threads
from crewline.store import entries, keys, leases, listings, threads
from crewline.store.table import Table

MOST_KEYS: Final = 10_000
"""Places of a list that one search looks at: about 600 read units of an index, 375 of entries."""
MOST_ROWS: Final = 2_000
"""Threads whose rows one walk, or one list that is looked at as a whole, may read: a read unit each."""
MOST_STATES: Final = 500
"""Threads whose state one search reads to filter by values: up to 14 read units each."""
SHORT: Final = 100
"""A list of at most so many threads is looked at as a whole, before any other is walked."""

MOST_PROBES: Final = 8
"""Metadata values whose lists are tried for being short."""

_POOL: Final = 16
_GROUP: Final = 100
_STATES_GROUP: Final = 32
_AHEAD: Final = 400
"""Places of an index to read ahead when some of its threads will not fit."""
_MOST_AHEAD: Final = 1_000
_LISTED: Final = {"created_at": keys.THREADS_BY_CREATED, "updated_at": keys.THREADS_BY_UPDATED}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search."""

    threads: Sequence[FoundThread]
    more: bool
    """Whether others follow."""


@dataclass(frozen=True, slots=True)
class _Found:
    thread: Thread
    shown: ThreadWire | None = None
    """With its state, when the search has read that already."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Some threads of a list: those that fit, of so many."""

    found: Sequence[_Found]
    looked: int


class _Walk:
    """Goes through a list in the order of the answer, as far as the page and one thread more."""

    def __init__(self, groups: Iterator[_Group], query: ThreadSearch) -> None:
        self._groups = groups
        self._skip, self._limit = query.offset, query.limit
        self._found: list[_Found] = []
        self._more = False

    def go(self, most: int) -> bool:
        """Look at about so many threads more; tell whether the page is whole, or the list at its end.

        Raises:
            InvalidRequest: The list goes on after as many as one request looks at.
        """
        looked = 0
        while looked < most:
            try:
                group = next(self._groups, None)
            except InvalidRequest:
                if len(self._found) < self._limit:
                    raise
                self._more = True  # the page is whole; nobody has looked whether anything follows it
                return True
            if group is None:
                return True
            self._found += group.found[self._skip :]
            self._skip = max(0, self._skip - len(group.found))
            looked += group.looked
            if len(self._found) > self._limit:
                self._more = True
                return True
        return False

    @property
    def page(self) -> tuple[list[_Found], bool]:
        """The page, and whether others follow it."""
        return self._found[: self._limit], self._more


@dataclass(frozen=True, slots=True)
class _Source:
    """A list of threads that has all of an answer, in its order."""

    ids: Iterator[str]
    exact: bool
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
            InvalidRequest: The search is more work than one request may be.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A newest checkpoint does not decode.
        """
        found, more = self._find(tenant, query)
        return Page(self._shown(tenant, query, found), more)

    def count(self, tenant: str, query: ThreadCount) -> int:
        """Count threads.

        Raises:
            InvalidRequest: Counting is more work than one request may be.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A newest checkpoint does not decode.
        """
        if query.ids is None and not query.metadata and not query.values:
            index = keys.THREADS_BY_STATUS if query.status else keys.THREADS_BY_CREATED
            counted = listings.count(
                self._table, tenant, index, most=MOST_KEYS, pool=self._pool, status=query.status
            )
        elif pair := _only_pair(query):
            found = self._entries(tenant, *pair, page=_MOST_AHEAD)
            counted = sum(1 for _ in islice(found, MOST_KEYS + 1))
        else:
            ids: Iterable[str] | None = _ids(query)
            if ids is None:
                ids = self._shortest(tenant, query, most=MOST_ROWS)
            matching = self._matching(tenant, query, self._all(tenant) if ids is None else ids, group=_GROUP)
            return sum(len(group.found) for group in matching)
        if counted > MOST_KEYS:
            raise _too_much(f"counted {MOST_KEYS:,} threads")
        return counted

    # ------------------------------------------------------------------ where the answer is

    def _find(self, tenant: str, query: ThreadSearch) -> tuple[list[_Found], bool]:
        """Look where the answer is: in the list that is the answer, in a short one, in one that has its order.

        Neither how long lists are nor how far a walk has to go is known: each gets a little more in turn, so
        that a search costs a few times what the better one does.
        """
        if (ids := _ids(query)) is not None:
            return self._sort(tenant, query, ids)
        ordered = self._in_order(tenant, query)
        if ordered and ordered.exact:
            return self._exact(tenant, query, ordered.ids)
        if ordered is None:
            short = self._shortest(tenant, query, most=MOST_ROWS)
            return self._sort(tenant, query, self._all(tenant) if short is None else short)
        walk, most = _Walk(self._matching(tenant, query, ordered.ids, group=query.limit + 1), query), SHORT
        if _pairs(query) and (short := self._shortest(tenant, query, most=most)) is not None:
            return self._sort(tenant, query, short)
        while not walk.go(2 * most):
            most = min(4 * most, MOST_ROWS)
            if (short := self._shortest(tenant, query, most=most)) is not None:
                return self._sort(tenant, query, short)
        return walk.page

    def _in_order(self, tenant: str, query: ThreadSearch) -> _Source | None:
        """Choose a list in the order of an answer; it is read when it is consumed."""
        if query.sort_by not in _LISTED:
            return None
        newest_first, wanted = query.sort_order == "desc", query.offset + query.limit + 1
        pairs = _pairs(query)
        if query.sort_by == "created_at" and pairs:
            exact = _only_pair(query) is not None
            page = min(wanted, SHORT) if exact else _GROUP
            found = self._entries(tenant, *pairs[0], newest_first=newest_first, page=page)
            return _Source(found, exact=exact)
        status = query.status if query.sort_by == "updated_at" else None
        exact = not query.metadata and not query.values and query.status == status
        found = listings.in_order(
            self._table,
            tenant,
            keys.THREADS_BY_STATUS if status else _LISTED[query.sort_by],
            wanted=min(wanted if exact else max(wanted, _AHEAD), _MOST_AHEAD),
            pool=self._pool,
            status=status,
            newest_first=newest_first,
        )
        return _Source(found, exact=exact)

    def _shortest(self, tenant: str, query: ThreadCount, *, most: int) -> list[str] | None:
        """Find the shortest list that has the whole answer; None when each has more threads than that."""
        lists = [
            self._entries(tenant, *pair, page=min(most + 1, _MOST_AHEAD))
            for pair in _pairs(query)[:MOST_PROBES]
        ]
        if query.status:
            lists.append(self._all(tenant, query.status, wanted=most + 1))
        begun = [list(islice(one, most + 1)) for one in lists]
        return min((one for one in begun if len(one) <= most), key=len, default=None)

    def _all(
        self, tenant: str, status: ThreadStatus | None = None, *, wanted: int = MOST_ROWS
    ) -> Iterator[str]:
        index = keys.THREADS_BY_STATUS if status else keys.THREADS_BY_CREATED
        return listings.in_order(
            self._table, tenant, index, wanted=min(wanted, _MOST_AHEAD), pool=self._pool, status=status
        )

    def _entries(
        self, tenant: str, name: str, value: Any, *, newest_first: bool = True, page: int
    ) -> Iterator[str]:
        return entries.in_order(self._table, tenant, name, value, page=page, newest_first=newest_first)

    # ------------------------------------------------------------------ what is in it

    def _exact(self, tenant: str, query: ThreadSearch, ids: Iterator[str]) -> tuple[list[_Found], bool]:
        """Take a page out of a list that has nothing else: what comes before it is not read."""
        skipped = sum(1 for _ in islice(ids, min(query.offset, MOST_KEYS)))
        if skipped < query.offset and skipped == MOST_KEYS:
            raise _too_much(f"skipped {MOST_KEYS:,} threads")
        groups = self._matching(tenant, query, ids, group=query.limit + 1)
        walk = _Walk(groups, query.model_copy(update={"offset": 0}))
        walk.go(MOST_KEYS)
        return walk.page

    def _sort(self, tenant: str, query: ThreadSearch, ids: Iterable[str]) -> tuple[list[_Found], bool]:
        """Look at every thread of a list and sort what fits; give the page, and whether others follow it."""
        found = [one for group in self._matching(tenant, query, ids, group=_GROUP) for one in group.found]
        found.sort(
            key=lambda one: (getattr(one.thread, query.sort_by), one.thread.thread_id),
            reverse=query.sort_order == "desc",
        )
        end = query.offset + query.limit
        return found[query.offset : end], len(found) > end

    def _matching(
        self, tenant: str, query: ThreadCount, ids: Iterable[str], *, group: int
    ) -> Iterator[_Group]:
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
            yield _Group(found, len(some))
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


def _ids(query: ThreadCount) -> list[str] | None:
    return None if query.ids is None else list(dict.fromkeys(query.ids))


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
