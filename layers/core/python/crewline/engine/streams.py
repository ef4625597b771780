"""A graph's stream as frames: LangGraph's modes in its order, as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from crewline.checkpoints.projection import INTERRUPT, project
from crewline.engine.crews import Graph
from crewline.engine.emitters import Emitter
from crewline.engine.steps import Steps
from crewline.models.events import STEPS, Reference
from crewline.models.users import RESERVED

_HIDDEN: Final = "langsmith:hidden"
_NAMES: Final = {"messages-tuple": "messages"}
"""Modes of the API that LangGraph knows by another name."""
_MADE_OF: Final = {STEPS: "tasks"}
"""Modes of our own, and the one of LangGraph's that each is made of."""
_DEBUG_VALUES: Final = ("payload", "values")
"""Where a checkpoint in the mode `debug` has its values."""


class GraphStream:
    """Drives a graph and emits what it streams.

    Args:
        graph: The graph, with its checkpointer.
        emitter: Gets the frames.
        serializer: The crew's.
        modes: What is asked for, by the API's names.
        subgraphs: Whether subgraphs are heard too.
        stored: Whether checkpoints are kept, so that values can be referred to.
    """

    def __init__(
        self,
        graph: Graph,
        emitter: Emitter,
        serializer: JsonPlusSerializer,
        *,
        modes: Iterable[str],
        subgraphs: bool,
        stored: bool,
    ) -> None:
        self._graph = graph
        self._emitter = emitter
        self._serializer = serializer
        self._steps = Steps()
        self._wanted = frozenset(_NAMES.get(mode, mode) for mode in modes) if emitter.active else frozenset()
        self._subgraphs = subgraphs and emitter.active
        self._refers = stored and bool(self._wanted & {"values", "checkpoints", "debug"})
        self._names: dict[tuple[str, ...], tuple[str, ...] | None] = {}
        self._latest: dict[tuple[str, ...], Reference] = {}
        self.first: Any = None
        """The state that the run began with."""
        self.last: Any = None
        """The state that it has left so far."""

    async def drive(self, given: Any, config: RunnableConfig, **options: Any) -> None:
        """Execute the graph to where it stops.

        Raises:
            BaseException: What the crew's code, or the checkpointer, raised.
        """
        async for namespace, mode, chunk in self._chunks(given, config, options):
            if mode == "values" and not namespace:
                self.first = chunk if self.last is None else self.first
                self.last = chunk
            if mode == "checkpoints":
                self._refer(namespace, chunk)
            if mode == "tasks" and STEPS in self._wanted:
                self._emitter.emit(STEPS, self._json(self._steps.take(chunk)), namespace)
                await self._emitter.room()
            if mode in self._wanted:
                self._emit(namespace, mode, chunk)
                await self._emitter.room()

    async def _chunks(
        self, given: Any, config: RunnableConfig, options: Mapping[str, Any]
    ) -> AsyncIterator[tuple[tuple[str, ...], str, Any]]:
        modes: list[Any] = sorted(
            {"values", *(_MADE_OF.get(mode, mode) for mode in self._wanted)} - {"events"}
        )
        if self._refers and "checkpoints" not in modes:
            modes.append("checkpoints")
        if "events" in self._wanted:
            async for event in self._events(given, config, modes, options):
                yield event
            return
        async for part in self._graph.astream(
            given, config, stream_mode=modes, subgraphs=self._subgraphs, **options
        ):
            yield _parts(part, subgraphs=self._subgraphs)

    async def _events(
        self, given: Any, config: RunnableConfig, modes: list[Any], options: Mapping[str, Any]
    ) -> AsyncIterator[tuple[tuple[str, ...], str, Any]]:
        """Stream LangChain's events, among which the graph's own chunks are."""
        run_id = str(config["run_id"]) if isinstance(config.get("run_id"), UUID) else None
        async for event in self._graph.astream_events(
            given, config, version="v2", stream_mode=modes, subgraphs=self._subgraphs, **options
        ):
            if _HIDDEN in (event.get("tags") or ()):
                continue
            if event["event"] == "on_chain_stream" and event["run_id"] == run_id:
                yield _parts(event["data"]["chunk"], subgraphs=self._subgraphs)
            yield (), "events", event

    def _refer(self, namespace: tuple[str, ...], checkpoint: Mapping[str, Any]) -> None:
        """Note in which checkpoint the values of a namespace are: it follows them in the stream."""
        configurable = checkpoint["config"]["configurable"]
        reference = Reference(
            namespace=configurable.get("checkpoint_ns", ""),
            checkpoint_id=configurable["checkpoint_id"],
            names=self._names.get(namespace, ()),
        )
        self._latest[namespace] = reference
        if namespace in self._names:
            self._emitter.refer(namespace, reference)

    def _emit(self, namespace: tuple[str, ...], mode: str, chunk: Any) -> None:
        match mode:
            case "values":
                self._emit_values(namespace, chunk)
            case "checkpoints":
                self._emit_checkpoint(namespace, mode, _plain_configs(chunk), ("values",))
            case "debug" if chunk["type"] == "checkpoint":
                self._emit_checkpoint(
                    namespace,
                    mode,
                    {**chunk, "payload": _plain_configs(chunk["payload"])},
                    _DEBUG_VALUES,
                )
            case _:
                self._emitter.emit(mode, self._json(chunk), namespace)

    def _emit_values(self, namespace: tuple[str, ...], values: Any) -> None:
        data = self._json(values)
        names = tuple(name for name in values if name != INTERRUPT) if isinstance(values, dict) else None
        asked = isinstance(values, dict) and INTERRUPT in values
        latest = self._latest.get(namespace)
        if asked and latest:
            rest = self._json({INTERRUPT: values[INTERRUPT]})
            self._emitter.emit("values", data, namespace, rest=rest, reference=replace(latest, names=names))
            return
        self._names[namespace] = names
        self._emitter.emit("values", data, namespace, opens=self._refers and not asked)

    def _emit_checkpoint(
        self, namespace: tuple[str, ...], mode: str, chunk: Mapping[str, Any], path: tuple[str, ...]
    ) -> None:
        inner = chunk["payload"] if path[0] == "payload" else chunk
        values, configurable = inner["values"], inner["config"]["configurable"]
        names = tuple(values) if isinstance(values, dict) else None
        rest = {**inner, "values": None}
        reference = Reference(
            namespace=configurable.get("checkpoint_ns", ""),
            checkpoint_id=configurable["checkpoint_id"],
            names=names,
            path=path,
        )
        self._emitter.emit(
            mode,
            self._json(chunk),
            namespace,
            rest=self._json({**chunk, "payload": rest} if path[0] == "payload" else rest),
            reference=reference if self._refers else None,
        )

    def _json(self, value: Any) -> bytes:
        try:
            plain = project(self._serializer.dumps_typed(value))
        except Exception:  # noqa: BLE001 (an object that nothing stores, in an event: shown by its text)
            return orjson.dumps(value, default=_shown, option=orjson.OPT_NON_STR_KEYS)
        return orjson.dumps(plain, option=orjson.OPT_NON_STR_KEYS)


def _parts(part: Any, *, subgraphs: bool) -> tuple[tuple[str, ...], str, Any]:
    if subgraphs:
        namespace, mode, chunk = part
        return tuple(namespace), mode, chunk
    mode, chunk = part
    return (), mode, chunk


def _plain_configs(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Show of a checkpoint's configs what names it, and not the callbacks and stores that they carry."""
    shown = {**checkpoint}
    for name in ("config", "parent_config"):
        config = checkpoint.get(name)
        if config is None:
            continue
        configurable = {
            key: value
            for key, value in config.get("configurable", {}).items()
            if not key.startswith("__") and key not in RESERVED
        }
        shown[name] = {"configurable": configurable}
    return shown


def _shown(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump()
    return str(value)
