"""One execution of one claimed run: drive the graph, keep its checkpoints, finish."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import Command, Send

from crewline.checkpoints.projection import INTERRUPT
from crewline.checkpoints.records import Sealed, Snapshot
from crewline.engine.checkpointer import DynamoDBCheckpointer, Storage
from crewline.engine.clocks import move_clock_past
from crewline.engine.crews import Crews, Graph, Prepared
from crewline.engine.heartbeats import Heartbeats
from crewline.engine.journals import Journal
from crewline.errors import CrewlineError, RunCancelled, StaleOwner, Unavailable
from crewline.models.leases import Cancel, Claim
from crewline.models.runs import Run, RunError
from crewline.services.leases import Outcome
from crewline.services.runs import outcome_values

_NOT_THE_RUNS_FAULT = (StaleOwner, Unavailable)
"""The run is not over: another worker has it, or will."""

LONGEST_MESSAGE = 10_000
"""Characters of a crew's exception that the run keeps."""


class Execution:
    """A claimed run on its way to a terminal status; lives on the crew loop.

    Args:
        run: The run row.
        claim: The claim on it.
        crews: The crews of this process; one of them executes it.
        storage: The stores, and what commits and finishes under the claim.
        heartbeats: Renew the claim during long nodes.
    """

    def __init__(
        self, run: Run, claim: Claim, crews: Crews, *, storage: Storage, heartbeats: Heartbeats
    ) -> None:
        self.claim = claim
        self._run = run
        self._crews = crews
        self._storage = storage
        self._heartbeats = heartbeats
        self._temporary = bool(run.kwargs.get("temporary"))
        self._journal = Journal(None if self._temporary else self._commit, on_failure=self._cancel_graph)
        self._loop = asyncio.get_running_loop()
        self._graph_task: asyncio.Task[None] | None = None
        self._stopped: BaseException | Cancel | None = None

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
        unregister = self._heartbeats.register(self)
        try:
            snapshot, outcome = await self._execute()
            entries = await self._last_entries()
            self.claim = await asyncio.to_thread(self._storage.leases.finish, self.claim, outcome, entries)
        finally:
            unregister()
        if outcome.error:
            return {"__error__": outcome.error.wire()}
        return outcome_values(snapshot) if snapshot else {}

    async def _last_entries(self) -> Sequence[Sealed]:
        try:
            return await self._journal.close()
        except _NOT_THE_RUNS_FAULT:
            raise
        except CrewlineError:
            return ()  # it cannot be stored, which is the error that the run ends with

    async def _execute(self) -> tuple[Snapshot | None, Outcome]:
        config = _run_config(self._run)
        try:
            crew = self._crews.get(self._run.graph_id)
            async with crew.graph(config) as graph:
                return await self._execute_graph(graph, crew.prepare(graph), config)
        except _NOT_THE_RUNS_FAULT:
            raise
        except (Exception, SystemExit) as exc:  # noqa: BLE001 (whatever else there is, is the run's error)
            return None, self._outcome("error", error=_run_error(exc))

    async def _execute_graph(
        self, graph: Graph, prepared: Prepared, config: RunnableConfig
    ) -> tuple[Snapshot | None, Outcome]:
        checkpointer = DynamoDBCheckpointer.over(
            self._storage,
            self.claim.tenant,
            serde=prepared.serializer,
            head=lambda _thread_id: self.claim.lease.head,
            journal=self._journal,
            defaults=prepared.defaults,
        )
        bound = with_checkpointer(graph, checkpointer)
        move_clock_past(self.claim.lease.newest)
        self._graph_task = asyncio.create_task(self._stream(bound, config))
        if self._stopped is not None:  # while a factory was making the graph
            self._cancel_graph()
        error, cancelled = await self._settle(self._graph_task)
        thread_config: RunnableConfig = {"configurable": {"thread_id": self._run.thread_id}}
        snapshot = await asyncio.to_thread(checkpointer.newest, self._run.thread_id)
        if error:
            return snapshot, self._outcome("error", error=error)
        open_steps = False
        if cancelled or _may_have_stopped(graph, self._run.kwargs, snapshot):
            open_steps = bool((await bound.aget_state(thread_config)).next)
        return snapshot, self._outcome("interrupted" if cancelled else "success", open_steps=open_steps)

    async def _stream(self, graph: Graph, config: RunnableConfig) -> None:
        kwargs = self._run.kwargs
        options: dict[str, Any] = {
            name: kwargs[name]
            for name in ("context", "interrupt_before", "interrupt_after")
            if kwargs.get(name)
        }
        # The input is fed once: a claim that finds it taken in goes on from the head.
        fed = self.claim.lease.fed
        given = None if fed else _input(kwargs)
        if not fed and kwargs.get("checkpoint_id"):
            config["configurable"]["checkpoint_id"] = kwargs["checkpoint_id"]
        async for _ in graph.astream(
            given, config, stream_mode="values", durability=kwargs["durability"], **options
        ):
            pass

    async def _settle(self, task: asyncio.Task[None]) -> tuple[RunError | None, bool]:
        """Wait for the graph; tell a failure of the crew from one of ours, and from a cancel."""
        try:
            await task
        except asyncio.CancelledError:
            if not task.cancelled():
                task.cancel()  # this coroutine itself is being cancelled: the process shuts down
                raise
            if isinstance(self._stopped, BaseException):
                raise self._stopped from None
            self._raise_failure()
            if self._stopped is None and self._journal.failure is None:  # the crew's code raised it
                return RunError(error="CancelledError", message="The crew cancelled itself."), False
            return None, True
        except RunCancelled:
            return None, True
        except _NOT_THE_RUNS_FAULT:
            raise
        except (Exception, SystemExit) as exc:  # noqa: BLE001 (the crew's own code: whatever it raises)
            self._raise_failure()
            return _run_error(exc), False
        self._raise_failure()
        return None, isinstance(self._journal.failure, RunCancelled)

    def _raise_failure(self) -> None:
        failure = self._journal.failure
        if failure and not isinstance(failure, RunCancelled):
            raise failure

    def _outcome(self, status: Any, *, error: RunError | None = None, open_steps: bool = False) -> Outcome:
        thread_status: Any = "error" if error else ("interrupted" if open_steps else "idle")
        return Outcome(status=status, thread_status=thread_status, error=error, forget=self._temporary)

    def _commit(self, entries: Sequence[Sealed]) -> None:
        self.claim = self._storage.leases.commit(self.claim, entries)

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


def _run_config(run: Run) -> RunnableConfig:
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


def _run_error(error: BaseException) -> RunError:
    # A text may hold what UTF-8 does not have; a message that cannot be stored would hide the failure.
    message = str(error)[:LONGEST_MESSAGE].encode(errors="replace").decode()
    return RunError(error=type(error).__name__, message=message)
