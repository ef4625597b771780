"""Versions of the deployment: a partition with one item for each build, in the order of their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from crewline.models.versions import Version
from crewline.store import keys
from crewline.store.changes import ABSENT, Put
from crewline.store.table import Table

_PAGE: Final = 10
"""Versions that one request reads: nearly always the newest is the one that is looked for."""


def put(version: Version) -> Put:
    """Give a build its number, if no other build has it.

    ```
    A: lists to 4, no b ── put 5 b ──▶ 5 is b
    B: lists to 4, no b ── put 5 b ──✗ 5 is b: the same build, and the same number
    C: lists to 4, no c ── put 5 c ──✗ 5 is b ── put 6 c ──▶ 6 is c
    ```

    Whoever puts has seen every lower number with another build in it, so no build ever has two.
    """
    return Put(
        key=keys.version(version.number),
        item={"build": version.build, "created_at": version.created_at},
        condition=ABSENT,
    )


def listed(table: Table) -> Iterator[Version]:
    """Read the versions as far as they are consumed, the newest first.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    for item in table.query(keys.VERSIONS_PARTITION, newest_first=True, page=_PAGE):
        yield from_item(item)


def from_item(item: Mapping[str, Any]) -> Version:
    """Read what is stored of a version."""
    return Version(number=int(item[keys.SORT]), build=item["build"], created_at=item["created_at"])
