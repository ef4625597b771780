"""Events of a run in the words of Crewship's API."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field
from pydantic.config import JsonDict
from typing_extensions import TypedDict

CUSTOM_TYPES: Final = frozenset(("log", "artifact", "agent.action", "tool_use"))
"""What a node can say by itself, with LangGraph's stream writer."""

_OF_A_RUN: Final[JsonDict] = {
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": "#/components/schemas/RunEvent"},
}

EventType = Literal[
    "run.started",
    "run.completed",
    "run.failed",
    "run.canceled",
    "task.started",
    "task.completed",
    "agent.action",
    "tool_use",
    "log",
    "artifact",
    "heartbeat",
]


class RunEvent(TypedDict):
    """What has happened to a run, or in it."""

    type: EventType
    data: dict[str, Any]


class ToldEvent(TypedDict):
    """A server-sent event of a run."""

    data: Annotated[str, Field(json_schema_extra=_OF_A_RUN)]
    id: str
    """What `Last-Event-ID` names to go on behind it."""


def run_event(type_: EventType, **data: Any) -> RunEvent:
    """Make an event."""
    return {"type": type_, "data": data}
