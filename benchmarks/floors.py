"""The floor: what storing each changed byte once would cost, and nothing but these bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from benchmarks.sizes import read_units, write_units

_INTERNAL = ("__", "branch:")


class Floor:
    """The bytes that are new in each checkpoint of a thread.

    They are the graph's own values as LangGraph serialises them: of a list the new elements, of
    anything else the value when it has changed. No key, no metadata and no version is counted.
    """

    def __init__(self) -> None:
        self.payload = 0
        """Bytes of all checkpoints."""
        self._puts: list[int] = []
        self._written: dict[str, bytes] = {}
        self._lengths: dict[str, int] = {}
        self._before = 0

    def begin(self) -> None:
        """Begin a turn."""
        self._puts = []
        self._before = self.payload

    @property
    def requests(self) -> int:
        """One read, and a write for each checkpoint."""
        return 1 + len(self._puts)

    @property
    def wcu(self) -> float:
        """The units of writing what is new of each checkpoint."""
        return float(sum(map(write_units, self._puts)))

    @property
    def rcu(self) -> float:
        """The units of reading, consistently, what earlier turns have written."""
        return read_units(self._before, consistent=True)

    def add(self, values: Mapping[str, Any], serde: SerializerProtocol) -> None:
        """Count a checkpoint by its changed values."""
        new = sum(
            self._new(name, value, serde) for name, value in values.items() if not name.startswith(_INTERNAL)
        )
        self._puts.append(new)
        self.payload += new

    def _new(self, name: str, value: Any, serde: SerializerProtocol) -> int:
        if isinstance(value, list):
            # The graphs of this benchmark only append.
            known = self._lengths.get(name, 0)
            self._lengths[name] = len(value)
            return sum(len(serde.dumps_typed(element)[1]) for element in value[known:])
        body = serde.dumps_typed(value)[1]
        if self._written.get(name) == body:
            return 0
        self._written[name] = body
        return len(body)


class FloorSaver(InMemorySaver):
    """Counts what LangGraph gives it; LangGraph makes copies of it, which count together."""

    def __init__(self) -> None:
        super().__init__()
        self.floor = Floor()

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint, and count what is new in it."""
        values = checkpoint["channel_values"]
        self.floor.add({name: values[name] for name in new_versions if name in values}, self.serde)
        return super().put(config, checkpoint, metadata, new_versions)
