"""State and history, as a client asks for them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

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
