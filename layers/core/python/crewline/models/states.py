"""State and history, as a client asks for them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from crewline.models.clocks import Id
from crewline.models.runs import CheckpointRef, Command
from crewline.models.threads import WHOLE, ThreadCreate, Wire

LARGEST_BEGINNING = 1_000
"""Supersteps with which a thread may begin."""
STATE_NODE: Final = "__values__"
"""A node that every crew has: what it has written is put into the state as it is, and nothing is next after it."""
FIELDS = frozenset(
    (
        "values",
        "next",
        "tasks",
        "metadata",
        "created_at",
        "checkpoint",
        "parent_checkpoint",
        "checkpoint_id",
        "parent_checkpoint_id",
        "interrupts",
    )
)
"""What a state can be asked for."""

_Name = Annotated[str, Field(pattern=rf"^({'|'.join(sorted(FIELDS))}|values\..+)$")]
Select = list[_Name]
"""The fields of a state that are wanted; `values.<key>` is one value of it."""


class Before(Wire):
    """A place in a thread's history: a checkpoint, or a RunnableConfig that names one."""

    configurable: CheckpointRef | None = None
    checkpoint_id: Id | None = None

    @property
    def checkpoint(self) -> CheckpointRef:
        """The checkpoint."""
        return self.configurable or CheckpointRef(checkpoint_id=self.checkpoint_id)


class StateRequest(Wire):
    """Body of `POST /threads/{thread_id}/state/checkpoint`."""

    checkpoint: CheckpointRef
    """Which state; that of the head when it has no id."""
    subgraphs: bool = False
    """Whether the states of subgraphs are shown with the tasks they belong to."""
    select: Select | None = None


class StateUpdate(Wire):
    """What one node is to have written."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "properties": {"values": {"not": {"type": "null"}}, "command": {"type": "object"}},
                "required": ["values", "command"],
            }
        }
    )

    values: dict[str, Any] | list[Any] | None = None
    """What it returned; None for an update that only moves on."""
    command: Command | None = None
    """What it returned, when that was a command."""
    as_node: str | None = None
    """The node; the one that ran last when absent. `__values__` stands for none: nothing is next after it."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.command and self.values is not None:
            raise ValueError("values and command: an update is one or the other")
        return self


class Superstep(Wire):
    """Updates that become one checkpoint."""

    updates: Annotated[list[StateUpdate], Field(min_length=1, max_length=100)]


class ThreadBegin(ThreadCreate):
    """Body of `POST /threads`, with the state that the thread begins with."""

    supersteps: Annotated[list[Superstep], Field(max_length=LARGEST_BEGINNING)] | None = None
    """Updates of its graph; each superstep becomes a checkpoint."""


class StateEdit(Wire):
    """Body of `POST /threads/{thread_id}/state`."""

    values: dict[str, Any] | list[Any] | None = None
    """What the node is to have written."""
    as_node: str | None = None
    """The node; the one that ran last when absent."""
    checkpoint: CheckpointRef | None = None
    """Which state to change; that of the head when absent. A thread goes on from the change."""
    checkpoint_id: Id | None = None
    """The same, shorter."""

    @property
    def at(self) -> CheckpointRef:
        """Where the edit begins."""
        return self.checkpoint or CheckpointRef(checkpoint_id=self.checkpoint_id)

    @property
    def supersteps(self) -> list[Superstep]:
        """The edit as what it is to LangGraph: a superstep of one update."""
        return [Superstep(updates=[StateUpdate(values=self.values, as_node=self.as_node)])]


class HistoryRequest(Wire):
    """Body of `POST /threads/{thread_id}/history`."""

    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 10
    before: Before | None = None
    """List only what is older than this checkpoint."""
    metadata: dict[str, Any] | None = None
    """List only checkpoints whose metadata has these values."""
    checkpoint: CheckpointRef | None = None
    """Whose namespace to list; the root when absent."""
    select: Select | None = None


class CheckpointWire(TypedDict):
    """A checkpoint as the API names it."""

    checkpoint_id: str | None
    thread_id: str | None
    checkpoint_ns: str


class TaskWire(TypedDict):
    """A task of the superstep that comes next."""

    id: str
    name: str
    path: list[Any]
    error: str | None
    interrupts: list[Any]
    checkpoint: CheckpointWire | None
    state: StateWire | None
    result: Any


class EditWire(TypedDict):
    """Where an edit has led to; the last two are what older clients read."""

    checkpoint: CheckpointWire
    configurable: CheckpointWire
    checkpoint_id: str


class StateWire(TypedDict, total=False):
    """A state as the API answers it: all of it, or what was selected."""

    values: Any
    next: list[str]
    tasks: list[TaskWire]
    metadata: dict[str, Any]
    created_at: str | None
    checkpoint: CheckpointWire | None
    parent_checkpoint: CheckpointWire | None
    checkpoint_id: str | None
    parent_checkpoint_id: str | None
    interrupts: list[Any]
