"""What a graph looks like: its nodes and edges, its schemas, its subgraphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from aws_lambda_powertools import Logger
from langchain_core.runnables import RunnableConfig
from langgraph.channels.base import BaseChannel
from langgraph.pregel import Pregel
from pydantic import create_model
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError

from crewline.engine.crews import Graph

Schema = dict[str, Any] | None

_NOT_EXPRESSIBLE: Final = (
    PydanticUserError,
    PydanticUndefinedAnnotation,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""What is raised for types that have no JSON schema."""


async def draw(graph: Graph, config: RunnableConfig, xray: int | bool) -> dict[str, Any]:
    """Draw nodes and edges, as far into the subgraphs as `xray` says."""
    drawn = (await graph.aget_graph(config, xray=xray)).to_json()
    plain: dict[str, Any] = orjson.loads(orjson.dumps(drawn, default=str, option=orjson.OPT_NON_STR_KEYS))
    return plain


def describe(graph_id: str, graph: Any, logger: Logger) -> dict[str, Any]:
    """Give the JSON schemas of a graph's input, output, state and context.

    A schema is None when its types have none, or the graph is elsewhere.
    """
    made: Mapping[str, Callable[[], Schema]] = {}
    if isinstance(graph, Pregel):
        made = {
            "input_schema": graph.get_input_jsonschema,
            "output_schema": graph.get_output_jsonschema,
            "state_schema": lambda: _state_schema(graph),
            # What `configurable` may hold and what the context may hold is one thing.
            "config_schema": lambda: graph.get_context_jsonschema() or {},
            "context_schema": graph.get_context_jsonschema,
        }
    names = ("input_schema", "output_schema", "state_schema", "config_schema", "context_schema")
    return {
        "graph_id": graph_id,
        **{name: _schema(graph_id, name, made[name], logger) if name in made else None for name in names},
    }


def describe_subgraphs(
    graph_id: str, graph: Graph, logger: Logger, *, namespace: str | None, recurse: bool
) -> dict[str, Any]:
    """Give the JSON schemas of the subgraphs by namespace.

    Args:
        graph_id: The crew.
        graph: Its graph.
        logger: Where a schema that cannot be made is noted.
        namespace: Only the subgraph at this place.
        recurse: Also the subgraphs of subgraphs.
    """
    found = graph.get_subgraphs(namespace=namespace, recurse=recurse)
    return {place: describe(graph_id, subgraph, logger) for place, subgraph in found}


def _schema(graph_id: str, name: str, make: Callable[[], Schema], logger: Logger) -> Schema:
    try:
        return make()
    except _NOT_EXPRESSIBLE as exc:
        logger.warning("no JSON schema for a crew's types", graph_id=graph_id, schema=name, reason=repr(exc))
        return None


def _state_schema(graph: Graph) -> Schema:
    fields: dict[str, Any] = {}
    for name in graph.stream_channels_list:
        channel = graph.channels[name]
        if isinstance(channel, BaseChannel):
            fields[name] = (channel.UpdateType, None)
    return dict(create_model(graph.get_name("State"), **fields).model_json_schema())
