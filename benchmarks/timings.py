"""The CPU of put and get, beside that of serialising the same values whole, as InMemorySaver does.

The calls that LangGraph makes in a thread are recorded once and given to both savers turn by turn,
one after the other, in this process. Ours runs as in an execution: what a turn writes is one
fenced group. What boto3 takes to spell, send and parse requests is measured apart.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.memory import InMemorySaver

from benchmarks.clients import TimedClient
from benchmarks.graphs import Kind, build, question
from benchmarks.savers import TENANT, THREAD, Place, make_storage
from crewline.checkpoints.records import Sealed
from crewline.engine.checkpointer import DynamoDBCheckpointer
from crewline.engine.journals import Journal
from crewline.engine.serdes import strict_serializer
from crewline.store.blobs import Blobs
from crewline.store.clients import client
from crewline.store.table import Table

_WINDOW: Final = 20
"""Turns whose median counts: the one that is named, and those before it."""

_CONFIG: Final[RunnableConfig] = {"configurable": {"thread_id": THREAD, "checkpoint_ns": ""}}


@dataclass(frozen=True, slots=True)
class Cpu:
    """Milliseconds of CPU per superstep."""

    get: float
    put: float
    boto3: float = 0

    @property
    def total(self) -> float:
        """Put and get together."""
        return self.get + self.put


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both savers at one turn."""

    kind: Kind
    turn: int
    ours: Cpu
    memory: Cpu

    @property
    def ratio(self) -> float:
        """How many times InMemorySaver's CPU ours is."""
        return self.ours.total / self.memory.total


def compare(place: Place, kind: Kind, turns: Sequence[int]) -> list[Comparison]:
    """Measure both savers over the turns of one thread."""
    recorded = asyncio.run(_record(kind, max(turns)))
    ours, memory = _Ours(place), InMemorySaver(serde=strict_serializer())
    figures: list[tuple[Cpu, Cpu]] = []
    gc.disable()
    try:
        for count, turn in enumerate(recorded):
            if count % _WINDOW == 0:
                gc.collect()
            figures.append((ours.play(turn), _play_in_memory(memory, turn)))
    finally:
        gc.enable()
    windows = {turn: figures[max(0, turn - _WINDOW) : turn] for turn in turns}
    return [
        Comparison(kind, turn, _median([pair[0] for pair in window]), _median([pair[1] for pair in window]))
        for turn, window in windows.items()
    ]


# ------------------------------------------------------------------ what LangGraph calls

_Call = Callable[[BaseCheckpointSaver[Any]], object]


@dataclass(slots=True)
class _Turn:
    """What LangGraph gave to its checkpointer in one turn."""

    puts: list[_Call] = field(default_factory=list)
    supersteps: int = 0


class _Recorder(InMemorySaver):
    """Keeps every call that writes, to be made again; LangGraph makes copies of it, which keep together."""

    def __init__(self) -> None:
        super().__init__(serde=strict_serializer())
        self.turns: list[_Turn] = []

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint."""
        given = _grouped(config)
        self.turns[-1].puts.append(lambda saver: saver.put(given, checkpoint, metadata, new_versions))
        self.turns[-1].supersteps += 1
        return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep the writes of a task."""
        given = _grouped(config)
        self.turns[-1].puts.append(lambda saver: saver.put_writes(given, writes, task_id, task_path))
        super().put_writes(config, writes, task_id, task_path)


def _grouped(config: RunnableConfig) -> RunnableConfig:
    """Give a config as durability `async` has it: it was recorded under `sync`, for the order of calls."""
    return {"configurable": {**config["configurable"], "__pregel_durability": "async"}}


async def _record(kind: Kind, turns: int) -> list[_Turn]:
    recorder = _Recorder()
    graph = build(kind, recorder)
    for turn in range(1, turns + 1):
        recorder.turns.append(_Turn())
        await graph.ainvoke(question(turn), _CONFIG, durability="sync")
    return recorder.turns


# ------------------------------------------------------------------ both savers


class _Ours:
    """Crewline's checkpointer under a claim, new every turn."""

    def __init__(self, place: Place) -> None:
        self._dynamodb = TimedClient(client("dynamodb", endpoint_url=place.url))
        self._s3 = TimedClient(client("s3", endpoint_url=place.url))
        self._storage = make_storage(Table(self._dynamodb, place.table), Blobs(self._s3, place.bucket))  # type: ignore[arg-type]  # they call through
        self._claim = self._storage.leases.own(TENANT, THREAD)

    def play(self, turn: _Turn) -> Cpu:
        """Read the newest state, take what the turn writes, and write it."""
        journal = Journal(self._commit)
        saver = DynamoDBCheckpointer.over(
            self._storage,
            TENANT,
            serde=strict_serializer(),
            lease=lambda _thread_id: self._claim.lease,
            journal=journal,
        )
        reading, in_reading = self._time(lambda: saver.get_tuple(_CONFIG))
        writing, in_writing = self._time(lambda: _write(saver, turn, journal))
        steps = turn.supersteps
        return Cpu(reading / steps, writing / steps, (in_reading + in_writing) / steps)

    def _time(self, work: Callable[[], object]) -> tuple[float, float]:
        self._dynamodb.spent = self._s3.spent = 0
        spent = _milliseconds(work)
        in_clients = self._dynamodb.spent + self._s3.spent
        return spent - in_clients, in_clients

    def _commit(self, entries: Sequence[Sealed]) -> None:
        self._claim = self._storage.leases.commit(self._claim, entries)


def _play_in_memory(saver: InMemorySaver, turn: _Turn) -> Cpu:
    reading = _milliseconds(lambda: saver.get_tuple(_CONFIG))
    writing = _milliseconds(lambda: _write(saver, turn))
    return Cpu(reading / turn.supersteps, writing / turn.supersteps)


def _write(saver: BaseCheckpointSaver[Any], turn: _Turn, journal: Journal | None = None) -> None:
    for put in turn.puts:
        put(saver)
    if journal:
        journal.flush("all")


def _milliseconds(work: Callable[[], object]) -> float:
    before = time.process_time_ns()
    work()
    return (time.process_time_ns() - before) / 1e6


def _median(figures: Sequence[Cpu]) -> Cpu:
    return Cpu(
        get=statistics.median(one.get for one in figures),
        put=statistics.median(one.put for one in figures),
        boto3=statistics.median(one.boto3 for one in figures),
    )
