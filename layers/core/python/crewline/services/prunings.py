"""Pruning: threads are removed, or keep their newest state alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from crewline.checkpoints.projection import project
from crewline.checkpoints.records import Sealed, Snapshot, missing_channels
from crewline.errors import NotFound, ThreadBusy
from crewline.models.leases import Lease
from crewline.models.threads import ThreadPrune
from crewline.services.checkpoints import belongs, entries_without, with_ancestors
from crewline.services.threads import Threads, batched
from crewline.store import keys, leases, threads
from crewline.store.blobs import Blobs
from crewline.store.changes import MOST_GROUPED, Change, Delete, grouped
from crewline.store.keys import Key
from crewline.store.records import Records
from crewline.store.table import Refused, Table

_AT_ONCE: Final = 16
"""Threads that are pruned beside one another."""


@dataclass(slots=True)
class _Plan:
    """What a thread loses, and what has to be written before."""

    entries: list[Sealed] = field(default_factory=list)
    dropped: dict[str, set[str]] = field(default_factory=dict)
    """Namespace → ids of its checkpoints that go."""
    chain: str | None = None
    """The root that the head builds on from then on."""


class Prunings:
    """Prunes threads; safe for many threads."""

    def __init__(self, table: Table, blobs: Blobs, records: Records, threads: Threads) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records
        self._threads = threads

    def prune(self, tenant: str, body: ThreadPrune) -> int:
        """Remove threads, or all of them but their newest state.

        A thread that is not there is passed over, and so is one that is to keep its state and has a
        run in flight.

        Returns:
            How many threads were pruned.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; prune again, what is done is passed over.
            CorruptRecord: A stored checkpoint does not decode.
        """
        wanted = list(dict.fromkeys(body.thread_ids))
        act = self._delete if body.strategy == "delete" else self._keep_latest
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return sum(pool.map(lambda thread_id: act(tenant, thread_id), wanted))

    def keep_latest(self, tenant: str, thread_id: str) -> None:
        """Remove every checkpoint of a thread but the newest of each namespace, and what its state lives in.

        First the newest become whole, together with the lease, which says that records go; then the
        others go, the newest first, for as long as nobody else is on the thread. Whatever remains when
        this ends half-way is readable, and goes next time.

        Raises:
            NotFound: There is no such thread.
            ThreadBusy: A run is in flight, or was before this had ended.
            Unavailable: DynamoDB or S3 did not answer; what was done is done.
            CorruptRecord: A stored checkpoint does not decode.
        """
        thread, lease = threads.read(self._table, tenant, thread_id)
        if thread is None:
            raise NotFound(f"Thread with ID {thread_id} not found.")
        if not lease.free:
            raise _busy(thread_id)
        plan = self._plan(tenant, thread_id, lease)
        if not plan.dropped:
            return
        places = dict(self._records.places_of(tenant, thread_id))
        try:
            lease, written = self._make_whole(tenant, thread_id, lease, plan)
            self._remove(tenant, thread_id, lease, plan, places)
        except Refused as exc:
            raise _busy(thread_id) from exc
        # What the rewritten items pointed at goes last: who has just read one of them still finds it.
        replaced = [blob for key in written if (blob := places.get(key))]
        self._blobs.delete([keys.blob(tenant, thread_id, blob) for blob in replaced])

    def _plan(self, tenant: str, thread_id: str, lease: Lease) -> _Plan:
        plan = _Plan(chain=lease.chain)
        for namespace in self._records.namespaces(tenant, thread_id):
            upto = None if namespace else lease.head
            if not namespace and upto is None:
                continue
            found = list(self._records.newest_first(tenant, thread_id, namespace, upto=upto))
            kept = with_ancestors(found[:1], found, _missing)
            dropped = {one.record.checkpoint_id for one in found} - kept
            if not dropped:
                continue
            entries = entries_without(found, dropped)
            plan.dropped[namespace] = dropped
            plan.entries += entries
            if not namespace:
                plan.chain = _chain(found, {entry.checkpoint_id for entry in entries if entry.root})
        return plan

    def _make_whole(self, tenant: str, thread_id: str, lease: Lease, plan: _Plan) -> tuple[Lease, set[Key]]:
        update, after = leases.edit(
            tenant,
            thread_id,
            lease,
            head=lease.head,
            chain=plan.chain,
            newest=lease.newest,
            pruning=True,
        )
        written: set[Key] = set()
        fence: Change = update
        for group in list(grouped(plan.entries, self._records.weight)) or [[]]:
            puts = [self._records.put(tenant, thread_id, entry) for entry in group]
            self._table.transact([fence, *puts])
            written |= {put.key for put in puts}
            fence = leases.unmoved(tenant, thread_id, after)
        return after, written

    def _remove(
        self, tenant: str, thread_id: str, lease: Lease, plan: _Plan, places: Mapping[Key, str | None]
    ) -> None:
        gone = [
            (key, blob)
            for key, blob in places.items()
            if any(belongs(key, keys.namespace_prefix(one), ids) for one, ids in plan.dropped.items())
        ]
        for group in batched(reversed(gone), MOST_GROUPED):
            deletes = [Delete(key=key) for key, _ in group]
            self._table.transact([leases.unmoved(tenant, thread_id, lease), *deletes])
            # An object belongs to one item, so nothing points at it any more.
            self._blobs.delete([keys.blob(tenant, thread_id, blob) for _, blob in group if blob])

    def _delete(self, tenant: str, thread_id: str) -> bool:
        try:
            self._threads.delete(tenant, thread_id)
        except NotFound:
            return False
        return True

    def _keep_latest(self, tenant: str, thread_id: str) -> bool:
        try:
            self.keep_latest(tenant, thread_id)
        except (NotFound, ThreadBusy):
            return False
        return True


def _missing(snapshot: Snapshot) -> frozenset[str]:
    return missing_channels(snapshot.record, project(snapshot.record.metadata))


def _chain(snapshots: Iterable[Snapshot], rewritten: set[str]) -> str:
    """Find the root that the newest checkpoint builds on once some were rewritten as roots."""
    by_id = {one.record.checkpoint_id: one for one in snapshots}
    cursor = next(iter(by_id.values()))
    while cursor.link.depth and cursor.record.checkpoint_id not in rewritten:
        cursor = by_id[str(cursor.record.parent_id)]
    return cursor.record.checkpoint_id


def _busy(thread_id: str) -> ThreadBusy:
    return ThreadBusy(f"Thread {thread_id} has a run in flight; prune it when that has ended.")
