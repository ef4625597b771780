"""Lifecycle events: what an EventBridge bus is told of a run. Never what the run was given, nor what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from crewline.models.leases import Rest
from crewline.models.runs import Run, RunStatus, UsageWire

SOURCE: Final = "crewline"
"""The source of every event."""
MOST_BYTES: Final = 256 * 1024 - 2_048
"""EventBridge takes 256 KB of an event, its source and detail type among them."""

Happening = Literal["run.started", "run.succeeded", "run.failed", "run.interrupted", "run.canceled"]
"""The detail type of an event."""
ENDS: Final[Mapping[RunStatus, Happening]] = {
    "success": "run.succeeded",
    "error": "run.failed",
    "timeout": "run.failed",
    "interrupted": "run.canceled",
}
"""How a run ended → what has happened, in Crewship's words."""


class RunEvent(BaseModel):
    """The detail of an event: a run has begun, or has ended.

    An event can come more than once, then with the same `id`; and in any order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    version: Literal[1] = 1
    """A later version may have more fields; one that has fewer gets another number."""
    id: str
    """The same each time that the event comes."""
    type: Happening
    """What has happened, as the detail type says too."""
    tenant: str
    """Whose run."""
    run_id: str
    thread_id: str
    """Gone already, if the run was a stateless one."""
    assistant_id: str
    graph_id: str
    """The crew."""
    status: RunStatus
    """The status that the API shows: a run that stopped at a question is a `success`."""
    created_at: str
    started_at: str | None = None
    """When it was first claimed; null if it ended before."""
    ended_at: str | None = None
    usage: UsageWire | None = None
    """What its model calls used; null until it has ended, and if it never began."""
    error: str | None = None
    """The class of its error; the text of one may hold what a customer said, and is on the run."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """The run's metadata."""
    metadata_left_out: bool = False
    """The metadata is not here, for with it the event would be larger than EventBridge allows."""


def event_of(tenant: str, run: Run, happening: Happening) -> RunEvent:
    """Make the event that tells what has happened to a run; without its metadata if that is too large.

    Args:
        tenant: Whose run.
        run: The run as it is from now on.
        happening: What has happened.
    """
    event = RunEvent(
        id=f"{run.run_id}.{happening.removeprefix('run.')}",
        type=happening,
        tenant=tenant,
        run_id=run.run_id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        graph_id=run.graph_id,
        status=run.status,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        usage=run.usage.wire() if run.usage else None,
        error=run.error.error if run.error else None,
        metadata=dict(run.metadata),
    )
    if len(event.model_dump_json().encode()) > MOST_BYTES:
        return event.model_copy(update={"metadata": {}, "metadata_left_out": True})
    return event


def ending(status: RunStatus, rest: Rest) -> Happening:
    """Tell what has happened to a run that ended.

    Args:
        status: How it ended.
        rest: What it left its thread as: a run that stopped at a question was a success, and is interrupted here.
    """
    return "run.interrupted" if (status, rest) == ("success", "interrupted") else ENDS[status]
