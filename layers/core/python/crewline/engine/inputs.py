"""What a graph is given: its checkpointer, the config of the run, the input or command; and its error."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import Command, Send

from crewline.engine.crews import Graph
from crewline.models.runs import Run, RunError

LONGEST_MESSAGE: Final = 10_000
"""Characters of a crew's exception that the run keeps."""


def with_checkpointer(graph: Graph, checkpointer: BaseCheckpointSaver[Any]) -> Graph:
    """Give a graph a checkpointer for one use.

    A shallow copy: LangGraph's own `copy` validates the graph anew and drops its schema allow-list.
    """
    bound = copy.copy(graph)
    bound.checkpointer = checkpointer
    return bound


def run_config(run: Run, tokens: BaseCallbackHandler) -> RunnableConfig:
    """Make the config of a run: what the caller sent, and what names the run and its place."""
    sent: Mapping[str, Any] = run.kwargs["config"]
    names = {"run_id": run.run_id, "graph_id": run.graph_id, "assistant_id": run.assistant_id}
    configurable = {
        name: value for name, value in sent.get("configurable", {}).items() if name != "checkpoint_id"
    }
    config: RunnableConfig = {
        "configurable": {**configurable, **names, "thread_id": run.thread_id, "checkpoint_ns": ""},
        "metadata": {**sent.get("metadata", {}), **run.metadata, **names},
        "run_id": UUID(run.run_id),
        "tags": list(sent.get("tags", [])),
        "callbacks": [tokens],
    }
    if limit := sent.get("recursion_limit"):
        config["recursion_limit"] = limit
    return config


def given_input(kwargs: Mapping[str, Any]) -> Any:
    """Make what a graph is invoked with of what the run was asked for."""
    command = kwargs.get("command")
    if command is None:
        return kwargs.get("input")
    fields: dict[str, Any] = {name: command[name] for name in ("resume", "update") if name in command}
    if isinstance(fields.get("update"), list):  # pairs of channel and value
        fields["update"] = [tuple(pair) for pair in fields["update"]]
    if goto := command.get("goto"):
        fields["goto"] = [_destination(one) for one in (goto if isinstance(goto, list) else [goto])]
    return Command(**fields)


def _destination(goto: Any) -> str | Send:
    return goto if isinstance(goto, str) else Send(goto["node"], goto.get("input"))


def run_error(error: BaseException) -> RunError:
    """Show what a crew raised as the error of its run."""
    # A text may hold what UTF-8 does not have; a message that cannot be stored would hide the failure.
    message = str(error)[:LONGEST_MESSAGE].encode(errors="replace").decode()
    return RunError(error=type(error).__name__, message=message)
