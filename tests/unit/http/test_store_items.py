"""`/store`: what comes over the wire reaches the store as it is meant, in the function that can do it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson
import pytest
from langgraph.store.base import ensure_embeddings

from crewline.engine.embeddings import Embedder
from crewline.engine.loops import CrewLoop
from crewline.engine.stores import DynamoDBStore
from crewline.http.apps import App
from crewline.http.authentication import Authentication
from crewline.http.handovers import HandOver
from crewline.http.store_items import embedding_routes, routes
from crewline.local.proxy_events import lambda_context
from crewline.models.cors import CorsPolicy
from crewline.models.store_items import ItemWrite
from crewline.models.store_policies import Lifetime
from crewline.services.store_items import StoreItems
from crewline.store import keys
from crewline.store.functions import SEPARATOR, Functions
from tests.unit.http.test_apps import event
from tests.unit.store.worlds import SILENT, TENANT, World, basic_manifest, clock, cloud, world

__all__ = ["basic_manifest", "clock", "cloud", "world"]

ADA = ["users", "ada"]


class Api:
    """The api function, and the crew function that it hands over to."""

    def __init__(self, world: World, loop: CrewLoop, lifetime: Lifetime, *, embeds: bool) -> None:
        self.handed_over: list[str] = []
        self.items = items = StoreItems(world.table, world.clock, lifetime)
        embedder = Embedder(ensure_embeddings(embed), 2, ["$"])
        self._crew = app(embedding_routes(partial(DynamoDBStore, items, embedder=embedder, loop=loop)))
        self._api = app(routes(items, HandOver(Functions(self), "crew") if embeds else None))

    def invoke(self, **arguments: Any) -> Any:
        sent = orjson.loads(arguments["Payload"])
        self.handed_over.append(sent["httpMethod"])
        reply = self._crew.answer(sent, lambda_context("crew", "r"))
        head = orjson.dumps({"statusCode": reply.status, "headers": reply.headers})
        return {"Payload": io.BytesIO(head + SEPARATOR + bytes(reply.body))}  # type: ignore[arg-type]

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **query: str) -> Any:
        text = orjson.dumps(body).decode() if body is not None else None
        reply = self._api.answer(event(method, path, text, **query), lambda_context("api", "r"))
        assert reply.status == status, reply.body
        assert isinstance(reply.body, bytes)
        return orjson.loads(reply.body) if reply.body else None

    def put(self, key: str = "k", *, status: int = 204, **body: Any) -> Any:
        item = {"namespace": ADA, "key": key, "value": {}, **body}
        return self.ask("PUT", "/store/items", item, status=status)

    def search(self, prefix: list[str], **body: Any) -> list[str]:
        found = self.ask("POST", "/store/items/search", {"namespace_prefix": prefix, **body})
        return [item["key"] for item in found["items"]]


def app(router: Any) -> App:
    return App(
        router,
        authentication=Authentication(None, TENANT),
        cors=CorsPolicy(),
        max_body_bytes=100_000,
        logger=SILENT,
    )


def embed(texts: Any) -> list[list[float]]:
    return [[float("a" in text), float("b" in text)] for text in texts]


@pytest.fixture(scope="module")
def loop() -> Iterator[CrewLoop]:
    loop = CrewLoop()
    yield loop
    loop.close()


@pytest.fixture
def api(world: World, loop: CrewLoop) -> Api:
    return Api(world, loop, Lifetime(), embeds=False)


@pytest.fixture
def embedding(world: World, loop: CrewLoop) -> Api:
    return Api(world, loop, Lifetime(default_ttl=2), embeds=True)


def test_an_item_is_put_read_found_and_removed(api: Api) -> None:
    api.put(value={"x": 1})
    found = api.ask("GET", "/store/items", namespace="users.ada", key="k")
    assert list(found) == ["namespace", "key", "value", "created_at", "updated_at"]
    assert (found["namespace"], found["key"], found["value"]) == (ADA, "k", {"x": 1})
    answered = api.ask("POST", "/store/items/search", {"namespace_prefix": ["users"], "filter": {"x": 1}})
    assert answered == {"items": [{**found, "score": None}]}
    assert api.ask("POST", "/store/namespaces", {"suffix": ["ada"]}) == {"namespaces": [ADA]}
    api.ask("DELETE", "/store/items", {"namespace": ADA, "key": "k"}, status=204)
    assert api.ask("GET", "/store/items", namespace="users.ada", key="k") is None


def test_what_is_not_there_is_null_and_can_be_removed(api: Api) -> None:
    assert api.ask("GET", "/store/items", key="k") is None
    api.ask("DELETE", "/store/items", {"key": "k"}, status=204)
    assert api.search([]) == []
    assert api.ask("POST", "/store/namespaces", {}) == {"namespaces": []}


def test_a_key_is_the_text_that_it_is(api: Api) -> None:
    api.put('["a"]')
    assert api.ask("GET", "/store/items", namespace="users.ada", key="a") is None
    assert api.ask("GET", "/store/items", namespace="users.ada", key='["a"]')["key"] == '["a"]'


@pytest.mark.parametrize(
    "body",
    [
        {"namespace": []}, {"namespace": ["a.b"]}, {"namespace": [""]}, {"namespace": ["langgraph"]}, {"namespace": "users"},
        {"value": None}, {"value": [1]}, {"ttl": 0}, {"ttl": -1}, {"ttl": 1e12}, {"index": True}, {"index": 0}, {"key": 1}, {"key": "k" * 1_025},
    ],
)  # fmt: skip
def test_what_is_no_item_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert set(api.put(status=422, **body)) == {"detail", "code"}


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 0},
        {"limit": 1_001},
        {"offset": -1},
        {"namespace_prefix": ["a.b"]},
        {"filter": {"a": {"$in": []}}},
    ],
)
def test_what_is_no_search_is_refused(api: Api, body: dict[str, Any]) -> None:
    api.ask("POST", "/store/items/search", body, status=422)


@pytest.mark.parametrize("namespace", [".", "a.", ".a", "a..b", "\0"])
def test_what_is_no_namespace_is_refused(api: Api, namespace: str) -> None:
    api.ask("GET", "/store/items", namespace=namespace, key="k", status=422)


def test_a_value_that_no_item_holds_is_413_with_its_size(world: World, loop: CrewLoop, api: Api) -> None:
    api._api._max_body_bytes = 1_000_000
    assert "400,026" in api.put(value={"x": "y" * 400_018}, status=413)["detail"]


def test_only_what_needs_a_vector_is_handed_over(embedding: Api) -> None:
    embedding.put("none", index=False)
    assert embedding.search(ADA) == ["none"]
    embedding.search(ADA, query="")
    assert embedding.handed_over == []
    embedding.put("b", value={"text": "b"})
    embedding.put("a", value={"text": "a"}, index=["text"])
    assert embedding.search(ADA, query="a") == ["a", "b", "none"]
    assert embedding.search(ADA, query="a", limit=1, offset=1, filter={"text": "b"}) == []
    assert embedding.handed_over == ["PUT", "PUT", "POST", "POST"]


def test_an_answer_that_no_function_can_give_another_is_413(embedding: Api) -> None:
    for key in range(20):
        embedding.items.put(TENANT, ItemWrite(namespace=tuple(ADA), key=str(key), value={"x": "y" * 320_000}))
    searched = {"namespace_prefix": ADA, "query": "a", "limit": 20}
    assert "fewer at a time" in embedding.ask("POST", "/store/items/search", searched, status=413)["detail"]
    assert len(embedding.search(ADA, query="a", limit=18)) == 18


def test_without_embeddings_a_query_ranks_nothing(api: Api) -> None:
    api.put("a", value={"text": "a"})
    assert api.search(ADA, query="b") == ["a"]


@pytest.mark.parametrize("index", [False, None])
def test_a_time_to_live_is_the_manifests_the_items_or_none(world: World, embedding: Api, index: Any) -> None:
    embedding.put("default", index=index)
    embedding.put("own", index=index, ttl=1)
    embedding.put("none", index=index, ttl=None)
    lives = {
        key: world.items()[keys.store_item(TENANT, tuple(ADA), key)].get("lives_ms")
        for key in ("default", "own", "none")
    }
    assert lives == {"default": 120_000, "own": 60_000, "none": None}


def test_reading_an_item_lets_it_live_on_unless_it_is_told_not_to(world: World, embedding: Api) -> None:
    embedding.put("k", index=False)
    query: dict[str, Any] = {"namespace": "users.ada", "key": "k"}
    world.clock.pass_(60_000)
    embedding.ask("GET", "/store/items", **query, refresh_ttl="false")
    embedding.ask("POST", "/store/items/search", {"refresh_ttl": False, "query": "a"})
    world.clock.pass_(59_000)
    assert embedding.ask("GET", "/store/items", **query)
    world.clock.pass_(119_000)
    assert embedding.search(ADA, query="a") == ["k"]
    world.clock.pass_(119_000)
    assert embedding.search(ADA) == ["k"]
    world.clock.pass_(120_000)
    assert embedding.search(ADA) == []
