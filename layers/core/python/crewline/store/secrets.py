"""The secrets by which tenants know that a webhook is ours."""

from __future__ import annotations

from crewline.store import keys
from crewline.store.changes import ABSENT, Put
from crewline.store.table import Refused, Table


def webhook_secret(table: Table, tenant: str, fresh: str) -> str:
    """Read the secret of a tenant, and keep a fresh one when there is none.

    ```
    A: read (none) ── put a ──▶ a        B: read (none) ── put b ──✗ there is one ──▶ a
    ```

    Args:
        table: The table.
        tenant: Whose secret.
        fresh: What becomes the secret when there is none.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    key = keys.webhook_secret(tenant)
    item = table.get(key)
    if item is None:
        item = {"secret": fresh}
        try:
            table.write(Put(key=key, item=item, condition=ABSENT))
        except Refused as exc:
            item = exc.items[0] or item
    secret: str = item["secret"]
    return secret
