"""What the worker does: what a message of the run queue says, or a slice of a run for the workflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Protocol

from aws_lambda_powertools import Logger

from crewline.errors import NotFound, StaleOwner, ThreadBusy, Unavailable
from crewline.models.clocks import Clock
from crewline.models.leases import LEASE_MS, MOST_ATTEMPTS, Claim, Continues, Lease
from crewline.models.runs import Run
from crewline.observability import UNMEASURED, Measures, run_fields
from crewline.services.dispatches import Dispatches
from crewline.services.endings import Endings
from crewline.services.leases import Leases
from crewline.services.prunings import Prunings
from crewline.services.runs import Runs
from crewline.services.threads import Threads
from crewline.store.queues import PruneJob, PurgeJob, RunJob, RunQueue, delay_until, parse_job
from crewline.store.workflows import SliceJob

NO_PROGRESS: Final = (
    f"{MOST_ATTEMPTS} workers in a row ended before its next superstep was done; look for their logs, and for "
    "a node that uses more time or memory than a worker has."
)


class Executor(Protocol):
    """The engine as the worker uses it."""

    def execute(self, run: Run, claim: Claim, *, ends: float | None) -> Future[Any]:
        """Execute a claimed run; the future gives its answer, or how it continues."""


class Jobs:
    """Does the jobs of the run queue; every job may come twice."""

    def __init__(
        self,
        *,
        leases: Leases,
        endings: Endings,
        runs: Runs,
        threads: Threads,
        prunings: Prunings,
        queue: RunQueue,
        dispatches: Dispatches,
        executor: Executor,
        clock: Clock,
        logger: Logger,
        most_slices: int,
        measures: Measures = UNMEASURED,
    ) -> None:
        self._dispatches = dispatches
        self._most_slices = most_slices
        self._measures = measures
        self._leases = leases
        self._endings = endings
        self._queue = queue
        self._clock = clock
        self._runs = runs
        self._threads = threads
        self._prunings = prunings
        self._executor = executor
        self._logger = logger

    def do(self, body: str, *, ends: float | None = None) -> None:
        """Do what one message says.

        Args:
            body: The body of an SQS message.
            ends: When the invocation ends, in seconds of the monotonic clock.

        Raises:
            pydantic.ValidationError: It is not one of ours; the dead-letter queue takes it.
            Unavailable: DynamoDB or S3 did not answer; the message comes again.
        """
        match parse_job(body):
            case RunJob() as job:
                self._run(job, ends)
            case PurgeJob() as job:
                self._threads.purge(job.tenant, job.thread_id)
            case PruneJob() as job:
                with suppress(NotFound, ThreadBusy):  # it was used since, and expires anew
                    self._prunings.keep_latest(job.tenant, job.thread_id)

    def slice(self, event: Mapping[str, Any], *, ends: float) -> dict[str, Any]:
        """Execute a slice of a run, and say how the workflow goes on.

        ```
        X1: Slice ── continue ── Slice ── continue ··· Slice ── done
        X1: Slice ── dies ── Wait ── Slice ──▶ the lease is held: wait ── Slice ──▶ expired: claims it, goes on
        X1: is stopped by somebody ··· sweeper: execution 2 ── X2: Slice      X1: Slice ──▶ execution 2: done
        X1: 3,000th slice ── execution 2 ── starts X2 ──▶ done      X2: Slice ── continue ···
        ```

        Args:
            event: A `SliceJob`.
            ends: When the invocation ends, in seconds of the monotonic clock.

        Returns:
            The job of the next slice, with `next`: `continue`; `wait`, with `seconds`; `done`; or `failed`, with `error`, the class of the run's.

        Raises:
            pydantic.ValidationError: The event is no such job.
            Unavailable: DynamoDB or S3 did not answer; the workflow tries again.
        """
        job = SliceJob.model_validate(event)
        claim = self._leases.claim(job.tenant, job.thread_id, job.run_id, execution=job.execution)
        following = job.model_dump()
        if isinstance(claim, Lease):
            return {**following, **self._without(job, claim)}
        continues = self._execute(claim, ends)
        if continues is None:
            return {**following, **self._came_to(job)}
        if job.slice >= self._most_slices:
            self._dispatches.again(job.tenant, job.thread_id, continues.claim.lease)
            return {**following, "next": "done"}
        return {**following, "slice": job.slice + 1, "next": "continue"}

    def _without(self, job: SliceJob, lease: Lease) -> dict[str, Any]:
        """Say how the workflow goes on that got no claim."""
        if lease.run != job.run_id:
            return self._came_to(job)
        if lease.execution > job.execution:
            return {"next": "done"}  # another execution goes on with it
        free_at = max(lease.until if lease.owner else 0, lease.due)
        return {"next": "wait", "seconds": max(1, math.ceil((free_at + 1 - self._clock()) / 1000))}

    def _came_to(self, job: SliceJob) -> dict[str, Any]:
        """Say how a run has ended."""
        try:
            run = self._runs.get(job.tenant, job.thread_id, job.run_id, whole=False)
        except NotFound:  # it was rolled back, or removed since
            return {"next": "done"}
        if (
            not run.finished
        ):  # a worker that no workflow asked has taken it over: who asks for the next slice?
            return {"next": "wait", "seconds": LEASE_MS // 1000 + 1}
        if run.error is None:
            return {"next": "done"}
        return {"next": "failed", "error": run.error.error}  # its message may hold what a customer said

    def _run(self, job: RunJob, ends: float | None) -> None:
        claim = self._leases.claim(job.tenant, job.thread_id, job.run_id)
        if isinstance(claim, Lease):
            self._put_off(job, claim)
            return
        self._execute(claim, ends)

    def _execute(self, claim: Claim, ends: float | None) -> Continues | None:
        """Execute a claimed run; None when it has ended, or another worker has taken it over."""
        with self._logger.append_context_keys(**run_fields(claim)):
            if claim.lease.attempt > MOST_ATTEMPTS:
                self._endings.give_up_claimed(claim, NO_PROGRESS)
                return None
            run = self._runs.get(claim.tenant, claim.thread_id, claim.run_id)
            run = self._runs.show_running(claim, run)
            if run.kwargs["long"] and claim.lease.channel == "queue" and not claim.lease.cancel:
                self._move(claim)
                return None
            self._logger.info("run claimed", attempt=claim.lease.attempt)
            if claim.lease.resumed:
                self._measures.run_resumed(run)
            try:
                run, claim = self._runs.settle(claim, run)
                answer = self._executor.execute(run, claim, ends=ends).result()
            except StaleOwner as exc:
                self._logger.warning("run taken over", reason=exc.message)
                return None
            if isinstance(answer, Continues):
                self._logger.info("slice ended", steps=answer.claim.lease.steps)
                return answer
            self._logger.info("run finished")
            return None

    def _move(self, claim: Claim) -> None:
        """Give a run that was asked to be long to the workflow, before anything of it has begun.

        ```
        W: claim ── end slice ──▶ unclaimed, execution 1 ── starts run-1
        W: claim ── end slice ──▶ ── dies ··· the sweeper starts run-2      W: claim ── dies ··· its message comes again
        ```
        """
        try:
            lease = self._leases.end_slice(claim, longest=0)
        except StaleOwner as exc:
            self._logger.warning("run taken over", reason=exc.message)
            return
        try:
            self._dispatches.dispatch(claim.tenant, claim.thread_id, lease)
        except (
            Unavailable
        ) as exc:  # it is in flight, and found by the sweeper: its message has nothing more to do
            self._logger.warning("run not sent on, the sweeper will", reason=exc.message)
            return
        self._logger.info("run goes to the workflow")

    def _put_off(self, job: RunJob, lease: Lease) -> None:
        """Send the message of a run again that is due later than any message can wait."""
        if lease.run == job.run_id and lease.owner is None and lease.due > self._clock():
            self._queue.send(job, delay_s=delay_until(lease.due, self._clock()))
            return
        self._logger.info("nothing to do for this message", **job.model_dump())
