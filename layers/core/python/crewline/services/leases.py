"""The lease in use: claim, commit, heartbeat and finish, with what a refusal means.

Every method is one conditional write of `store/leases.py`, or one transaction around it. A
refusal brings the lease as it is, and only that decides what happens next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from crewline.checkpoints.records import Sealed
from crewline.errors import Conflict, NotFound, RunCancelled, StaleOwner, Unavailable
from crewline.models.clocks import Clock, iso
from crewline.models.leases import Claim, Lease
from crewline.models.runs import RunError, RunStatus
from crewline.models.threads import ThreadStatus
from crewline.store import keys, leases, runs, threads
from crewline.store.blobs import Blobs
from crewline.store.changes import Change, Delete, Put
from crewline.store.records import Records
from crewline.store.table import Refused, Table

_MAX_CHANGES: Final = 90
_MAX_BYTES: Final = 2_900_000
"""Bytes of one transaction: 4 MB at most, and bodies travel as base64."""
_OVERHEAD: Final = 1_000
"""Bytes that an item's keys and request take beside its body."""
_FINISH_TRIES: Final = 3
_RUN_ROW: Final = 2
"""Place of the run row in the transaction that forgets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended."""

    status: RunStatus
    thread_status: ThreadStatus
    error: RunError | None = None
    forget: bool = False
    """Leave nothing: the run was stateless, and its private thread goes with it."""
    large: bool = False
    """What the run was asked for is in S3; found out when it is forgotten."""


class Leases:
    """The claims of this process; safe for many threads."""

    def __init__(self, table: Table, blobs: Blobs | None, records: Records, clock: Clock) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records
        self._clock = clock

    def claim(self, tenant: str, thread_id: str, run_id: str) -> Claim | None:
        """Take the right to execute a run.

        Returns:
            The claim; None when the run is not in flight any more, is executed by somebody else,
            or is not yet due: a message about it has nothing to do.

        Raises:
            Unavailable: DynamoDB did not answer; the claim may have landed, and then expires. Or the
                run is due in a moment, by this machine's clock: its message must come again.
        """
        owner = uuid4().hex
        try:
            item = self._table.write(
                leases.claim(tenant, thread_id, run_id=run_id, owner=owner, now=self._clock())
            )
        except Refused as exc:
            item = exc.items.get(0) or {}
            if item.get("run") == run_id and "owner" not in item and item.get("due", 0) > self._clock():
                raise Unavailable(f"Run {run_id} is not due yet; its message comes again.") from exc
            if item.get("owner") != owner:
                return None  # else it was our own: it landed, but the answer was lost on its way
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

    def show_running(self, claim: Claim) -> None:
        """Show on the run row that it is executed; skipped when the row is gone or the run has ended.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        change = runs.set_running(claim.tenant, claim.thread_id, claim.run_id, updated_at=iso(self._clock()))
        try:
            self._table.write(change)
        except Refused:
            return

    def commit(self, claim: Claim, entries: Sequence[Sealed]) -> Claim:
        """Write checkpoint entries under the fence and move the head to them.

        More than one transaction holds becomes several, in order, each fenced.

        Args:
            claim: The claim as this process last left it.
            entries: Records and late writes, oldest first.

        Returns:
            The claim as it is now.

        Raises:
            StaleOwner: Somebody else has claimed the run since; nothing of this group is visible.
            RunCancelled: Somebody asked the run to stop; this group was not written.
            Unavailable: DynamoDB or S3 did not answer; writing the same entries again is harmless.
        """
        for group in self._groups(entries):
            claim = self._commit(claim, group)
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
            raise _stale(claim) from exc

    def finish(self, claim: Claim, outcome: Outcome, entries: Sequence[Sealed]) -> Claim:
        """End the run and free its thread, in one transaction with the last entries.

        Args:
            claim: The claim as this process last left it.
            outcome: How the execution ended.
            entries: Records and late writes that no commit has written yet, oldest first.

        Returns:
            The claim as it ended: its lease is that of the free thread.

        Raises:
            StaleOwner: Somebody else has claimed the run since; nothing of this was written.
            Unavailable: DynamoDB or S3 did not answer; the lease expires and the run is resumed.
        """
        *earlier, last = [[]] if outcome.forget else self._groups(entries) or [[]]
        for group in earlier:
            claim = self._commit(claim, group, ending=True)
        for attempt in range(_FINISH_TRIES):
            try:
                return self._finish(claim, outcome, last)
            except Unavailable:
                if attempt == _FINISH_TRIES - 1:
                    raise
            except Refused as exc:
                if outcome.forget and (exc.items.get(_RUN_ROW) or {}).get("kwargs_blob"):
                    outcome = replace(outcome, large=True)
                    continue
                # After an unclear answer the refusal may come from our own finish, which landed.
                if attempt and self._ended(claim, outcome):
                    return claim
                claim = self._still_mine(claim, exc)
        raise Unavailable(
            f"Thread {claim.thread_id} kept changing while run {claim.run_id} ended; it is resumed soon."
        )

    def _commit(self, claim: Claim, entries: Sequence[Sealed], *, ending: bool = False) -> Claim:
        head, newest, steps = _progress(claim.lease, entries)
        update, lease = leases.commit(
            claim, head=head, newest=newest, steps=steps, now=self._clock(), ending=ending
        )
        try:
            self._table.transact([*self._puts(claim, entries), update])
        except Refused as exc:
            now = leases.from_item(exc.items.get(len(entries)))
            if now.owner == claim.owner and now.cancel:
                raise RunCancelled(
                    f"Run {claim.run_id} was cancelled.", details={"action": now.cancel}
                ) from exc
            raise _stale(claim) from exc
        return replace(claim, lease=lease)

    def _finish(self, claim: Claim, outcome: Outcome, entries: Sequence[Sealed]) -> Claim:
        head, newest, _ = _progress(claim.lease, entries)
        update, lease = leases.finish(claim, head=head, newest=newest)
        changes: list[Change] = [update]
        if outcome.forget:
            changes = [
                Delete(key=update.key, condition=update.condition, parameters=update.parameters),
                *_forget(claim, large=outcome.large),
            ]
        else:
            changes += [*self._outcome(claim, outcome, head), *self._puts(claim, entries)]
        self._table.transact(changes)
        if outcome.large and self._blobs:
            self._blobs.delete(self._blobs.list(claim.tenant, claim.thread_id))
        return replace(claim, lease=lease)

    def _outcome(self, claim: Claim, outcome: Outcome, head: str | None) -> list[Change]:
        now = iso(self._clock())
        error = outcome.error
        return [
            runs.set_ended(
                claim.tenant,
                claim.thread_id,
                claim.run_id,
                status=outcome.status,
                updated_at=now,
                owner=claim.owner,
                error=error,
                head=head,
            ),
            threads.set_outcome(
                claim.tenant,
                claim.thread_id,
                status=outcome.thread_status,
                error=error.wire() if error else None,
                updated_at=now,
            ),
        ]

    def _ended(self, claim: Claim, outcome: Outcome) -> bool:
        row = self._table.get(keys.run(claim.tenant, claim.thread_id, claim.run_id))
        return row.get("ended_by") == claim.owner if row else outcome.forget

    def _still_mine(self, claim: Claim, refusal: Refused) -> Claim:
        """Take over what changed in the lease while it stayed ours; the finish is decided again from that."""
        if 0 not in refusal.items:
            raise NotFound(
                f"Thread {claim.thread_id} or run {claim.run_id} is gone; nothing was written."
            ) from refusal
        lease = leases.from_item(refusal.items[0])
        if lease.owner != claim.owner:
            raise _stale(claim) from refusal
        return replace(
            claim,
            lease=replace(
                claim.lease,
                seq=lease.seq,
                waiting=lease.waiting,
                cancel=lease.cancel,
                head=lease.head,
                newest=lease.newest,
            ),
        )

    def _puts(self, claim: Claim, entries: Sequence[Sealed]) -> list[Put]:
        return [self._records.put(claim.tenant, claim.thread_id, entry) for entry in entries]

    @staticmethod
    def _groups(entries: Sequence[Sealed]) -> list[list[Sealed]]:
        """Divide entries so that each group fits a transaction beside the lease and the rows."""
        groups: list[list[Sealed]] = []
        size = 0
        for entry in entries:
            weight = len(entry.body) + _OVERHEAD
            if not groups or len(groups[-1]) >= _MAX_CHANGES or size + weight > _MAX_BYTES:
                groups.append([])
                size = 0
            groups[-1].append(entry)
            size += weight
        return groups


def _progress(lease: Lease, entries: Sequence[Sealed]) -> tuple[str | None, str | None, int]:
    """Find head, newest id and step count of the lease after these entries."""
    records = [entry for entry in entries if entry.place is None]
    roots = [record for record in records if not record.namespace]
    head = roots[-1].checkpoint_id if roots else lease.head
    newest = max([record.checkpoint_id for record in records], default=None)
    if lease.newest and (newest is None or lease.newest > newest):
        newest = lease.newest
    return head, newest, lease.steps + len(roots)


def _forget(claim: Claim, *, large: bool) -> list[Change]:
    """Remove the rows of a stateless run; refused when its kwargs turn out to be in S3 as well."""
    inline = None if large else "attribute_not_exists(#kwargs_blob)"
    return [
        Delete(key=keys.thread(claim.tenant, claim.thread_id)),
        Delete(key=keys.run(claim.tenant, claim.thread_id, claim.run_id), condition=inline),
        Delete(key=keys.run_pointer(claim.tenant, claim.run_id)),
    ]


def _stale(claim: Claim) -> StaleOwner:
    return StaleOwner(
        f"Run {claim.run_id} on thread {claim.thread_id} belongs to another worker now; this one stops and writes nothing."
    )
