"""Graphs are drawn and described as they are, subgraphs and factories too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from crewline.engine import executor
from crewline.engine.drawings import describe
from crewline.errors import InvalidRequest
from crewline.models.assistants import Assistant, AssistantCreate
from tests.unit.engine.places import Counting, Place, chain, step
from tests.unit.store.worlds import TENANT


class Context(TypedDict, total=False):
    voice: str


@dataclass
class Settings:
    voice: str = "plain"


def assistant(place: Place, graph_id: str = "echo", **fields: Any) -> Assistant:
    body = AssistantCreate.model_validate({"graph_id": graph_id, **fields})
    return place.world.assistants.create(TENANT, body)


def nested() -> Any:
    inner = chain(deep=step("deep"))
    middle = StateGraph(Counting).add_node("inner", inner).add_edge(START, "inner").compile()
    return StateGraph(Counting).add_node("middle", middle).add_edge(START, "middle").compile()


def drawn(place: Place, one: Assistant, xray: int | bool = False) -> tuple[set[str], list[tuple[str, str]]]:
    found = place.executor.graph(one, xray=xray)
    return {node["id"] for node in found["nodes"]}, [
        (edge["source"], edge["target"]) for edge in found["edges"]
    ]


def test_a_graph_is_its_nodes_and_edges(place: Place) -> None:
    place.serve(chain(a=step("a"), b=step("b")))
    nodes, edges = drawn(place, assistant(place))
    assert nodes == {"__start__", "a", "b", "__end__"}
    assert ("a", "b") in edges


def test_subgraphs_are_drawn_as_deep_as_asked(place: Place) -> None:
    place.serve(nested())
    one = assistant(place)
    assert "middle" in drawn(place, one)[0]
    assert drawn(place, one, xray=True)[0] >= {"middle:inner:deep"}
    assert drawn(place, one, xray=1)[0] >= {"middle:inner"}


def test_subgraphs_are_described_by_namespace(place: Place) -> None:
    place.serve(nested())
    one = assistant(place)

    def found(namespace: str | None = None, *, recurse: bool = False) -> dict[str, Any]:
        return place.executor.subgraphs(one, namespace=namespace, recurse=recurse)

    assert set(found()) == {"middle"}
    assert set(found(recurse=True)) == {"middle", "middle|inner"}
    assert set(found("middle|inner", recurse=True)) == {"middle|inner"}
    assert found("elsewhere") == {}
    assert "n" in found()["middle"]["state_schema"]["properties"]


def test_schemas_are_those_of_input_output_state_and_context(place: Place) -> None:
    node: Any = step("a")
    graph = StateGraph(Counting, context_schema=Context).add_node("a", node).add_edge(START, "a")
    place.serve(graph.compile())
    found = place.executor.schemas(assistant(place))
    assert found["graph_id"] == "echo"
    for name in ("input_schema", "output_schema", "state_schema"):
        assert set(found[name]["properties"]) == {"n", "log"}
    assert set(found["context_schema"]["properties"]) == {"voice"}
    assert found["config_schema"] == found["context_schema"]
    place.serve(chain(a=step("a")))
    plain = place.executor.schemas(assistant(place))
    assert (plain["config_schema"], plain["context_schema"]) == ({}, None)


def test_types_without_a_schema_have_none(place: Place) -> None:
    class Odd(TypedDict, total=False):
        call: Callable[[], None]
        n: int

    place.serve(StateGraph(Odd).add_node("a", lambda _: {"n": 1}).add_edge(START, "a").compile())
    found = place.executor.schemas(assistant(place))
    assert found["state_schema"] is None
    assert found["graph_id"] == "echo"


def test_a_factory_is_called_with_the_config_of_the_assistant(place: Place) -> None:
    def make(config: RunnableConfig) -> Any:
        return chain(**{config.get("configurable", {}).get("voice", "plain"): step("a")})

    place.serve(make)
    loud = assistant(place, context={"voice": "loud"})
    assert "loud" in drawn(place, loud)[0]
    assert "plain" in drawn(place, assistant(place))[0]


def test_schemas_are_made_once_of_a_graph_that_stays_and_each_time_of_a_factorys(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def note(graph_id: str, graph: Any, logger: Any) -> dict[str, Any]:
        made.append(graph)
        return describe(graph_id, graph, logger)

    monkeypatch.setattr(executor, "describe", note)
    place.serve(chain(a=step("a")))
    one, other = assistant(place, name="one"), assistant(place, name="other")
    staying = place.executor
    assert staying.schemas(one) == staying.schemas(other)
    assert len(made) == 1
    place.serve(lambda: chain(a=step("a")))
    called = place.executor
    assert called.schemas(one) == called.schemas(other)
    assert len(made) == 3


def test_a_crew_that_is_not_loaded_is_not_drawn(place: Place) -> None:
    place.crews.pop("chat", None)
    with pytest.raises(InvalidRequest, match="not in this deployment"):
        place.executor.graph(assistant(place, "chat"), xray=False)


@pytest.mark.parametrize("schema", [Context, Settings, None])
def test_nodes_have_what_the_assistant_and_the_request_say(place: Place, schema: Any) -> None:
    def look(state: Counting, config: RunnableConfig, runtime: Runtime[Any]) -> dict[str, Any]:
        context = runtime.context
        voice = context.voice if isinstance(context, Settings) else (context or {}).get("voice")
        return {"log": [f"{voice} {config['configurable'].get('voice')} {config['metadata'].get('team')}"]}

    node: Any = look
    place.serve(
        StateGraph(Counting, context_schema=schema).add_node("look", node).add_edge(START, "look").compile()
    )
    # A name that the schema does not have is for `configurable` alone.
    given = {"configurable": {"voice": "loud", "other": 1}}
    one = assistant(place, config=given, metadata={"team": "red"}).assistant_id

    assert place.run({"n": 0}, assistant_id=one)["log"][-1] == "loud loud red"
    assert place.run({"n": 0}, assistant_id=one, context={"voice": "low"})["log"][-1] == "low low red"
    asked = {"configurable": {"voice": "high"}}
    assert place.run({"n": 0}, assistant_id=one, config=asked)["log"][-1] == "high high red"
