"""Dispatches: how a run that nobody executes comes to a worker, by the channel that its lease names."""

from __future__ import annotations

from typing import Protocol

from crewline.models.clocks import Clock
from crewline.models.leases import Lease
from crewline.store import leases
from crewline.store.queues import RunJob, RunQueue, delay_until
from crewline.store.table import Refused, Table
from crewline.store.workflows import SliceJob


class Workflow(Protocol):
    """The workflow as it is used here."""

    def start(self, job: SliceJob) -> None:
        """Start an execution; starting it twice starts it once."""


class Dispatches:
    """Sends runs to workers; a run that is sent twice is claimed once. Safe for many threads."""

    def __init__(self, table: Table, queue: RunQueue, workflow: Workflow, clock: Clock) -> None:
        self._table = table
        self._queue = queue
        self._workflow = workflow
        self._clock = clock

    def dispatch(self, tenant: str, thread_id: str, lease: Lease) -> None:
        """Send the run in flight to a worker.

        Raises:
            Unavailable: The channel did not take it; the lease expires, and the sweeper sends it again.
        """
        if lease.run is None:
            return
        if lease.channel == "workflow":
            job = SliceJob(tenant=tenant, thread_id=thread_id, run_id=lease.run, execution=lease.execution)
            self._workflow.start(job)
            return
        message = RunJob(tenant=tenant, thread_id=thread_id, run_id=lease.run)
        self._queue.send(message, delay_s=delay_until(lease.due, self._clock()))

    def again(self, tenant: str, thread_id: str, lease: Lease) -> bool:
        """Send a run again whose dispatch came to nothing; False when somebody else has it by now.

        An execution of the workflow that has ended cannot be started again, so another one is: the
        one before, if it still lives, sees that and ends.

        Raises:
            Unavailable: DynamoDB or the channel did not answer; the next sweep sends it again.
        """
        if lease.channel == "workflow":
            change, moved = leases.move(tenant, thread_id, lease)
            try:
                self._table.write(change)
            except Refused as exc:
                now = leases.from_item(exc.items.get(0))
                # One that differs in nothing is our own, whose answer was lost, or another sweeper's: it
                # starts the same execution.
                if (now.run, now.epoch, now.execution) != (moved.run, moved.epoch, moved.execution):
                    return False
            lease = moved
        self.dispatch(tenant, thread_id, lease)
        return True
