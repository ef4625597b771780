"""The unmodified langgraph-sdk client and the store of the local service."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import UnprocessableEntityError


@pytest.fixture
def client(service_url: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=service_url) as client:
        yield client


def test_items_are_put_found_listed_and_removed(client: SyncLangGraphClient) -> None:
    store, user = client.store, uuid4().hex
    likes, notes = [user, "likes"], [user, "notes"]
    for key, times in (("food", 3), ("music", 1)):
        store.put_item(likes, key=key, value={"times": times, "in": {"season": "all"}})
    store.put_item(notes, key="first", value={"text": "ça va"}, ttl=5)
    store.put_item(likes, key="food", value={"times": 4, "in": {"season": "all"}})

    food = store.get_item(likes, key="food")
    assert (food["namespace"], food["key"], food["value"]["times"]) == (likes, "food", 4)
    assert food["created_at"] < food["updated_at"]

    def found(**query: object) -> list[str]:
        return [item["key"] for item in store.search_items([user], **query)["items"]]  # type: ignore[arg-type]

    assert found() == ["food", "first", "music"]
    assert found(limit=1, offset=1, refresh_ttl=False) == ["first"]
    assert found(filter={"times": {"$lt": 4}, "in": {"season": "all"}}) == ["music"]
    assert store.list_namespaces([user])["namespaces"] == [likes, notes]
    assert store.list_namespaces([user], suffix=["notes"], max_depth=1)["namespaces"] == [[user]]

    store.delete_item(likes, key="food")
    assert store.get_item(likes, key="food") is None
    with pytest.raises(UnprocessableEntityError, match=r"\$in"):
        found(filter={"times": {"$in": [1]}})
