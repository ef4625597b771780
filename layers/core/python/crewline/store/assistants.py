"""Assistants and their versions.

A row is always written whole, under a new token; whoever changes it names the token of the row
that was read. The versions of an assistant never change and go with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from crewline.models.assistants import Assistant
from crewline.store import keys
from crewline.store.changes import ABSENT, EXISTS, Check, Delete, Put
from crewline.store.items import Item
from crewline.store.table import Table
from crewline.store.threads import dump

_AS_READ: Final = "#token = :token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An assistant as it is stored."""

    assistant: Assistant
    newest: int
    """Its highest version, which need not be the one in use."""
    token: str
    """Names this writing of the row."""


def get(table: Table, tenant: str, assistant_id: str) -> Row | None:
    """Read one assistant.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(keys.assistant(tenant, assistant_id))
    return row_from_item(item) if item else None


def rows(table: Table, tenant: str) -> Iterator[Row]:
    """Read the assistants of a tenant, as far as they are consumed; default ones only if they were changed.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    yield from map(row_from_item, table.query(keys.assistants_partition(tenant)))


def put(tenant: str, row: Row, *, before: Row | None) -> Put:
    """Write a row: a new one, or in the place of the one that was read.

    In one transaction with the version that it shows, unless that is there already.

    ```
    A: create a ──▶ row, version 1                      B: create a ──✗ it exists: 409, or the row that is there
    A: read (token t) ── update ──▶ row, version 2      B: read (token t) ── update ──✗ B reads again ── version 3
    D: delete ──▶ no row                                A: read (token t) ── update ──✗ gone: 404
    ```
    """
    return Put(
        key=keys.assistant(tenant, row.assistant.assistant_id),
        item={
            **_item(row.assistant),
            "updated_at": row.assistant.updated_at,
            "newest": row.newest,
            "token": row.token,
        },
        condition=_AS_READ if before else ABSENT,
        parameters={"token": before.token} if before else {},
    )


def put_version(tenant: str, assistant: Assistant) -> Put:
    """Keep what an assistant is as one of its versions; part of the transaction that writes its row."""
    return Put(
        key=keys.assistant_version(tenant, assistant.assistant_id, assistant.version),
        item=_item(assistant),
        condition=ABSENT,
    )


def get_version(table: Table, tenant: str, assistant_id: str, version: int) -> Assistant | None:
    """Read one version.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(keys.assistant_version(tenant, assistant_id, version))
    return _from_item(item) if item else None


def versions(table: Table, tenant: str, assistant_id: str) -> Iterator[Assistant]:
    """Read the versions of an assistant, the newest first, as far as they are consumed.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    partition = keys.assistant_version(tenant, assistant_id, 1).partition
    yield from map(_from_item, table.query(partition, newest_first=True))


def version_exists(tenant: str, assistant_id: str, version: int) -> Check:
    """Let a version be used only while it is there.

    ```
    D: delete ──▶ no versions      A: (read version 1) ── set latest ──✗ gone: 404
    ```
    """
    return Check(key=keys.assistant_version(tenant, assistant_id, version), condition=EXISTS)


def unchanged(tenant: str, row: Row) -> Check:
    """Let versions be removed only while nobody has written the row since it was read."""
    return Check(
        key=keys.assistant(tenant, row.assistant.assistant_id),
        condition=_AS_READ,
        parameters={"token": row.token},
    )


def delete(tenant: str, row: Row) -> Delete:
    """Remove an assistant, in the transaction that removes the last of its versions.

    ```
    A: read (token t) ── delete ──▶ no row, no versions      B: read (token t) ── update ──✗ gone: 404
    B: update ──▶ token u                                    A: read (token t) ── delete ──✗ A reads again
    ```
    """
    return Delete(
        key=keys.assistant(tenant, row.assistant.assistant_id),
        condition=_AS_READ,
        parameters={"token": row.token},
    )


def delete_version(tenant: str, assistant_id: str, version: int) -> Delete:
    """Remove one version; part of a transaction that removes the assistant, or checks that it is unchanged."""
    return Delete(key=keys.assistant_version(tenant, assistant_id, version))


def row_from_item(item: Mapping[str, Any]) -> Row:
    """Read a row."""
    return Row(assistant=_from_item(item), newest=item["newest"], token=item["token"])


def _item(assistant: Assistant) -> Item:
    return {
        "assistant_id": assistant.assistant_id,
        "graph_id": assistant.graph_id,
        "name": assistant.name,
        "description": assistant.description,
        "version": assistant.version,
        "config": dump(assistant.config),
        "context": dump(assistant.context),
        "metadata": dump(assistant.metadata),
        "created_at": assistant.created_at,
    }


def _from_item(item: Mapping[str, Any]) -> Assistant:
    return Assistant(
        assistant_id=item["assistant_id"],
        graph_id=item["graph_id"],
        name=item["name"],
        description=item.get("description"),
        version=item["version"],
        config=orjson.loads(item["config"]),
        context=orjson.loads(item["context"]),
        metadata=orjson.loads(item["metadata"]),
        created_at=item["created_at"],
        updated_at=item.get("updated_at", item["created_at"]),
    )
