"""Batches of runs: one item each, with the ids of its runs as bytes; a thousand are 32 KB."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import orjson

from crewline.models.batches import Batch, Member
from crewline.store import keys
from crewline.store.changes import Put
from crewline.store.table import Table
from crewline.store.threads import dump

KEPT_S: Final = 14 * 86_400
"""How long a batch can be asked for."""
_ID: Final = 16


def put(tenant: str, batch: Batch, *, now: int) -> Put:
    """Keep a batch; a request that is repeated keeps the same one again.

    ```
    A: starts its runs ── put b ──▶ b      A: starts some ── dies ··· A again, same key: the same runs ── put b ──▶ b
    ```
    """
    ids = b"".join(UUID(one).bytes for member in batch.members for one in (member.thread_id, member.run_id))
    return Put(
        key=keys.batch(tenant, batch.batch_id),
        item={
            "members": ids,
            "failed": batch.failed or None,
            "metadata": dump(batch.metadata) if batch.metadata else None,
            "created_at": batch.created_at,
            keys.TTL: now // 1000 + KEPT_S,
        },
    )


def get(table: Table, tenant: str, batch_id: str) -> Batch | None:
    """Read a batch, strongly consistent.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    item = table.get(keys.batch(tenant, batch_id))
    if item is None:
        return None
    raw: bytes = item["members"]
    ids = [str(UUID(bytes=raw[start : start + _ID])) for start in range(0, len(raw), _ID)]
    return Batch(
        batch_id=batch_id,
        created_at=item["created_at"],
        members=tuple(Member(thread_id=t, run_id=r) for t, r in zip(ids[::2], ids[1::2], strict=True)),
        failed=item.get("failed", 0),
        metadata=orjson.loads(item["metadata"]) if "metadata" in item else {},
    )
