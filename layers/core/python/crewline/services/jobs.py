"""What a message of the run queue makes the worker do."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Protocol

from aws_lambda_powertools import Logger

from crewline.errors import NotFound, StaleOwner, ThreadBusy
from crewline.models.clocks import Clock
from crewline.models.leases import MOST_ATTEMPTS, Claim, Lease
from crewline.models.runs import Run
from crewline.observability import run_fields
from crewline.services.endings import Endings
from crewline.services.leases import Leases
from crewline.services.prunings import Prunings
from crewline.services.runs import Runs
from crewline.services.threads import Threads
from crewline.store.queues import PruneJob, PurgeJob, RunJob, RunQueue, delay_until, parse_job

NO_PROGRESS: Final = (
    f"{MOST_ATTEMPTS} workers in a row ended before its next superstep was done; look for their logs, and for "
    "a node that uses more time or memory than a worker has."
)


class Executor(Protocol):
    """The engine as the worker uses it."""

    def execute(self, run: Run, claim: Claim) -> Future[Any]:
        """Execute a claimed run; the future gives its answer."""


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
        executor: Executor,
        clock: Clock,
        logger: Logger,
    ) -> None:
        self._leases = leases
        self._endings = endings
        self._queue = queue
        self._clock = clock
        self._runs = runs
        self._threads = threads
        self._prunings = prunings
        self._executor = executor
        self._logger = logger

    def do(self, body: str) -> None:
        """Do what one message says.

        Args:
            body: The body of an SQS message.

        Raises:
            pydantic.ValidationError: It is not one of ours; the dead-letter queue takes it.
            Unavailable: DynamoDB or S3 did not answer; the message comes again.
        """
        match parse_job(body):
            case RunJob() as job:
                self._run(job)
            case PurgeJob() as job:
                self._threads.purge(job.tenant, job.thread_id)
            case PruneJob() as job:
                with suppress(NotFound, ThreadBusy):  # it was used since, and expires anew
                    self._prunings.keep_latest(job.tenant, job.thread_id)

    def _run(self, job: RunJob) -> None:
        claim = self._leases.claim(job.tenant, job.thread_id, job.run_id)
        if isinstance(claim, Lease):
            self._put_off(job, claim)
            return
        with self._logger.append_context_keys(**run_fields(claim)):
            if claim.lease.attempt > MOST_ATTEMPTS:
                self._endings.give_up_claimed(claim, NO_PROGRESS)
                return
            self._leases.show_running(claim)
            run = self._runs.get(job.tenant, job.thread_id, job.run_id)
            self._logger.info("run claimed", attempt=claim.lease.attempt)
            try:
                self._executor.execute(self._runs.settle(claim, run), claim).result()
            except StaleOwner as exc:
                self._logger.warning("run taken over", reason=exc.message)
                return
            self._logger.info("run finished")

    def _put_off(self, job: RunJob, lease: Lease) -> None:
        """Send the message of a run again that is due later than any message can wait."""
        if lease.run == job.run_id and lease.owner is None and lease.due > self._clock():
            self._queue.send(job, delay_s=delay_until(lease.due, self._clock()))
            return
        self._logger.info("nothing to do for this message", **job.model_dump())
