"""Edits worked out by the crew's own graph: LangGraph's `bulk_update_state` over a journal in memory."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.pregel import NodeBuilder
from langgraph.pregel._write import ChannelWriteEntry
from langgraph.types import StateUpdate as GraphUpdate

from crewline.engine.checkpointer import DynamoDBCheckpointer, Storage
from crewline.engine.clocks import move_clock_past
from crewline.engine.crews import Crews, Graph, Prepared
from crewline.engine.inputs import given_input, run_error, with_checkpointer
from crewline.engine.journals import Journal
from crewline.engine.loops import CrewLoop
from crewline.engine.states import crew_names
from crewline.errors import BadRequest, CrewlineError
from crewline.models.leases import Lease
from crewline.models.runs import CheckpointRef
from crewline.models.states import STATE_NODE, StateUpdate, Superstep
from crewline.models.threads import Thread
from crewline.services.edits import Edited


class Editor:
    """Works out edits on the crew loop of this process; safe for many threads."""

    def __init__(self, crews: Crews, storage: Storage, loop: CrewLoop) -> None:
        self._crews = crews
        self._storage = storage
        self._loop = loop

    def edit(
        self,
        tenant: str,
        thread: Thread,
        lease: Lease,
        at: CheckpointRef,
        supersteps: Sequence[Superstep],
    ) -> Edited:
        """Work out what updates make of a thread's state, and write nothing.

        Args:
            tenant: Whose thread.
            thread: The thread; its metadata names the crew where its checkpoints name none.
            lease: Its lease as it was read: what is worked out holds for this head alone.
            at: The checkpoint to begin at; the head, or a subgraph's newest, without an id.
            supersteps: The updates; each superstep becomes a checkpoint.

        Raises:
            InvalidRequest: The thread's crew is not in this deployment.
            BadRequest: The graph refuses the updates: it has no such node or checkpoint, or its own
                code raised.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored checkpoint does not decode.
        """
        return self._loop.submit(self._edit(tenant, thread, lease, at, supersteps)).result()

    async def _edit(
        self,
        tenant: str,
        thread: Thread,
        lease: Lease,
        at: CheckpointRef,
        supersteps: Sequence[Superstep],
    ) -> Edited:
        config = _config(thread, at)
        move_clock_past(lease.newest)
        journal = Journal(None)
        snapshot = await asyncio.to_thread(
            self._checkpointer(tenant, lease, journal, Prepared()).snapshot, config
        )
        if at.checkpoint_id and snapshot is None:
            raise BadRequest(f"Thread {thread.thread_id} has no checkpoint {at.checkpoint_id}.")
        names = crew_names(self._crews, thread, snapshot)
        config["metadata"] = names
        crew = self._crews.get(str(names["graph_id"]))
        async with crew.graph(config) as graph:
            bound = with_checkpointer(graph, self._checkpointer(tenant, lease, journal, crew.prepare(graph)))
            reached = await _updated(bound, config, supersteps)
            left = await bound.aget_state(
                {"configurable": {"thread_id": thread.thread_id, "checkpoint_ns": ""}}
            )
        return Edited(
            entries=await journal.close(), checkpoint=_reached(thread, reached), open_steps=bool(left.next)
        )

    def _checkpointer(
        self, tenant: str, lease: Lease, journal: Journal, prepared: Prepared
    ) -> DynamoDBCheckpointer:
        return DynamoDBCheckpointer.over(
            self._storage,
            tenant,
            serde=prepared.serializer,
            lease=lambda _thread_id: lease,
            journal=journal,
            defaults=prepared.defaults,
        )


async def _updated(graph: Graph, config: RunnableConfig, supersteps: Sequence[Superstep]) -> RunnableConfig:
    reached = config
    try:
        for superstep in supersteps:  # one at a time: LangGraph gives only the first the config's metadata
            updates = [_graph_update(one) for one in superstep.updates]
            if any(one.as_node == STATE_NODE for one in superstep.updates):
                graph = _with_state_node(graph, superstep)
            reached = await graph.abulk_update_state({**reached, "metadata": config["metadata"]}, [updates])
    except CrewlineError:
        raise
    except Exception as exc:
        error = run_error(exc)
        raise BadRequest(f"The graph refuses the update: {error.error}: {error.message}") from exc
    return reached


def _with_state_node(graph: Graph, superstep: Superstep) -> Graph:
    """Give a graph the node that writes into its state what it is given; no other node is triggered by that.

    LangGraph's own ways of setting a state leave something pending, run the conditions of a node's edges, or
    write no more than the graph takes as its input.
    """
    values: dict[str, Any] = {}
    for update in superstep.updates:
        if update.as_node != STATE_NODE or not isinstance(update.values, dict):
            raise BadRequest(f"{STATE_NODE} takes an object of values, alone in its superstep.")
        values |= update.values
    channels = [name for name in graph.stream_channels_list if not name.startswith("__")]
    if unknown := sorted(values.keys() - set(channels)):
        known = f"its state has {', '.join(channels)}" if channels else "it keeps no state"
        raise BadRequest(f"The crew's state has no {', '.join(unknown)[:200]}; {known}.")
    writing = copy.copy(graph)
    writes = [ChannelWriteEntry(name, value) for name, value in values.items()]
    writing.nodes = {**graph.nodes, STATE_NODE: NodeBuilder().write_to(*writes).build()}
    return writing


def _graph_update(update: StateUpdate) -> GraphUpdate:
    command = update.command.parts if update.command else None
    values: Any = given_input({"command": command, "input": update.values})
    return GraphUpdate(values=values, as_node=update.as_node)


def _config(thread: Thread, at: CheckpointRef) -> RunnableConfig:
    configurable: dict[str, Any] = {"thread_id": thread.thread_id, "checkpoint_ns": at.checkpoint_ns}
    if at.checkpoint_id:
        configurable["checkpoint_id"] = at.checkpoint_id
    return {"configurable": configurable}


def _reached(thread: Thread, config: RunnableConfig) -> dict[str, Any]:
    configurable = config["configurable"]
    return {
        "thread_id": thread.thread_id,
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
        "checkpoint_id": configurable["checkpoint_id"],
    }
