"""Tokens of incoming webhooks: a tenant's share a partition, so that listing them is one query."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crewline.models.webhook_tokens import WebhookToken
from crewline.store import keys
from crewline.store.changes import ABSENT, EXISTS, Put, Update
from crewline.store.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A token as it is stored."""

    token: WebhookToken
    digest: bytes = field(repr=False)
    """The SHA-256 of its secret."""


def put(row: Row) -> Put:
    """Keep a new token.

    ```
    A: create k ──▶ k            B: create, with an id that is taken ──✗ B draws another
    ```
    """
    token = row.token
    return Put(
        key=keys.webhook_token(token.tenant, token.token_id),
        item={
            "digest": row.digest,
            "deployment": token.deployment,
            "label": token.label,
            "created_at": token.created_at,
        },
        condition=ABSENT,
    )


def rotate(tenant: str, token_id: str, digest: bytes, at: str) -> Update:
    """Give a token another secret; the one before opens nothing any more.

    ```
    A: rotate ──▶ secret 2       B: rotate ──▶ secret 3: A's never worked for long
    A: revoke ──▶ revoked        B: rotate ──✗ what is revoked stays so
    ```
    """
    return Update(
        key=keys.webhook_token(tenant, token_id),
        set={"digest": digest, "rotated_at": at},
        condition=f"{EXISTS} AND attribute_not_exists(#revoked_at)",
    )


def revoke(tenant: str, token_id: str, at: str) -> Update:
    """Let a token start nothing any more, from the first time that somebody says so.

    ```
    A: revoke at 1 ──▶ revoked at 1          B: revoke at 2 ──▶ revoked at 1
    ```
    """
    return Update(key=keys.webhook_token(tenant, token_id), once={"revoked_at": at}, condition=EXISTS)


def get(table: Table, tenant: str, token_id: str) -> Row | None:
    """Read one token.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(keys.webhook_token(tenant, token_id))
    return Row(token=from_item(tenant, item), digest=item["digest"]) if item else None


def listed(table: Table, tenant: str) -> Iterator[WebhookToken]:
    """Read the tokens of a tenant, as far as they are consumed, in no order that means anything.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    for item in table.query(keys.webhooks_partition(tenant), prefix=keys.WEBHOOK_PREFIX):
        yield from_item(tenant, item)


def from_item(tenant: str, item: Mapping[str, Any]) -> WebhookToken:
    """Read what is stored of a token."""
    return WebhookToken(
        tenant=tenant,
        token_id=item[keys.SORT].removeprefix(keys.WEBHOOK_PREFIX),
        deployment=item["deployment"],
        label=item["label"],
        created_at=item["created_at"],
        rotated_at=item.get("rotated_at"),
        revoked_at=item.get("revoked_at"),
    )
