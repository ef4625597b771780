"""Versions: each build that was ever deployed has a number, by which people speak of it."""

from __future__ import annotations

from itertools import count

from crewline.models.clocks import Clock, iso
from crewline.models.versions import Version
from crewline.store import versions
from crewline.store.table import Refused, Table


class Versions:
    """The versions of the deployment; safe for many threads.

    Args:
        table: The table.
        clock: Tells the time.
    """

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._known: dict[str, int] = {}

    def number(self, build: str) -> int:
        """Tell the number of a build; a build that is new gets the next one.

        A number never changes, so a process asks for each build once.

        Args:
            build: The digest of what was deployed.

        Raises:
            Unavailable: DynamoDB did not answer; whether the build has a number by now is open, and the next
                call finds it.
        """
        known = self._known.get(build)
        if known is None:
            known = self._known[build] = self._look_up(build)
        return known

    def list(self) -> list[Version]:
        """List all versions, the newest first.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        return list(versions.listed(self._table))

    def _look_up(self, build: str) -> int:
        last = 0
        for version in versions.listed(self._table):
            if version.build == build:
                return version.number
            last = max(last, version.number)
        now = iso(self._clock())
        for number in count(last + 1):
            try:
                self._table.write(versions.put(Version(number=number, build=build, created_at=now)))
            except Refused as refused:
                taken = refused.items[0]
                if not taken or taken["build"] != build:
                    continue  # of another build that is new, and versions are never removed
            return number
        raise AssertionError("numbers end")
