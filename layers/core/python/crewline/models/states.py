"""State and history, as a client asks for them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from crewline.models.runs import CheckpointRef
from crewline.models.threads import Wire


class Before(Wire):
    """A place in a thread's history, spelled as a RunnableConfig."""

    configurable: CheckpointRef


class HistoryRequest(Wire):
    """Body of `POST /threads/{thread_id}/history`."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    before: Before | None = None
    """List only what is older than this checkpoint."""
    metadata: dict[str, Any] | None = None
    """List only checkpoints whose metadata has these values."""
    checkpoint: CheckpointRef | None = None
    """Whose namespace to list; the root when absent."""


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


class StateWire(TypedDict):
    """A state as the API answers it."""

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
