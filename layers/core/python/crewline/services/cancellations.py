"""Stopping runs: in flight or waiting, one or many; and deleting those that have ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal

from crewline.errors import Conflict, NotFound, RunEnded, Unavailable
from crewline.models.clocks import Clock, iso
from crewline.models.leases import Cancel, Lease
from crewline.models.runs import Run
from crewline.models.users import EVERYTHING, Filters
from crewline.services.endings import Announcer, Endings, stopped_at
from crewline.services.runs import Runs
from crewline.services.threads import not_found
from crewline.store import keys, leases, markers, runs, threads
from crewline.store.changes import Change
from crewline.store.markers import Marker
from crewline.store.table import Refused, Table

_TRIES: Final = 10
LATEST_MS: Final = 10**15 - 1
"""After every time that the index holds: delayed runs are in it under the time at which they are due."""

Wanted = Literal["pending", "running", "all"]


class Cancellations:
    """Stops runs; safe for many threads."""

    def __init__(
        self, table: Table, clock: Clock, *, runs: Runs, endings: Endings, announcer: Announcer
    ) -> None:
        self._table = table
        self._clock = clock
        self._runs = runs
        self._endings = endings
        self._announcer = announcer

    def cancel(self, tenant: str, thread_id: str, run_id: str, action: Cancel = "interrupt") -> None:
        """Ask a run to stop: `interrupt` keeps what it has done, `rollback` leaves nothing of it.

        One that waits, or that nobody has begun to execute, has ended when this returns. One that
        executes stops at its next checkpoint, or within seconds in the middle of a long node.

        Raises:
            InvalidRequest: An id is no UUID.
            NotFound: There is no such run.
            RunEnded: It has ended.
            Unavailable: DynamoDB did not answer, or the thread kept changing.
        """
        for _ in range(_TRIES):
            run = self._runs.get(tenant, thread_id, run_id, whole=False)
            if run.finished:
                raise RunEnded(
                    f"Run {run.run_id} has ended with status {run.status}; there is nothing to cancel."
                )
            waits = run.status == "pending"  # or is in flight and not yet claimed
            if waits and self._stop_waiting(tenant, run, action):
                return
            if self._stop_in_flight(tenant, run, action):
                return
        raise Unavailable(f"Thread {thread_id} is very busy; try again in a moment.")

    def cancel_many(
        self, tenant: str, thread_id: str, run_ids: Sequence[str], action: Cancel = "interrupt"
    ) -> None:
        """Ask runs of a thread to stop; those that have ended since are as wanted.

        Raises:
            InvalidRequest: An id is no UUID.
            NotFound: One of them does not exist; none was stopped.
            Unavailable: DynamoDB did not answer, or the thread kept changing.
        """
        found = [self._runs.get(tenant, thread_id, run_id, whole=False) for run_id in run_ids]
        for run in sorted(found, key=lambda one: one.turn, reverse=True):  # else one would start the next
            with suppress(NotFound):
                self.cancel(tenant, run.thread_id, run.run_id, action)

    def cancel_all(
        self,
        tenant: str,
        wanted: Wanted,
        action: Cancel = "interrupt",
        *,
        sees: Filters = EVERYTHING,
    ) -> None:
        """Ask every run of a tenant that has a status to stop.

        Work grows with the number of threads that are busy, of all tenants.

        Args:
            tenant: Whose runs.
            wanted: The status.
            action: What becomes of what they have done.
            sees: On which threads; all when it lets everything be seen.

        Raises:
            Unavailable: DynamoDB did not answer, or a thread kept changing.
        """
        for thread_id in self._busy_threads(tenant):
            if sees and not self._on_seen(tenant, thread_id, sees):
                continue
            lease = leases.from_item(self._table.get(keys.lease(tenant, thread_id)))
            if wanted != "running" and lease.waiting:
                waiting = markers.in_order(self._table, tenant, thread_id)
                self._cancel_each(tenant, thread_id, (one.run_id for one in reversed(waiting)), action)
            running = lease.owner is not None
            if lease.run and (wanted == "all" or running == (wanted == "running")):
                self._cancel_each(tenant, thread_id, [lease.run], action)

    def delete(self, tenant: str, thread_id: str, run_id: str) -> None:
        """Delete a run that has ended or waits; the state that it left stays.

        Raises:
            InvalidRequest: An id is no UUID.
            NotFound: There is no such run.
            Conflict: It is in flight.
            Unavailable: DynamoDB did not answer, or the thread kept changing.
        """
        for _ in range(_TRIES):
            run = self._runs.get(tenant, thread_id, run_id, whole=False)
            if not run.finished and self._stop_waiting(tenant, run, "rollback"):
                return
            gone: list[Change] = [
                runs.delete(tenant, run.thread_id, run.run_id),
                runs.delete_pointer(tenant, run.run_id),
                leases.not_in_flight(tenant, run.thread_id, run_id=run.run_id),
            ]
            try:
                if run.finished:
                    self._table.transact(gone)
                    return
            except Refused:
                continue
            lease = leases.from_item(self._table.get(keys.lease(tenant, run.thread_id)))
            if lease.run == run.run_id:
                raise Conflict(f"Run {run.run_id} is in flight; cancel it first, then delete it.")
        raise Unavailable(f"Thread {thread_id} is very busy; try again in a moment.")

    def _stop_waiting(self, tenant: str, run: Run, action: Cancel) -> bool:
        """Take a run out of the queue; False when it is not there."""
        marker = Marker(run_id=run.run_id, turn=run.turn, heard=run.heard)
        now = self._clock()
        changes: list[Change] = [
            leases.unqueue(tenant, run.thread_id),
            markers.delete(tenant, run.thread_id, marker),
        ]
        if action == "rollback":
            changes += [
                runs.delete(tenant, run.thread_id, run.run_id),
                runs.delete_pointer(tenant, run.run_id),
            ]
        else:
            changes.append(runs.set_superseded(tenant, run.thread_id, run.run_id, ended_at=iso(now)))
        stopped = stopped_at(run, iso(now), forgotten=action == "rollback")
        if announced := self._announcer.note(tenant, stopped, "run.canceled"):
            changes.append(announced)
        try:
            self._table.transact(changes)
        except Refused:
            return False
        if announced:
            self._announcer.try_to_publish(announced.key)
        return True

    def _stop_in_flight(self, tenant: str, run: Run, action: Cancel) -> bool:
        """Set the cancel of the run in flight; False when it is another one."""
        change = leases.cancel(tenant, run.thread_id, run_id=run.run_id, action=action, now=self._clock())
        try:
            lease: Lease = leases.from_item(self._table.write(change))
        except Refused as exc:
            if leases.from_item(exc.items.get(0)).deleted:
                raise not_found(run.thread_id) from exc
            return False
        with suppress(Conflict, Unavailable):  # a worker or the sweeper ends it
            self._endings.stop_unclaimed(tenant, run.thread_id, lease)
        return True

    def _cancel_each(self, tenant: str, thread_id: str, run_ids: Iterable[str], action: Cancel) -> None:
        for run_id in run_ids:
            with suppress(NotFound):  # it has ended since
                self.cancel(tenant, thread_id, run_id, action)

    def _on_seen(self, tenant: str, thread_id: str, sees: Filters) -> bool:
        item = self._table.get(keys.thread(tenant, thread_id))
        return item is not None and sees.match(threads.from_item(item).metadata)

    def _busy_threads(self, tenant: str) -> Iterator[str]:
        latest = keys.flight_time(LATEST_MS)
        for shard in keys.flight_shards():
            for key in self._table.query_index(keys.LEASES_IN_FLIGHT, shard, at_most=latest):
                whose = keys.lease_of(key)
                if whose and whose[0] == tenant:
                    yield whose[1]
