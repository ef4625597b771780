"""The lease in use: claim, commit and heartbeat, with what a refusal means.

Every method is one conditional write of `store/leases.py`, or one transaction around it. A
refusal brings the lease as it is, and only that decides what happens next. How a run ends is in
`services/endings.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from crewline.checkpoints.records import Sealed
from crewline.errors import Conflict, RunCancelled, StaleOwner
from crewline.models.clocks import Clock
from crewline.models.leases import Claim, Lease
from crewline.models.runs import Usage
from crewline.store import leases
from crewline.store.changes import grouped
from crewline.store.records import Records
from crewline.store.table import Refused, Table


class Leases:
    """The claims of this process; safe for many threads."""

    def __init__(self, table: Table, records: Records, clock: Clock) -> None:
        self._table = table
        self._records = records
        self._clock = clock

    def claim(
        self, tenant: str, thread_id: str, run_id: str, *, execution: int | None = None
    ) -> Claim | Lease:
        """Take the right to execute a run.

        Args:
            tenant: Whose run.
            thread_id: Its thread.
            run_id: The run.
            execution: The execution of the workflow that asks; a later one goes before.

        Returns:
            The claim; or the lease as it is, when the run is not in flight any more, is executed by
            somebody else, or is not yet due.

        Raises:
            Unavailable: DynamoDB did not answer; the claim may have landed, and then expires.
        """
        owner = uuid4().hex
        try:
            change = leases.claim(
                tenant, thread_id, run_id=run_id, owner=owner, now=self._clock(), execution=execution
            )
            item = self._table.write(change)
        except Refused as exc:
            item = exc.items.get(0) or {}
            if item.get("owner") != owner:
                return leases.from_item(item)  # else it was our own: it landed, but the answer was lost
        return Claim(
            tenant=tenant, thread_id=thread_id, run_id=run_id, owner=owner, lease=leases.from_item(item)
        )

    def own(self, tenant: str, thread_id: str) -> Claim:
        """Take a free thread for a checkpointer that is used alone.

        Raises:
            Conflict: A run is in flight on the thread, or it was deleted.
            Unavailable: DynamoDB did not answer; the claim may have landed.
        """
        owner = uuid4().hex
        try:
            item = self._table.write(leases.own(tenant, thread_id, owner=owner))
        except Refused as exc:
            raise Conflict(
                f"Thread {thread_id} has a run in flight or was deleted; it cannot be claimed now."
            ) from exc
        lease = leases.from_item(item)
        return Claim(tenant=tenant, thread_id=thread_id, run_id="", owner=owner, lease=lease)

    def commit(
        self, claim: Claim, entries: Sequence[Sealed], *, usage: Usage | None = None, ending: bool = False
    ) -> Claim:
        """Write checkpoint entries under the fence and move the head to them.

        More than one transaction holds becomes several, in order, each fenced.

        Args:
            claim: The claim as this process last left it.
            entries: Records and late writes, oldest first.
            usage: What the run has used so far; None when nothing more is known.
            ending: The run is being finished, and a cancel changes nothing any more.

        Returns:
            The claim as it is now.

        Raises:
            StaleOwner: Somebody else has claimed the run since; nothing of this group is visible.
            RunCancelled: Somebody asked the run to stop; this group was not written.
            Unavailable: DynamoDB or S3 did not answer; writing the same entries again is harmless.
        """
        for group in grouped(entries, self._records.weight):
            claim = self._commit(claim, group, usage, ending=ending)
        return claim

    def heartbeat(self, claim: Claim) -> Lease:
        """Renew a claim during a long node.

        Returns:
            The lease, with a cancel that somebody may have asked for.

        Raises:
            StaleOwner: Somebody else has claimed the run since.
            Unavailable: DynamoDB did not answer.
        """
        try:
            return leases.from_item(self._table.write(leases.heartbeat(claim, now=self._clock())))
        except Refused as exc:
            raise stale(claim) from exc

    def end_slice(self, claim: Claim, *, longest: int, usage: Usage | None = None) -> Lease:
        """Give a run back that is to go on in another slice; whoever calls this then dispatches it.

        Args:
            claim: The claim.
            longest: Milliseconds that the longest node of the run has taken so far.
            usage: What the run has used so far; None when nothing more is known.

        Returns:
            The lease as it is now.

        Raises:
            StaleOwner: Somebody else has claimed the run since.
            Unavailable: DynamoDB did not answer; the lease expires and the run is resumed.
        """
        update, lease = leases.end_slice(claim, longest=longest, usage=usage, now=self._clock())
        try:
            return leases.from_item(self._table.write(update))
        except Refused as exc:
            now = leases.from_item(exc.items.get(0))
            if now.run != claim.run_id or now.parted != lease.parted:
                raise stale(claim) from exc
            return now  # it was our own: it landed, but the answer was lost

    def _commit(self, claim: Claim, entries: Sequence[Sealed], usage: Usage | None, *, ending: bool) -> Claim:
        head, chain, newest, steps = progress(claim.lease, entries)
        update, lease = leases.commit(
            claim,
            head=head,
            chain=chain,
            newest=newest,
            steps=steps,
            now=self._clock(),
            usage=usage,
            ending=ending,
        )
        puts = [
            self._records.put(claim.tenant, claim.thread_id, entry, turn=claim.lease.turn)
            for entry in entries
        ]
        try:
            self._table.transact([*puts, update])
        except Refused as exc:
            now = leases.from_item(exc.items.get(len(entries)))
            if now.owner == claim.owner and now.cancel:
                raise RunCancelled(
                    f"Run {claim.run_id} was cancelled.", details={"action": now.cancel}
                ) from exc
            raise stale(claim) from exc
        return replace(claim, lease=lease)


def progress(lease: Lease, entries: Sequence[Sealed]) -> tuple[str | None, str | None, str | None, int]:
    """Find head, its chain, newest id and step count of the lease after these entries."""
    records = [entry for entry in entries if entry.place is None]
    ours = [record for record in records if not record.namespace]
    head = ours[-1].checkpoint_id if ours else lease.head
    # A difference builds on the record before it, so the last root of the group is the head's.
    chain = next((record.checkpoint_id for record in reversed(ours) if record.root), lease.chain)
    newest = max([record.checkpoint_id for record in records], default=None)
    if lease.newest and (newest is None or lease.newest > newest):
        newest = lease.newest
    return head, chain, newest, lease.steps + sum(record.superstep for record in ours)


def stale(claim: Claim) -> StaleOwner:
    """Say that a worker's time is over."""
    return StaleOwner(
        f"Run {claim.run_id} on thread {claim.thread_id} belongs to another worker now; this one stops and writes nothing."
    )
