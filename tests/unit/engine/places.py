"""Where executions are tested: a world with an executor on a crew loop, and small graphs for it."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import EndpointConnectionError
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from crewline.engine.checkpointer import Storage
from crewline.engine.crews import Crew, Crews, Graph, load_crews
from crewline.engine.edits import Editor
from crewline.engine.embeddings import Embedder
from crewline.engine.executions import Surroundings
from crewline.engine.executor import Executor
from crewline.engine.heartbeats import Heartbeats
from crewline.engine.loops import CrewLoop
from crewline.engine.stores import DynamoDBStore, Stores
from crewline.errors import Unavailable
from crewline.models.leases import LEASE_MS, Claim
from crewline.models.manifests import read_manifest
from crewline.models.runs import CheckpointRef, Run, RunCreate
from crewline.models.states import HistoryRequest, StateEdit
from crewline.models.threads import ThreadCreate, ThreadWire
from crewline.services.edits import Editor as EditorLike
from crewline.services.edits import Edits
from crewline.services.events import Events
from crewline.services.runs import Admitted
from crewline.services.store_items import StoreItems
from tests.unit.store.worlds import BASIC, SILENT, TENANT, Calls, FakeClock, World, claimed

PATIENCE_S = 10


# ------------------------------------------------------------------ graphs


class Counting(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def chain(**nodes: Callable[..., Any]) -> Graph:
    graph = StateGraph(Counting)
    before = START
    for name, node in nodes.items():
        graph.add_node(name, node)
        graph.add_edge(before, name)
        before = name
    return graph.compile()


def step(name: str) -> Callable[[Counting], dict[str, Any]]:
    return lambda state: {"n": state.get("n", 0) + 1, "log": [name]}


def raising(error: BaseException) -> Callable[[Counting], dict[str, Any]]:
    def node(state: Counting) -> dict[str, Any]:
        raise error

    return node


def noting(ran: list[str], name: str) -> Callable[[Counting], dict[str, Any]]:
    def node(state: Counting) -> dict[str, Any]:
        ran.append(name)
        return {}

    return node


def ask_twice(state: Counting) -> dict[str, Any]:
    return {"log": [interrupt("first?"), interrupt("second?")]}


class Rude(Exception):
    """Cannot even be spelled."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


# ------------------------------------------------------------------ harness


class Place:
    """A world with an executor on a crew loop, for the graphs of a test."""

    def __init__(self, world: World, loop: CrewLoop) -> None:
        self.world = world
        self.loop = loop
        self.clock: FakeClock = world.clock
        self.crews: dict[str, Crew] = {}
        self.embedder: Embedder | None = None
        self.thread = self.new_thread()
        # Nobody beats: the thread of the heartbeats would sleep. Their rules have a test of their own.
        self.heartbeats = Heartbeats(world.leases, world.clock, SILENT)
        self.heartbeats.register = lambda execution: lambda: None  # type: ignore[method-assign]

    def new_thread(self) -> str:
        return str(self.world.threads.create(TENANT, ThreadCreate())["thread_id"])

    def again(self) -> Place:
        """The same thread in another process, which remembers nothing."""
        other = copy.copy(self)
        other.world = self.world.again()
        return other

    @property
    def storage(self) -> Storage:
        world = self.world
        return Storage(
            records=world.records, checkpoints=world.checkpoints, leases=world.leases, clock=world.clock
        )

    @property
    def stores(self) -> Stores:
        items = StoreItems(self.world.table, self.clock, self.world.manifest.store.ttl)
        return partial(DynamoDBStore, items, embedder=self.embedder, loop=self.loop)

    @property
    def executor(self) -> Executor:
        return Executor(self.around, self.loop)

    @property
    def around(self) -> Surroundings:
        return Surroundings(
            crews=Crews(self.crews),
            storage=self.storage,
            stores=self.stores,
            endings=self.world.endings,
            dispatches=self.world.dispatches,
            recents=self.world.recents,
            heartbeats=self.heartbeats,
            events=Events(self.world.table, self.world.blobs, self.world.records, self.clock),
            logger=Logger(service="test"),
            longest_s=3_600,
            measures=self.world.measures,
            clock=self.clock,
        )

    @property
    def editor(self) -> Editor:
        return Editor(Crews(self.crews), self.storage, self.loop)

    def edits(self, editor: EditorLike | None = None) -> Edits:
        world = self.world
        return Edits(
            world.table,
            world.records,
            self.clock,
            threads=world.threads,
            editor=editor or self.editor,
            recents=world.recents,
        )

    def serve(self, target: Any, name: str = "echo") -> None:
        """Let a graph or factory stand for a crew of the manifest."""
        self.crews[name] = Crew(graph_id=name, target=target)

    def start(self, given: Any = None, *, crew: str = "echo", **body: Any) -> Admitted:
        fields = {"assistant_id": crew, "input": given, **body}
        return self.world.runs.start(TENANT, self.thread, RunCreate.model_validate(fields))

    def execute(self, started: Admitted) -> Any:
        return self.executor.execute(started.run, claimed(started)).result(PATIENCE_S)

    def run(self, given: Any = None, **body: Any) -> Any:
        return self.execute(self.start(given, **body))

    def row(self, run: Run) -> Run:
        return self.world.runs.get(TENANT, run.thread_id, run.run_id)

    def last(self) -> Run:
        return self.world.runs.list(TENANT, self.thread, limit=1, offset=0, status=None)[0]

    def thread_row(self) -> ThreadWire:
        return self.world.threads.get(TENANT, self.thread)

    def state(self, at: CheckpointRef | None = None, *, subgraphs: bool = False) -> Any:
        thread, lease = self.world.threads.read(TENANT, self.thread)
        return self.executor.state(TENANT, thread, lease, at, subgraphs=subgraphs)

    def history(self, **query: Any) -> list[Any]:
        thread, lease = self.world.threads.read(TENANT, self.thread)
        return self.executor.history(TENANT, thread, lease, HistoryRequest.model_validate(query))

    def edit(self, values: Any = None, **body: Any) -> dict[str, Any]:
        """Change the state of the thread."""
        edit = StateEdit.model_validate({"values": values, **body})
        return self.edits().edit(TENANT, self.thread, edit)

    def claim(self, run: Run) -> Admitted:
        """Claim a run as the worker does."""
        claim = self.world.leases.claim(TENANT, run.thread_id, run.run_id)
        assert isinstance(claim, Claim)
        return Admitted(run=self.row(run), claim=claim)

    def take_over(self, started: Admitted) -> Admitted:
        """Claim the run as another worker does after the first one has died."""
        self.clock.pass_(LEASE_MS + 1)
        return self.claim(started.run)


class Death:
    """What a node calls when its worker is to die: nothing that it writes from then on lands."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._calls = Calls(place.world.cloud.dynamodb, "TransactWriteItems")
        self._died = False

    def __call__(self) -> None:
        if not self._died:
            self._died = True
            self._calls.failures = [EndpointConnectionError(endpoint_url="http://db")] * 50

    def execute(self, given: Any, **body: Any) -> Admitted:
        started = self._place.start(given, durability="sync", **body)
        with self._calls, pytest.raises(Unavailable):
            self._place.execute(started)
        return started


@pytest.fixture(scope="module")
def loop() -> Iterator[CrewLoop]:
    loop = CrewLoop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def basic() -> Crews:
    return load_crews(read_manifest(BASIC / "langgraph.json"))


@pytest.fixture
def place(world: World, loop: CrewLoop, basic: Crews) -> Place:
    place = Place(world, loop)
    for name in ("echo", "steps", "approval", "failing", "typed", "large"):
        place.crews[name] = basic.get(name)
    return place
