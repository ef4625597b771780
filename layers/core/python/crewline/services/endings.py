"""How a run ends: finished, interrupted, rolled back or given up, and who has the thread next.

The end is one transaction: the last records, the run's row, the thread's row and the lease, which
is freed or handed to the run that waits longest. It is decided from the lease as it is; whatever
happens in between moves the lease, refuses the transaction, and is decided again. Messages follow
the transaction: one that is lost is sent by the sweeper.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from aws_lambda_powertools import Logger

from crewline.checkpoints.records import Sealed
from crewline.errors import Unavailable
from crewline.models.clocks import Clock, iso
from crewline.models.leases import Claim, Lease, Rest
from crewline.models.lifecycles import Happening, ending
from crewline.models.runs import Run, RunError, RunStatus, Usage
from crewline.observability import UNMEASURED, Measures
from crewline.services.leases import Leases, progress, stale
from crewline.store import keys, leases, markers, runs, threads
from crewline.store.blobs import Blobs
from crewline.store.changes import Change, Delete, Put, grouped
from crewline.store.keys import Key
from crewline.store.markers import Marker
from crewline.store.queues import PurgeJob, RunJob, RunQueue, delay_until
from crewline.store.records import Records
from crewline.store.table import Refused, Table

_TRIES: Final = 12
_PAUSE_S: Final = 0.02
_MOST_CHANGES: Final = 100
"""Writes of one transaction."""
_OWN_CHANGES: Final = 6
"""Of a finish: lease, run, thread, outbox, last events, the next run's marker."""
_RUN_ROW: Final = 1
"""Place of the run's row in the finishing transaction; the lease is first."""
_UNDO_GROUP: Final = 25
KEEP_S: Final = 300
"""How long a stateless run that others may join stays readable after its end."""


class Announcer(Protocol):
    """Who tells the listeners that a run has ended."""

    @property
    def hears_all(self) -> bool:
        """Whether somebody is told of every run, those without a webhook too."""

    def note(self, tenant: str, run: Run, happening: Happening) -> Put | None:
        """Make the item that a transaction writes; None when nobody listens."""

    def try_to_publish(self, key: Key) -> None:
        """Send what an item says, then remove it; or leave it to the sweeper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended."""

    status: RunStatus
    thread_status: Rest
    error: RunError | None = None
    usage: Usage | None = None
    run: Run | None = None
    """The run; None when nobody is told of its end, and nobody measures it."""
    given_up: bool = False
    """It was ended because nobody got on with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What is known when a run has ended."""

    status: RunStatus
    lease: Lease
    """The thread's lease as the end left it."""
    rest: Rest
    """What the run left the thread as."""
    undone: bool = False
    """The run was rolled back: its row and everything it wrote are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How a run is to end, and whom that concerns."""

    changes: Sequence[Change]
    following: Marker | None
    heard: Sequence[Key]
    outcome: Outcome
    steps: int
    ended: Ended


Said = Callable[[Outcome], Sequence[Change]]


def _nothing(_: Outcome) -> Sequence[Change]:
    return ()


@dataclass(frozen=True, slots=True)
class _Queue:
    """The markers of a thread at one moment."""

    superseded: tuple[Marker, ...] = ()
    waiting: tuple[Marker, ...] = ()

    @property
    def following(self) -> Marker | None:
        return self.waiting[0] if self.waiting else None


class Endings:
    """Ends runs; safe for many threads."""

    def __init__(
        self,
        table: Table,
        blobs: Blobs | None,
        records: Records,
        queue: RunQueue,
        announcer: Announcer,
        clock: Clock,
        *,
        leases: Leases,
        logger: Logger,
        measures: Measures = UNMEASURED,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records
        self._queue = queue
        self._announcer = announcer
        self._clock = clock
        self._leases = leases
        self._logger = logger
        self._measures = measures

    def finish(
        self, claim: Claim, outcome: Outcome, entries: Sequence[Sealed], said: Said = _nothing
    ) -> Ended:
        """End a run and free its thread, or hand the thread over, in one transaction with the last entries.

        Who asked meanwhile for a rollback gets it; who asked for an interrupt finds the run
        interrupted, with what it had done.

        Args:
            claim: The claim as this process last left it.
            outcome: How the execution ended.
            entries: Records and late writes that no commit has written yet, oldest first.
            said: Gives the writes of the run's last events, by how it really ended.

        Returns:
            How it really ended, and the lease as the end left it.

        Raises:
            StaleOwner: Somebody else has claimed the run since; nothing of this was written.
            Unavailable: DynamoDB or S3 did not answer; the lease expires and the run is resumed.
        """
        *earlier, last = list(grouped(entries, self._records.weight)) or [[]]
        if _leaves_nothing(claim.lease) or claim.lease.cancel == "rollback":
            earlier = []  # nothing of it is to stay
        for group in earlier:
            claim = self._leases.commit(claim, group, ending=True)
        return self._end(claim, outcome, last, said)

    def give_up(self, tenant: str, thread_id: str, run_id: str, reason: str) -> bool:
        """End a run that makes no progress, as an error that says why.

        Returns:
            Whether it was ended; it was not when somebody executes it or it is not in flight.

        Raises:
            StaleOwner: Somebody has claimed it in between.
            Unavailable: DynamoDB did not answer.
        """
        claim = self._leases.claim(tenant, thread_id, run_id)
        if isinstance(claim, Lease):
            return False
        self.give_up_claimed(claim, reason)
        return True

    def give_up_claimed(self, claim: Claim, reason: str) -> Ended:
        """Do what `give_up` does for a run that this process has claimed.

        Raises:
            StaleOwner: Somebody else has claimed it in between.
            Unavailable: DynamoDB did not answer.
        """
        self._logger.error("run given up", run_id=claim.run_id, thread_id=claim.thread_id, reason=reason)
        error = RunError(error="RunGivenUp", message=f"Run {claim.run_id} was given up: {reason}")
        outcome = Outcome(
            status="error", thread_status="error", error=error, run=self._row(claim), given_up=True
        )
        return self.finish(claim, outcome, ())

    def stop_unclaimed(self, tenant: str, thread_id: str, lease: Lease) -> None:
        """See to it that a cancelled run which nobody executes comes to its end.

        One that has not begun is claimed and finished here. One that has is sent to a worker, which
        knows its graph, and so what the thread is to be shown as.

        ```
        C: cancel ──▶ unclaimed, not fed ── C: claim ── C: finish
        C: cancel ──▶ ── dies ··· message, or sweeper ── W: claim ──▶ cancel set: W finishes it
        C: cancel ──▶ ─ W: claim ── C: claim ──✗ W has it, and finds the cancel
        ```

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            lease: The lease, as the cancel left it.

        Raises:
            Unavailable: DynamoDB did not answer; the sweeper finds the run.
        """
        run_id = lease.run
        if run_id is None or not lease.unclaimed(self._clock()):
            return
        if lease.fed:
            self._send(RunJob(tenant=tenant, thread_id=thread_id, run_id=run_id))
            return
        claim = self._leases.claim(tenant, thread_id, run_id)
        if isinstance(claim, Claim):
            self.finish(
                claim,
                Outcome(status="interrupted", thread_status=claim.lease.was, run=self._row(claim)),
                (),
            )

    # ------------------------------------------------------------------ the transaction

    def _end(
        self,
        claim: Claim,
        outcome: Outcome,
        entries: Sequence[Sealed],
        said: Said = _nothing,
        *,
        undone: bool = False,
    ) -> Ended:
        with_row = True
        plan: _Plan | None = None
        unclear: _Plan | None = None
        for attempt in range(_TRIES):
            if claim.lease.cancel == "rollback" and not undone:
                return self._roll_back(claim, outcome.run)
            if undone:
                self._remove_traces(claim)
            asked = _as_asked(outcome, claim.lease)
            try:
                if _leaves_nothing(claim.lease):
                    plan = self._forgetting(claim, asked, entries, undone=undone)
                    self._forget(claim, plan)
                    self._follow(claim, plan)
                    return plan.ended
                plan = None
                queue = self._waiting(claim)
                if len(entries) + 3 * len(queue.superseded) + _OWN_CHANGES > _MOST_CHANGES:
                    claim = self._leases.commit(claim, entries, ending=True)
                    entries = ()
                last = [*self._puts(claim, entries), *said(asked)]
                plan = self._plan(claim, asked, entries, last, queue, undone=undone, with_row=with_row)
                self._table.transact(plan.changes)
                self._follow(claim, plan)
                return plan.ended
            except Unavailable:
                if attempt == _TRIES - 1:
                    raise
                unclear = unclear or plan
            except Refused as exc:
                # After an unclear answer the refusal may come from our own end, which landed.
                if attempt and (ended := self._landed(claim, asked)):
                    self._follow(claim, unclear)
                    return ended
                with_row &= exc.items.get(_RUN_ROW, exc) is not None  # its row is gone: the thread goes on
                claim = self._still_mine(claim, exc)
            _pause(attempt)
        raise Unavailable(
            f"Thread {claim.thread_id} kept changing while run {claim.run_id} ended; it is resumed soon."
        )

    def _plan(
        self,
        claim: Claim,
        outcome: Outcome,
        entries: Sequence[Sealed],
        last: Sequence[Change],
        queue: _Queue,
        *,
        undone: bool,
        with_row: bool,
    ) -> _Plan:
        now = self._clock()
        head, chain, newest, steps = progress(claim.lease, entries)
        update, lease = leases.finish(
            claim,
            head=head,
            chain=chain,
            newest=newest,
            rest=outcome.thread_status,
            now=now,
            waiting=max(0, len(queue.waiting) - 1),
            following=queue.following,
        )
        if claim.lease.private:
            update = leases.entomb(claim, now=now, purge_at=now + claim.lease.keep_s * 1000)
            lease = Lease()
        changes: list[Change] = [update]
        if with_row:
            changes.append(self._run_row(claim, outcome, head, undone=undone))
        changes.append(self._thread_row(claim, outcome, queue.following, undone=undone))
        changes += last
        told = self._tell(claim, outcome)
        for marker in queue.superseded:
            changes += self._supersede(claim, marker, now, told)
        if queue.following:
            changes.append(markers.delete(claim.tenant, claim.thread_id, queue.following))
        return _Plan(
            changes=[*changes, *told],
            following=queue.following,
            heard=[put.key for put in told],
            outcome=outcome,
            steps=steps,
            ended=Ended(status=outcome.status, lease=lease, rest=outcome.thread_status, undone=undone),
        )

    def _forgetting(
        self, claim: Claim, outcome: Outcome, entries: Sequence[Sealed], *, undone: bool
    ) -> _Plan:
        """Plan to remove every row of a stateless run that executed in place: it has committed nothing."""
        gone = leases.entomb(claim, now=0, purge_at=0)
        told = self._tell(claim, outcome)
        changes: list[Change] = [
            Delete(key=gone.key, condition=gone.condition, parameters=gone.parameters),
            runs.delete(claim.tenant, claim.thread_id, claim.run_id, must_exist=False),
            runs.delete_pointer(claim.tenant, claim.run_id),
            Delete(key=keys.thread(claim.tenant, claim.thread_id)),
            *told,
        ]
        return _Plan(
            changes=changes,
            following=None,
            heard=[put.key for put in told],
            outcome=outcome,
            steps=progress(claim.lease, entries)[3],
            ended=Ended(status=outcome.status, lease=Lease(), rest=outcome.thread_status, undone=undone),
        )

    def _forget(self, claim: Claim, plan: _Plan) -> None:
        """Remove what the plan says, and what the run was asked for if that is in S3."""
        lease, row, *rest = plan.changes
        try:
            self._table.transact([lease, replace(row, condition="attribute_not_exists(#kwargs_blob)"), *rest])
        except Refused as exc:
            if not (exc.items.get(_RUN_ROW) or {}).get("kwargs_blob"):
                raise
            self._table.transact(plan.changes)
            if self._blobs:
                self._blobs.delete(self._blobs.list(claim.tenant, claim.thread_id))

    def _puts(self, claim: Claim, entries: Sequence[Sealed]) -> list[Change]:
        return [
            self._records.put(claim.tenant, claim.thread_id, entry, turn=claim.lease.turn)
            for entry in entries
        ]

    def _run_row(self, claim: Claim, outcome: Outcome, head: str | None, *, undone: bool) -> Change:
        if undone:
            return runs.delete(claim.tenant, claim.thread_id, claim.run_id)
        return runs.set_ended(
            claim.tenant,
            claim.thread_id,
            claim.run_id,
            status=outcome.status,
            ended_at=iso(self._clock()),
            started_at=iso(claim.lease.started),
            owner=claim.owner,
            error=outcome.error,
            head=head,
            usage=outcome.usage or claim.lease.usage,
        )

    def _thread_row(
        self, claim: Claim, outcome: Outcome, following: Marker | None, *, undone: bool
    ) -> Change:
        tenant, thread_id, now = claim.tenant, claim.thread_id, iso(self._clock())
        if claim.lease.private:
            return threads.delete_private(tenant, thread_id)
        status = "busy" if following else outcome.thread_status
        if undone:
            return threads.set_status(tenant, thread_id, status=status, updated_at=now)
        error = outcome.error.wire() if outcome.error else None
        return threads.set_outcome(tenant, thread_id, status=status, error=error, updated_at=now)

    def _supersede(self, claim: Claim, marker: Marker, now: int, told: list[Put]) -> Iterator[Change]:
        yield markers.delete(claim.tenant, claim.thread_id, marker)
        forgotten = claim.lease.drop == "rollback"
        if forgotten:
            yield runs.delete(claim.tenant, claim.thread_id, marker.run_id, must_exist=False)
        else:
            yield runs.set_superseded(
                claim.tenant, claim.thread_id, marker.run_id, ended_at=iso(now), owner=claim.owner
            )
        if not self._announcer.hears_all and (forgotten or not marker.heard):
            return
        if run := runs.get(
            self._table, self._blobs, claim.tenant, claim.thread_id, marker.run_id, whole=False
        ):
            stopped = stopped_at(run, iso(now), forgotten=forgotten)
            if put := self._announcer.note(claim.tenant, stopped, "run.canceled"):
                told.append(put)

    def _tell(self, claim: Claim, outcome: Outcome) -> list[Put]:
        """Make the item that tells of a run's end, if somebody listens."""
        if outcome.run is None:
            return []
        ended = replace(
            outcome.run,
            status=outcome.status,
            started_at=iso(claim.lease.started),
            ended_at=iso(self._clock()),
            error=outcome.error,
            usage=outcome.usage or claim.lease.usage,
        )
        put = self._announcer.note(claim.tenant, ended, ending(outcome.status, outcome.thread_status))
        return [put] if put else []

    def _follow(self, claim: Claim, plan: _Plan | None) -> None:
        """Send the messages that the transaction calls for, which the sweeper sends if they are lost; and measure."""
        if plan is None:
            return
        tenant, thread_id, following = claim.tenant, claim.thread_id, plan.following
        if following:
            job = RunJob(tenant=tenant, thread_id=thread_id, run_id=following.run_id)
            self._send(job, delay_s=delay_until(following.due, self._clock()))
        if claim.lease.private and 0 < claim.lease.keep_s <= KEEP_S:
            self._send(PurgeJob(tenant=tenant, thread_id=thread_id), delay_s=claim.lease.keep_s)
        for key in plan.heard:
            self._announcer.try_to_publish(key)
        outcome = plan.outcome
        if outcome.run:
            self._measures.run_ended(
                outcome.run,
                claim.lease,
                status=outcome.status,
                usage=outcome.usage or claim.lease.usage,
                steps=plan.steps,
                given_up=outcome.given_up,
                now=self._clock(),
            )

    def _send(self, job: RunJob | PurgeJob, *, delay_s: int = 0) -> None:
        try:
            self._queue.send(job, delay_s=delay_s)
        except Unavailable as exc:
            self._logger.warning("message not sent, the sweeper will", reason=exc.message, **job.model_dump())

    # ------------------------------------------------------------------ what it is decided from

    def _waiting(self, claim: Claim) -> _Queue:
        lease = claim.lease
        if not lease.waiting:
            return _Queue()
        found = markers.in_order(self._table, claim.tenant, claim.thread_id)
        upto = lease.upto or 0
        return _Queue(
            tuple(marker for marker in found if marker.turn < upto),
            tuple(marker for marker in found if marker.turn >= upto),
        )

    def _landed(self, claim: Claim, outcome: Outcome) -> Ended | None:
        """Tell whether the run has ended by our own doing, although no answer said so."""
        row = self._table.get(keys.run(claim.tenant, claim.thread_id, claim.run_id))
        if row is None:
            if not (claim.lease.undoing or _leaves_nothing(claim.lease)):
                return None
            # No lease: others may have been here since, and what this end left is not known any more.
            return Ended(
                status=outcome.status,
                lease=Lease(),
                rest=outcome.thread_status,
                undone=claim.lease.undoing,
            )
        if row.get("ended_by") != claim.owner:
            return None
        return Ended(status=row["status"], lease=Lease(), rest=outcome.thread_status)

    def _still_mine(self, claim: Claim, refusal: Refused) -> Claim:
        """Take over what changed in the lease while it stayed ours; the end is decided again from that."""
        item = refusal.items.get(0)
        if item is None:  # the lease itself refused nothing, or is gone
            item = self._table.get(keys.lease(claim.tenant, claim.thread_id))
        lease = leases.from_item(item)
        if lease.owner != claim.owner:
            raise stale(claim) from refusal
        return replace(
            claim,
            lease=replace(
                claim.lease,
                seq=lease.seq,
                waiting=lease.waiting,
                cancel=lease.cancel,
                upto=lease.upto,
                drop=lease.drop,
                head=lease.head,
                chain=lease.chain,
                newest=lease.newest,
                fed=lease.fed,
            ),
        )

    def _row(self, claim: Claim) -> Run | None:
        """Read the run that a claim is on, for those who are told of its end."""
        return runs.get(self._table, self._blobs, claim.tenant, claim.thread_id, claim.run_id, whole=False)

    # ------------------------------------------------------------------ rolling back

    def _roll_back(self, claim: Claim, run: Run | None) -> Ended:
        """Undo a run: the lease is kept until nothing of it is left, then its row goes and the thread moves on.

        ```
        W1: head = base, readers see the state from before ── removes records ── dies ··· until passes
        W2: claim ── head = base ── removes the rest ── finish: row gone, thread free or handed over
        ```
        """
        update, _ = leases.undo(claim, now=self._clock())
        try:
            lease = leases.from_item(
                self._table.write(update)
            )  # what the table says was written, not what we know
        except Refused as exc:
            raise stale(claim) from exc
        # Its row goes with the end, so a webhook could not say anything of it; an event has it all.
        outcome = Outcome(
            status="interrupted", thread_status=lease.was, run=replace(run, heard=False) if run else None
        )
        return self._end(replace(claim, lease=lease), outcome, (), undone=True)

    def _remove_traces(self, claim: Claim) -> None:
        tenant, thread_id = claim.tenant, claim.thread_id
        found: list[Change] = []
        if claim.lease.fed:
            found += [
                Delete(key=key) for key in self._records.keys_of_turn(tenant, thread_id, claim.lease.turn)
            ]
        gone = [claim.run_id]
        if claim.lease.drop == "rollback":
            gone += [marker.run_id for marker in self._waiting(claim).superseded]
        for run_id in gone:
            found.append(runs.delete_pointer(tenant, run_id))
            events = keys.event(tenant, run_id, 0, 0).partition
            found += [
                Delete(key=Key(events, item[keys.SORT])) for item in self._table.query(events, keys_only=True)
            ]
        for start in range(0, len(found), _UNDO_GROUP):
            self._table.transact(found[start : start + _UNDO_GROUP])


def stopped_at(run: Run, ended_at: str, *, forgotten: bool) -> Run:
    """Give a run that waited as it is when it was stopped; one whose row goes has nothing for a webhook to say."""
    return replace(run, status="interrupted", ended_at=ended_at, heard=run.heard and not forgotten)


def _as_asked(outcome: Outcome, lease: Lease) -> Outcome:
    """Show a run as interrupted that somebody has asked to stop, even if it was done already."""
    if lease.cancel == "interrupt" and outcome.status == "success":
        return replace(outcome, status="interrupted")
    return outcome


def _leaves_nothing(lease: Lease) -> bool:
    """Tell whether the run is one that leaves nothing: stateless, in place, and nobody will ask for it."""
    return lease.private and not lease.keep_s


def _pause(attempt: int) -> None:
    time.sleep(random.uniform(0, _PAUSE_S * min(attempt, 5)))  # noqa: S311 (jitter)
