"""What this process knows of threads whose run it has just ended, or starts: so that it need not be read for.

Nothing is decided from it: a start names the epoch and the head that it knows, and is refused when
somebody else has been there since.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from crewline.checkpoints.records import Snapshot, as_blob
from crewline.models.leases import Lease, Rest

_MOST: Final = 2_000
_LARGEST: Final = 1_000_000
_MOST_BYTES: Final = 32_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """A thread as the end of a run has left it, or as the start of one has found it."""

    lease: Lease
    rest: Rest
    crew: Mapping[str, str] | None = None
    """What its last run has made its metadata say of its crew; None when others may have come in between."""
    snapshot: Snapshot | None = None
    """Its newest checkpoint, when that is not large."""
    size: int = 0
    """Bytes of the checkpoint's values."""
    taken: bool = False
    """A run of this process is on it: who comes next must look."""


class Recents:
    """The threads that this process has executed runs on, the latest ones; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Recent] = OrderedDict()
        self._bytes = 0

    def keep(
        self,
        tenant: str,
        thread_id: str,
        lease: Lease,
        rest: Rest,
        snapshot: Snapshot | None,
        *,
        crew: Mapping[str, str] | None = None,
    ) -> None:
        """Remember a thread as it is without a run: as its last one has left it."""
        size = _size(snapshot) if snapshot else 0
        if size > _LARGEST or (snapshot and snapshot.record.checkpoint_id != lease.head):
            snapshot, size = None, 0
        with self._lock:
            self._drop(tenant, thread_id)
            self._kept[(tenant, thread_id)] = Recent(
                lease=lease, rest=rest, crew=crew, snapshot=snapshot, size=size
            )
            self._bytes += size
            while len(self._kept) > _MOST or self._bytes > _MOST_BYTES:
                self._drop(*next(iter(self._kept)))

    def get(self, tenant: str, thread_id: str) -> Recent | None:
        """Tell what is known of a thread; somebody else may have been there since."""
        with self._lock:
            return self._kept.get((tenant, thread_id))

    def take(self, tenant: str, thread_id: str) -> None:
        """Note that a run was started on a thread, whose beginning is still what is known of it."""
        with self._lock:
            if known := self._kept.get((tenant, thread_id)):
                self._kept[(tenant, thread_id)] = replace(known, taken=True)

    def drop(self, tenant: str, thread_id: str) -> None:
        """Forget a thread: what was known of it has turned out to be old."""
        with self._lock:
            self._drop(tenant, thread_id)

    def _drop(self, tenant: str, thread_id: str) -> None:
        if found := self._kept.pop((tenant, thread_id), None):
            self._bytes -= found.size


def _size(snapshot: Snapshot) -> int:
    blobs = [as_blob(value) for value in snapshot.record.channels.values()]
    return sum(len(data) for _, data in blobs) + sum(len(write.value[1]) for write in snapshot.writes)
