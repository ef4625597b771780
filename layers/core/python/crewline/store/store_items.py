"""Items of the store, and the first labels under which there are, or were, some.

All items under a first label are one partition, so that whatever begins with it is one range of it. Which
first labels there are is a partition of its own, for those who ask for everything.

A first label is noted before the first item is put under it, by every process once; a note stays.

```
A: note "users" ── put ("users", "u1") k ──▶           B: note "users" (again: it is the same) ── put ──▶
A: note "users" ── dies                                 a note without items: a search finds nothing there
A: put k = 1 ──▶                                        B: put k = 2 ──▶ 2: the last one wins, and k was made by A
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from crewline.models.clocks import iso
from crewline.models.store_items import ItemWrite, StoreItem
from crewline.models.store_queries import Namespace
from crewline.store import keys
from crewline.store.changes import Delete, Put, Update
from crewline.store.items import Item
from crewline.store.keys import Key
from crewline.store.table import Table

_MINUTE_MS: Final = 60_000
_ALIVE: Final = "attribute_not_exists(#expires_ms) OR #expires_ms > :now"
_EXPIRED: Final = "#expires_ms <= :now"
_SHOWN: Final = (keys.SORT, "value", "created_at", "updated_at", "expires_ms", "lives_ms")
"""What a search reads that compares no vectors."""
_TIMES: Final = (keys.SORT, "expires_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An item as it is stored."""

    namespace: Namespace
    key: str
    text: str
    """The value, as JSON."""
    created_at: str
    updated_at: str
    vectors: bytes = b""
    dims: int = 0
    expires_ms: int | None = None
    lives_ms: int = 0
    """How long it lives unused."""

    def is_alive(self, now: int) -> bool:
        """Tell whether it is shown; DynamoDB may take days to remove what has expired."""
        return self.expires_ms is None or self.expires_ms > now

    @property
    def value(self) -> dict[str, Any]:
        """What is remembered."""
        value: dict[str, Any] = orjson.loads(self.text)
        return value

    def shown(self, score: float | None = None) -> StoreItem:
        """Show it."""
        return StoreItem(
            namespace=self.namespace,
            key=self.key,
            value=self.value,
            created_at=self.created_at,
            updated_at=self.updated_at,
            score=score,
        )


def get_many(table: Table, tenant: str, places: list[tuple[Namespace, str]]) -> list[Row | None]:
    """Read items, strongly consistent.

    Raises:
        InvalidRequest: A namespace and a key are longer than a sort key holds.
        Unavailable: DynamoDB did not answer.
    """
    found = table.get_many([keys.store_item(tenant, namespace, key) for namespace, key in places])
    return [
        _from_item(namespace[0], item) if item else None
        for (namespace, _), item in zip(places, found, strict=True)
    ]


def roots(table: Table, tenant: str) -> Iterator[str]:
    """List the first labels under which there are, or were, items, in order.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    for item in table.query(keys.store_roots_partition(tenant), keys_only=True):
        yield item[keys.SORT]


def under(table: Table, tenant: str, prefix: Namespace, *, with_vectors: bool) -> Iterator[Row]:
    """Read all items under a namespace that has a label, in the order of their namespaces and keys.

    Raises:
        InvalidRequest: The labels are longer than a sort key holds.
        Unavailable: DynamoDB did not answer.
    """
    found = table.query(
        keys.store_partition(tenant, prefix[0]),
        prefix=keys.store_prefix(prefix),
        only=(*_SHOWN, "vectors", "dims") if with_vectors else _SHOWN,
    )
    for item in found:
        yield _from_item(prefix[0], item)


def namespace_from(
    table: Table, tenant: str, prefix: Namespace, at_least: str, *, now: int
) -> Namespace | None:
    """Find the first namespace under another that has an item which has not expired.

    Args:
        table: The table.
        tenant: Whose items.
        prefix: What it begins with; a label at least.
        at_least: The sort key from which it is looked for; empty: from the first.
        now: Milliseconds since the epoch.

    Raises:
        InvalidRequest: The labels are longer than a sort key holds.
        Unavailable: DynamoDB did not answer.
    """
    partition, begins = keys.store_partition(tenant, prefix[0]), keys.store_prefix(prefix)

    def read(at_least: str, page: int | None) -> Iterator[Item]:
        return table.query(
            partition,
            prefix=begins,
            at_least=at_least,
            at_most=keys.store_end(prefix),
            page=page,
            only=_TIMES,
        )

    # Most namespaces show in their first item; only what has expired is read by the page.
    found = next(read(max(at_least, begins), 1), None)
    if found and not _is_alive(found, now):
        found = next((item for item in read(found[keys.SORT], None) if _is_alive(item, now)), None)
    return keys.store_place(prefix[0], found[keys.SORT])[0] if found else None


def note(tenant: str, root: str) -> Put:
    """Note a first label, before an item is put under it."""
    return Put(key=keys.store_root(tenant, root), item={})


def put(tenant: str, write: ItemWrite, text: str, now: int) -> Update:
    """Put an item in the place of what is there, which keeps the time at which it was made.

    Unconditional but for one thing: what has expired and is still there is nobody's, and `replace` writes over it.

    ```
    A: put k = 1 ──▶ made at 1      B: put k = 2 ──▶ 2, made at 1, changed at 2
    k has expired                   A: put k ──✗ ── replace k ──▶ made now
    k has expired                   A: put k ──✗    B: put k ──✗ ── replace k ──▶     A: replace k ──✗ ── put k ──▶
    ```

    Args:
        tenant: Whose item.
        write: The item.
        text: Its value as JSON.
        now: Milliseconds since the epoch.
    """
    item = _item(write, text, now)
    created_at = item.pop("created_at")
    return Update(
        key=_key(tenant, write),
        set=item,
        once={"created_at": created_at},
        condition=_ALIVE,
        parameters={"now": now},
    )


def replace(tenant: str, write: ItemWrite, text: str, now: int) -> Put:
    """Put an item where one has expired: see `put`."""
    return Put(
        key=_key(tenant, write),
        item=_item(write, text, now),
        condition=_EXPIRED,
        parameters={"now": now},
    )


def delete(tenant: str, namespace: Namespace, key: str) -> Delete:
    """Remove an item, if it is there."""
    return Delete(key=keys.store_item(tenant, namespace, key))


def refresh(tenant: str, row: Row, now: int) -> Update:
    """Let an item live on from now, unless somebody has put, refreshed or removed it since it was read.

    ```
    A: read k ── refresh k ──▶      B: read k ── refresh k ──✗ A has
    A: read k ── (D: delete k) ── refresh k ──✗ it stays away
    ```
    """
    return Update(
        key=keys.store_item(tenant, row.namespace, row.key),
        set=_expiry(row.lives_ms, now),
        condition="#expires_ms = :read",
        parameters={"read": row.expires_ms},
    )


def _key(tenant: str, write: ItemWrite) -> Key:
    return keys.store_item(tenant, write.namespace, write.key)


def _item(write: ItemWrite, text: str, now: int) -> Item:
    lives_ms = max(1, round(write.ttl * _MINUTE_MS)) if write.ttl is not None else None
    return {
        "value": text,
        "created_at": iso(now),
        "updated_at": iso(now),
        "vectors": write.vectors or None,
        "dims": write.dims or None,
        "lives_ms": lives_ms,
        **(_expiry(lives_ms, now) if lives_ms is not None else {"expires_ms": None, keys.TTL: None}),
    }


def _is_alive(item: Item, now: int) -> bool:
    return "expires_ms" not in item or item["expires_ms"] > now


def _expiry(lives_ms: int, now: int) -> Item:
    return {"expires_ms": now + lives_ms, keys.TTL: -(-(now + lives_ms) // 1000)}


def _from_item(root: str, item: Mapping[str, Any]) -> Row:
    namespace, key = keys.store_place(root, item[keys.SORT])
    return Row(
        namespace=namespace,
        key=key,
        text=item["value"],
        created_at=item["created_at"],
        updated_at=item["updated_at"],
        vectors=item.get("vectors", b""),
        dims=item.get("dims", 0),
        expires_ms=item.get("expires_ms"),
        lives_ms=item.get("lives_ms", 0),
    )
