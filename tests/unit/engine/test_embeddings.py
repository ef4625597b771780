"""Items of the store found by their meaning: what is embedded, by what, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from crewline.engine.embeddings import load_embedder
from crewline.errors import BadManifest, TooLarge
from crewline.models.manifests import read_manifest
from crewline.services.store_items import LARGEST
from crewline.store import keys
from tests.unit.engine.places import Counting, Place
from tests.unit.store.worlds import TENANT

CODE = """
import asyncio

WORDS = ("pizza", "pasta", "rain")
CALLS = []

def embed(texts):
    CALLS.append(list(texts))
    return [[float(word in text) for word in WORDS] for text in texts]

async def aembed(texts):
    return embed(texts)

async def looked_up(texts):
    await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
    return embed(texts)

def flat(texts):
    return [[1.0] for _ in texts]

def lost(texts):
    return [[float("nan")] * 3 for _ in texts]

def few(texts):
    return []
"""

Make = Callable[..., BaseStore]


@pytest.fixture
def make(place: Place, tmp_path: Path) -> Make:
    """Make the store of a project with these vectors, which the graphs of the place have from then on."""

    def make(embed: str = "embed", **index: Any) -> BaseStore:
        (tmp_path / "vectors.py").write_text(CODE)
        (tmp_path / "graphs.py").touch()
        manifest = tmp_path / "langgraph.json"
        said = {"embed": f"./vectors.py:{embed}", "dims": 3, **index}
        manifest.write_text(json.dumps({"graphs": {"a": "./graphs.py:a"}, "store": {"index": said}}))
        place.embedder = load_embedder(read_manifest(manifest))
        return place.stores(TENANT)

    return make


def found(store: BaseStore, query: str, **more: Any) -> list[tuple[str, float | None]]:
    return [
        (item.key, item.score and round(item.score, 3)) for item in store.search(("a",), query=query, **more)
    ]


def vectors(place: Place, key: str) -> int:
    """How many vectors an item has."""
    return len(place.world.items()[keys.store_item(TENANT, ("a",), key)].get("vectors", b"")) // 12


def test_the_nearest_come_first_and_those_without_vectors_last(make: Make, place: Place) -> None:
    store = make()
    store.put(("a",), "none", {"text": "pizza"}, index=False)
    for key, text in (("far", "rain"), ("both", "pizza, pasta"), ("one", "pizza")):
        place.clock.pass_(1)
        store.put(("a",), key, {"text": text})
    assert found(store, "pizza") == [("one", 1.0), ("both", 0.707), ("far", 0.0), ("none", None)]
    assert found(store, "pizza", limit=2, offset=1) == [("both", 0.707), ("far", 0.0)]
    assert found(store, "pizza", filter={"text": "rain"}) == [("far", 0.0)]
    assert found(store, "") == [("one", None), ("both", None), ("far", None), ("none", None)]


def test_what_is_embedded_are_the_fields_of_the_manifest_or_of_the_item(make: Make, place: Place) -> None:
    store = make(fields=["title", "parts[*].text"])
    value = {"title": "rain", "parts": [{"text": "pizza"}, {"text": "pasta"}], "other": "pizza, pasta"}
    store.put(("a",), "fields", value)
    store.put(("a",), "own", value, index=["other"])
    store.put(("a",), "whole", value, index=["$"])
    assert [vectors(place, key) for key in ("fields", "own", "whole")] == [3, 1, 1]
    assert found(store, "pizza") == [("fields", 1.0), ("own", 0.707), ("whole", 0.577)]


def test_a_value_leaves_no_vectors_of_the_one_before(make: Make, place: Place) -> None:
    store = make()
    store.put(("a",), "k", {"text": "pizza"})
    store.put(("a",), "k", {"text": "pizza"}, index=False)
    assert vectors(place, "k") == 0
    assert found(store, "pizza") == [("k", None)]


def test_a_batch_embeds_each_text_once(make: Make) -> None:
    store = make()
    module: Any = store._embedder._embeddings.func.__globals__  # type: ignore[attr-defined]
    module["CALLS"].clear()
    store.batch([PutOp(("a",), str(n), {"text": "pizza"}) for n in range(3)])
    store.batch([SearchOp(("a",), query="rain"), SearchOp(("b",), query="rain")])
    assert module["CALLS"] == [['{"text": "pizza"}'], ["rain"]]


def test_nodes_that_all_wait_for_a_coroutine_leave_it_a_thread(make: Make, place: Place) -> None:
    store = make("looked_up")
    store.put(("a",), "k", {"text": "pizza"})

    async def search_in_all_threads() -> list[Any]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(None, partial(found, store, "pizza")) for _ in range(100))
        )

    assert place.loop.submit(search_in_all_threads()).result(60) == [[("k", 1.0)]] * 100


@pytest.mark.parametrize("embed", ["embed", "aembed"])
def test_functions_and_coroutines_embed_for_nodes_of_both_kinds(make: Make, place: Place, embed: str) -> None:
    make(embed)

    def wait(state: Counting, *, store: BaseStore) -> dict[str, Any]:
        store.put(("a",), "k", {"text": "pizza"})
        return {}

    async def go_on(state: Counting, *, store: BaseStore) -> dict[str, Any]:
        (item,) = await store.asearch(("a",), query="pizza pasta")
        return {"log": [f"{item.score:.3f}"]}

    graph = StateGraph(Counting).add_node("wait", wait).add_node("go_on", go_on)
    place.serve(graph.add_edge(START, "wait").add_edge("wait", "go_on").compile())
    assert place.run({"n": 1})["log"] == ["0.707"]


def test_vectors_of_another_embedding_are_not_compared(make: Make) -> None:
    make("flat", dims=1).put(("a",), "before", {})
    store = make()
    store.put(("a",), "now", {"text": "pizza"})
    assert found(store, "pizza") == [("now", 1.0), ("before", None)]


@pytest.mark.parametrize(
    ("embed", "said"),
    [("flat", "a vector of 1 numbers"), ("few", "0 vectors for 1 texts"), ("lost", "a number that is none")],
)
def test_what_embeds_something_else_than_the_manifest_says_is_told_and_nothing_is_put(
    make: Make, place: Place, embed: str, said: str
) -> None:
    store = make(embed)
    with pytest.raises(BadManifest, match=said):
        store.put(("a",), "k", {})
    assert not any(partition.startswith("S#") for partition, _ in place.world.items())


@pytest.mark.parametrize("embed", ["./vectors.py:absent", "nobody:knows-this-model", "nothing"])
def test_what_cannot_embed_is_told_when_it_is_loaded(place: Place, tmp_path: Path, embed: str) -> None:
    (tmp_path / "vectors.py").write_text(CODE)
    (tmp_path / "graphs.py").touch()
    index = {"embed": embed, "dims": 3}
    content = {"graphs": {"a": "./graphs.py:a"}, "store": {"index": index}}
    (tmp_path / "langgraph.json").write_text(json.dumps(content))
    with pytest.raises(BadManifest, match=r"store\.index\.embed"):
        load_embedder(read_manifest(tmp_path / "langgraph.json"))


def test_vectors_count_as_a_part_of_an_item(make: Make) -> None:
    store = make(fields=["parts[*]"])
    parts = ["pizza " + str(n) for n in range(LARGEST // 24)]
    store.put(("a",), "few", {"parts": parts[: len(parts) // 2]})
    with pytest.raises(TooLarge, match="with its vectors"):
        store.put(("a",), "many", {"parts": parts})


def test_a_search_gives_exactly_the_cosines_that_langgraphs_own_store_gives(make: Make) -> None:
    def embed(texts: Sequence[str]) -> list[list[float]]:
        return [[float(word in text) for word in ("pizza", "pasta", "rain")] for text in texts]

    theirs, ours = InMemoryStore(index={"dims": 3, "embed": embed}), make()
    texts = ["pizza", "pasta", "rain", "pizza pasta", "pasta rain", "pizza pasta rain", "sun"]
    for store in (theirs, ours):
        for text in texts:
            store.put(("a",), text, {"text": text})
    for query in texts:
        scores = [
            {item.key: item.score for item in store.search(("a",), query=query)} for store in (theirs, ours)
        ]
        assert scores[0] == pytest.approx(scores[1], abs=1e-15)
