"""The crews load as their langgraph.json says: by file path, under any module name."""

import importlib.util
import json
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from tests.unit.crews.conftest import CREWS

MANIFEST = json.loads((CREWS / "langgraph.json").read_text())
THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}


def load(crew: str) -> Any:
    path, _, name = MANIFEST["graphs"][crew]["path"].partition(":")
    spec = importlib.util.spec_from_file_location(f"loaded_{crew}", CREWS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def test_it_names_both_crews_and_says_what_they_do() -> None:
    assert set(MANIFEST["graphs"]) == {"planner", "reviewer"}
    assert all(graph["description"] for graph in MANIFEST["graphs"].values())
    assert MANIFEST["dependencies"] == ["./python"]


@pytest.mark.parametrize("crew", ["planner", "reviewer"])
def test_a_crew_describes_its_input_and_output(crew: str) -> None:
    graph = load(crew)
    assert graph.name == crew
    inputs = {"planner": {"messages", "message", "topic"}, "reviewer": {"document", "document_name"}}
    assert set(graph.get_input_jsonschema()["properties"]) == inputs[crew]
    assert graph.get_output_jsonschema()["properties"]


def test_a_crew_that_was_loaded_by_path_keeps_the_types_of_its_state() -> None:
    graph = load("reviewer")
    graph.checkpointer = InMemorySaver()
    graph.invoke({"document_name": "travel-policy"}, THREAD)
    assert {type(finding).__module__ for finding in graph.get_state(THREAD).values["findings"]} == {
        "crews.findings"
    }
    assert graph.invoke(Command(resume="approve"), THREAD)["report"]


def test_a_planner_that_was_loaded_by_path_refines_its_plan() -> None:
    graph = load("planner")
    graph.checkpointer = InMemorySaver()
    graph.invoke({"message": "Generate a plan"}, THREAD)
    assert "## Timeline" in graph.invoke({"message": "Add a timeline"}, THREAD)["messages"][-1].text
