"""The states of threads as the API answers them, each read with the graph of the crew that wrote it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import PregelTask, StateSnapshot

from crewline.checkpoints.projection import project
from crewline.checkpoints.records import Snapshot
from crewline.engine.checkpointer import DynamoDBCheckpointer, Storage
from crewline.engine.crews import Crews, Graph
from crewline.engine.inputs import with_checkpointer
from crewline.engine.journals import Journal
from crewline.engine.serdes import strict_serializer
from crewline.models.leases import Lease
from crewline.models.runs import CheckpointRef
from crewline.models.states import HistoryRequest
from crewline.models.threads import CREW_KEYS, Thread

EMPTY: dict[str, Any] = {
    "values": {},
    "next": [],
    "tasks": [],
    "metadata": {},
    "created_at": None,
    "checkpoint": None,
    "parent_checkpoint": None,
    "checkpoint_id": None,
    "parent_checkpoint_id": None,
    "interrupts": [],
}
"""The state of a thread that nothing has written yet."""


def crew_names(crews: Crews, thread: Thread, snapshot: Snapshot | None) -> dict[str, Any]:
    """Tell which crew a checkpoint belongs to, as metadata does: by `graph_id` and `assistant_id`.

    The thread's metadata names the crew of the run that was accepted last, which may still wait, and may
    never begin. So it is the crew that the checkpoint's own metadata names; the thread's where that names
    none, or one that is no longer deployed.
    """
    written = project(snapshot.record.metadata) if snapshot else {}
    names = written if written.get("graph_id") in crews else thread.metadata
    return {name: names[name] for name in sorted(CREW_KEYS) if name in names}


class States:
    """Reads states of one thread for one request; a context manager, which closes the graphs that it opened.

    Each is read with the crew of `crew_names`.

    Args:
        crews: Those of this deployment.
        storage: The stores.
        tenant: Whose thread.
        thread: The thread's row.
        lease: Its lease as it was read with the row: says what its newest checkpoint is.
    """

    def __init__(self, crews: Crews, storage: Storage, tenant: str, thread: Thread, lease: Lease) -> None:
        self._crews = crews
        self._storage = replace(storage, records=storage.records.seen_under(lease))
        self._tenant = tenant
        self._thread = thread
        self._lease = lease
        self._stored = self._checkpointer(strict_serializer())
        self._graphs: dict[str, tuple[Graph, JsonPlusSerializer]] = {}
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._opened.aclose()

    async def read(self, at: CheckpointRef, *, subgraphs: bool) -> dict[str, Any]:
        """Read the state at a checkpoint; the newest of its namespace when it has no id.

        Raises:
            InvalidRequest: Neither the crew that wrote it nor the thread's is in this deployment.
            CrewFailedToLoad: What the crew's factory gave is no graph.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored checkpoint does not decode.
        """
        if self._lease.head is None:
            return EMPTY
        config = self._config(at)
        snapshot = await asyncio.to_thread(self._stored.snapshot, config)
        return await self._show(snapshot, config, subgraphs=subgraphs) if snapshot else EMPTY

    async def search(self, query: HistoryRequest) -> AsyncIterator[dict[str, Any]]:
        """Read states, the newest first.

        Raises:
            InvalidRequest: Neither the crew that wrote one nor the thread's is in this deployment.
            CrewFailedToLoad: What a crew's factory gave is no graph.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored checkpoint does not decode.
        """
        if self._lease.head is None:
            return
        found = self._stored.snapshots(
            self._config(query.checkpoint or CheckpointRef()),
            filter=query.metadata,
            before=self._config(query.before.checkpoint) if query.before else None,
            limit=query.limit,
        )
        while (snapshot := await asyncio.to_thread(next, found, None)) is not None:
            record = snapshot.record
            at = CheckpointRef(checkpoint_id=record.checkpoint_id, checkpoint_ns=record.namespace)
            yield await self._show(snapshot, self._config(at))

    async def _show(
        self, snapshot: Snapshot, config: RunnableConfig, *, subgraphs: bool = False
    ) -> dict[str, Any]:
        graph, serializer = await self._graph(snapshot, config)
        held = Journal(None)  # gives the graph what was read, so that nothing is read twice
        held.saw(snapshot, newest=True)
        bound = with_checkpointer(graph, self._checkpointer(serializer, held))
        return render(await bound.aget_state(config, subgraphs=subgraphs), serializer)

    async def _graph(self, snapshot: Snapshot, config: RunnableConfig) -> tuple[Graph, JsonPlusSerializer]:
        name = str(crew_names(self._crews, self._thread, snapshot).get("graph_id"))
        if name not in self._graphs:
            crew = self._crews.get(name)
            graph = await self._opened.enter_async_context(crew.graph(config))
            self._graphs[name] = graph, crew.prepare(graph).serializer
        return self._graphs[name]

    def _checkpointer(self, serde: SerializerProtocol, held: Journal | None = None) -> DynamoDBCheckpointer:
        return DynamoDBCheckpointer.over(
            self._storage,
            self._tenant,
            serde=serde,
            lease=lambda _thread_id: self._lease,
            journal=held,
            read_only=True,
        )

    def _config(self, at: CheckpointRef) -> RunnableConfig:
        configurable = {"thread_id": self._thread.thread_id, "checkpoint_ns": at.checkpoint_ns}
        if at.checkpoint_id:
            configurable["checkpoint_id"] = at.checkpoint_id
        return {"configurable": configurable}


def render(snapshot: StateSnapshot, serializer: JsonPlusSerializer) -> dict[str, Any]:
    """Spell a snapshot as `GET /threads/{thread_id}/state` answers it.

    Values go through the serialiser and the projection, as the control plane shows them.
    """
    if snapshot.metadata is None and not snapshot.values:
        return EMPTY
    checkpoint, parent = _checkpoint(snapshot.config), _checkpoint(snapshot.parent_config)
    return {
        "values": _json(snapshot.values, serializer),
        "next": list(snapshot.next),
        "tasks": [_task(task, serializer) for task in snapshot.tasks],
        "metadata": {
            **_json(snapshot.metadata or {}, serializer),
            "thread_id": (checkpoint or {}).get("thread_id"),
        },
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "checkpoint_id": checkpoint and checkpoint["checkpoint_id"],
        "parent_checkpoint_id": parent and parent["checkpoint_id"],
        "interrupts": _json(list(snapshot.interrupts), serializer),
    }


def _task(task: PregelTask, serializer: JsonPlusSerializer) -> dict[str, Any]:
    inner = task.state
    return {
        "id": task.id,
        "name": task.name,
        "path": _json(list(task.path), serializer),
        "error": None if task.error is None else str(_json(task.error, serializer)),
        "interrupts": _json(list(task.interrupts), serializer),
        "checkpoint": _checkpoint(inner) if isinstance(inner, dict) else None,
        "state": render(inner, serializer) if isinstance(inner, StateSnapshot) else None,
        "result": _json(task.result, serializer),
    }


def _checkpoint(config: RunnableConfig | None) -> dict[str, Any] | None:
    configurable = (config or {}).get("configurable", {})
    if not configurable.get("checkpoint_id") and "checkpoint_ns" not in configurable:
        return None
    return {
        "checkpoint_id": configurable.get("checkpoint_id"),
        "thread_id": configurable.get("thread_id"),
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
    }


def _json(value: Any, serializer: JsonPlusSerializer) -> Any:
    return project(serializer.dumps_typed(value))
