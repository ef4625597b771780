"""Memory on the local cloud: what the worker, the crew function and the API put, each of them finds, by its meaning too."""

import json
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from crewline.local.children import ChildService, local_service

pytestmark = pytest.mark.thorough

GRAPHS = """
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    text: str
    found: list


def note(state: State, *, store: BaseStore):
    store.put(("notes",), state["text"], {"text": state["text"]})
    return {}


async def find(state: State, *, store: BaseStore):
    found = await store.asearch(("notes",), query=state["text"])
    return {"found": [[item.key, item.score and round(item.score, 3)] for item in found]}


graph = StateGraph(State).add_node(note).add_node(find).add_edge(START, "note").add_edge("note", "find").compile()
"""
VECTORS = """
async def embed(texts):
    return [[float(word in text) for word in ("pizza", "pasta", "rain")] for text in texts]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "graphs.py").write_text(GRAPHS)
    (folder / "vectors.py").write_text(VECTORS)
    index = {"embed": "./vectors.py:embed", "dims": 3, "fields": ["text"]}
    manifest = {"dependencies": ["."], "graphs": {"notes": "./graphs.py:graph"}, "store": {"index": index}}
    (folder / "langgraph.json").write_text(json.dumps(manifest))
    return folder


def client_of(service: ChildService) -> SyncLangGraphClient:
    return get_sync_client(url=service.url)


def test_every_function_finds_what_the_others_have_put(project: Path, tmp_path: Path) -> None:
    with local_service(project=project, state=tmp_path / "state") as service, client_of(service) as client:
        here: Any = client.runs.wait(None, "notes", input={"text": "pizza pasta"})
        assert here["found"] == [["pizza pasta", 1.0]]
        thread = client.threads.create()["thread_id"]
        run = client.runs.create(thread, "notes", input={"text": "rain"})
        worker = client.runs.join(thread, run["run_id"])
        assert worker["found"] == [["rain", 1.0], ["pizza pasta", 0.0]]
        client.store.put_item(["notes"], key="api", value={"text": "pizza"})
        client.store.put_item(["notes"], key="plain", value={"text": "pizza"}, index=False)
    with local_service(project=project, state=tmp_path / "state") as service, client_of(service) as client:
        found = client.store.search_items(["notes"], query="pizza")["items"]
        assert [(item["key"], item["score"] and round(item["score"], 3)) for item in found] == [
            ("api", 1.0), ("pizza pasta", 0.707), ("rain", 0.0), ("plain", None),
        ]  # fmt: skip
