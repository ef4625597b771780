"""Threads and their history in the words of Crewship's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from crewline.models.clocks import Id
from crewline.models.crewship import zulu
from crewline.models.public_ids import public_id
from crewline.models.states import STATE_NODE, StateUpdate, Superstep, ThreadBegin
from crewline.models.threads import CREW_KEYS, OrDefault, ThreadMetadata, ThreadStatus, ThreadWire, Wire


def _without_crew(metadata: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(CREW_KEYS & metadata.keys()):
        raise ValueError(f"{', '.join(taken)}: this is the service's own; deployment_id names the crew")
    return metadata


OwnMetadata = Annotated[
    ThreadMetadata,
    AfterValidator(_without_crew),
    Field(
        json_schema_extra={
            "propertyNames": {"minLength": 1, "maxLength": 255, "not": {"enum": sorted(CREW_KEYS)}}
        }
    ),
]
"""Facts about a thread, apart from its state; without what says which crew it is for."""


class ThreadRequest(Wire):
    """Body of `POST /v1/threads`."""

    deployment_id: str
    """The id of a deployment, or the name of a crew."""
    metadata: OrDefault[OwnMetadata] = Field(default_factory=dict)
    """Facts about the thread, by which it can be found."""
    values: dict[str, Any] | None = None
    """The state that it begins with."""

    def core(self, crew: Mapping[str, str]) -> ThreadBegin:
        """Spell the same as the core asks for it.

        Args:
            crew: What the thread's metadata is to say of its crew.
        """
        begun = Superstep(updates=[StateUpdate(values=self.values, as_node=STATE_NODE)])
        # Not checked again: the crew's two keys come on top of as many as a client may give.
        return ThreadBegin.model_construct(
            metadata={**self.metadata, **crew}, supersteps=[begun] if self.values else None
        )


class ThreadChange(Wire):
    """Body of `PATCH /v1/threads/{thread_id}`."""

    metadata: OwnMetadata
    """Merged into the metadata that is there, key by key."""


class RollbackRequest(Wire):
    """Body of `POST /v1/threads/{thread_id}/rollback`."""

    checkpoint_id: Id
    """The state that the thread is to have again, of its history."""


class CrewshipThread(TypedDict):
    """A thread as `/v1` shows it."""

    thread_id: str
    deployment_id: str | None
    """Null until its first run, when it was made without one by the other API."""
    status: ThreadStatus
    metadata: dict[str, Any]
    values: Any
    """The state; null until something sets it."""
    created_at: str
    updated_at: str


class CrewshipThreads(TypedDict):
    """A page of threads, the newest first."""

    threads: list[CrewshipThread]


class CrewshipCheckpoint(TypedDict):
    """A state that a thread has been in."""

    checkpoint_id: str
    run_id: str | None
    """The run that left it; null for what was set, edited or rolled back."""
    values: Any
    created_at: str


class CrewshipHistory(TypedDict):
    """A page of a thread's history, the newest first."""

    checkpoints: list[CrewshipCheckpoint]
    next_cursor: str | None
    """What `cursor` is to be for the next page, which may be empty and yet not the last; null at the end."""


def show_thread(thread: ThreadWire) -> CrewshipThread:
    """Show a thread."""
    metadata, assistant_id = thread["metadata"], thread["metadata"].get("assistant_id")
    return {
        "thread_id": public_id("thread", thread["thread_id"]),
        "deployment_id": public_id("deployment", assistant_id) if isinstance(assistant_id, str) else None,
        "status": thread["status"],
        "metadata": {name: value for name, value in metadata.items() if name not in CREW_KEYS},
        "values": thread["values"],
        "created_at": zulu(thread["created_at"]),
        "updated_at": zulu(thread["updated_at"]),
    }


def show_checkpoint(
    checkpoint_id: str, *, run_id: str | None, values: Any, created_at: str
) -> CrewshipCheckpoint:
    """Show a checkpoint."""
    return {
        "checkpoint_id": checkpoint_id,
        "run_id": public_id("run", run_id) if run_id else None,
        "values": values,
        "created_at": zulu(created_at),
    }
