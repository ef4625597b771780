"""The store: memory that the runs of a tenant share, by namespace and key.

Each put is one write and the last one wins; nobody holds a lease on an item. What is read is strongly
consistent: whoever put an item finds it, and so does everybody after.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, Final, TypeVar

import orjson

from crewline.errors import InvalidRequest, TooLarge, Unavailable
from crewline.models.clocks import Clock
from crewline.models.store_items import ItemWrite, StoreItem
from crewline.models.store_policies import Lifetime
from crewline.models.store_queries import (
    ItemQuery,
    Namespace,
    NamespaceQuery,
    Nearness,
    check_filter,
    matches,
)
from crewline.models.threads import LONGEST_TTL
from crewline.store import keys, store_items
from crewline.store.store_items import Row
from crewline.store.table import Refused, Table

LARGEST: Final = 400_000
"""Bytes of an item's value as JSON with its vectors: DynamoDB takes 409,600 with the keys."""
MOST_READ: Final = 10_000
"""Items that one search reads."""
MOST_BYTES: Final = 64_000_000
"""Bytes of values and vectors that one search reads, 16,000 read units: 10,000 items with vectors of 1,536 numbers."""
MOST_ROOTS: Final = 2_000
"""First labels under which one search reads, a request for each."""
MOST_NAMESPACES: Final = 2_000
"""Namespaces that one request looks at: a read unit and some milliseconds each."""
REFRESHED: Final = 10
"""An item is given its time anew when a tenth of it has passed: ten writes in its time at most."""

_POOL: Final = 16
_MOST_NOTED: Final = 10_000
_TRIES: Final = 5

T = TypeVar("T")


class StoreItems:
    """The items of all tenants; safe for many threads.

    Args:
        table: The table.
        clock: Tells the time.
        lifetime: How long items live, where nobody says more.
    """

    def __init__(self, table: Table, clock: Clock, lifetime: Lifetime) -> None:
        self._table = table
        self._clock = clock
        self.lifetime = lifetime
        self._noted: set[tuple[str, str]] = set()
        self._pool = ThreadPoolExecutor(_POOL, thread_name_prefix="items")

    def get(self, tenant: str, namespace: Namespace, key: str, *, refresh: bool = True) -> StoreItem | None:
        """Read an item.

        Args:
            tenant: Whose item.
            namespace: Where it is.
            key: Its name there.
            refresh: Whether it lives on from now, if it has a time to live.

        Returns:
            The item; None when it is not there or has expired.

        Raises:
            InvalidRequest: The namespace and the key are longer than a key holds.
            Unavailable: DynamoDB did not answer.
        """
        return self.get_many(tenant, [(namespace, key, refresh)])[0]

    def get_many(self, tenant: str, wanted: Sequence[tuple[Namespace, str, bool]]) -> list[StoreItem | None]:
        """Read items, a hundred a request.

        Args:
            tenant: Whose items.
            wanted: Namespace and key of each, and whether it lives on from now.

        Returns:
            An item, or None, for each, in their order.

        Raises:
            InvalidRequest: A namespace and a key are longer than a key holds.
            Unavailable: DynamoDB did not answer.
        """
        now = self._clock()
        places = [(namespace, key) for namespace, key, _ in wanted if namespace]
        rows = iter(store_items.get_many(self._table, tenant, places))
        found = [next(rows) if namespace else None for namespace, _, _ in wanted]
        alive = [row if row and row.is_alive(now) else None for row in found]
        refreshed = [row for row, (_, _, refresh) in zip(alive, wanted, strict=True) if row and refresh]
        self._refresh(tenant, refreshed, now)
        return [row.shown() if row else None for row in alive]

    def put(self, tenant: str, *writes: ItemWrite) -> None:
        """Put items, each in the place of what is there; one write each, and nothing holds several together.

        Args:
            tenant: Whose items.
            writes: The items; no two have one place.

        Raises:
            InvalidRequest: A value is not JSON, a time to live is none, or a namespace and a key are longer than
                a key holds; then none of them is put.
            TooLarge: A value is over the limit; then none of them is put.
            Unavailable: DynamoDB did not answer; any of them may have been put, so put them again.
        """
        spelled = [(write, _spell(write)) for write in writes]
        for write in writes:
            keys.store_item(tenant, write.namespace, write.key)
        self._note(tenant, dict.fromkeys(write.namespace[0] for write in writes))
        self._at_once([partial(self._put, tenant, write, text) for write, text in spelled])

    def delete(self, tenant: str, *places: tuple[Namespace, str]) -> None:
        """Remove items, as far as they are there.

        Args:
            tenant: Whose items.
            places: Namespace and key of each.

        Raises:
            InvalidRequest: A namespace and a key are longer than a key holds.
            Unavailable: DynamoDB did not answer; remove them again.
        """
        changes = [store_items.delete(tenant, namespace, key) for namespace, key in places if namespace]
        self._at_once([partial(self._table.write, change) for change in changes])

    def search(self, tenant: str, query: ItemQuery, *, refresh: bool = True) -> list[StoreItem]:
        """Find items: the nearest first, or else those first that were put last.

        Reads everything under the prefix, a read unit for every 4 KB, however few items are shown.

        Args:
            tenant: Whose items.
            query: Which ones.
            refresh: Whether what is shown lives on from now.

        Raises:
            InvalidRequest: There are more items than one search reads, the filter has an unknown operator, a number
                is negative, or the labels are longer than a key holds.
            Unavailable: DynamoDB did not answer.
        """
        check_filter(query.filter or {})
        _check_page(query.limit, query.offset)
        now = self._clock()
        nearness = Nearness(query.near) if query.near is not None else None
        scored = (
            (nearness.best(row.vectors, row.dims) if nearness else None, row)
            for row in _bounded(self._under(tenant, query.prefix, with_vectors=nearness is not None))
            if row.is_alive(now) and (not query.filter or matches(row.value, query.filter))
        )
        last = query.offset + query.limit
        found = heapq.nlargest(last, scored, key=_rank)[query.offset :]
        if refresh:
            self._refresh(tenant, [row for _, row in found], now)
        return [row.shown(score) for score, row in found]

    def list_namespaces(self, tenant: str, query: NamespaceQuery) -> list[Namespace]:
        """List the namespaces that have items, in their order.

        Goes from one to the next without reading what is in them: a read for each that is looked at.

        Args:
            tenant: Whose items.
            query: Which ones.

        Raises:
            InvalidRequest: More namespaces would have to be looked at than one request may, a number is
                negative, or the labels are longer than a key holds.
            Unavailable: DynamoDB did not answer.
        """
        _check_page(query.limit, query.offset)
        if query.max_depth is not None and query.max_depth < 0:
            raise InvalidRequest("The depth of namespaces cannot be negative.")
        found: list[Namespace] = []
        for namespace in self._matching(tenant, query):
            if len(found) >= query.offset + query.limit:
                break
            found.append(namespace)
        return found[query.offset :]

    def _matching(self, tenant: str, query: NamespaceQuery) -> Iterator[Namespace]:
        """Go through the namespaces of all first labels that can match."""
        prefix, deepest, now = query.prefix, query.max_depth, self._clock()
        looked = 0
        for root in prefix[:1] or store_items.roots(self._table, tenant):
            below = prefix or (root,)
            at_least = ""
            while True:
                looked += 1
                if looked > MOST_NAMESPACES:
                    raise InvalidRequest(
                        f"More than {MOST_NAMESPACES:,} namespaces would be looked at; "
                        "give a longer prefix, or a max_depth that cuts them off."
                    )
                namespace = store_items.namespace_from(self._table, tenant, below, at_least, now=now)
                if namespace is None:
                    break
                at_least = keys.store_inner(namespace)
                if query.matches(namespace):
                    shown = namespace[:deepest]
                    yield shown
                    if not shown:
                        return  # all of them are cut off to the same
                    if len(shown) == deepest:
                        if deepest <= len(below):
                            break
                        at_least = keys.store_end(shown)

    def _under(self, tenant: str, prefix: Namespace, *, with_vectors: bool) -> Iterable[Row]:
        if prefix:
            return store_items.under(self._table, tenant, prefix, with_vectors=with_vectors)
        return chain.from_iterable(
            store_items.under(self._table, tenant, (root,), with_vectors=with_vectors)
            for root in _at_most(MOST_ROOTS, store_items.roots(self._table, tenant), "first labels")
        )

    def _note(self, tenant: str, roots: Iterable[str]) -> None:
        new = [root for root in roots if (tenant, root) not in self._noted]
        self._at_once([partial(self._table.write, store_items.note(tenant, root)) for root in new])
        if len(self._noted) > _MOST_NOTED:
            self._noted.clear()
        self._noted.update((tenant, root) for root in new)

    def _put(self, tenant: str, write: ItemWrite, text: str) -> None:
        for _ in range(_TRIES):
            now = self._clock()
            with suppress(Refused):  # what is there has expired
                self._table.write(store_items.put(tenant, write, text, now))
                return
            with suppress(Refused):  # somebody else has put it
                self._table.write(store_items.replace(tenant, write, text, now))
                return
        raise Unavailable("Others put the same item of the store all the time; try again in a moment.")

    def _refresh(self, tenant: str, rows: Iterable[Row], now: int) -> None:
        """Let items live on, when a noticeable part of their time has passed."""

        def refresh(row: Row) -> None:
            with suppress(Refused):  # somebody else has put, refreshed or removed it
                self._table.write(store_items.refresh(tenant, row, now))

        self._at_once([partial(refresh, row) for row in rows if _is_worn(row, now)])

    def _at_once(self, calls: Sequence[Callable[[], Any]]) -> None:
        if len(calls) == 1:
            calls[0]()
        elif calls:
            begun = [self._pool.submit(call) for call in calls]
            wait(begun)  # one that lands after another has failed would undo what is put next
            for done in begun:
                done.result()


def _bounded(rows: Iterable[Row]) -> Iterator[Row]:
    """Give rows on, as much as one search reads."""
    read = 0
    for row in _at_most(MOST_READ, rows, "items"):
        read += len(row.text.encode()) + len(row.vectors)
        if read > MOST_BYTES:
            raise InvalidRequest(
                f"More than {MOST_BYTES // 1_000_000} MB are under this prefix, and a search reads all of it; give a longer one."
            )
        yield row


def _at_most(most: int, found: Iterable[T], what: str) -> Iterator[T]:
    for count, one in enumerate(found):
        if count == most:
            raise InvalidRequest(
                f"More than {most:,} {what} are under this prefix, and a search reads all of them; give a longer one."
            )
        yield one


def _rank(found: tuple[float | None, Row]) -> tuple[bool, float, str]:
    score, row = found
    return score is not None, score or 0.0, row.updated_at


def _is_worn(row: Row, now: int) -> bool:
    return row.expires_ms is not None and row.expires_ms - now <= row.lives_ms - row.lives_ms // REFRESHED


def _check_page(limit: int, offset: int) -> None:
    if limit < 0 or offset < 0:
        raise InvalidRequest("Limit and offset of a search cannot be negative.")


def _spell(write: ItemWrite) -> str:
    """Spell a value as it is stored, if it can be."""
    if write.ttl is not None and not 0 < write.ttl <= LONGEST_TTL:
        raise InvalidRequest(
            f"A time to live is more than 0 and at most {LONGEST_TTL:,} minutes, not {write.ttl}."
        )
    try:
        text = orjson.dumps(dict(write.value))
    except TypeError as exc:
        raise InvalidRequest(f"The value of {write.key[:60]!r} is not JSON: {exc}.") from exc
    if (size := len(text) + len(write.vectors)) > LARGEST:
        raise TooLarge(
            f"The value of {write.key[:60]!r} has {size:,} bytes with its vectors; an item of the store has {LARGEST:,} "
            "at most. Divide it, or store it elsewhere and put a reference."
        )
    return text.decode()
