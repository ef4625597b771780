"""One execution of one claimed run: drive the graph, keep its checkpoints, finish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from aws_lambda_powertools import Logger
from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.types import Command

from crewline.checkpoints.projection import INTERRUPT, project
from crewline.checkpoints.records import Sealed, Snapshot
from crewline.engine.checkpointer import DynamoDBCheckpointer, Storage
from crewline.engine.clocks import move_clock_past
from crewline.engine.crews import Crews, Graph, Prepared
from crewline.engine.emitters import Emitter
from crewline.engine.heartbeats import Heartbeats
from crewline.engine.inputs import given_input, run_config, run_context, run_error, with_checkpointer
from crewline.engine.journals import Journal
from crewline.engine.limits import Guard
from crewline.engine.recoveries import Recovery, place
from crewline.engine.slices import Slice
from crewline.engine.stores import Stores
from crewline.engine.streams import GraphStream
from crewline.engine.usages import TokenCounter
from crewline.errors import CrewlineError, RunCancelled, StaleOwner, Unavailable
from crewline.models.clocks import Clock, system_clock
from crewline.models.events import END, ERROR, Telling
from crewline.models.leases import Cancel, Claim, Continues
from crewline.models.limits import Guards
from crewline.models.runs import Run, RunError, RunStatus, Usage
from crewline.observability import UNMEASURED, Measures
from crewline.services.dispatches import Dispatches
from crewline.services.endings import Ended, Endings, Outcome
from crewline.services.events import Events, end_data
from crewline.services.recents import Recents
from crewline.services.results import outcome_values
from crewline.store.changes import Change

_NOT_THE_RUNS_FAULT = (StaleOwner, Unavailable)
"""The run is not over: another worker has it, or will."""

_LOGGED = Telling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every execution of this process shares."""

    crews: Crews
    """The crews; one of them executes the run."""
    storage: Storage
    """The stores, and what commits under the claim."""
    stores: Stores
    """Give a graph the memory that it shares with others."""
    endings: Endings
    """Finishes runs."""
    dispatches: Dispatches
    """Sends runs on that outlive their invocation."""
    recents: Recents
    """Threads that this process knows."""
    heartbeats: Heartbeats
    """Renew claims during long nodes."""
    events: Events
    """The event logs."""
    logger: Logger
    longest_s: int
    """How long a run may take from its first claim on."""
    guards: Guards = field(default_factory=Guards)
    """How far runs may go, and what models cost."""
    measures: Measures = UNMEASURED
    """Where it is counted that slices ended."""
    clock: Clock = system_clock
    monotonic: Callable[[], float] = time.monotonic
    """Measures the slices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stopped:
    """Where the graph stopped."""

    snapshot: Snapshot | None
    status: RunStatus
    error: RunError | None = None
    open_steps: bool = False
    answer: Any = None
    """What the caller is answered, if it is not what the snapshot says."""


class Execution:
    """A claimed run on its way to a terminal status; lives on the crew loop.

    Args:
        run: The run row.
        claim: The claim on it.
        around: What it shares with the other executions of this process.
        telling: To whom it tells what it does.
        ends: When the invocation ends, in seconds of the monotonic clock; without it, it has all the time.
    """

    def __init__(
        self,
        run: Run,
        claim: Claim,
        around: Surroundings,
        telling: Telling = _LOGGED,
        *,
        ends: float | None = None,
    ) -> None:
        self.claim = claim
        self._run = run
        self._around = around
        lease = claim.lease
        # A stateless run that nobody can ask for later leaves nothing, so nothing of it is written.
        self._in_memory = lease.private and not lease.keep_s
        self._journal = Journal(None if self._in_memory else self._commit, on_failure=self._cancel_graph)
        self._tokens = TokenCounter(lease.usage, around.guards.prices)
        self._stream: GraphStream | None = None
        self._left_to_answer: Command[Any] | None = None
        # Slices after the first keep every superstep: what a subgraph had done would be done again else.
        self._durability = (
            "async" if lease.parted and run.kwargs["durability"] == "exit" else run.kwargs["durability"]
        )
        stored = not self._in_memory and self._durability != "exit"
        self._slice = None if ends is None else Slice(ends, longest_ms=lease.longest, clock=around.monotonic)
        self._emitter = Emitter(
            claim,
            replace(telling, logged=False) if self._in_memory else telling,
            around.events,
            self._journal if stored else None,
            around.clock,
            around.logger,
        )
        self._stored = stored
        self._loop = asyncio.get_running_loop()
        self._graph_task: asyncio.Task[None] | None = None
        self._stopped: BaseException | Cancel | None = lease.cancel
        self._guard = Guard(
            run.run_id,
            around.guards.limits_of(run.graph_id, run.metadata, longest_s=around.longest_s),
            lease=lease,
            tokens=self._tokens,
            stop=self._cancel_graph_soon,
        )

    def stop(self, reason: BaseException | Cancel) -> None:
        """End the execution: its claim is lost, or somebody asked for it. For any thread."""
        self._stopped = reason
        self._cancel_graph_soon()

    async def drive(self) -> Any:
        """Execute the run, finish it in one transaction with its last entries, and answer.

        Returns:
            The values the run left, with `__interrupt__` when it stopped at a question, or `__error__`;
            or `Continues`, when the slice has ended before the run.

        Raises:
            StaleOwner: Another worker has taken the run over; this one wrote nothing more.
            Unavailable: DynamoDB or S3 could not be reached; the lease expires and the run is resumed.
        """
        unregister = self._around.heartbeats.register(self)
        try:
            await self._emitter.begin()
            stopped = await self._execute()
            entries = await self._last_entries()
            await self._emitter.close()
            if stopped.status == "running":
                try:
                    return Continues(claim=await asyncio.to_thread(self._part, entries))
                except RunCancelled as exc:
                    stopped = replace(stopped, status="interrupted")
                    self._know_cancel(exc.details["action"])
            outcome = self._outcome(stopped)
            ended = await asyncio.to_thread(
                self._around.endings.finish, self.claim, outcome, entries, self._last_events
            )
        finally:
            unregister()
            self._emitter.stop()
        self._emitter.tell(*self._last_words(replace(outcome, status=ended.status)))
        self._remember(ended, stopped.snapshot)
        return self._answer(ended, stopped)

    def _part(self, entries: Sequence[Sealed]) -> Claim:
        """End the slice: all that was done and said is in the table before the run is anybody's.

        Raises:
            StaleOwner: Another worker has taken the run over.
            RunCancelled: Somebody asked the run to stop; the entries go into its finish.
            Unavailable: DynamoDB or S3 did not answer; the lease expires and the run is resumed.
        """
        storage, longest_s = self._around.storage, self._slice.longest_s if self._slice else 0.0
        if entries:
            self._commit(entries)
        self._emitter.write_rest()
        lease = storage.leases.end_slice(self.claim, longest=round(longest_s * 1000), usage=self._used())
        self._around.recents.drop(self.claim.tenant, self.claim.thread_id)
        self._around.measures.slice_ended(self._run)
        if (
            self.claim.lease.channel == "queue"
        ):  # else the workflow that asked for this slice asks for the next
            try:
                self._around.dispatches.dispatch(self.claim.tenant, self.claim.thread_id, lease)
            except Unavailable as exc:  # it is in flight, and found by the sweeper
                self._around.logger.warning(
                    "run not sent on, the sweeper will", run_id=self._run.run_id, reason=exc.message
                )
        return replace(self.claim, lease=lease)

    def watched(self) -> None:
        """Log everything from now on: somebody follows. For any thread."""
        self._loop.call_soon_threadsafe(self._emitter.watched)

    def _last_events(self, outcome: Outcome) -> Sequence[Change]:
        return self._emitter.rest(*self._last_words(outcome))

    def _last_words(self, outcome: Outcome) -> list[tuple[str, bytes]]:
        ended = replace(self._run, status=outcome.status, error=outcome.error, usage=outcome.usage)
        words = [(END, end_data(ended))]
        if outcome.error:
            words.insert(0, (ERROR, orjson.dumps(outcome.error.wire())))
        return words

    async def _last_entries(self) -> Sequence[Sealed]:
        try:
            return await self._journal.close()
        except _NOT_THE_RUNS_FAULT:
            raise
        except CrewlineError:
            return ()  # it cannot be stored, which is the error that the run ends with

    async def _execute(self) -> _Stopped:
        handlers = [self._tokens, self._guard, *([self._slice.steps] if self._slice else ())]
        config = run_config(self._run, handlers)
        try:
            crew = self._around.crews.get(self._run.graph_id)
            async with crew.graph(config) as graph:
                return await self._execute_graph(graph, crew.prepare(graph), config)
        except _NOT_THE_RUNS_FAULT:
            raise
        except (Exception, SystemExit) as exc:  # noqa: BLE001 (whatever else there is, is the run's error)
            return _Stopped(snapshot=None, status="error", error=self._guard.failure(exc))

    async def _execute_graph(self, graph: Graph, prepared: Prepared, config: RunnableConfig) -> _Stopped:
        checkpointer = DynamoDBCheckpointer.over(
            self._around.storage,
            self.claim.tenant,
            serde=prepared.serializer,
            lease=lambda _thread_id: self.claim.lease,
            journal=self._journal,
            defaults=prepared.defaults,
        )
        bound = with_checkpointer(graph, checkpointer)
        bound.store = self._around.stores(self.claim.tenant)
        move_clock_past(self.claim.lease.newest)
        self._recall()
        if self._forks and not await self._has_origin(checkpointer):
            return self._without_origin()
        if self.claim.lease.fed and self._stopped is None:
            recovery = Recovery(self._run, self.claim, self._around.storage.records, forks=self._forks)
            if rest := await recovery.at_rest(bound, checkpointer):
                return _Stopped(snapshot=rest.snapshot, status="success", open_steps=rest.open_steps)
            self._left_to_answer = recovery.left_to_answer
        config = self._guard.bounded(bound, config)
        self._stream = GraphStream(
            bound,
            self._emitter,
            prepared.serializer,
            modes=self._run.kwargs["stream_mode"],
            subgraphs=bool(self._run.kwargs.get("subgraphs")),
            stored=self._stored,
        )
        self._graph_task = asyncio.create_task(
            self._drive_graph(self._stream, config, run_context(graph, self._run.kwargs))
        )
        # Asked for before, or while a factory was making the graph.
        if self._stopped is not None or self._guard.crossed:
            self._cancel_graph()
        status, error = await self._settle(self._graph_task)
        snapshot = await checkpointer.anewest(self._run.thread_id)
        if error:
            return _Stopped(snapshot=snapshot, status=status, error=error)
        open_steps = False
        if status in ("interrupted", "running") or _may_have_stopped(graph, self._run.kwargs, snapshot):
            left = await bound.aget_state(place(self._run.thread_id))
            open_steps = bool(left.tasks)
            if status == "running" and not self._journal.grown:
                return _Stopped(snapshot=snapshot, status="error", error=self._stands_still(left.next))
        answer = None
        if snapshot and self._only_updated(snapshot):
            answer = project(prepared.serializer.dumps_typed(self._stream.last))
        return _Stopped(snapshot=snapshot, status=status, open_steps=open_steps, answer=answer)

    async def _drive_graph(
        self, stream: GraphStream, config: RunnableConfig, context: Mapping[str, Any] | None
    ) -> None:
        kwargs, lease = self._run.kwargs, self.claim.lease
        options: dict[str, Any] = {
            name: kwargs[name] for name in ("interrupt_before", "interrupt_after") if kwargs.get(name)
        }
        if self._parts:
            options["control"] = self._slice
        # The input is fed once: a claim that finds it taken in goes on from the head. A fork that has
        # not moved the head yet has written nothing that a second feeding does not write again.
        given = self._left_to_answer if lease.fed and not self._forks else given_input(kwargs)
        if self._forks:
            config["configurable"]["checkpoint_id"] = kwargs["checkpoint_id"]
        try:
            await stream.drive(given, config, durability=self._durability, context=context, **options)
        except BaseException:
            self._guard.close()  # a node in a thread goes on, and for nobody
            raise

    @property
    def _forks(self) -> bool:
        """Whether the run is to begin at another checkpoint than the head, and has not moved on from there."""
        lease = self.claim.lease
        return bool(self._run.kwargs.get("checkpoint_id")) and (not lease.fed or lease.head == lease.base)

    async def _has_origin(self, checkpointer: DynamoDBCheckpointer) -> bool:
        origin = place(self._run.thread_id, self._run.kwargs["checkpoint_id"])
        return await checkpointer.aget_tuple(origin) is not None

    def _without_origin(self) -> _Stopped:
        """Refuse to begin on nothing: LangGraph would take an unknown checkpoint for an empty thread."""
        run = self._run
        message = (
            f"Checkpoint {run.kwargs['checkpoint_id']} of thread {run.thread_id} is gone: the run that wrote it was "
            "rolled back after this one was accepted. Start again from the head."
        )
        return _Stopped(
            snapshot=None, status="error", error=RunError(error="CheckpointGone", message=message)
        )

    def _recall(self) -> None:
        """Take the newest checkpoint from memory, if nobody has written to the thread since.

        Every run that is accepted has a turn, every edit moves the head: this run is the next one.
        """
        lease = self.claim.lease
        known = self._around.recents.get(self.claim.tenant, self.claim.thread_id)
        if known is None or known.snapshot is None or lease.fed or lease.attempt != 1:
            return
        following = known.lease.run == self.claim.run_id or (
            known.lease.free and lease.turn == known.lease.seq + 1
        )
        if following and known.lease.head == lease.head:
            self._journal.saw(known.snapshot, newest=True)

    def _remember(self, ended: Ended, snapshot: Snapshot | None) -> None:
        recents, claim = self._around.recents, self.claim
        if ended.lease.seq and not ended.undone:
            # Who was accepted after this run may have named another crew.
            crew = self._run.crew if ended.lease.seq == claim.lease.turn else None
            recents.keep(claim.tenant, claim.thread_id, ended.lease, ended.rest, snapshot, crew=crew)
        else:
            recents.drop(claim.tenant, claim.thread_id)

    # ------------------------------------------------------------------ how it stopped

    async def _settle(self, task: asyncio.Task[None]) -> tuple[RunStatus, RunError | None]:
        """Wait for the graph; tell a failure of the crew from one of ours, and from a cancel."""
        over = await self._in_time(task)
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                task.cancel()  # this coroutine itself is being cancelled: the process shuts down
                raise
            stopped = self._cancelled()
            return self._crossed or over or stopped
        except RunCancelled:
            return "interrupted", None
        except GraphDrained as exc:
            self._raise_failure()
            return self._crossed or (("running", None) if self._parts else ("error", run_error(exc)))
        except _NOT_THE_RUNS_FAULT:
            raise
        except (Exception, SystemExit) as exc:  # noqa: BLE001 (the crew's own code: whatever it raises)
            self._raise_failure()
            return self._crossed or over or ("error", self._guard.failure(exc))
        self._raise_failure()
        return ("interrupted" if isinstance(self._journal.failure, RunCancelled) else "success"), None

    @property
    def _parts(self) -> bool:
        """Whether the run can go on in another slice."""
        return self._slice is not None and not self._in_memory

    @property
    def _crossed(self) -> tuple[RunStatus, RunError] | None:
        return ("error", self._guard.crossed) if self._guard.crossed else None

    def _cancelled(self) -> tuple[RunStatus, RunError | None]:
        """Tell why the graph was cancelled."""
        if isinstance(self._stopped, BaseException):
            raise self._stopped from None
        self._raise_failure()
        if self._stopped is None and self._journal.failure is None:  # the crew's code raised it
            return "error", RunError(error="CancelledError", message="The crew cancelled itself.")
        return "interrupted", None

    async def _in_time(self, task: asyncio.Task[None]) -> tuple[RunStatus, RunError | None] | None:
        """Wait until the graph is done; or until a time is over, and it was told to stop: then what that means."""
        left_s = self._guard.left_s(self._around.clock())
        # Whichever comes first: the last moment of the run, or that of this slice.
        part = self._slice if self._slice and self._slice.left_s < left_s else None
        try:
            done, _ = await asyncio.wait({task}, timeout=max(0, part.left_s if part else left_s))
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            return None
        over = self._given_up(part) if part else ("timeout", self._guard.timeout())
        task.cancel()
        return over

    def _given_up(self, part: Slice) -> tuple[RunStatus, RunError | None]:
        """Tell what becomes of a run whose slice was over before its superstep was: it goes on, if there is a way."""
        lasts = f"{part.lasted_s:.0f} seconds, the longest that a slice of a run lasts here"
        if self._in_memory:
            message = (
                f"Run {self._run.run_id} was stopped after {lasts}; a stateless run that executes in its request "
                "cannot go on in another: start it in the background, or on a thread."
            )
            return "timeout", RunError(error="RunTimeout", message=message)
        if part.steps.done and not (outliving := part.steps.outliving()):
            return "running", None
        names = ", ".join(outliving if part.steps.done else part.steps.outliving()) or "its first superstep"
        message = (
            f"Node {names} of run {self._run.run_id} was stopped after {lasts}; split it into several nodes, or into "
            "calls that each end sooner. What was done before it is kept, and a run with input null begins it anew."
        )
        return "error", RunError(error="NodeTimeout", message=message)

    def _stands_still(self, nodes: Sequence[str]) -> RunError:
        """Say that a whole slice has left nothing to go on from: so would all that follow."""
        lasts = f"{self._slice.lasted_s:.0f} seconds" if self._slice else "its time"
        message = (
            f"Run {self._run.run_id} was stopped: a slice of {lasts} at most has left nothing to go on from, and the next "
            f"would begin {', '.join(nodes) or 'its node'} anew. A graph that a node calls keeps what it has done if it has "
            "the run's checkpointer: leave out checkpointer=False, or split the node into several."
        )
        return RunError(error="NodeTimeout", message=message)

    def _raise_failure(self) -> None:
        failure = self._journal.failure
        if failure and not isinstance(failure, RunCancelled):
            raise failure

    def _outcome(self, stopped: _Stopped) -> Outcome:
        if self._stopped in ("interrupt", "rollback"):
            self._know_cancel(self._stopped)
        elif isinstance(self._journal.failure, RunCancelled):
            self._know_cancel(self._journal.failure.details["action"])
        return Outcome(
            status=stopped.status,
            thread_status="error" if stopped.error else ("interrupted" if stopped.open_steps else "idle"),
            error=stopped.error,
            usage=self._used(),
            run=self._run,
        )

    def _used(self) -> Usage:
        """Tell what the run has used, once its graph has stopped."""
        stream = self._stream
        return self._tokens.total(stream.first, stream.last) if stream else self._tokens.committed

    def _know_cancel(self, action: Cancel) -> None:
        self.claim = replace(self.claim, lease=replace(self.claim.lease, cancel=action))

    def _answer(self, ended: Ended, stopped: _Stopped) -> Any:
        if ended.undone:
            message = f"Run {self._run.run_id} was rolled back; nothing of it is left."
            return {"__error__": RunError(error="RunCancelled", message=message).wire()}
        if stopped.error:
            return {"__error__": stopped.error.wire()}
        if stopped.answer is not None:
            return stopped.answer
        return outcome_values(stopped.snapshot) if stopped.snapshot else {}

    def _only_updated(self, snapshot: Snapshot) -> bool:
        """Tell whether a command changed the state and led to no superstep: the change waits for the next."""
        command = self._run.kwargs.get("command") or {}
        return "update" in command and snapshot.record.checkpoint_id == self.claim.lease.base

    def _commit(self, entries: Sequence[Sealed]) -> None:
        self.claim = self._around.storage.leases.commit(self.claim, entries, usage=self._tokens.committed)

    def _cancel_graph_soon(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel_graph)

    def _cancel_graph(self) -> None:
        if self._graph_task:
            self._graph_task.cancel()


def _may_have_stopped(graph: Graph, kwargs: Mapping[str, Any], snapshot: Snapshot | None) -> bool:
    """Tell whether the graph can have ended before its end: at a question or at a breakpoint."""
    asked = any(write.channel == INTERRUPT for write in (snapshot.writes if snapshot else ()))
    breakpoints = (
        kwargs.get("interrupt_before"),
        kwargs.get("interrupt_after"),
        graph.interrupt_before_nodes,
        graph.interrupt_after_nodes,
    )
    return asked or any(breakpoints)
