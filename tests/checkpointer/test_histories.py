"""Random histories: what a new process reads is what LangGraph's own saver was told."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, copy_checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver

from crewline.engine import journals
from crewline.engine.checkpointer import DynamoDBCheckpointer
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, begin_writes, plain

NAMESPACES = ["", "a", "a#b"]
CHANNELS = ["messages", "notes", "total"]
RESERVED = ["__error__", "__interrupt__", "__resume__", "__scheduled__"]
NEWEST = 0

atoms = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.text("ab#%ü", max_size=3),
    st.binary(max_size=2),
    st.text("xyz", min_size=200, max_size=1_200),
)
elements = st.one_of(
    atoms, st.fixed_dictionaries({"id": st.integers(0, 9), "parts": st.lists(atoms, max_size=2)})
)
places = st.integers(0, 30)


@dataclass(frozen=True)
class Edit:
    """What a node does to a channel."""

    channel: str
    how: str
    place: int
    value: Any
    more: list[Any]

    def apply(self, values: dict[str, Any]) -> bool:
        """Do it; tell whether the channel got a new version."""
        old = values.get(self.channel)
        if self.how == "mutate unseen" and not isinstance(old, list):
            return False
        if self.how == "remove":
            values.pop(self.channel, None)
        elif self.how == "replace" or not isinstance(old, list):
            values[self.channel] = copy.deepcopy(self.more if self.place % 3 else self.value)
        elif self.how == "grow":
            values[self.channel] = [*old, *copy.deepcopy(self.more)]
        elif self.how == "insert":
            place = self.place % (len(old) + 1)
            values[self.channel] = [*old[:place], *copy.deepcopy(self.more), *old[place:]]
        elif self.how == "shrink":
            values[self.channel] = [one for place, one in enumerate(old) if place % 3 != self.place % 3]
        else:  # in place: the object that the last checkpoint was made from changes with it
            for one in old[self.place % 3 :: 3]:
                if isinstance(one, dict):
                    one["parts"].append(self.value)
            old.append(copy.deepcopy(self.value))
        return self.how != "mutate unseen"


edits = st.builds(
    Edit,
    channel=st.sampled_from(CHANNELS),
    how=st.sampled_from(
        ["grow", "grow", "grow", "insert", "shrink", "replace", "remove", "mutate", "mutate unseen"]
    ),
    place=places,
    value=atoms,
    more=st.lists(elements, max_size=3),
)


@dataclass(frozen=True)
class Task:
    """One call of `put_writes`."""

    task_id: str
    path: str
    writes: list[tuple[str, Any]]
    rides: bool


tasks = st.builds(
    Task,
    task_id=st.sampled_from(["t1", "t2", "t3"]),
    path=st.sampled_from(["", "~1", "~2"]),
    writes=st.lists(st.tuples(st.sampled_from([*CHANNELS, *RESERVED]), atoms), max_size=13),
    rides=st.booleans(),
)


@dataclass(frozen=True)
class Step:
    """One superstep: the writes of its tasks, then the checkpoint they lead to."""

    tasks: list[Task]
    edits: list[Edit]


@dataclass(frozen=True)
class Turn:
    """What one process does to a namespace: from its newest checkpoint, or from an older one."""

    process: int
    run: int
    namespace: str
    start: int
    steps: list[Step]
    last: list[Task]


@dataclass(frozen=True)
class Whole:
    """What is done to the whole thread, or to what a run wrote wherever it is."""

    how: str
    run: int


turns = st.builds(
    Turn,
    process=st.integers(0, 3),
    run=st.integers(0, 2),
    namespace=st.sampled_from(["", "", *NAMESPACES]),
    start=st.one_of(st.just(NEWEST), places),
    steps=st.lists(
        st.builds(Step, tasks=st.lists(tasks, max_size=2), edits=st.lists(edits, max_size=3)), max_size=4
    ),
    last=st.lists(tasks, max_size=2),
)
wholes = st.builds(
    Whole, how=st.sampled_from(["prune", "copy", "delete", "delete run", "delete run"]), run=st.integers(1, 2)
)
stories = st.lists(
    st.one_of(turns, turns, turns, turns, wholes),
    min_size=1,
    max_size=9,
)


@dataclass
class World:
    """Our saver in several processes, and LangGraph's in one, that are told the same."""

    house: House
    memory: InMemorySaver = field(default_factory=InMemorySaver)
    thread_id: str = field(default_factory=lambda: str(uuid4()))
    threads: list[str] = field(default_factory=list)
    processes: dict[int, DynamoDBCheckpointer] = field(default_factory=dict)
    versions: count[int] = field(default_factory=lambda: count(1))

    def run(self, story: list[Turn | Whole]) -> None:
        self.threads.append(self.thread_id)
        for chapter in story:
            if isinstance(chapter, Turn):
                self._turn(chapter)
            else:
                self._whole(chapter)

    def _turn(self, turn: Turn) -> None:
        saver = self.house.cold() if turn.process == 3 else self._process(turn.process)
        written = sorted(self.memory.storage[self.thread_id][turn.namespace], reverse=True)
        config = at(self.thread_id, turn.namespace)
        if turn.start != NEWEST and written:
            config = at(self.thread_id, turn.namespace, written[turn.start % len(written)])
        found = saver.get_tuple(config)
        assert plain(found) == plain(self.memory.get_tuple(config))
        live: Checkpoint = found.checkpoint if found else empty_checkpoint()
        config = found.config if found else config
        for number, step in enumerate(turn.steps):
            config, live = self._step(saver, step, config, live, self._run_id((turn.run + number) % 3))
        if "checkpoint_id" in config["configurable"]:
            self._write(saver, config, turn.last)

    def _step(
        self,
        saver: DynamoDBCheckpointer,
        step: Step,
        config: RunnableConfig,
        live: Checkpoint,
        run_id: str | None,
    ) -> tuple[RunnableConfig, Checkpoint]:
        riding = [task for task in step.tasks if task.rides]
        if "checkpoint_id" in config["configurable"]:
            self._write(saver, config, [task for task in step.tasks if not task.rides])
            for task in riding:
                begin_writes(saver, config, task.writes, task.task_id, task.path)
                self.memory.put_writes(config, task.writes, task.task_id, task.path)
        values = live["channel_values"]
        bumped: dict[str, Any] = {}
        for edit in step.edits:
            if edit.apply(values):
                bumped[edit.channel] = f"{next(self.versions):032}.0"
        live["channel_versions"].update(bumped)  # in place, also in what `get_tuple` gave, as LangGraph does
        live["versions_seen"].setdefault("node", {}).update(bumped)
        live["updated_channels"] = sorted(bumped)
        after: Checkpoint = {**copy_checkpoint(live), "id": str(uuid6())}
        after["channel_values"] = values
        metadata: Any = {"source": "loop", "step": len(bumped), "parents": {}}
        metadata |= {"run_id": run_id} if run_id else {}
        put = saver.put(config, after, metadata, bumped)
        assert self.memory.put(config, after, metadata, bumped) == put
        return put, after

    def _write(self, saver: DynamoDBCheckpointer, config: RunnableConfig, late: list[Task]) -> None:
        for task in late:
            saver.put_writes(config, task.writes, task.task_id, task.path)
            self.memory.put_writes(config, task.writes, task.task_id, task.path)

    def _run_id(self, run: int) -> str | None:
        return f"{self.threads[0]}-{run}" if run else None

    def _whole(self, whole: Whole) -> None:
        saver, how, run_id = self._process(0), whole.how, self._run_id(whole.run)
        if how == "delete run" and run_id:
            saver.delete_for_runs([run_id])
            delete_run(self.memory, run_id)
        elif how == "delete":
            saver.delete_thread(self.thread_id)
            self.memory.delete_thread(self.thread_id)
        elif how == "prune":
            saver.prune([self.thread_id])
            prune(self.memory, self.thread_id)
        else:
            target = str(uuid4())
            saver.copy_thread(self.thread_id, target)
            copy_thread(self.memory, self.thread_id, target)
            self.thread_id = target
            self.threads.append(target)

    def _process(self, number: int) -> DynamoDBCheckpointer:
        return self.processes.setdefault(number, self.house.cold())

    def check(self) -> None:
        for thread_id in self.threads:
            for namespace in NAMESPACES:
                expected = [plain(one) for one in self.memory.list(at(thread_id, namespace))]
                assert [plain(one) for one in self.house.cold().list(at(thread_id, namespace))] == expected
                newest = self.house.cold().get_tuple(at(thread_id, namespace))
                assert plain(newest) == (expected[0] if expected else None)
                for one in expected:
                    config = at(thread_id, namespace, one["id"])
                    assert plain(self.house.cold().get_tuple(config)) == one
                    assert [plain(same) for same in self.house.cold().list(config)] == [one]


def prune(memory: InMemorySaver, thread_id: str) -> None:
    """Keep the newest of each namespace, which InMemorySaver cannot do."""
    for namespace, written in memory.storage[thread_id].items():
        for checkpoint_id in sorted(written)[:-1]:
            del written[checkpoint_id]
            memory.writes.pop((thread_id, namespace, checkpoint_id), None)


def delete_run(memory: InMemorySaver, run_id: str) -> None:
    """Remove what a run wrote, on every thread, which InMemorySaver cannot do."""
    for one in [*memory.list(None)]:
        if one.metadata.get("run_id") == run_id:
            place: Any = one.config["configurable"]
            del memory.storage[place["thread_id"]][place["checkpoint_ns"]][place["checkpoint_id"]]
            memory.writes.pop((place["thread_id"], place["checkpoint_ns"], place["checkpoint_id"]), None)


def copy_thread(memory: InMemorySaver, source: str, target: str) -> None:
    """Copy a thread, which InMemorySaver cannot do."""
    copied: Any = {name: dict(written) for name, written in memory.storage[source].items()}
    memory.storage[target] = defaultdict(dict, copied)
    for place, writes in [*memory.writes.items()]:
        if place[0] == source:
            memory.writes[(target, *place[1:])] = dict(writes)
    for name, blob in [*memory.blobs.items()]:
        if name[0] == source:
            memory.blobs[(target, *name[1:])] = blob


@pytest.mark.thorough
@settings(
    max_examples=40,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=stories)
def test_a_new_process_reads_every_checkpoint_as_langgraphs_own_saver_does(
    house: House, story: list[Turn | Whole]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journals, "LINGER_S", 0.0)
        world = World(house)
        world.run(story)
        world.check()
