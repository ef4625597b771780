"""Runs: start, read, and what a finished one answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final
from uuid import uuid4

from aws_lambda_powertools import Logger

from crewline.checkpoints.records import Snapshot
from crewline.errors import (
    BadRequest,
    Conflict,
    KeyReused,
    LimitExceeded,
    NotFound,
    StaleOwner,
    ThreadBusy,
    Unavailable,
    Withdrawn,
)
from crewline.models.assistants import Assistant
from crewline.models.clocks import Clock, iso, new_id, parse_id
from crewline.models.leases import MOST_WAITING, Claim, Lease
from crewline.models.runs import Run, RunCreate, RunStatus
from crewline.models.threads import Thread
from crewline.models.users import NOBODY, Sender
from crewline.services.assistants import Assistants
from crewline.services.endings import KEEP_S, Endings
from crewline.services.leases import stale
from crewline.services.outbox import Outbox
from crewline.services.places import Place, Places
from crewline.services.recents import Recents
from crewline.services.results import joined_values, outcome_values, run_values
from crewline.services.threads import Threads, check_size, not_found, pause
from crewline.settings import UNDEPLOYED
from crewline.store import entries, idempotency, keys, leases, markers, runs, threads
from crewline.store.blobs import Blobs
from crewline.store.changes import Change
from crewline.store.idempotency import Made, Once
from crewline.store.markers import Marker
from crewline.store.queues import RunJob, RunQueue, delay_until
from crewline.store.records import Records
from crewline.store.table import Refused, Table

_TRIES: Final = 20
KEEP_LONG_S: Final = 86_400
"""How long a stateless run stays readable when its request may be repeated, when it is one of a batch, or when its
webhook is down."""
RETENTION_S: Final = 7 * 86_400
"""How long a run without a thread stays readable that is asked for by its own id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A run that was accepted."""

    run: Run
    claim: Claim | None = None
    """Its claim, when this process is to execute it; otherwise it waits, or somebody else does."""


class Runs:
    """The runs of all tenants; safe for many threads.

    Args:
        table: The table.
        blobs: The bucket for large inputs.
        records: The checkpoints.
        queue: How background runs reach a worker.
        clock: Tells the time.
        threads: The threads they run on.
        assistants: What they may execute.
        endings: Ends runs that nobody executes.
        places: Finds what they run on.
        recents: Threads that this process knows.
        outbox: Tells who listens that a run has begun.
        check_webhook: Refuses an address that nothing will be posted to.
        logger: Where a message that was not sent is noted.
        long_crews: Crews whose runs go straight to the workflow.
        leaving_seen: Whether a client that leaves is seen. If not, a run that is to end with its client
            gives way to the next one on its thread.
        build: What this process runs, as a version names it.
    """

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
        endings: Endings,
        places: Places,
        recents: Recents,
        outbox: Outbox,
        check_webhook: Callable[[str], object],
        logger: Logger,
        long_crews: frozenset[str] = frozenset(),
        leaving_seen: bool = True,
        build: str = UNDEPLOYED,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records
        self._queue = queue
        self._clock = clock
        self._threads = threads
        self._assistants = assistants
        self._endings = endings
        self._places = places
        self._recents = recents
        self._outbox = outbox
        self._check_webhook = check_webhook
        self._logger = logger
        self._long_crews = long_crews
        self._leaving_seen = leaving_seen
        self._build = build

    @property
    def build(self) -> str:
        """What this process runs, as a version names it."""
        return self._build

    # ------------------------------------------------------------------ starting

    def create(
        self,
        tenant: str,
        thread_id: str,
        body: RunCreate,
        *,
        once: Once | None = None,
        sender: Sender = NOBODY,
    ) -> Run:
        """Start a run that a worker will execute; on a busy thread, do what its strategy says.

        The run is in flight or in the queue before any message is sent: one that is lost delays it,
        the sweeper sends another.

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            body: What to run.
            once: Names the request, so that a repetition gives the same run.
            sender: Whom it executes for, and what of all threads that user may use.

        Returns:
            The run, pending.

        Raises:
            BadRequest: Fields contradict each other, or there is nothing to resume.
            InvalidRequest: The assistant is unknown, or the webhook's address is refused.
            NotFound: The thread, the assistant or the checkpoint does not exist.
            ThreadBusy: Another run is in flight, and the strategy is `reject`.
            KeyReused: The same key came with another body.
            LimitExceeded: Too many runs wait on the thread.
            Unavailable: DynamoDB or S3 did not answer.
        """
        return self._admit(tenant, thread_id, body, owner=None, once=once, sender=sender).run

    def start(
        self,
        tenant: str,
        thread_id: str,
        body: RunCreate,
        *,
        once: Once | None = None,
        sender: Sender = NOBODY,
    ) -> Admitted:
        """Start a run and claim it in the same write, to execute it in place; on a busy thread, queue it.

        The arguments are those of `create`.

        Raises:
            CrewlineError: What `create` raises, for the same reasons.
        """
        return self._admit(tenant, thread_id, body, owner=uuid4().hex, once=once, sender=sender)

    def create_stateless(
        self,
        tenant: str,
        body: RunCreate,
        *,
        once: Once | None = None,
        keep_s: int = KEEP_S,
        sender: Sender = NOBODY,
    ) -> Run:
        """Start a run on a private thread, that a worker will execute.

        Args:
            tenant: Whose run.
            body: What to run.
            once: Names the request, so that a repetition gives the same run.
            keep_s: How long it stays readable after its end, at least.
            sender: Whom it executes for.

        Raises:
            BadRequest: The run resumes or forks, which needs a thread.
            InvalidRequest: The assistant is unknown, or the webhook's address is refused.
            NotFound: The assistant does not exist.
            KeyReused: The same key came with another body.
            Unavailable: DynamoDB or S3 did not answer.
        """
        return self._admit_stateless(tenant, body, owner=None, once=once, keep_s=keep_s, sender=sender).run

    def start_stateless(
        self,
        tenant: str,
        body: RunCreate,
        *,
        once: Once | None = None,
        readable: bool = False,
        sender: Sender = NOBODY,
    ) -> Admitted:
        """Start and claim a run on a private thread that is made in the same write.

        Args:
            tenant: Whose run.
            body: What to run.
            once: Names the request, so that a repetition gives the same run.
            readable: Somebody may ask for it later, although it executes in place.
            sender: Whom it executes for.

        Raises:
            CrewlineError: What `create_stateless` raises, for the same reasons.
        """
        keep_s = KEEP_S if readable else 0
        return self._admit_stateless(tenant, body, owner=uuid4().hex, once=once, keep_s=keep_s, sender=sender)

    def check_stateless(self, tenant: str, bodies: Sequence[RunCreate]) -> None:
        """Refuse runs that could not be started without a thread, before the first of them is.

        Raises:
            BadRequest: A run resumes or forks, which needs a thread.
            InvalidRequest: An assistant is unknown, or a webhook's address is refused.
            NotFound: An assistant does not exist.
            Unavailable: DynamoDB did not answer.
        """
        for body in bodies:
            self._check_stateless(body)
        for assistant_id in {body.assistant_id for body in bodies}:
            self._assistants.resolve(tenant, assistant_id)

    def _admit(
        self,
        tenant: str,
        thread_id: str,
        body: RunCreate,
        *,
        owner: str | None,
        once: Once | None,
        sender: Sender,
    ) -> Admitted:
        """Put a run in flight, or behind the one that is.

        ```
        A: read (free) ── start ──✗ busy since: read ── queue ──✗ free since: read ── start …: bounded, then 503
        ```
        """
        thread_id, body = parse_id(thread_id, "thread"), body.changed(sender.changes)
        self._check(body)
        found = self._places.find(tenant, thread_id, body, in_place=owner is not None, sees=sender.sees)
        run = self._make(found.assistant, thread_id, body, sender, assumed=found.assumed)
        fork = run.kwargs["checkpoint_id"]
        if fork and self._records.get(tenant, thread_id, "", fork) is None:
            if earlier := self._earlier(tenant, run, once):
                return earlier
            if found.place is None:  # an unknown thread is said first
                raise not_found(thread_id)
            raise NotFound(
                f"Checkpoint {fork} not found on thread {thread_id}; GET /threads/{thread_id}/history lists them."
            )
        place = found.place or self._places.make(tenant, thread_id, sender)
        for attempt in range(_TRIES):
            if not place.lease.free:
                admitted = self._queue_up(tenant, run, place, owner, once)
            else:
                admitted = self._start(tenant, run, place, owner, once)
            if isinstance(admitted, Admitted):
                return admitted
            pause(attempt)
            self._recents.drop(tenant, thread_id)
            place = self._places.look(tenant, thread_id, body, sender.sees) or self._places.make(
                tenant, thread_id, sender
            )
            if run.assumed:  # nothing is assumed twice
                run = self._make(self._assistants.resolve(tenant, body.assistant_id), thread_id, body, sender)
        raise Unavailable(f"Thread {thread_id} is very busy; try again in a moment.")

    def _start(
        self, tenant: str, run: Run, place: Place, owner: str | None, once: Once | None
    ) -> Admitted | Refused:
        """Start a run on a free thread; refused when somebody was there since it was read."""
        if (
            "resume" in (run.kwargs["command"] or {})
            and not run.kwargs["checkpoint_id"]
            and place.rest == "idle"
        ):
            if earlier := self._earlier(tenant, run, once):
                return earlier
            raise BadRequest(
                f"Thread {run.thread_id} has nothing to resume: no question is open. Send an input instead."
            )
        now = self._clock()
        due = _due(run, now)
        start, lease = leases.start(
            tenant,
            run.thread_id,
            place.lease,
            run_id=run.run_id,
            now=now,
            owner=None if due or run.kwargs["long"] else owner,
            due=due,
            was=place.rest,
            yields=self._yields(run, owner),
        )
        run = replace(
            run,
            turn=lease.turn,
            status="running" if lease.owner else "pending",
            started_at=iso(now) if lease.owner else None,
        )
        busy = threads.set_busy(
            tenant,
            run.thread_id,
            config=run.kwargs["config"],
            updated_at=iso(now),
            thread=place.thread,
            metadata=place.unnamed(run),
            named={} if place.thread else run.crew,
        )
        ahead = self._places.read_ahead(tenant, run, place) if lease.owner else None
        reading = self._places.read_assistant(tenant, run)
        if other := self._write(tenant, [start, *busy], run, once):
            return other
        if ahead:
            self._places.keep_ahead(tenant, run.thread_id, place, ahead)
        self._recents.take(tenant, run.thread_id)
        return self._begun(tenant, run, lease, reading)

    def _queue_up(
        self, tenant: str, run: Run, place: Place, owner: str | None, once: Once | None
    ) -> Admitted | Refused:
        """Queue a run on a busy thread; refused when it is free since, or somebody else was faster.

        The thread's metadata names the crew of the run that was accepted last, so that whoever hands
        the thread over need not change it.
        """
        thread_id, lease = run.thread_id, place.lease
        if run.multitask_strategy == "reject" or lease.private or lease.waiting >= MOST_WAITING:
            if earlier := self._earlier(tenant, run, once):
                return earlier
            if lease.private:
                raise Conflict(
                    f"Thread {thread_id} belongs to stateless run {lease.run}; make a thread of your own with POST /threads."
                )
            if run.multitask_strategy == "reject":
                raise ThreadBusy(
                    f"Thread {thread_id} is already running a task: run {lease.run}. "
                    "Wait for it to finish or choose a different multitask strategy.",
                    details={"run_id": lease.run},
                )
            raise LimitExceeded(
                f"{lease.waiting} runs wait on thread {thread_id} already; try again when some have ended.",
                details={"retry_after": 5},
            )
        now = self._clock()
        change = leases.queue(tenant, thread_id, lease, strategy=run.multitask_strategy, now=now)
        run = replace(run, turn=lease.seq + 1)
        marker = Marker(
            run_id=run.run_id,
            turn=run.turn,
            due=_due(run, now),
            heard=run.heard,
            yields=self._yields(run, owner),
        )
        changes: list[Change] = [change, markers.put(tenant, thread_id, marker)]
        if place.thread and (unnamed := place.unnamed(run)):
            changes += threads.merge_metadata(tenant, place.thread, unnamed, updated_at=iso(now))
        if other := self._write(tenant, changes, run, once):
            return other
        if run.multitask_strategy in ("interrupt", "rollback") or lease.yields:
            self._stop_unclaimed(tenant, thread_id)
        return Admitted(run=run)

    def _yields(self, run: Run, owner: str | None) -> bool:
        """Tell whether a run is to end with a client whose leaving nobody sees: one that waits for its answer."""
        return owner is not None and not self._leaving_seen and run.kwargs["on_disconnect"] == "cancel"

    def _stop_unclaimed(self, tenant: str, thread_id: str) -> None:
        lease = leases.from_item(self._table.get(keys.lease(tenant, thread_id)))
        if lease.cancel:
            with suppress(Conflict, Unavailable):  # somebody else ends it, or the sweeper will
                self._endings.stop_unclaimed(tenant, thread_id, lease)

    def _admit_stateless(
        self,
        tenant: str,
        body: RunCreate,
        *,
        owner: str | None,
        once: Once | None,
        keep_s: int,
        sender: Sender,
    ) -> Admitted:
        body = body.changed(sender.changes)
        self._check_stateless(body)
        assumed = self._places.assume(tenant, body) if owner else None
        assistant = assumed or self._assistants.resolve(tenant, body.assistant_id)
        run = self._make(assistant, new_id(), body, sender, assumed=assumed is not None)
        now = self._clock()
        due = _due(run, now)
        private = body.on_completion == "delete"
        if once or run.heard:
            keep_s = max(keep_s, KEEP_LONG_S)
        elif run.kwargs["long"]:
            keep_s = max(keep_s, KEEP_S)
        start, lease = leases.start(
            tenant,
            run.thread_id,
            # Nobody can ask for what executes in place and is gone with the answer: with 0 it is not even written.
            Lease(private=private, keep_s=keep_s if private else 0),
            run_id=run.run_id,
            now=now,
            owner=None if due or run.kwargs["long"] else owner,
            due=due,
        )
        run = replace(
            run,
            kwargs={**run.kwargs, "temporary": private},
            turn=lease.turn,
            status="running" if lease.owner else "pending",
            started_at=iso(now) if lease.owner else None,
        )
        thread = Thread(
            thread_id=run.thread_id,
            created_at=run.created_at,
            updated_at=run.created_at,
            state_updated_at=run.created_at,
            status="busy",
            metadata={**sender.stamps, **run.crew},
            config=run.kwargs["config"],
            listed=not private,
            expiry=None if private else self._threads.expiry,
        )
        row = threads.create(tenant, thread, token=run.run_id)
        changes: list[Change] = [start, row, *entries.of_new(tenant, thread)]
        reading = self._places.read_assistant(tenant, run)
        earlier = self._write(tenant, changes, run, once)
        if isinstance(earlier, Refused):
            raise Unavailable("The run could not be started; try again in a moment.") from earlier
        return earlier or self._begun(tenant, run, lease, reading)

    def _begun(self, tenant: str, run: Run, lease: Lease, reading: Future[Assistant] | None) -> Admitted:
        """Hand a run in flight to whoever executes it."""
        if lease.owner:
            claim = Claim(
                tenant=tenant, thread_id=run.thread_id, run_id=run.run_id, owner=lease.owner, lease=lease
            )
            try:
                run, claim = self.settle(claim, run, reading)
                return Admitted(run=run, claim=claim)
            except StaleOwner:
                return Admitted(run=run)  # somebody else has it already
            except Unavailable as exc:
                # It is in flight: refused now, it would run and, sent again, run twice. A worker takes it over.
                self._logger.warning("assistant not read", run_id=run.run_id, reason=exc.message)
                return Admitted(run=run)
        job = RunJob(tenant=tenant, thread_id=run.thread_id, run_id=run.run_id)
        try:
            self._queue.send(job, delay_s=delay_until(lease.due, self._clock()))
        except Unavailable as exc:  # it is in flight, and found by the sweeper
            self._logger.warning("message not sent, the sweeper will", reason=exc.message, **job.model_dump())
        return Admitted(run=run)

    def show_running(self, claim: Claim, run: Run) -> Run:
        """Show on the row of a run that it is executed, and tell who listens that it has begun.

        Skipped when the row is gone or the run has ended.

        Args:
            claim: The claim.
            run: The run row, read since: it says whether the run has begun before.

        Returns:
            The run as it is then.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        now, started_at = iso(self._clock()), iso(claim.lease.started)
        running = replace(run, status="running", started_at=started_at, updated_at=now)
        begun = self._outbox.note(claim.tenant, running, "run.started") if run.started_at is None else None
        change = runs.set_running(
            claim.tenant,
            claim.thread_id,
            claim.run_id,
            updated_at=now,
            started_at=started_at,
            first=begun is not None,
        )
        try:
            if begun is None:
                self._table.write(change)
            else:
                self._table.transact([change, begun])
                self._outbox.publish_soon(begun.key)
        except Refused:
            return run
        return running

    def settle(self, claim: Claim, run: Run, reading: Future[Assistant] | None = None) -> tuple[Run, Claim]:
        """Make sure that a claimed run has what its assistant says, before anything of it executes.

        Only a run that was started on an assumption is read for: that its default assistant is as
        the manifest has it. One that has taken in its input goes on with what it began with.

        ```
        A: start (assumed) ─┬─▶ row        unchanged: execute
           read assistant  ─┴─▶ changed:   A: write the run again ──▶ execute with its config
        A: start (assumed), dies           W: claims ── reads the assistant ── the same for W
        ```

        Args:
            claim: The claim on the run.
            run: The run row.
            reading: A read of the assistant that is under way.

        Returns:
            The run as it is to be executed, and the claim: a run without a thread stays readable for as long
            as its assistant's webhook may need it.

        Raises:
            StaleOwner: Another worker has taken the run over.
            Unavailable: DynamoDB or S3 did not answer; the lease expires and the run is resumed.
        """
        if not run.assumed or claim.lease.fed:
            return run, claim
        try:
            if reading is None or reading.cancel():
                assistant = self._assistants.get(claim.tenant, run.assistant_id)
            else:
                assistant = reading.result()
        except NotFound:
            return run, claim  # its crew has left the deployment, which is the error that it ends with
        if assistant == self._assistants.default(run.assistant_id):
            return run, claim
        kwargs = assistant.run_kwargs(run.kwargs)
        run = replace(
            run,
            kwargs=kwargs,
            metadata=assistant.run_metadata(run.metadata),
            heard=bool(kwargs["webhook"]),
            assumed=False,
        )
        longer = run.heard and claim.lease.private and claim.lease.keep_s < KEEP_LONG_S
        changes: list[Change] = [
            leases.keep(claim, keep_s=KEEP_LONG_S) if longer else leases.held(claim),
            runs.settle(claim.tenant, run, self._blobs),
            threads.set_config(claim.tenant, run.thread_id, run.kwargs["config"]),
        ]
        try:
            self._table.transact(changes)
        except Refused as exc:
            raise stale(claim) from exc
        return run, replace(claim, lease=replace(claim.lease, keep_s=KEEP_LONG_S)) if longer else claim

    def _write(
        self, tenant: str, changes: Sequence[Change], run: Run, once: Once | None
    ) -> Admitted | Refused | None:
        """Carry out an admission.

        Returns:
            None when it is done; the earlier run when the request is a repetition; the refusal when
            the thread is not as it was read.

        Raises:
            Withdrawn: What the request rests on holds no more.
        """
        rows = [*changes, runs.put(tenant, run, self._blobs), runs.put_pointer(tenant, run)]
        begun = self._outbox.note(tenant, run, "run.started") if run.started_at else None
        if begun:
            rows.append(begun)
        if once:
            made = Made(
                thread_id=run.thread_id, run_id=run.run_id, digest=once.digest, created_at=run.created_at
            )
            if once.provided:
                rows.append(once.provided)
            rows.append(idempotency.put(tenant, once, made, now=self._clock()))
        try:
            self._table.transact(rows)
        except Refused as exc:
            if once and (item := exc.items.get(len(rows) - 1)):
                return self._repeated(tenant, run, once, idempotency.from_item(item))
            if once and once.provided and len(rows) - 2 in exc.items:
                raise Withdrawn(f"Run {run.run_id} was not started: what asked for it has changed.") from exc
            return exc
        except Unavailable:
            # An unclear end: if it has landed, the run is accepted, and must not be started again.
            if self._table.get(keys.run(tenant, run.thread_id, run.run_id)) is None:
                raise
        if begun:
            self._outbox.publish_soon(begun.key)
        return None

    def _earlier(self, tenant: str, run: Run, once: Once | None) -> Admitted | None:
        """Find the run that an earlier sending of this request has made, before the request is refused."""
        made = idempotency.get(self._table, tenant, once, now=self._clock()) if once else None
        return self._repeated(tenant, run, once, made) if once and made else None

    def _repeated(self, tenant: str, run: Run, once: Once, made: Made) -> Admitted:
        """Answer a repeated request with the run that the first one made."""
        if made.digest != once.digest:
            raise KeyReused(
                f"Idempotency-Key {once.key[:100]!r} was used for run {made.run_id} with another body; send a new key."
            )
        run_id = made.run_id or ""
        found = runs.get(self._table, self._blobs, tenant, made.thread_id, run_id)
        # One that was rolled back or removed since is shown as it was asked for, and not started again.
        return Admitted(
            run=found
            or replace(
                run,
                run_id=run_id,
                thread_id=made.thread_id,
                created_at=made.created_at,
                status="interrupted",
            )
        )

    def _check(self, body: RunCreate) -> None:
        if body.webhook:
            self._check_webhook(body.webhook)
        for name, value in (("metadata", body.metadata), ("config", body.config.model_dump())):
            check_size(name, value)
        self._assistants.identify(body.assistant_id)

    def _check_stateless(self, body: RunCreate) -> None:
        if body.resumes:
            raise BadRequest("You must provide a thread_id when resuming.")
        if body.fork:
            raise BadRequest("You must provide a thread_id to start from a checkpoint.")
        self._check(body)

    def _make(
        self,
        assistant: Assistant,
        thread_id: str,
        body: RunCreate,
        sender: Sender,
        *,
        assumed: bool = False,
    ) -> Run:
        now = iso(self._clock())
        kwargs = assistant.run_kwargs(body.kwargs())
        if kwargs["long"] is None and assistant.graph_id in self._long_crews:
            kwargs["long"] = True
        return Run(
            run_id=new_id(),
            thread_id=thread_id,
            assistant_id=assistant.assistant_id,
            graph_id=assistant.graph_id,
            status="pending",
            created_at=now,
            updated_at=now,
            kwargs=kwargs,
            metadata=assistant.run_metadata({**body.metadata, **sender.stamps}),
            multitask_strategy=body.multitask_strategy,
            heard=bool(kwargs["webhook"]),
            assumed=assumed,
            build=self._build,
            user=dict(sender.user) if sender.user else None,
        )

    # ------------------------------------------------------------------ reading

    def get(self, tenant: str, thread_id: str, run_id: str, *, whole: bool = True) -> Run:
        """Read a run; without large kwargs unless it is to be `whole`.

        Raises:
            InvalidRequest: An id is no UUID.
            NotFound: There is no such run on this thread.
            Unavailable: DynamoDB or S3 did not answer.
        """
        thread_id, run_id = parse_id(thread_id, "thread"), parse_id(run_id, "run")
        run = runs.get(self._table, self._blobs, tenant, thread_id, run_id, whole=whole)
        if run is None:
            raise NotFound(f"Run with ID {run_id} not found on thread {thread_id}.")
        return run

    def thread_of(self, tenant: str, run_id: str) -> str | None:
        """Find the thread of a run by the run's id; None when there is no such run.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        return runs.thread_of(self._table, tenant, run_id)

    def find(self, tenant: str, run_id: str, *, whole: bool = True) -> Run:
        """Read a run by its id alone; without large kwargs unless it is to be `whole`.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such run.
            Unavailable: DynamoDB or S3 did not answer.
        """
        run_id = parse_id(run_id, "run")
        thread_id = self.thread_of(tenant, run_id)
        if thread_id is None:
            raise NotFound(f"Run with ID {run_id} not found.")
        return self.get(tenant, thread_id, run_id, whole=whole)

    def watch(self, tenant: str, run: Run) -> None:
        """Ask whoever executes a run to log all that it says: somebody follows it.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        if run.finished or run.kwargs.get("resumable"):
            return
        change = leases.watch(tenant, run.thread_id, run_id=run.run_id, now=self._clock())
        with suppress(Refused):  # it waits or has ended
            self._table.write(change)

    def result(self, tenant: str, run: Run) -> Any:
        """Show what a finished run answers to those who join it.

        Returns:
            The values it left, only its questions when it stopped at some, or its error.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: Its last checkpoint does not decode.
        """
        return run_values(run, self._left(tenant, run), joined_values)

    def outcome(self, tenant: str, run: Run) -> Any:
        """Show what a finished run answers to those who waited for it: its values, with its questions.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: Its last checkpoint does not decode.
        """
        return run_values(run, self._left(tenant, run), outcome_values)

    def _left(self, tenant: str, run: Run) -> Snapshot | None:
        if run.error or not run.head:
            return None
        return self._records.get(tenant, run.thread_id, "", run.head)

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
        found = runs.newest_first(self._table, self._blobs, tenant, thread.thread_id, status=status)
        return list(islice(found, offset, offset + limit))


def _due(run: Run, now: int) -> int:
    delay_s = run.kwargs["after_seconds"] or 0
    return now + math.ceil(delay_s * 1000) if delay_s else 0
