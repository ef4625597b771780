"""Idempotency items: what a creating request has made, so that it makes no second one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from crewline.store import keys
from crewline.store.changes import Check, Put
from crewline.store.items import Item
from crewline.store.table import Table

KEPT_S: Final = 14 * 86_400
"""How long a key is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """A request that is to take effect once."""

    scope: str
    """The route: the same key on another one is another request."""
    key: str
    """What the caller sent."""
    digest: str
    """SHA-256 of the body: the same key with another body is refused."""
    provided: Check | None = None
    """What must hold when it takes effect."""

    @classmethod
    def of(cls, scope: str, key: str, body: Any) -> Self:
        """Name a request.

        Args:
            scope: The route.
            key: What the caller sent.
            body: What it asks for, as JSON values; the order of an object's fields says nothing.
        """
        text = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        return cls(scope=scope, key=key, digest=hashlib.sha256(text).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the first such request has made."""

    digest: str
    created_at: str
    thread_id: str = ""
    run_id: str | None = None
    assistant_id: str | None = None
    cron_id: str | None = None


def put(tenant: str, once: Once, made: Made, *, now: int) -> Put:
    """Remember a request in the transaction that carries it out.

    ```
    A: start + key k ──▶ run a      A again: start + key k ──✗ k is there: it names run a
    ```
    """
    return Put(
        key=keys.idempotency(tenant, once.scope, once.key),
        item={
            "thread_id": made.thread_id,
            "run_id": made.run_id,
            "assistant_id": made.assistant_id,
            "cron_id": made.cron_id,
            "digest": made.digest,
            "created_at": made.created_at,
            keys.TTL: now // 1000 + KEPT_S,
        },
        condition=f"attribute_not_exists(#{keys.PARTITION}) OR #{keys.TTL} < :now_s",
        parameters={"now_s": now // 1000},
    )


def get(table: Table, tenant: str, once: Once, *, now: int) -> Made | None:
    """Find what a request has made, unless that was too long ago: DynamoDB removes the item some time later.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(keys.idempotency(tenant, once.scope, once.key))
    return from_item(item) if item and item[keys.TTL] >= now // 1000 else None


def from_item(item: Item) -> Made:
    """Read an idempotency item."""
    return Made(
        thread_id=item["thread_id"],
        run_id=item.get("run_id"),
        assistant_id=item.get("assistant_id"),
        cron_id=item.get("cron_id"),
        digest=item["digest"],
        created_at=item["created_at"],
    )
