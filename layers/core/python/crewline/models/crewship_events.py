"""Events of a run in the words of Crewship's API."""

from __future__ import annotations

from typing import Any, Final, Literal

from typing_extensions import TypedDict

CUSTOM_TYPES: Final = frozenset(("log", "artifact", "agent.action", "tool_use"))
"""What a node can say by itself, with LangGraph's stream writer."""

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
    """The data of a server-sent event; its id is what `Last-Event-ID` names to go on behind it."""

    type: EventType
    data: dict[str, Any]


def run_event(type_: EventType, **data: Any) -> RunEvent:
    """Make an event."""
    return {"type": type_, "data": data}
