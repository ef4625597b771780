"""Going on where another worker died: what a claim finds that is not the first of its run.

LangGraph takes every invoke without input as "the breakpoint was passed", and the answer to one
question as the answer to the next: so a run that had come to its stop must not be invoked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.types import RESUME
from langgraph.types import Command, StateSnapshot

from crewline.checkpoints.records import Snapshot
from crewline.engine.checkpointer import DynamoDBCheckpointer
from crewline.engine.crews import Graph
from crewline.models.leases import Claim
from crewline.models.runs import Run
from crewline.store.records import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class AtRest:
    """Where a run had come to its stop; only its finish is missing."""

    snapshot: Snapshot | None
    open_steps: bool = False


class Recovery:
    """A run whose input has been taken in, as another claim finds it.

    Args:
        run: The run row.
        claim: The claim, as it was made.
        records: The checkpoints.
        forks: The run began at an older checkpoint, and has not moved on from there.
    """

    def __init__(self, run: Run, claim: Claim, records: Records, *, forks: bool) -> None:
        self._run = run
        self._claim = claim
        self._records = records
        self._forks = forks
        self.left_to_answer: Command[Any] | None = None
        """Answers by interrupt id that no task has taken yet; known once the run is not at rest."""

    async def at_rest(self, graph: Graph, checkpointer: DynamoDBCheckpointer) -> AtRest | None:
        """Tell whether the run had already come to its stop.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored checkpoint does not decode.
        """
        thread_id, lease = self._run.thread_id, self._claim.lease
        # Read first: once the journal holds the checkpoint, nothing says any more in whose turn it asked.
        snapshot = await asyncio.to_thread(checkpointer.newest, thread_id)
        state = await graph.aget_state(place(thread_id))
        # Not by `next`: it leaves out tasks whose writes are there and whose checkpoint is not. And where
        # the run began there may be a command's writes, which lead on from a thread that was at its end.
        if not state.tasks and lease.head != lease.base:
            return AtRest(snapshot=snapshot)
        asking, open_steps = snapshot, True
        if self._forks:  # it asked where it began; the thread is still what it was
            origin = self._run.kwargs["checkpoint_id"]
            asking = await asyncio.to_thread(self._records.get, self._claim.tenant, thread_id, "", origin)
            open_steps = bool(state.tasks)
            state = await graph.aget_state(place(thread_id, origin))
        asked = bool(asking and asking.asked_in == lease.turn and state.interrupts)
        if asked or await self._at_breakpoint(graph, state):
            return AtRest(snapshot=snapshot, open_steps=open_steps)
        self.left_to_answer = self._answers_left(state, snapshot)
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
        if self._claim.lease.head == self._claim.lease.base:
            return False  # it began there: this breakpoint is the one that it has passed
        before = self._run.kwargs.get("interrupt_before") or graph.interrupt_before_nodes
        after = self._run.kwargs.get("interrupt_after") or graph.interrupt_after_nodes
        if _hits(before, state.next):
            return True
        if not after or not state.parent_config or (state.metadata or {}).get("source") != "loop":
            return False
        return _hits(after, (await graph.aget_state(state.parent_config)).next)


def place(thread_id: str, checkpoint_id: str | None = None) -> RunnableConfig:
    """Name a thread, at its head or at a checkpoint, as LangGraph does."""
    at = {"checkpoint_id": checkpoint_id} if checkpoint_id else {}
    return {"configurable": {"thread_id": thread_id, **at}}


def _hits(wanted: Any, nodes: Sequence[str]) -> bool:
    return bool(nodes) if wanted == "*" else any(node in (wanted or ()) for node in nodes)
