"""The store as graphs use it: shared by the runs of a tenant, and by no other's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from crewline.engine.crews import Graph
from crewline.errors import InvalidRequest, TooLarge, Unavailable
from crewline.services.store_items import LARGEST
from tests.unit.engine.places import Counting, Place
from tests.unit.store.worlds import TENANT, Calls


def of(node: Any, **options: Any) -> Graph:
    return StateGraph(Counting).add_node("node", node).add_edge(START, "node").compile(**options)


@pytest.fixture
def store(place: Place) -> BaseStore:
    return place.stores(TENANT)


async def remember(state: Counting, runtime: Runtime[None]) -> dict[str, Any]:
    assert runtime.store
    before = await runtime.store.aget(("users", "ada"), "likes")
    await runtime.store.aput(("users", "ada"), "likes", {"n": state["n"]})
    return {"log": [str(before and before.value["n"])]}


def test_what_one_run_remembers_the_next_one_on_another_thread_finds(place: Place, store: BaseStore) -> None:
    place.serve(of(remember))
    place.run({"n": 1})
    place.thread = place.new_thread()
    assert place.run({"n": 2})["log"] == ["1"]
    found = store.get(("users", "ada"), "likes")
    assert found
    assert found.value == {"n": 2}


def test_a_node_that_is_no_coroutine_and_a_subgraph_have_it_too(place: Place, store: BaseStore) -> None:
    def note(state: Counting, *, store: BaseStore) -> dict[str, Any]:
        store.put(("notes",), "n", {"n": state["n"]})
        return {}

    place.serve(of(of(note)))
    place.run({"n": 3})
    assert [item.value for item in store.search(("notes",))] == [{"n": 3}]


def test_a_store_that_a_graph_was_compiled_with_is_not_asked(place: Place, store: BaseStore) -> None:
    own = InMemoryStore()
    place.serve(of(remember, store=own))
    place.run({"n": 1})
    assert own.search(()) == []
    assert len(store.search(())) == 1


def test_another_tenant_finds_nothing(place: Place, store: BaseStore) -> None:
    store.put(("a",), "k", {})
    other = place.stores("globex")
    assert other.get(("a",), "k") is None
    assert other.search(()) == []
    assert other.list_namespaces() == []


def test_a_coroutine_cannot_hold_the_crews_up(place: Place) -> None:
    async def wait(state: Counting, *, store: BaseStore) -> dict[str, Any]:
        store.get(("a",), "k")
        return {}

    place.serve(of(wait))
    error = place.run({"n": 1})["__error__"]
    assert error["error"] == "RuntimeError"
    assert "aget" in error["message"]


def test_several_operations_read_first_and_the_last_put_of_a_place_counts(store: BaseStore) -> None:
    put = PutOp(("a",), "k", {"n": 1})
    assert store.batch([put, GetOp(("a",), "k"), SearchOp(("a",)), PutOp(("a",), "k", {"n": 2})]) == [
        None, None, [], None,
    ]  # fmt: skip
    got, found, _ = store.batch([GetOp(("a",), "k"), SearchOp(("a",)), PutOp(("a",), "k", None)])
    assert got.value == {"n": 2}  # type: ignore[union-attr]
    assert [item.value for item in found] == [{"n": 2}]  # type: ignore[union-attr]
    assert store.batch([GetOp(("a",), "k")]) == [None]


def test_a_namespace_may_be_a_list(store: BaseStore) -> None:
    listed: Any = ["a", "b"]
    store.put(listed, "k", {"n": 1})
    assert store.get(listed, "k") == store.get(("a", "b"), "k")
    assert [item.namespace for item in store.search(listed)] == [("a", "b")]
    store.delete(listed, "k")
    assert store.list_namespaces(prefix=listed) == []


@pytest.mark.parametrize("namespace", [(), ("langgraph", "x"), ("a.b",), ("",), (1,)])
def test_what_langgraph_refuses_as_a_namespace_is_refused(store: BaseStore, namespace: Any) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.put(namespace, "k", {})
    with pytest.raises(InvalidRequest):
        store.batch([PutOp(namespace, "k", {})])


def test_a_value_that_is_too_large_or_not_json_is_refused_with_everything_beside_it(store: BaseStore) -> None:
    good = PutOp(("a",), "good", {})
    for bad, error in (
        ({"x": "y" * LARGEST}, TooLarge),
        ({"x": object()}, InvalidRequest),
        ({"x": 2**70}, InvalidRequest),
    ):
        with pytest.raises(error):
            store.batch([good, PutOp(("a",), "bad", bad)])
    assert store.search(("a",)) == []


def test_an_item_of_the_largest_size_is_stored(store: BaseStore) -> None:
    value = {"x": "é" * ((LARGEST - len('{"x":""}')) // 2)}
    key = "k" * 1_000
    store.put(("r" * 1_024, "b"), key, value)
    assert store.get(("r" * 1_024, "b"), key).value == value  # type: ignore[union-attr]


def test_the_two_ways_to_ask_give_the_same(place: Place, store: BaseStore) -> None:
    async def both() -> list[Any]:
        await store.aput(("a", "b"), "k", {"n": 1})
        return [
            await store.aget(("a", "b"), "k"),
            await store.asearch(("a",)),
            await store.alist_namespaces(),
        ]

    got = place.loop.submit(both()).result(10)
    assert got == [
        store.get(("a", "b"), "k"), store.search(("a",)), store.list_namespaces(),
    ]  # fmt: skip
    assert got[0] is not None
    assert asyncio.run(both()) != []


def test_a_run_whose_memory_cannot_be_reached_is_resumed_and_not_failed(place: Place) -> None:
    place.serve(of(remember))
    started = place.start({"n": 1})
    with Calls(place.world.cloud.dynamodb, "UpdateItem") as puts:
        puts.failures = [EndpointConnectionError(endpoint_url="http://db")]
        with pytest.raises(Unavailable):
            place.execute(started)
    assert place.execute(place.take_over(started))["log"] == ["None"]
