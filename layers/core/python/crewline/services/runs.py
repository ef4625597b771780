"""Runs: start, read, and what a finished one answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final
from uuid import uuid4

from crewline.checkpoints.projection import INTERRUPT, project_interrupts, project_values
from crewline.checkpoints.records import Snapshot
from crewline.errors import BadRequest, NotFound, ThreadBusy, ThreadExists, Unavailable
from crewline.models.assistants import Assistant
from crewline.models.clocks import Clock, iso, new_id, parse_id
from crewline.models.leases import Claim, Lease
from crewline.models.runs import Run, RunCreate, RunStatus
from crewline.models.threads import Thread, ThreadCreate
from crewline.services.assistants import Assistants
from crewline.services.threads import Threads, not_found
from crewline.store import keys, leases, runs, threads
from crewline.store.blobs import Blobs
from crewline.store.changes import Change
from crewline.store.queues import RunJob, RunQueue
from crewline.store.records import Records
from crewline.store.table import Refused, Table

_START_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run in flight, and the claim when this process executes it."""

    run: Run
    claim: Claim


class Runs:
    """The runs of all tenants; safe for many threads."""

    def __init__(
        self,
        table: Table,
        blobs: Blobs,
        records: Records,
        queue: RunQueue,
        clock: Clock,
        *,
        threads: Threads,
        assistants: Assistants,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records
        self._queue = queue
        self._clock = clock
        self._threads = threads
        self._assistants = assistants

    def create(self, tenant: str, thread_id: str, body: RunCreate) -> Run:
        """Start a run that a worker will execute.

        The run is in flight before its message is sent: a message that is lost delays it, the
        sweeper sends another.

        Returns:
            The run, pending.

        Raises:
            InvalidRequest: The assistant is unknown, or fields contradict each other.
            NotFound: The thread or the assistant does not exist.
            ThreadBusy: Another run is in flight.
            Unavailable: DynamoDB, S3 or SQS did not answer.
        """
        delay_s = math.ceil(body.after_seconds or 0)
        run, _ = self._start(tenant, thread_id, body, owner=None, delay_s=delay_s)
        self._queue.send(RunJob(tenant=tenant, thread_id=run.thread_id, run_id=run.run_id), delay_s=delay_s)
        return run

    def start(self, tenant: str, thread_id: str, body: RunCreate) -> Started:
        """Start a run and claim it in the same write, to execute it in place.

        Raises:
            InvalidRequest: The assistant is unknown, or fields contradict each other.
            NotFound: The thread or the assistant does not exist.
            ThreadBusy: Another run is in flight.
            Unavailable: DynamoDB or S3 did not answer.
        """
        owner = uuid4().hex
        run, lease = self._start(tenant, thread_id, body, owner=owner, delay_s=0)
        return _started(tenant, run, owner, lease)

    def start_stateless(self, tenant: str, body: RunCreate) -> Started:
        """Start and claim a run on a private thread that is made in the same write.

        Raises:
            BadRequest: The run resumes, which needs a thread that asked.
            InvalidRequest: The assistant is unknown, or fields contradict each other.
            NotFound: The assistant does not exist.
            Unavailable: DynamoDB or S3 did not answer.
        """
        if body.command is not None and "resume" in body.command.model_fields_set:
            raise BadRequest("You must provide a thread_id when resuming.")
        if body.fork:
            raise BadRequest("You must provide a thread_id to start from a checkpoint.")
        assistant = self._assistants.resolve(body.assistant_id)
        owner, now = uuid4().hex, self._clock()
        run = self._make(assistant, new_id(), body, status="running", now=now)
        run = replace(run, kwargs={**run.kwargs, "temporary": body.on_completion == "delete"})
        thread = Thread(
            thread_id=run.thread_id,
            created_at=run.created_at,
            updated_at=run.created_at,
            state_updated_at=run.created_at,
            status="busy",
            metadata=_thread_metadata(assistant),
            config=run.kwargs["config"],
        )
        start, lease = leases.start(tenant, run.thread_id, Lease(), run_id=run.run_id, now=now, owner=owner)
        self._table.transact(
            [start, threads.create(tenant, thread, token=run.run_id), *self._rows(tenant, run)]
        )
        return _started(tenant, run, owner, lease)

    def get(self, tenant: str, thread_id: str, run_id: str) -> Run:
        """Read a run.

        Raises:
            InvalidRequest: An id is no UUID.
            NotFound: There is no such run on this thread.
            Unavailable: DynamoDB or S3 did not answer.
        """
        thread_id, run_id = parse_id(thread_id, "thread"), parse_id(run_id, "run")
        run = runs.get(self._table, self._blobs, tenant, thread_id, run_id)
        if run is None:
            raise NotFound(f"Run with ID {run_id} not found on thread {thread_id}.")
        return run

    def result(self, tenant: str, run: Run) -> Any:
        """Show what a finished run answers to those who join it.

        Returns:
            The values it left, only its questions when it stopped at some, or its error.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: Its last checkpoint does not decode.
        """
        if run.error:
            return {"__error__": run.error.wire()}
        if not run.head:
            return {}
        snapshot = self._records.get(tenant, run.thread_id, "", run.head)
        if snapshot is None:
            return {}
        questions = _questions(snapshot)
        return {INTERRUPT: questions} if questions else project_values(snapshot.record)

    def _start(
        self, tenant: str, thread_id: str, body: RunCreate, *, owner: str | None, delay_s: int
    ) -> tuple[Run, Lease]:
        thread_id = parse_id(thread_id, "thread")
        assistant = self._assistants.resolve(body.assistant_id)
        fork = parse_id(body.fork, "checkpoint") if body.fork else None
        run = self._make(
            assistant, thread_id, body, status="running" if owner else "pending", now=self._clock()
        )
        for _ in range(_START_TRIES):
            if fork and self._records.get(tenant, thread_id, "", fork) is None:
                self._threads.read(tenant, thread_id)  # an unknown thread is said first
                raise NotFound(f"Checkpoint {fork} not found on thread {thread_id}.")
            lease = self._free_lease(tenant, thread_id, body)
            now = self._clock()
            due = now + delay_s * 1000 if delay_s else 0
            start, after = leases.start(
                tenant, thread_id, lease, run_id=run.run_id, now=now, owner=owner, due=due
            )
            busy = threads.set_busy(
                tenant,
                thread_id,
                metadata=_thread_metadata(assistant),
                config=run.kwargs["config"],
                updated_at=iso(now),
            )
            try:
                self._table.transact([start, busy, *self._rows(tenant, run)])
            except Refused:
                continue  # somebody was between read and write: look again
            return run, after
        raise Unavailable(f"Thread {thread_id} is very busy; try again in a moment.")

    def _free_lease(self, tenant: str, thread_id: str, body: RunCreate) -> Lease:
        thread, lease = threads.read(self._table, tenant, thread_id)
        if thread is None:
            if body.if_not_exists != "create":
                raise not_found(thread_id)
            with suppress(ThreadExists):  # another request made it in between, which is as good
                self._threads.create(tenant, ThreadCreate(thread_id=thread_id))
            lease = leases.from_item(self._table.get(keys.lease(tenant, thread_id)))
        if not lease.free:
            raise ThreadBusy(
                f"Thread {thread_id} is already running a task: run {lease.run}. Wait for it to finish, then try again."
            )
        return lease

    def _make(
        self, assistant: Assistant, thread_id: str, body: RunCreate, *, status: RunStatus, now: int
    ) -> Run:
        return Run(
            run_id=new_id(),
            thread_id=thread_id,
            assistant_id=assistant.assistant_id,
            graph_id=assistant.graph_id,
            status=status,
            created_at=iso(now),
            updated_at=iso(now),
            kwargs=body.kwargs(),
            metadata=body.metadata,
            multitask_strategy=body.multitask_strategy,
        )

    def _rows(self, tenant: str, run: Run) -> list[Change]:
        return [runs.put(tenant, run, self._blobs), runs.put_pointer(tenant, run)]

    def list(
        self, tenant: str, thread_id: str, *, limit: int, offset: int, status: RunStatus | None
    ) -> Sequence[Run]:
        """List the runs of a thread, the newest first; the filter applies before paging.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such thread.
            Unavailable: DynamoDB or S3 did not answer.
        """
        thread, _ = self._threads.read(tenant, thread_id)
        found = runs.newest_first(self._table, self._blobs, tenant, thread.thread_id)
        return list(islice((run for run in found if status in (None, run.status)), offset, offset + limit))


def outcome_values(snapshot: Snapshot) -> Any:
    """Show what a run that was waited for answers: its values, and the questions it stopped at.

    Raises:
        CorruptRecord: The checkpoint does not decode.
    """
    values, questions = project_values(snapshot.record), _questions(snapshot)
    return {**values, INTERRUPT: questions} if questions and isinstance(values, Mapping) else values


def _questions(snapshot: Snapshot) -> list[Any]:
    return [question for asked in project_interrupts(snapshot.writes).values() for question in asked]


def _thread_metadata(assistant: Assistant) -> dict[str, str]:
    return {"graph_id": assistant.graph_id, "assistant_id": assistant.assistant_id}


def _started(tenant: str, run: Run, owner: str, lease: Lease) -> Started:
    claim = Claim(tenant=tenant, thread_id=run.thread_id, run_id=run.run_id, owner=owner, lease=lease)
    return Started(run=run, claim=claim)
