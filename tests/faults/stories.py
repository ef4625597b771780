"""Stories of threads: who asks for what, who is stopped in them, and what must have come of it."""

from __future__ import annotations

import operator
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from typing_extensions import TypedDict

from crewline.engine.crews import Graph
from crewline.errors import NotFound, ThreadBusy
from crewline.models.assistants import WEBHOOK, AssistantPatch, default_assistant_id
from crewline.store import keys
from crewline.store.queues import parse_webhook
from tests.faults.processes import GRAPH, Process
from tests.faults.telling import Role, Telling

Found = dict[str, Any]
_KEPT_MS: Final = 86_500_000
"""After this, a stateless run is not shown any more."""


# ------------------------------------------------------------------ crews


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    large: bytes


def _node(telling: Telling, process: Process, name: str, *, large: int = 0, slow_s: float = 0) -> Any:
    def node(state: State, config: RunnableConfig) -> State:
        telling.node(process, name, config)
        time.sleep(slow_s)
        if large:
            return {"log": [name], "large": random.Random(name).randbytes(large)}
        return {"log": [name]}

    return node


def _chain(nodes: dict[str, Any]) -> Graph:
    builder = StateGraph(State)
    before = START
    for name, node in nodes.items():
        builder.add_node(name, node)
        builder.add_edge(before, name)
        before = name
    return builder.compile()


def steps(telling: Telling, process: Process) -> Graph:
    """Three supersteps."""
    return _chain({name: _node(telling, process, name) for name in "abc"})


def slow(telling: Telling, process: Process) -> Graph:
    """Three supersteps, each long enough for a commit of its own."""
    return _chain({name: _node(telling, process, name, slow_s=0.005) for name in "abc"})


def large(telling: Telling, process: Process) -> Graph:
    """Two supersteps with values that go to S3."""
    return _chain({name: _node(telling, process, name, large=70_000) for name in "ab"})


def nested(telling: Telling, process: Process) -> Graph:
    """A graph within a graph."""
    inner = _chain({name: _node(telling, process, name) for name in "xy"})
    return _chain({"a": _node(telling, process, "a"), "inner": inner, "c": _node(telling, process, "c")})


def parallel(telling: Telling, process: Process) -> Graph:
    """Two nodes in one superstep."""
    builder = StateGraph(State)
    for name in ("a", "b1", "b2", "c"):
        builder.add_node(name, _node(telling, process, name))
    builder.add_edge(START, "a")
    for name in ("b1", "b2"):
        builder.add_edge("a", name)
    builder.add_edge(["b1", "b2"], "c")
    return builder.compile()


def draining(telling: Telling, process: Process) -> Graph:
    """Three supersteps, after each of which the slice is over."""

    def node(name: str) -> Any:
        def run(state: State, config: RunnableConfig, runtime: Runtime[None]) -> State:
            telling.node(process, name, config)
            if runtime.control:
                runtime.control.request_drain()
            return {"log": [name]}

        return run

    return _chain({name: node(name) for name in "abc"})


def questions(telling: Telling, process: Process) -> Graph:
    """A node that asks twice."""

    def ask(state: State, config: RunnableConfig) -> State:
        first = interrupt("first?")
        telling.node(process, "answered", config)
        second = interrupt("second?")
        return {"log": [f"{first} and {second}"]}

    return _chain({"a": _node(telling, process, "a"), "ask": ask, "c": _node(telling, process, "c")})


# ------------------------------------------------------------------ stories


def _nothing(_telling: Telling) -> None:
    """Nothing was there before."""


def _same(_telling: Telling, found: Found, undisturbed: Found) -> None:
    """It must have come to the same end, by the same steps."""
    differ = {name: (found[name], undisturbed[name]) for name in found if found[name] != undisturbed[name]}
    assert not differ, f"found, and undisturbed: {differ}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One story."""

    name: str
    tell: Callable[[Telling], None]
    victims: tuple[Role, ...]
    graph: Callable[[Telling, Process], Graph] = steps
    before: Callable[[Telling], None] = _nothing
    """What is there when the trouble begins."""
    judge: Callable[[Telling, Found, Found], None] = _same
    wide: bool = False
    """It is about more than the one thread."""
    committing: bool = True
    """Every node is committed before the next begins: so it does not run again."""

    def __str__(self) -> str:
        return self.name


STORIES: list[Story] = []


def _add(name: str, tell: Callable[[Telling], None], *victims: Role, **more: Any) -> None:
    STORIES.append(Story(name=name, tell=tell, victims=victims, **more))


def _says(text: str) -> dict[str, Any]:
    return {"input": {"log": [text]}}


def _earlier(telling: Telling) -> None:
    """A first run has ended."""
    telling.create("earlier", **_says("earlier"))
    telling.settle()


def _asking(telling: Telling) -> None:
    """The first of two questions is open."""
    _earlier(telling)
    assert telling.state()["interrupts"][0]["value"] == "first?"


def _one(**body: Any) -> Callable[[Telling], None]:
    def tell(telling: Telling) -> None:
        telling.create("one", **{**_says("one"), **body})
        telling.settle()

    return tell


_add("background", _one(), "client", "worker")
_add("async", _one(durability="async"), "worker", graph=slow, committing=False)
_add("exit", _one(durability="exit"), "worker", before=_earlier, committing=False)
_add("large values", _one(), "worker", graph=large)
_add("subgraph", _one(), "worker", graph=nested)
_add("parallel nodes", _one(), "worker", graph=parallel, committing=False)
_add("slices", _one(), "worker", graph=draining)
_add("slices of a run that is long from the start", _one(long=True), "worker", graph=draining)


def _webhook(telling: Telling) -> None:
    telling.create("one", **_says("one"), webhook="https://example.com")
    telling.settle()
    told = {(job.run_id, job.status) for job in map(parse_webhook, telling.webhooks.bodies)}
    assert told == {(telling.runs["one"], "success")}


_add("webhook", _webhook, "worker", wide=True)


# ------------------------------------------------------------------ in place


def _in_place(**body: Any) -> Callable[[Telling], None]:
    def tell(telling: Telling) -> None:
        telling.wait("one", **{**_says("one"), **body})
        telling.settle()
        telling.wait("two", **{**_says("two"), **body})
        telling.settle()

    return tell


_add("in place", _in_place(), "client")
_add("in place, in slices", _in_place(), "client", "worker", graph=draining)
_add("in place, async", _in_place(durability="async"), "client", committing=False)


# ------------------------------------------------------------------ busy threads


def _meeting(strategy: str, *waiting: str) -> Callable[[Telling], None]:
    """Somebody asks while the first run executes, behind those that wait."""

    def tell(telling: Telling) -> None:
        def meanwhile() -> None:
            for label in waiting:
                telling.create(label, "other", **_says(label))
            telling.create("two", "other", **_says("two"), multitask_strategy=strategy)

        telling.meanwhile["b"] = meanwhile
        telling.create("one", **_says("one"))
        telling.settle()
        telling.settle()

    return tell


_ENDS: Final = {"success": "run.succeeded", "gone": "run.canceled"}


def _announced(telling: Telling) -> None:
    """One is rolled back, one that waited is superseded, one succeeds: a bus is told of each, once or more often."""
    _meeting("rollback", "next")(telling)
    assert telling.bus
    told = {(event.run_id, event.type) for event in telling.bus.told}
    ends = {(run_id, _ENDS[telling.status(label)]) for label, run_id in telling.runs.items()}
    assert {one for one in told if one[1] != "run.started"} == ends
    assert {run_id for run_id, what in told if what == "run.started"} == {
        one.run_id for one in telling.executed
    }


def _unclaimed(strategy: str) -> Callable[[Telling], None]:
    """Somebody asks before the first run is claimed."""

    def tell(telling: Telling) -> None:
        telling.create("one", **_says("one"))
        telling.create("two", "other", **_says("two"), multitask_strategy=strategy)
        telling.settle()

    return tell


def _interrupted(_telling: Telling, found: Found, undisturbed: Found) -> None:
    """How far the first run came depends on when it was stopped; it is not done twice, and what follows is."""
    log = found["values"]["log"]
    begun = log.index("two") if "two" in log else 0
    assert log[begun:] == ["two", "a", "b", "c"]
    first = log[:begun]
    assert first in ([], *(["one", "a", "b", "c"][:count] for count in range(1, 5)))
    assert {**found, "values": 0, "history": 0} == {**undisturbed, "values": 0, "history": 0}


def _rejected(telling: Telling) -> None:
    def meanwhile() -> None:
        with pytest.raises(ThreadBusy):
            telling.create("two", "other", **_says("two"), multitask_strategy="reject")

    telling.meanwhile["b"] = meanwhile
    telling.create("one", **_says("one"))
    telling.settle()
    telling.create("two", "other", **_says("two"), multitask_strategy="reject")
    telling.settle()


_add("enqueue", _meeting("enqueue", "next"), "other", "worker")
_add("enqueue behind an unclaimed run", _unclaimed("enqueue"), "other", "worker")
_add("reject", _rejected, "other")
_add("interrupt", _meeting("interrupt", "next"), "other", "worker", judge=_interrupted)
_add("interrupt of an unclaimed run", _unclaimed("interrupt"), "other", judge=_interrupted)
_add("rollback", _meeting("rollback", "next"), "other", "worker", before=_earlier)
_add("rollback of an unclaimed run", _unclaimed("rollback"), "other", before=_earlier)
_add("events", _announced, "other", "worker", before=Telling.listen, wide=True)


def _roll_back_an_answer(node: str) -> Callable[[Telling], None]:
    """A run is rolled back that has written to the checkpoint from which it began."""

    def tell(telling: Telling) -> None:
        telling.meanwhile[node] = lambda: telling.create(
            "other answer", "other", command={"resume": "other"}, multitask_strategy="rollback"
        )
        telling.create("answer", command={"resume": "first"})
        telling.settle()
        assert telling.state()["interrupts"][0]["value"] == "second?"
        telling.create("second answer", command={"resume": "second"})
        telling.settle()

    return tell


_add(
    "rollback of an answer",
    _roll_back_an_answer("answered"),
    "other",
    "worker",
    before=_asking,
    graph=questions,
    committing=False,
)


# ------------------------------------------------------------------ cancels


def _cancelled(action: Any, *, node: str = "", queued: bool = False) -> Callable[[Telling], None]:
    def tell(telling: Telling) -> None:
        label = "two" if queued else "one"

        def meanwhile() -> None:
            if queued:
                telling.create("two", **_says("two"))
            telling.cancel(label, action=action)

        if node:
            telling.meanwhile[node] = meanwhile
        telling.create("one", **_says("one"))
        if not node:
            meanwhile()
        telling.settle()
        assert telling.status(label) == ("gone" if action == "rollback" else "interrupted")
        telling.create("last", **_says("last"))
        telling.settle()

    return tell


def _stopped(_telling: Telling, found: Found, undisturbed: Found) -> None:
    """How far the first run came depends on when it was stopped."""
    log = found["values"]["log"]
    begun = log.index("last")
    assert log[begun:] == ["last", "a", "b", "c"]
    assert log[:begun] in [["one", "a", "b", "c"][:count] for count in range(5)]
    assert {**found, "values": 0, "history": 0} == {**undisturbed, "values": 0, "history": 0}


for _action in ("interrupt", "rollback"):
    _add(f"cancel ({_action}) of an unclaimed run", _cancelled(_action), "other")
    _add(f"cancel ({_action}) of a run that waits", _cancelled(_action, node="b", queued=True), "other")
_add("cancel (interrupt) of a run", _cancelled("interrupt", node="b"), "other", "worker", judge=_stopped)
_add("cancel (rollback) of a run", _cancelled("rollback", node="c"), "other", "worker", before=_earlier)
_add(
    "cancel (interrupt) of a run in slices",
    _cancelled("interrupt", node="b"),
    "other",
    "worker",
    graph=draining,
    judge=_stopped,
)
_add(
    "cancel (rollback) of a run in slices",
    _cancelled("rollback", node="c"),
    "other",
    "worker",
    graph=draining,
    before=_earlier,
)


# ------------------------------------------------------------------ commands, and places to go on from


_add(
    "update and goto",
    _one(input=None, command={"update": {"log": ["updated"]}, "goto": "b"}),
    "client",
    "worker",
    before=_earlier,
    committing=False,
)
_add(
    "update and goto, async",
    _one(input=None, command={"update": {"log": ["updated"]}, "goto": "b"}, durability="async"),
    "worker",
    before=_earlier,
    graph=slow,
    committing=False,
)


def _update(telling: Telling) -> None:
    telling.create("update", command={"update": {"log": ["updated"]}})
    telling.settle()
    telling.create("two", **_says("two"))
    telling.settle()


_add("update alone", _update, "worker", before=_earlier, committing=False)


def _answers(durability: str) -> Callable[[Telling], None]:
    def tell(telling: Telling) -> None:
        telling.create("first", command={"resume": "yes"}, durability=durability)
        telling.settle()
        assert [one["value"] for one in telling.state()["interrupts"]] == ["second?"]
        assert telling.status("first") == "success"
        telling.create("second", command={"resume": "no"}, durability=durability)
        telling.settle()

    return tell


_add("two questions", _answers("sync"), "client", "worker", before=_asking, graph=questions, committing=False)
_add("two questions, async", _answers("async"), "worker", before=_asking, graph=questions, committing=False)
_add("two questions, exit", _answers("exit"), "worker", before=_asking, graph=questions, committing=False)


def _forked(**body: Any) -> Callable[[Telling], None]:
    def tell(telling: Telling) -> None:
        older = next(one for one in telling.history() if one["next"] == ["b"])
        telling.create("fork", **body, checkpoint_id=older["checkpoint_id"])
        telling.settle()

    return tell


_add("fork with an input", _forked(**_says("fork")), "client", "worker", before=_earlier, committing=False)
_add("fork without an input", _forked(), "worker", before=_earlier, committing=False)
_add("fork, async", _forked(durability="async"), "worker", before=_earlier, graph=slow, committing=False)


def _broken_off(**body: Any) -> Callable[[Telling], None]:
    def tell(telling: Telling) -> None:
        stops = []
        telling.create("one", **_says("one"), **body)
        telling.settle()
        stops.append((telling.state()["next"], telling.times("one")))
        for label in ("two", "three"):
            telling.create(label, **body)
            telling.settle()
            stops.append((telling.state()["next"], telling.times(label)))
        assert [one for one, _ in stops] == [["b"], ["c"], []]
        assert [sorted(one) for _, one in stops] == [["a"], ["b"], ["c"]]

    return tell


_add("interrupt_before", _broken_off(interrupt_before=["b", "c"]), "worker")
_add("interrupt_after", _broken_off(interrupt_after=["a", "b"]), "worker")
_add(
    "interrupt_before, async",
    _broken_off(interrupt_before=["b", "c"], durability="async"),
    "worker",
    graph=slow,
    committing=False,
)


_add(
    "fork with an update",
    _forked(command={"update": {"log": ["updated"]}}),
    "worker",
    before=_earlier,
    committing=False,
)


def _answered(telling: Telling) -> None:
    """Both questions have been answered, and asked again."""
    _asking(telling)
    for label in ("yes", "no"):
        telling.create(label, command={"resume": label})
        telling.settle()
    telling.create("again", **_says("again"))
    telling.settle()


def _answered_otherwise(telling: Telling) -> None:
    """An older question is answered once more; the next one is then open there, where the state is not."""
    older = next(
        one for one in reversed(telling.history()) if one["tasks"] and one["tasks"][0]["name"] == "ask"
    )
    telling.create("otherwise", command={"resume": "otherwise"}, checkpoint_id=older["checkpoint_id"])
    telling.settle()


_add(
    "fork with an answer", _answered_otherwise, "worker", before=_answered, graph=questions, committing=False
)


# ------------------------------------------------------------------ ends of threads


def _deleted(telling: Telling) -> None:
    telling.meanwhile["b"] = telling.delete
    telling.create("one", **_says("one"))
    telling.settle()
    with pytest.raises(NotFound):
        telling.state()
    assert [item[keys.SORT] for item in telling.items()] == [keys.LEASE_SORT]
    assert not telling.objects()
    telling.create_thread()
    telling.create("new", **_says("new"))
    telling.settle()


_add("delete", _deleted, "other", "worker", before=_earlier, graph=large)


def _stateless(*, in_place: bool, keyed: bool = True) -> Callable[[Telling], None]:
    def tell(telling: Telling) -> None:
        if in_place:
            telling.wait_stateless("one", keyed=keyed, **_says("one"), durability="async")
        else:
            telling.create_stateless("one", **_says("one"))
        telling.settle()
        if keyed:
            assert telling.status("one") == "success"
            telling.cloud.clock.now += _KEPT_MS
            telling.settle()
        assert not telling.left()

    return tell


_add("stateless", _stateless(in_place=False), "client", "worker", wide=True)
_add("stateless in place", _stateless(in_place=True), "client", committing=False, wide=True)
_add(
    "stateless in place, unheard",
    _stateless(in_place=True, keyed=False),
    "client",
    committing=False,
    wide=True,
)


def _configured(telling: Telling) -> None:
    """Somebody has changed the default assistant, which no other process knows: its runs have a webhook."""
    body = AssistantPatch(metadata={WEBHOOK: "https://example.com"})
    telling.fresh().assistants.patch(telling.tenant, default_assistant_id(GRAPH), body)


def _settled(telling: Telling) -> None:
    """A run that was started on an assumption stays readable for the webhook that it turned out to have."""
    telling.wait_stateless("one", keyed=False, **_says("one"), durability="async")
    telling.settle()
    ended = {sort.removeprefix(keys.RUN_PREFIX) for _, sort in telling.left() if sort[:2] == keys.RUN_PREFIX}
    told = {(job.run_id, job.status) for job in map(parse_webhook, telling.webhooks.bodies)}
    assert ended
    assert told == {(run_id, "success") for run_id in ended}
    telling.cloud.clock.now += _KEPT_MS
    telling.settle()
    assert not telling.left()


_add(
    "stateless in place, settled",
    _settled,
    "client",
    before=_configured,
    committing=False,
    wide=True,
)


# ------------------------------------------------------------------ the state without a run


def _edited(telling: Telling) -> None:
    telling.edit({"log": ["edited"]}, as_node="a")
    telling.create("one")
    telling.settle()


def _once_or_repeated(_telling: Telling, found: Found, undisturbed: Found) -> None:
    """An edit has no key: a client that stops in it and repeats it may have made it twice."""
    expected = undisturbed["values"]["log"]
    place = expected.index("edited")
    assert found["values"]["log"] in (expected, [*expected[:place], "edited", *expected[place:]])
    assert {**found, "values": 0, "history": 0} == {**undisturbed, "values": 0, "history": 0}


def _copied(telling: Telling) -> None:
    before = telling.threads()[telling.thread_id]
    copy = telling.copy()
    telling.abandon_drafts()
    telling.settle()
    there = telling.threads()
    assert there[copy] == before
    assert all(history == before for history in there.values()), "a thread is there that is not whole"
    partitions = {partition for partition, _ in telling.left()}
    assert partitions == {keys.thread_partition(telling.tenant, one) for one in there} - {
        keys.thread_partition(telling.tenant, telling.thread_id)
    }


def _pruned(telling: Telling) -> None:
    telling.prune()
    telling.create("one", **_says("one"))
    telling.settle()


_add("edit", _edited, "client", before=_earlier, judge=_once_or_repeated)
_add("copy", _copied, "client", before=_asking, graph=questions, wide=True)
_add("copy of large values", _copied, "client", before=_earlier, graph=large, wide=True)
_add("keep the latest", _pruned, "client", before=_earlier)
