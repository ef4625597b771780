"""Assistants: named configurations of a crew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid5

from pydantic import Field
from typing_extensions import TypedDict

from crewline.models.threads import Wire

_NAMESPACE_GRAPH: Final = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")


def default_assistant_id(graph_id: str) -> str:
    """Derive the id of a crew's default assistant, as the LangGraph Server does."""
    return str(uuid5(_NAMESPACE_GRAPH, graph_id))


class AssistantSearch(Wire):
    """Body of `POST /assistants/search`."""

    metadata: dict[str, Any] | None = None
    graph_id: str | None = None
    name: str | None = None
    """Part of the name, in any case."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    offset: Annotated[int, Field(ge=0)] = 0
    sort_by: Literal["assistant_id", "created_at", "updated_at", "name", "graph_id"] = "created_at"
    sort_order: Literal["asc", "desc"] = "desc"


class AssistantWire(TypedDict):
    """An assistant as the API answers it."""

    assistant_id: str
    graph_id: str
    config: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, Any]
    name: str
    description: str | None
    version: int
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """One assistant."""

    assistant_id: str
    graph_id: str
    name: str
    created_at: str
    updated_at: str
    version: int = 1
    description: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def wire(self) -> AssistantWire:
        """Spell the assistant as the API answers it."""
        return {
            "assistant_id": self.assistant_id,
            "graph_id": self.graph_id,
            "config": dict(self.config),
            "context": dict(self.context),
            "metadata": dict(self.metadata),
            "name": self.name,
            "description": self.description,
            "version": self.version,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
