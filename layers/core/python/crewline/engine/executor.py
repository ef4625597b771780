"""The engine as the functions see it: execute claimed runs, read state and history, draw crews."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from crewline.engine.drawings import describe, describe_subgraphs, draw
from crewline.engine.executions import Execution, Surroundings
from crewline.engine.inputs import assistant_config
from crewline.engine.loops import CrewLoop
from crewline.engine.states import States
from crewline.models.assistants import Assistant
from crewline.models.events import Telling
from crewline.models.leases import Claim, Lease
from crewline.models.runs import CheckpointRef, Run
from crewline.models.states import HistoryRequest
from crewline.models.threads import Thread

_LOGGED = Telling()


class Executor:
    """Drives the crews of this process on its crew loop; safe for many threads."""

    def __init__(self, around: Surroundings, loop: CrewLoop) -> None:
        self._around = around
        self._crews = around.crews
        self._storage = around.storage
        self._loop = loop
        self._executing: dict[str, Execution] = {}
        """By run; on the crew loop only."""
        self._described: dict[str, dict[str, Any]] = {}
        """The schemas of graphs that stay: making them takes longer than a short run."""

    def execute(
        self, run: Run, claim: Claim, telling: Telling = _LOGGED, *, ends: float | None = None
    ) -> Future[Any]:
        """Execute a claimed run to its end, or to the end of its slice.

        A failure of the crew's own code is no exception here: it is recorded on the run, and the
        answer says it.

        Args:
            run: The run row.
            claim: The claim on it.
            telling: To whom it tells what it does.
            ends: When the invocation ends, in seconds of the monotonic clock; without it, the run
                has all the time.

        Returns:
            A future of what a caller who waits is answered: the values, or `{"__error__": …}`; or of
            `Continues`, for a run that goes on in another slice, which is to be dispatched. It
            fails with `StaleOwner` when another worker has taken the run over, and with
            `Unavailable` when DynamoDB or S3 could not be reached: then the lease expires and the
            run is resumed.
        """
        return self._loop.submit(self._execute(run, claim, telling, ends))

    def stop(self, run_id: str) -> None:
        """End a run that executes here and that was cancelled, without waiting for the next heartbeat.

        The lease has the last word: what was asked of it decides what becomes of the run.
        """
        self._loop.submit(self._stop(run_id))

    def state(
        self, tenant: str, thread: Thread, lease: Lease, at: CheckpointRef | None, *, subgraphs: bool
    ) -> Any:
        """Read the state of a thread at its head or at a checkpoint, with the graph that wrote it.

        Raises:
            InvalidRequest: Neither the crew that wrote it nor the thread's is in this deployment.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored checkpoint does not decode.
        """
        return self._loop.submit(self._state(tenant, thread, lease, at, subgraphs=subgraphs)).result()

    def history(self, tenant: str, thread: Thread, lease: Lease, query: HistoryRequest) -> list[Any]:
        """Read the states of a thread, the newest first, each with the graph that wrote it.

        Raises:
            InvalidRequest: Neither the crew that wrote one nor the thread's is in this deployment.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored checkpoint does not decode.
        """
        return self._loop.submit(self._history(tenant, thread, lease, query)).result()

    def graph(self, assistant: Assistant, *, xray: int | bool) -> dict[str, Any]:
        """Draw the graph that an assistant's runs execute: nodes and edges.

        Args:
            assistant: The assistant; a factory is called with its config.
            xray: Whether to draw subgraphs from within too, or how many levels of them.

        Raises:
            InvalidRequest: The assistant's crew is not in this deployment.
            CrewFailedToLoad: What the crew's factory gave is no graph.
        """
        return self._loop.submit(self._graph(assistant, xray)).result()

    def schemas(self, assistant: Assistant) -> dict[str, Any]:
        """Give the JSON schemas of an assistant's graph.

        Raises:
            InvalidRequest: The assistant's crew is not in this deployment.
            CrewFailedToLoad: What the crew's factory gave is no graph.
        """
        return self._loop.submit(self._schemas(assistant)).result()

    def subgraphs(self, assistant: Assistant, *, namespace: str | None, recurse: bool) -> dict[str, Any]:
        """Give the JSON schemas of the subgraphs of an assistant's graph, by namespace.

        Args:
            assistant: The assistant.
            namespace: Only the subgraph at this place; a nested one needs `recurse`.
            recurse: Also the subgraphs of subgraphs.

        Raises:
            InvalidRequest: The assistant's crew is not in this deployment.
            CrewFailedToLoad: What the crew's factory gave is no graph.
        """
        return self._loop.submit(self._subgraphs(assistant, namespace, recurse=recurse)).result()

    async def _graph(self, assistant: Assistant, xray: int | bool) -> dict[str, Any]:
        config = assistant_config(assistant)
        async with self._crews.get(assistant.graph_id).graph(config) as graph:
            return await draw(graph, config, xray)

    async def _schemas(self, assistant: Assistant) -> dict[str, Any]:
        crew = self._crews.get(assistant.graph_id)
        if crew.graph_id not in self._described:
            async with crew.graph(assistant_config(assistant)) as graph:
                described = await asyncio.to_thread(describe, crew.graph_id, graph, self._around.logger)
                if graph is not crew.target:  # a factory's, who may make another one the next time
                    return described
                self._described[crew.graph_id] = described
        return self._described[crew.graph_id]

    async def _subgraphs(
        self, assistant: Assistant, namespace: str | None, *, recurse: bool
    ) -> dict[str, Any]:
        async with self._crews.get(assistant.graph_id).graph(assistant_config(assistant)) as graph:
            return await asyncio.to_thread(
                describe_subgraphs,
                assistant.graph_id,
                graph,
                self._around.logger,
                namespace=namespace,
                recurse=recurse,
            )

    async def _execute(self, run: Run, claim: Claim, telling: Telling, ends: float | None) -> Any:
        execution = Execution(run, claim, self._around, telling, ends=ends)
        self._executing[run.run_id] = execution
        try:
            return await execution.drive()
        finally:
            if self._executing.get(run.run_id) is execution:
                del self._executing[run.run_id]

    async def _stop(self, run_id: str) -> None:
        if execution := self._executing.get(run_id):
            execution.stop("interrupt")

    async def _state(
        self, tenant: str, thread: Thread, lease: Lease, at: CheckpointRef | None, *, subgraphs: bool
    ) -> Any:
        async with States(self._crews, self._storage, tenant, thread, lease) as states:
            return await states.read(at or CheckpointRef(), subgraphs=subgraphs)

    async def _history(self, tenant: str, thread: Thread, lease: Lease, query: HistoryRequest) -> list[Any]:
        async with States(self._crews, self._storage, tenant, thread, lease) as states:
            return [state async for state in states.search(query)]
