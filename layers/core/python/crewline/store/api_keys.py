"""API keys: a tenant's share a partition, so that listing them is one query and no lookup crosses tenants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crewline.models.api_keys import SCOPES, ApiKey
from crewline.store import keys
from crewline.store.changes import ABSENT, EXISTS, Put, Update
from crewline.store.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An API key as it is stored."""

    api_key: ApiKey
    digest: bytes = field(repr=False)
    """The SHA-256 of its secret."""


def put(row: Row) -> Put:
    """Keep a new key.

    ```
    A: create k ──▶ k            B: create, with an id that is taken ──✗ B draws another
    ```
    """
    key = row.api_key
    return Put(
        key=keys.api_key(key.tenant, key.key_id),
        item={
            "digest": row.digest,
            "scopes": [scope for scope in SCOPES if scope in key.scopes],
            "label": key.label,
            "created_at": key.created_at,
        },
        condition=ABSENT,
    )


def revoke(tenant: str, key_id: str, at: str) -> Update:
    """Let a key open nothing any more, from the first time that somebody says so.

    ```
    A: revoke at 1 ──▶ revoked at 1          B: revoke at 2 ──▶ revoked at 1
    P: (knew k a while ago) ── reads k again within a minute ──▶ revoked at 1
    ```
    """
    return Update(key=keys.api_key(tenant, key_id), once={"revoked_at": at}, condition=EXISTS)


def get(table: Table, tenant: str, key_id: str) -> Row | None:
    """Read one key.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(keys.api_key(tenant, key_id))
    return Row(api_key=from_item(tenant, item), digest=item["digest"]) if item else None


def listed(table: Table, tenant: str) -> Iterator[ApiKey]:
    """Read the keys of a tenant, as far as they are consumed, in no order that means anything.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    for item in table.query(keys.api_keys_partition(tenant)):
        yield from_item(tenant, item)


def from_item(tenant: str, item: Mapping[str, Any]) -> ApiKey:
    """Read what is stored of a key."""
    return ApiKey(
        tenant=tenant,
        key_id=item[keys.SORT],
        scopes=frozenset(item["scopes"]),
        label=item["label"],
        created_at=item["created_at"],
        revoked_at=item.get("revoked_at"),
    )
