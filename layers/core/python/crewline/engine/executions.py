"""One execution of one claimed run: drive the graph, keep its checkpoints, finish."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson
from aws_lambda_powertools import Logger
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import RESUME
from langgraph.errors import GraphRecursionError
from langgraph.types import Command, Send, StateSnapshot

from crewline.checkpoints.projection import INTERRUPT, project
from crewline.checkpoints.records import Sealed, Snapshot
from crewline.engine.checkpointer import DynamoDBCheckpointer, Storage
from crewline.engine.clocks import move_clock_past
from crewline.engine.crews import Crews, Graph, Prepared
from crewline.engine.emitters import Emitter
from crewline.engine.heartbeats import Heartbeats
from crewline.engine.journals import Journal
from crewline.engine.streams import GraphStream
from crewline.engine.usages import TokenCounter
from crewline.errors import CrewlineError, RunCancelled, StaleOwner, Unavailable
from crewline.models.clocks import Clock, system_clock
from crewline.models.events import END, ERROR, Telling
from crewline.models.leases import Cancel, Claim
from crewline.models.runs import Run, RunError, RunStatus, Usage
from crewline.services.endings import Ended, Endings, Outcome
from crewline.services.events import Events, end_data
from crewline.services.recents import Recents
from crewline.services.runs import outcome_values
from crewline.store.changes import Change

_NOT_THE_RUNS_FAULT = (StaleOwner, Unavailable)
"""The run is not over: another worker has it, or will."""

_LOGGED = Telling()

LONGEST_MESSAGE = 10_000
"""Characters of a crew's exception that the run keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every execution of this process shares."""

    crews: Crews
    """The crews; one of them executes the run."""
    storage: Storage
    """The stores, and what commits under the claim."""
    endings: Endings
    """Finishes runs."""
    recents: Recents
    """Threads that this process knows."""
    heartbeats: Heartbeats
    """Renew claims during long nodes."""
    events: Events
    """The event logs."""
    logger: Logger
    longest_s: int
    """How long a run may take from its first claim on."""
    clock: Clock = system_clock


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
    """

    def __init__(self, run: Run, claim: Claim, around: Surroundings, telling: Telling = _LOGGED) -> None:
        self.claim = claim
        self._run = run
        self._around = around
        lease = claim.lease
        # A stateless run that nobody can ask for later leaves nothing, so nothing of it is written.
        self._in_memory = lease.private and not lease.keep_s
        self._journal = Journal(None if self._in_memory else self._commit, on_failure=self._cancel_graph)
        self._tokens = TokenCounter(Usage(input_tokens=lease.input_tokens, output_tokens=lease.output_tokens))
        self._stream: GraphStream | None = None
        self._left_to_answer: Command[Any] | None = None
        stored = not self._in_memory and run.kwargs["durability"] != "exit"
        self._emitter = Emitter(
            claim,
            replace(telling, logged=False) if self._in_memory else telling,
            around.events,
            self._journal if stored else None,
            around.logger,
        )
        self._stored = stored
        self._loop = asyncio.get_running_loop()
        self._graph_task: asyncio.Task[None] | None = None
        self._stopped: BaseException | Cancel | None = lease.cancel

    def stop(self, reason: BaseException | Cancel) -> None:
        """End the execution: its claim is lost, or somebody asked for it. For any thread."""
        self._stopped = reason
        self._loop.call_soon_threadsafe(self._cancel_graph)

    async def drive(self) -> Any:
        """Execute the run, finish it in one transaction with its last entries, and answer.

        Returns:
            The values the run left, with `__interrupt__` when it stopped at a question, or `__error__`.

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
        config = _run_config(self._run, self._tokens)
        try:
            crew = self._around.crews.get(self._run.graph_id)
            async with crew.graph(config) as graph:
                return await self._execute_graph(graph, crew.prepare(graph), config)
        except _NOT_THE_RUNS_FAULT:
            raise
        except (Exception, SystemExit) as exc:  # noqa: BLE001 (whatever else there is, is the run's error)
            return _Stopped(snapshot=None, status="error", error=_run_error(exc))

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
        move_clock_past(self.claim.lease.newest)
        self._recall()
        if self._forks and not await self._has_origin(checkpointer):
            return self._without_origin()
        if self.claim.lease.fed and self._stopped is None:
            if at_rest := await self._at_rest(bound, checkpointer):
                return at_rest
            config = self._continued(bound, config)
        self._stream = GraphStream(
            bound,
            self._emitter,
            prepared.serializer,
            modes=self._run.kwargs["stream_mode"],
            subgraphs=bool(self._run.kwargs.get("subgraphs")),
            stored=self._stored,
        )
        self._graph_task = asyncio.create_task(self._drive_graph(self._stream, config))
        if self._stopped is not None:  # asked for before, or while a factory was making the graph
            self._cancel_graph()
        status, error = await self._settle(self._graph_task)
        snapshot = await checkpointer.anewest(self._run.thread_id)
        if error:
            return _Stopped(snapshot=snapshot, status=status, error=error)
        open_steps = False
        if status == "interrupted" or _may_have_stopped(graph, self._run.kwargs, snapshot):
            open_steps = bool((await bound.aget_state(self._thread_config)).tasks)
        answer = None
        if snapshot and self._only_updated(snapshot):
            answer = project(prepared.serializer.dumps_typed(self._stream.last))
        return _Stopped(snapshot=snapshot, status=status, open_steps=open_steps, answer=answer)

    async def _drive_graph(self, stream: GraphStream, config: RunnableConfig) -> None:
        kwargs, lease = self._run.kwargs, self.claim.lease
        options: dict[str, Any] = {
            name: kwargs[name]
            for name in ("context", "interrupt_before", "interrupt_after")
            if kwargs.get(name)
        }
        # The input is fed once: a claim that finds it taken in goes on from the head. A fork that has
        # not moved the head yet has written nothing that a second feeding does not write again.
        given = self._left_to_answer if lease.fed and not self._forks else _input(kwargs)
        if self._forks:
            config["configurable"]["checkpoint_id"] = kwargs["checkpoint_id"]
        await stream.drive(given, config, durability=kwargs["durability"], **options)

    @property
    def _forks(self) -> bool:
        """Whether the run is to begin at another checkpoint than the head, and has not moved on from there."""
        lease = self.claim.lease
        return bool(self._run.kwargs.get("checkpoint_id")) and (not lease.fed or lease.head == lease.base)

    async def _has_origin(self, checkpointer: DynamoDBCheckpointer) -> bool:
        origin = self._at(self._run.kwargs["checkpoint_id"])
        return await checkpointer.aget_tuple(origin) is not None

    def _at(self, checkpoint_id: str) -> RunnableConfig:
        return {"configurable": {"thread_id": self._run.thread_id, "checkpoint_id": checkpoint_id}}

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

    # ------------------------------------------------------------------ going on where another worker died

    async def _at_rest(self, graph: Graph, checkpointer: DynamoDBCheckpointer) -> _Stopped | None:
        """Tell whether the run had already come to its stop, and only its finish is missing.

        LangGraph takes every invoke without input as "the breakpoint was passed", and the answer to
        one question as the answer to the next: a run that had stopped must not be invoked again.
        """
        # Read first: once the journal holds the checkpoint, nothing says any more in whose turn it asked.
        snapshot = await asyncio.to_thread(checkpointer.newest, self._run.thread_id)
        state = await graph.aget_state(self._thread_config)
        # Not by `next`: it leaves out tasks whose writes are there and whose checkpoint is not. And where
        # the run began there may be a command's writes, which lead on from a thread that was at its end.
        if not state.tasks and self.claim.lease.head != self.claim.lease.base:
            return _Stopped(snapshot=snapshot, status="success")
        asking, open_steps = snapshot, True
        if self._forks:  # it asked where it began; the thread is still what it was
            origin = self._run.kwargs["checkpoint_id"]
            records, claim = self._around.storage.records, self.claim
            asking = await asyncio.to_thread(records.get, claim.tenant, claim.thread_id, "", origin)
            open_steps = bool(state.tasks)
            state = await graph.aget_state(self._at(origin))
        asked = bool(asking and asking.asked_in == self.claim.lease.turn and state.interrupts)
        if asked or await self._at_breakpoint(graph, state):
            return _Stopped(snapshot=snapshot, status="success", open_steps=open_steps)
        self._left_to_answer = self._answers_left(state, snapshot)
        return None

    def _answers_left(self, state: StateSnapshot, snapshot: Snapshot | None) -> Command[Any] | None:
        """Find the answers by interrupt id that no task has taken yet: LangGraph stores none before.

        A task that has taken one must not get it again: all its questions have one id.
        """
        answers = (self._run.kwargs.get("command") or {}).get("resume")
        if not isinstance(answers, Mapping) or snapshot is None:
            return None
        taken = {write.task_id for write in snapshot.writes if write.channel == RESUME}
        left = {
            question.id: answers[question.id]
            for task in state.tasks
            for question in task.interrupts
            if task.id not in taken and question.id in answers
        }
        return Command(resume=left) if left else None

    async def _at_breakpoint(self, graph: Graph, state: StateSnapshot) -> bool:
        if self.claim.lease.head == self.claim.lease.base:
            return False  # it began there: this breakpoint is the one that it has passed
        before = self._run.kwargs.get("interrupt_before") or graph.interrupt_before_nodes
        after = self._run.kwargs.get("interrupt_after") or graph.interrupt_after_nodes
        if _hits(before, state.next):
            return True
        if not after or not state.parent_config or (state.metadata or {}).get("source") != "loop":
            return False
        return _hits(after, (await graph.aget_state(state.parent_config)).next)

    def _continued(self, graph: Graph, config: RunnableConfig) -> RunnableConfig:
        """Count the supersteps of earlier claims against the recursion limit.

        Raises:
            GraphRecursionError: They have used it up.
        """
        limit = config.get("recursion_limit") or (graph.config or {}).get("recursion_limit")
        if not limit or not self.claim.lease.steps:
            return config
        left = limit - self.claim.lease.steps
        if left < 1:
            raise GraphRecursionError(
                f"Recursion limit of {limit} reached without hitting a stop condition. "
                "You can increase the limit by setting the `recursion_limit` config key."
            )
        return {**config, "recursion_limit": left}

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
            recents.keep(claim.tenant, claim.thread_id, ended.lease, ended.rest, snapshot)
        else:
            recents.drop(claim.tenant, claim.thread_id)

    # ------------------------------------------------------------------ how it stopped

    async def _settle(self, task: asyncio.Task[None]) -> tuple[RunStatus, RunError | None]:
        """Wait for the graph; tell a failure of the crew from one of ours, and from a cancel."""
        timed_out = not await self._in_time(task)
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                task.cancel()  # this coroutine itself is being cancelled: the process shuts down
                raise
            if isinstance(self._stopped, BaseException):
                raise self._stopped from None
            self._raise_failure()
            if timed_out:
                return "timeout", self._timeout()
            if self._stopped is None and self._journal.failure is None:  # the crew's code raised it
                return "error", RunError(error="CancelledError", message="The crew cancelled itself.")
            return "interrupted", None
        except RunCancelled:
            return "interrupted", None
        except _NOT_THE_RUNS_FAULT:
            raise
        except (Exception, SystemExit) as exc:  # noqa: BLE001 (the crew's own code: whatever it raises)
            self._raise_failure()
            return ("timeout", self._timeout()) if timed_out else ("error", _run_error(exc))
        self._raise_failure()
        return ("interrupted" if isinstance(self._journal.failure, RunCancelled) else "success"), None

    async def _in_time(self, task: asyncio.Task[None]) -> bool:
        """Wait until the graph is done, or its time is over and it was told to stop."""
        left_ms = self.claim.lease.started + self._around.longest_s * 1000 - self._around.clock()
        try:
            done, _ = await asyncio.wait({task}, timeout=max(0, left_ms) / 1000)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
        return bool(done)

    def _timeout(self) -> RunError:
        return RunError(
            error="RunTimeout",
            message=(
                f"Run {self._run.run_id} was stopped after {self._around.longest_s} seconds, the longest a run may "
                "take here; what it had done is kept, and a run with input null goes on from there."
            ),
        )

    def _raise_failure(self) -> None:
        failure = self._journal.failure
        if failure and not isinstance(failure, RunCancelled):
            raise failure

    def _outcome(self, stopped: _Stopped) -> Outcome:
        if self._stopped in ("interrupt", "rollback"):
            self._know_cancel(self._stopped)
        elif isinstance(self._journal.failure, RunCancelled):
            self._know_cancel(self._journal.failure.details["action"])
        stream = self._stream
        return Outcome(
            status=stopped.status,
            thread_status="error" if stopped.error else ("interrupted" if stopped.open_steps else "idle"),
            error=stopped.error,
            usage=self._tokens.total(stream.first, stream.last) if stream else self._tokens.committed,
            heard=bool(self._run.kwargs.get("webhook")),
        )

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

    @property
    def _thread_config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self._run.thread_id}}

    def _commit(self, entries: Sequence[Sealed]) -> None:
        self.claim = self._around.storage.leases.commit(self.claim, entries, usage=self._tokens.committed)

    def _cancel_graph(self) -> None:
        if self._graph_task:
            self._graph_task.cancel()


def with_checkpointer(graph: Graph, checkpointer: BaseCheckpointSaver[Any]) -> Graph:
    """Give a graph a checkpointer for one use.

    A shallow copy: LangGraph's own `copy` validates the graph anew and drops its schema allow-list.
    """
    bound = copy.copy(graph)
    bound.checkpointer = checkpointer
    return bound


def _run_config(run: Run, tokens: TokenCounter) -> RunnableConfig:
    """Make the config of a run: what the caller sent, and what names the run and its place."""
    sent: Mapping[str, Any] = run.kwargs["config"]
    names = {"run_id": run.run_id, "graph_id": run.graph_id, "assistant_id": run.assistant_id}
    configurable = {
        name: value for name, value in sent.get("configurable", {}).items() if name != "checkpoint_id"
    }
    config: RunnableConfig = {
        "configurable": {**configurable, **names, "thread_id": run.thread_id, "checkpoint_ns": ""},
        "metadata": {**sent.get("metadata", {}), **run.metadata, **names},
        "run_id": UUID(run.run_id),
        "tags": list(sent.get("tags", [])),
        "callbacks": [tokens],
    }
    if limit := sent.get("recursion_limit"):
        config["recursion_limit"] = limit
    return config


def _input(kwargs: Mapping[str, Any]) -> Any:
    command = kwargs.get("command")
    if command is None:
        return kwargs.get("input")
    fields: dict[str, Any] = {name: command[name] for name in ("resume", "update") if name in command}
    if isinstance(fields.get("update"), list):  # pairs of channel and value
        fields["update"] = [tuple(pair) for pair in fields["update"]]
    if goto := command.get("goto"):
        fields["goto"] = [_destination(one) for one in (goto if isinstance(goto, list) else [goto])]
    return Command(**fields)


def _destination(goto: Any) -> str | Send:
    return goto if isinstance(goto, str) else Send(goto["node"], goto.get("input"))


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


def _hits(wanted: Any, nodes: Sequence[str]) -> bool:
    return bool(nodes) if wanted == "*" else any(node in (wanted or ()) for node in nodes)


def _run_error(error: BaseException) -> RunError:
    # A text may hold what UTF-8 does not have; a message that cannot be stored would hide the failure.
    message = str(error)[:LONGEST_MESSAGE].encode(errors="replace").decode()
    return RunError(error=type(error).__name__, message=message)
