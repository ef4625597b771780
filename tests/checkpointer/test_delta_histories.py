"""Random histories of a graph with a DeltaChannel: every state that is left is what it was when it was made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver, DeltaChannelHistory
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import EmptyInputError
from langgraph.graph import END, StateGraph
from langgraph.types import Overwrite
from typing_extensions import TypedDict

from crewline.engine.checkpointer import DynamoDBCheckpointer
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, plain

SNAPSHOT_EVERY = 4
NEWEST = 0


def _extend(value: list[str], writes: Sequence[list[str]]) -> list[str]:
    return [*value, *(one for write in writes for one in write)]


class State(TypedDict):
    said: Annotated[list[str], DeltaChannel(_extend, snapshot_frequency=SNAPSHOT_EVERY)]
    never: Annotated[list[str], DeltaChannel(_extend)]
    turns: int


class Both(BaseCheckpointSaver[Any]):
    """Our saver, which is read, and LangGraph's, which is told the same and forgets nothing."""

    def __init__(self, ours: DynamoDBCheckpointer, memory: InMemorySaver, seeds: set[str]) -> None:
        super().__init__(serde=memory.serde)
        self._ours = ours
        self._memory = memory
        self._seeds = seeds

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self._memory.get_next_version(current, channel)

    def get_tuple(self, config: RunnableConfig) -> Any:
        return self._ours.get_tuple(config)

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return self._ours.get_delta_channel_history(config=config, channels=channels)

    def put(self, config: RunnableConfig, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        if "said" in checkpoint["channel_values"]:
            self._seeds.add(checkpoint["id"])
        put = self._ours.put(config, checkpoint, metadata, new_versions)
        assert self._memory.put(config, checkpoint, metadata, new_versions) == put
        return put

    def put_writes(self, config: RunnableConfig, writes: Any, task_id: str, task_path: str = "") -> None:
        self._ours.put_writes(config, writes, task_id, task_path)
        self._memory.put_writes(config, writes, task_id, task_path)


def chat(saver: BaseCheckpointSaver[Any]) -> Any:
    """Make a graph in which two nodes write at once, one may forget everything, and one is not always there."""

    def answer(state: State) -> Any:
        turn = state.get("turns", 0)
        said = [f"answer {turn}"]
        return {"said": Overwrite(said) if state["said"][-1:] == ["forget"] else said, "turns": turn + 1}

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.add_node("one", lambda state: {"said": [f"one of {len(state['said'])}"]})
    builder.add_node("other", lambda state: {"said": [f"other of {len(state['said'])}"]})
    builder.add_node("quiet", lambda state: {"turns": state.get("turns", 0) + 10})
    builder.set_entry_point("answer")
    builder.add_conditional_edges(
        "answer", lambda state: ["one", "other"] if state.get("turns", 0) % 2 else ["quiet"]
    )
    builder.add_conditional_edges("other", lambda state: "quiet" if len(state["said"]) % 2 else END)
    return builder.compile(checkpointer=saver)


@dataclass(frozen=True)
class Turn:
    """What one process has the graph do, from its newest checkpoint or from an older one."""

    process: int
    run: int
    start: int
    how: str
    said: list[str]
    durability: Any
    stop: list[str]


@dataclass(frozen=True)
class Whole:
    """What is done to the whole thread, or to what some runs wrote wherever it is."""

    how: str
    runs: list[int]


turns = st.builds(
    Turn,
    process=st.integers(0, 2),
    run=st.integers(0, 1),
    start=st.one_of(st.just(NEWEST), st.integers(0, 30)),
    how=st.sampled_from(["ask", "ask", "go on", "edit"]),
    said=st.lists(st.sampled_from(["question", "forget", "x" * 300]), max_size=2),
    durability=st.sampled_from(["sync", "async", "exit"]),
    stop=st.sampled_from([[], [], ["answer"], ["one"]]),
)
wholes = st.builds(
    Whole,
    how=st.sampled_from(["prune", "copy", "delete", "delete runs", "delete runs", "delete runs"]),
    runs=st.sampled_from([[0], [0], [1], [1], [0, 1]]),
)
stories = st.lists(st.one_of(turns, turns, wholes), min_size=2, max_size=8)


@dataclass
class World:
    """A thread and its copies, in several processes."""

    house: House
    memory: InMemorySaver = field(default_factory=InMemorySaver)
    name: str = field(default_factory=lambda: str(uuid4()))
    thread_id: str = ""
    seeds: set[str] = field(default_factory=set)
    """Checkpoints that hold the value of the DeltaChannel."""
    known: set[str] = field(default_factory=set)
    processes: dict[int, DynamoDBCheckpointer] = field(default_factory=dict)
    left: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each thread: every checkpoint that should be there."""

    def run(self, story: list[Turn | Whole]) -> None:
        self.thread_id = self.name
        self.left[self.thread_id] = {}
        for chapter in story:
            if isinstance(chapter, Turn):
                self._turn(chapter)
            else:
                self._whole(chapter)

    def _turn(self, turn: Turn) -> None:
        there = [*self.left[self.thread_id]]
        config: Any = at(self.thread_id)
        if turn.start != NEWEST and there:
            config = at(self.thread_id, "", there[turn.start % len(there)])
        config["metadata"] = {"run_id": self._run_id(turn.run)}
        graph = chat(Both(self._process(turn.process), self.memory, self.seeds))
        if turn.how == "edit" and there:
            graph.update_state(config, {"said": turn.said}, as_node="other")
        elif turn.how == "ask" or there:
            given = {"said": turn.said} if turn.how == "ask" else None
            with suppress(EmptyInputError):  # nothing goes on from a checkpoint that is before any input
                graph.invoke(given, config, durability=turn.durability, interrupt_after=turn.stop)
        written = {one.checkpoint["id"]: plain(one) for one in self.memory.list(at(self.thread_id))}
        new = {name: one for name, one in written.items() if name not in self.known}
        kept = {name: written[name] for name in there}  # with the writes that have come since
        self.left[self.thread_id] = {**new, **kept}
        self.known |= new.keys()

    def _whole(self, whole: Whole) -> None:
        saver, left = self._process(0), self.left[self.thread_id]
        if whole.how == "copy":
            target = str(uuid4())
            saver.copy_thread(self.thread_id, target)
            copy_thread(self.memory, self.thread_id, target)
            self.thread_id, self.left[target] = target, dict(left)
        elif whole.how == "delete":
            saver.delete_thread(self.thread_id)
            self.left[self.thread_id] = {}
        elif whole.how == "prune":
            saver.prune([self.thread_id])
            self.left[self.thread_id] = self._after_dropping(self.thread_id, {*[*left][1:]})
        else:
            gone = {self._run_id(run) for run in whole.runs}
            saver.delete_for_runs([*gone])
            for thread_id, there in self.left.items():
                wrote = {name for name, one in there.items() if one["metadata"].get("run_id") in gone}
                self.left[thread_id] = self._after_dropping(thread_id, wrote)

    def _after_dropping(self, thread_id: str, asked: set[str]) -> dict[str, Any]:
        """Tell what should be there: of what was to go, only what the state of another lives in."""
        there = self.left[thread_id]
        kept = there.keys() - asked
        for name in [*kept]:
            one: Any = there[name]
            while one and "said" in one["channel_versions"] and one["id"] not in self.seeds:
                one = there.get(one["parent"])
                kept |= {one["id"]} if one else set()
        return {name: one for name, one in there.items() if name in kept}

    def _run_id(self, run: int) -> str:
        return f"{self.name}-{run}"

    def _process(self, number: int) -> DynamoDBCheckpointer:
        return self.processes.setdefault(number, self.house.cold())

    def check(self) -> None:
        ours, theirs = chat(self.house.cold()), chat(self.memory)
        for thread_id, left in self.left.items():
            found = [plain(one) for one in self.house.cold().list(at(thread_id))]
            assert [_told(one) for one in found] == [_told(one) for one in left.values()]
            for name in left:
                config = at(thread_id, "", name)
                assert _shown(ours.get_state(config)) == _shown(theirs.get_state(config))
                self._check_history(config)
            newest = at(thread_id, "", next(iter(left), None))
            assert not left or ours.get_state(at(thread_id)).values == theirs.get_state(newest).values

    def _check_history(self, config: RunnableConfig) -> None:
        saver, names = self.house.cold(), ["said", "turns"]
        walked = BaseCheckpointSaver.get_delta_channel_history(saver, config=config, channels=names)
        assert saver.get_delta_channel_history(config=config, channels=names) == walked


def _told(one: Any) -> Any:
    """Leave out what InMemorySaver also shows at the checkpoints after a snapshot."""
    return {**one, "channel_values": {**one["channel_values"], "said": None}}


def _shown(state: Any) -> Any:
    return state.values, state.next, state.tasks, state.metadata, state.created_at


def copy_thread(memory: InMemorySaver, source: str, target: str) -> None:
    """Copy a thread, which InMemorySaver cannot do."""
    memory.storage[target].update({name: dict(written) for name, written in memory.storage[source].items()})
    for kept in (memory.writes, memory.blobs):
        every: Any = kept
        every |= {(target, *place[1:]): copy(one) for place, one in every.items() if place[0] == source}


@pytest.mark.thorough
@settings(
    max_examples=20,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories)
def test_every_state_that_is_left_is_what_it_was(house: House, story: list[Turn | Whole]) -> None:
    world = World(house)
    world.run(story)
    world.check()
