"""What `list` gives: everything that its arguments ask for, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from crewline.engine.checkpointer import DynamoDBCheckpointer
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, begin_writes, checkpoint, plain

AWKWARD = [
    "a#b",
    "a%23b",
    "a%b",
    "a",
    "",
    "ä/ö|ü:1",
    "🦜\U0010fffd",
    "\0",
    "%~",
    "n" * 2_000,
    "n" * 1_999 + "m",
]


def test_without_a_config_there_is_nothing_to_list_and_nothing_fails(house: House) -> None:
    saver = house.saver()
    saver.put(at("1"), checkpoint({}), {}, {})

    assert [*saver.list(None)] == []
    assert [*saver.list(None, filter={"source": "loop"}, limit=1)] == []


async def test_the_asynchronous_list_is_the_same(house: House) -> None:
    saver = house.saver()
    written = _history(saver)

    found = [one async for one in saver.alist(at("1"), filter={"source": "loop"}, before=written[5], limit=2)]

    assert [plain(one) for one in found] == [
        plain(one) for one in saver.list(at("1"), filter={"source": "loop"}, before=written[5], limit=2)
    ]
    assert len(found) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"limit": 3},
        {"limit": 0},
        {"limit": 100},
        {"before": 4},
        {"before": 0},
        {"filter": {"source": "loop"}},
        {"filter": {"source": "loop", "step": 2}},
        {"filter": {"absent": 1}},
        {"filter": {}},
        {"wanted": 3},
        {"wanted": 3, "filter": {"source": "input"}},
        {"wanted": 2, "before": 4},
        {"wanted": 4, "before": 2},
        {"wanted": 4, "before": 4},
        {"filter": {"source": "loop"}, "before": 5, "limit": 2},
        {"namespace": "child"},
        {"namespace": "child", "before": 3},
        {"namespace": "nobody"},
    ],
    ids=str,
)
def test_filter_before_limit_and_id_all_apply(house: House, arguments: dict[str, Any]) -> None:
    memory = InMemorySaver()
    saver = house.saver()
    written = _both(saver, memory)

    def listed(one: BaseCheckpointSaver[Any]) -> list[Any]:
        wanted, before = arguments.get("wanted"), arguments.get("before")
        config = at("1", arguments.get("namespace", ""), None if wanted is None else _id(written[wanted]))
        return [
            plain(found)
            for found in one.list(
                config,
                filter=arguments.get("filter"),
                before=None if before is None else written[before],
                limit=arguments.get("limit"),
            )
        ]

    assert listed(house.cold()) == listed(memory)


def test_a_listed_checkpoint_has_the_writes_that_led_to_its_child(house: House) -> None:
    def add(state: dict[str, Any]) -> dict[str, Any]:
        return {"x": state["x"] + 1}

    graph = _graph(add, house.saver())
    graph.invoke({"x": 0}, at("1"))

    for found in house.cold().list(at("1")):
        [same] = house.cold().list(found.config)
        assert plain(same) == plain(found)
        assert plain(house.cold().get_tuple(found.config)) == plain(found)


@pytest.mark.parametrize("namespace", AWKWARD, ids=lambda text: ascii(text[:12]))
def test_a_namespace_of_any_characters_lists_only_itself(house: House, namespace: str) -> None:
    saver = house.saver()
    ids = {}
    for one in AWKWARD:
        config = saver.put(at("1", one), checkpoint({"x": one}), {}, {"x": 1})
        saver.put_writes(config, [("x", one)], "task")
        ids[one] = _id(config)

    cold = house.cold()
    [listed] = cold.list(at("1", namespace))
    newest = cold.get_tuple(at("1", namespace))

    assert plain(listed) == plain(newest)
    assert newest
    assert newest.checkpoint["id"] == ids[namespace]
    assert newest.config == at("1", namespace, ids[namespace])
    assert newest.checkpoint["channel_values"] == {"x": namespace}
    assert newest.pending_writes == [("task", "x", namespace)]


def test_a_config_without_a_namespace_lists_them_all(house: House) -> None:
    saver = house.saver()
    for one in AWKWARD:
        first = saver.put(at("1", one), checkpoint({"x": 1}), {}, {"x": 1})
        saver.put(first, checkpoint({"x": 2}), {}, {"x": 2})

    listed = [one.config["configurable"]["checkpoint_ns"] for one in house.cold().list(at("1", None))]

    assert sorted(listed) == sorted([*AWKWARD, *AWKWARD])


def test_a_bound_of_another_namespace_keeps_the_writes_that_ride(house: House) -> None:
    graph_like = house.saver()
    memory = InMemorySaver()
    written = _both(graph_like, memory)
    cold = house.cold()

    for bound in written:
        for namespace in ("", "child"):
            expected = [plain(one) for one in memory.list(at("1", namespace), before=bound)]
            assert [plain(one) for one in cold.list(at("1", namespace), before=bound)] == expected


def _history(saver: BaseCheckpointSaver[Any]) -> list[RunnableConfig]:
    return _both(saver, InMemorySaver())


def _both(saver: BaseCheckpointSaver[Any], memory: InMemorySaver) -> list[RunnableConfig]:
    """Write six checkpoints, and two of a child between them, to both savers."""
    written: list[RunnableConfig] = []
    places: dict[str, RunnableConfig] = {"": at("1"), "child": at("1", "child")}
    for step, namespace in enumerate(["", "", "child", "", "", "child", "", ""]):
        source: Any = "loop" if step % 2 else "input"
        one = checkpoint({"x": step}, {"x": step + 1})
        writes = [("x", f"of {step}")]
        for each in (saver, memory):
            config = each.put(places[namespace], one, {"source": source, "step": step}, {"x": step + 1})
            if isinstance(each, DynamoDBCheckpointer) and step < 6:
                begin_writes(each, config, writes, f"task-{step}")
            else:
                each.put_writes(config, writes, f"task-{step}")
        places[namespace] = config
        if not namespace:
            written.append(config)
    return written


def _id(config: RunnableConfig) -> str:
    return str(config["configurable"]["checkpoint_id"])


def _graph(node: Any, saver: BaseCheckpointSaver[Any]) -> Any:
    from langgraph.graph import StateGraph
    from typing_extensions import TypedDict

    class State(TypedDict):
        x: int

    builder = StateGraph(State)
    for name in ("first", "second", "third"):
        builder.add_node(name, node)
    builder.set_entry_point("first")
    builder.add_edge("first", "second")
    builder.add_edge("second", "third")
    return builder.compile(checkpointer=saver)
