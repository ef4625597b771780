"""Loading the crews of a manifest: compiled graphs, builders, and factories of either."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._typing import MISSING
from langgraph.channels.base import BaseChannel
from langgraph.checkpoint.base import EmptyChannelError
from langgraph.checkpoint.serde._msgpack import STRICT_MSGPACK_ENABLED
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from crewline.engine.serdes import strict_serializer
from crewline.errors import BadManifest, CrewFailedToLoad, InvalidRequest
from crewline.models.manifests import CrewEntry, Manifest
from crewline.models.modules import load

Graph = Pregel[Any, Any, Any, Any]

# Private, and nothing public says which types a graph's schemas name: checked here, once.
if "_serde_allowlist" not in inspect.getsource(Pregel.__init__):
    raise ImportError(
        "This LangGraph keeps its schema allow-list elsewhere; Crewline needs langgraph >=1.2.22,<1.3."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What storing the state of a graph needs to know of it."""

    serializer: JsonPlusSerializer = field(default_factory=strict_serializer)
    """Strict: brings back safe types, those of the graph's schemas, and those opened by name."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values of channels that nothing has written yet, where their type gives one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """One loaded crew."""

    graph_id: str
    target: Any
    """A compiled graph, or a factory that is called for every use."""
    allowed_types: tuple[tuple[str, ...], ...] = ()
    _prepared: list[Prepared] = field(default_factory=list)

    @asynccontextmanager
    async def graph(self, config: RunnableConfig) -> AsyncIterator[Graph]:
        """Give the crew's graph for one use.

        A factory is called with the config of the run, if it takes one; it may be a coroutine
        function or a context manager, which is closed after the use.

        Raises:
            CrewFailedToLoad: What the factory gave is no graph.
        """
        if isinstance(self.target, Pregel):
            yield self.target
            return
        made = self.target(config) if _takes_config(self.target) else self.target()
        if inspect.isawaitable(made):
            made = await made
        if isinstance(made, AbstractAsyncContextManager):
            async with made as inner:
                yield _as_graph(inner, self.graph_id)
        elif isinstance(made, AbstractContextManager):
            with made as inner:
                yield _as_graph(inner, self.graph_id)
        else:
            yield _as_graph(made, self.graph_id)

    def prepare(self, graph: Graph) -> Prepared:
        """Find what storing a graph's state needs to know; once for a graph that stays."""
        if self._prepared and graph is self.target:
            return self._prepared[0]
        allowed: set[tuple[str, ...]] = set(self.allowed_types)
        for one in (graph, *(subgraph for _, subgraph in graph.get_subgraphs(recurse=True))):
            allowed |= getattr(one, "_serde_allowlist", None) or set()
        serializer = strict_serializer(allowed)
        prepared = Prepared(serializer=serializer, defaults=dict(_defaults(graph)))
        if graph is self.target:
            self._prepared.append(prepared)
        return prepared


def _defaults(graph: Graph) -> Iterator[tuple[str, Any]]:
    """Find the values that channels have before anything writes them, such as a reducer's empty list."""
    for name in graph.stream_channels_list:
        channel = graph.channels[name]
        if isinstance(channel, BaseChannel):
            with suppress(EmptyChannelError):
                yield name, channel.from_checkpoint(MISSING).get()


class Crews:
    """The crews of one deployment, loaded once in the init phase."""

    def __init__(self, crews: Mapping[str, Crew]) -> None:
        self._crews = dict(crews)

    def __contains__(self, graph_id: object) -> bool:
        """Tell whether this deployment has a crew."""
        return graph_id in self._crews

    def get(self, graph_id: str) -> Crew:
        """Find a crew by name.

        Raises:
            InvalidRequest: This deployment has no such crew; a run may be older than the deployment.
        """
        if graph_id not in self._crews:
            known = ", ".join(sorted(self._crews))
            raise InvalidRequest(f"Crew {graph_id!r} is not in this deployment; it has {known}.")
        return self._crews[graph_id]


def load_crews(manifest: Manifest) -> Crews:
    """Import every crew that a manifest names.

    Raises:
        BadManifest: An attribute is not in its file, or is neither graph, builder nor factory.
        CrewFailedToLoad: A file raised while it was imported, or a builder while it was compiled.
    """
    if not STRICT_MSGPACK_ENABLED:
        raise BadManifest(
            "Set LANGGRAPH_STRICT_MSGPACK=true in the environment: LangGraph reads it when it is imported."
        )
    return Crews({entry.graph_id: _load(entry, manifest) for entry in manifest.crews.values()})


def _load(entry: CrewEntry, manifest: Manifest) -> Crew:
    where = f"Crew {entry.graph_id!r} ({entry.path})"
    target = load(entry, manifest, where=where)
    if not isinstance(target, Pregel) and not callable(target) and not isinstance(target, StateGraph):
        raise BadManifest(
            f"{where}: {entry.attribute!r} is a {type(target).__name__}, not a graph, a builder or a factory."
        )
    if isinstance(target, StateGraph):
        try:
            target = target.compile()
        except Exception as exc:
            raise CrewFailedToLoad(f"{where} does not compile: {type(exc).__name__}: {exc}") from exc
    return Crew(graph_id=entry.graph_id, target=target, allowed_types=manifest.allowed_types)


def _takes_config(factory: Any) -> bool:
    return bool(inspect.signature(factory).parameters)


def _as_graph(made: Any, graph_id: str) -> Graph:
    if isinstance(made, StateGraph):
        made = made.compile()
    if not isinstance(made, Pregel):
        raise CrewFailedToLoad(f"The factory of crew {graph_id!r} gave a {type(made).__name__}, not a graph.")
    return made
