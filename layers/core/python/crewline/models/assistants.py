"""Assistants: named configurations of a crew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid5

from pydantic import Field
from typing_extensions import TypedDict

from crewline.errors import BadRequest
from crewline.models.clocks import Id
from crewline.models.limits import RunMetadata
from crewline.models.runs import ONE_CONTEXT, RunConfig
from crewline.models.threads import WHOLE, Wire

_NAMESPACE_GRAPH: Final = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")
_PLACES: Final = frozenset(("thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"))
"""Names in `configurable` that say where a run is, and nothing to its crew."""

WEBHOOK: Final = "crewline_webhook"
"""The key in an assistant's metadata that says where the end of its runs is posted, of those that name no webhook."""
Name = Annotated[str, Field(min_length=1, max_length=255)]
Description = Annotated[str, Field(max_length=4_000)]
AssistantField = Literal[
    "assistant_id",
    "graph_id",
    "name",
    "description",
    "config",
    "context",
    "created_at",
    "updated_at",
    "metadata",
    "version",
]


def default_assistant_id(graph_id: str) -> str:
    """Derive the id of a crew's default assistant, as the LangGraph Server does."""
    return str(uuid5(_NAMESPACE_GRAPH, graph_id))


class _Configured(Wire):
    model_config = ONE_CONTEXT

    config: RunConfig | None = None
    """What its runs are configured with, unless they say otherwise."""
    context: dict[str, Any] | None = None
    """The runtime context of its runs; the same values as `config.configurable`, so only one can be given."""
    metadata: RunMetadata | None = None
    """Facts about the assistant, put on its runs too."""
    description: Description | None = None

    @property
    def settings(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """What was given of config and context; each says what the other's values are.

        Raises:
            BadRequest: `config.configurable` and `context` are both given.
        """
        config = self.config.model_dump(exclude_none=True, exclude_unset=True) if self.config else None
        configurable = (config or {}).get("configurable")
        if configurable and self.context:
            raise BadRequest("Give either config.configurable or context, not both.")
        return config, self.context if configurable is None or self.context else shared(configurable)


class AssistantCreate(_Configured):
    """Body of `POST /assistants`."""

    graph_id: str
    """The crew."""
    assistant_id: Id | None = None
    """A UUID of the caller's choice; a new uuid7 when absent."""
    name: Name | None = None
    if_exists: Literal["raise", "do_nothing"] | None = None
    """What to do when the id is taken: 409, or answer with the assistant that is there."""


class AssistantPatch(_Configured):
    """Body of `PATCH /assistants/{assistant_id}`: what is absent or null stays as it is.

    Metadata is merged key by key; config and context are replaced.
    """

    graph_id: str | None = None
    name: Name | None = None


class AssistantCount(Wire):
    """Body of `POST /assistants/count`."""

    metadata: dict[str, Any] | None = None
    """What the assistant's metadata contains."""
    graph_id: str | None = None
    name: str | None = None
    """Part of the name, in any case."""


class AssistantSearch(AssistantCount):
    """Body of `POST /assistants/search`."""

    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 10
    offset: Annotated[int, Field(ge=0), WHOLE] = 0
    sort_by: Literal["assistant_id", "created_at", "updated_at", "name", "graph_id"] | None = None
    sort_order: Literal["asc", "desc"] | None = None
    select: list[AssistantField] | None = None
    """The fields to answer with; all of them when absent."""


class VersionSearch(Wire):
    """Body of `POST /assistants/{assistant_id}/versions`."""

    metadata: dict[str, Any] | None = None
    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 10
    offset: Annotated[int, Field(ge=0), WHOLE] = 0


class LatestVersion(Wire):
    """Body of `POST /assistants/{assistant_id}/latest`."""

    version: Annotated[int, Field(ge=1, lt=10**8), WHOLE]


class AssistantVersionWire(TypedDict):
    """A version of an assistant as the API answers it."""

    assistant_id: str
    graph_id: str
    config: dict[str, Any]
    context: dict[str, Any]
    metadata: dict[str, Any]
    name: str
    description: str | None
    version: int
    created_at: str


class AssistantWire(AssistantVersionWire):
    """An assistant as the API answers it."""

    updated_at: str


class Drawing(TypedDict):
    """A graph as nodes and edges."""

    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]


class Schemas(TypedDict):
    """The JSON schemas of a graph; None where its types have none."""

    graph_id: str
    input_schema: dict[str, Any] | None
    output_schema: dict[str, Any] | None
    state_schema: dict[str, Any] | None
    config_schema: dict[str, Any] | None
    context_schema: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """One assistant as it is, or as one of its versions was."""

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
        return {**self.wire_version(), "updated_at": self.updated_at}

    def wire_version(self) -> AssistantVersionWire:
        """Spell a version as the list of versions has it."""
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
        }

    def run_kwargs(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Put the assistant's config, context and webhook under those that a run asks for.

        The request wins: key by key in `configurable`, `metadata` and the context, as a whole
        in anything else of the config.
        """
        config: dict[str, Any] = {**self.config, **asked["config"]}
        for name in ("configurable", "metadata"):
            if parts := {**self.config.get(name, {}), **asked["config"].get(name, {})}:
                config[name] = parts
        sent = asked["config"].get("configurable", {})
        mine = {name: sent.get(name, value) for name, value in self.context.items()}
        context = {**mine, **(asked["context"] or {})}
        webhook = asked["webhook"] or self.metadata.get(WEBHOOK)
        return {**asked, "config": config, "context": context or asked["context"], "webhook": webhook}

    def run_metadata(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Put the assistant's metadata under that of a run, and say what executes it.

        Without the webhook: its URL may hold secrets, and metadata is told to many.
        """
        own = {name: value for name, value in self.metadata.items() if name != WEBHOOK}
        return {**own, **asked, **self.crew}

    @property
    def crew(self) -> dict[str, str]:
        """What runs and their threads say of whom executes them."""
        return {"graph_id": self.graph_id, "assistant_id": self.assistant_id}


def shared(configurable: Mapping[str, Any]) -> dict[str, Any]:
    """Choose of `configurable` what a context has too, or the other way round.

    Names of places and of LangGraph's own are left out.
    """
    return {
        name: value
        for name, value in configurable.items()
        if name not in _PLACES and not name.startswith("__")
    }
