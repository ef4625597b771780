"""The unmodified langgraph-sdk client and its assistants against the local service."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError


@pytest.fixture
def client(service_url: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=service_url) as client:
        yield client


@pytest.fixture
def team() -> dict[str, Any]:
    """Metadata that only the assistants of one test have."""
    return {"team": uuid4().hex}


def test_a_run_has_the_version_that_its_assistant_is(
    client: SyncLangGraphClient, team: dict[str, Any]
) -> None:
    made = client.assistants.create(
        "steps", config={"recursion_limit": 2}, context={"voice": "low"}, metadata=team, name="short"
    )
    assert (made["version"], made["config"]["configurable"]) == (1, {"voice": "low"})
    thread_id = client.threads.create()["thread_id"]

    def run(**options: Any) -> Any:
        return client.runs.wait(thread_id, made["assistant_id"], input={"n": 0}, raise_error=False, **options)

    assert run()["__error__"]["error"] == "GraphRecursionError"

    changed = client.assistants.update(made["assistant_id"], config={"recursion_limit": 9}, name="long")
    assert (changed["version"], changed["context"], changed["metadata"]) == (2, {"voice": "low"}, team)
    assert run()["n"] == 3
    assert run(config={"recursion_limit": 2})["__error__"]["error"] == "GraphRecursionError"

    assert [one["name"] for one in client.assistants.get_versions(made["assistant_id"])] == ["long", "short"]
    assert client.assistants.set_latest(made["assistant_id"], 1)["name"] == "short"
    assert run()["__error__"]["error"] == "GraphRecursionError"

    [newest, *_] = client.runs.list(thread_id)
    assert newest["assistant_id"] == made["assistant_id"]
    assert newest["metadata"]["team"] == team["team"]  # type: ignore[index]
    assert newest["kwargs"]["context"] == {"voice": "low"}  # type: ignore[typeddict-item]

    client.assistants.delete(made["assistant_id"], delete_threads=True)
    with pytest.raises(NotFoundError):
        client.threads.get(thread_id)
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        run()
    with pytest.raises(NotFoundError):
        client.assistants.get(made["assistant_id"])


def test_a_default_assistant_that_was_changed_is_run_with_at_once(client: SyncLangGraphClient) -> None:
    thread_id = client.threads.create()["thread_id"]
    assert client.runs.wait(thread_id, "typed", input={"customer": {"name": "ada", "orders": 0}})
    [typed] = client.assistants.search(graph_id="typed", metadata={"created_by": "system"})
    client.assistants.update(typed["assistant_id"], config={"configurable": {"voice": "loud"}})
    try:
        client.runs.wait(thread_id, "typed", input={"customer": {"name": "ada", "orders": 0}})
        [newest, older] = client.runs.list(thread_id)
        configs = [run["kwargs"]["config"]["configurable"] for run in (newest, older)]  # type: ignore[typeddict-item]
        assert configs == [{"voice": "loud"}, {}]
    finally:
        client.assistants.set_latest(typed["assistant_id"], 1)
    with pytest.raises(ConflictError):
        client.assistants.delete(typed["assistant_id"])


def test_assistants_are_searched_page_by_page(client: SyncLangGraphClient, team: dict[str, Any]) -> None:
    for name in ("c", "a", "b"):
        client.assistants.create("echo", name=name, metadata=team)
    query: dict[str, Any] = {"metadata": team, "sort_by": "name", "sort_order": "asc", "limit": 2}

    first = client.assistants.search(**query, response_format="object")
    assert ([one["name"] for one in first["assistants"]], first["next"]) == (["a", "b"], "2")
    last = client.assistants.search(**query, offset=2, response_format="object")
    assert ([one["name"] for one in last["assistants"]], last["next"]) == (["c"], None)

    assert client.assistants.count(metadata=team) == 3
    [selected] = client.assistants.search(metadata=team, name="B", select=["name"])
    assert dict(selected) == {"name": "b"}


def test_an_id_that_is_taken_is_a_conflict_unless_the_caller_does_not_mind(
    client: SyncLangGraphClient, team: dict[str, Any]
) -> None:
    made = client.assistants.create("echo", metadata=team)
    again: dict[str, Any] = {"graph_id": "echo", "assistant_id": made["assistant_id"]}
    with pytest.raises(ConflictError):
        client.assistants.create(**again)
    assert client.assistants.create(**again, if_exists="do_nothing") == made


def test_a_graph_is_drawn_and_described(client: SyncLangGraphClient) -> None:
    for named in ("steps", client.assistants.search(graph_id="steps")[0]["assistant_id"]):
        drawn = client.assistants.get_graph(named, xray=True)
        assert {node["id"] for node in drawn["nodes"]} >= {"a", "b", "c"}
        assert "n" in (client.assistants.get_schemas(named)["state_schema"] or {})["properties"]
        assert client.assistants.get_subgraphs(named, namespace="a", recurse=True) == {}
