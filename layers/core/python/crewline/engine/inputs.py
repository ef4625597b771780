"""What a graph is given: its checkpointer, the config of the run, the input or command; and its error."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import Command, Send
from pydantic import BaseModel

from crewline.engine.crews import Graph
from crewline.models.assistants import Assistant, shared
from crewline.models.runs import Run, RunError
from crewline.models.users import PERMISSIONS, RESERVED, USER, USER_ID, User

LONGEST_MESSAGE: Final = 10_000
"""Characters of a crew's exception that the run keeps."""


def with_checkpointer(graph: Graph, checkpointer: BaseCheckpointSaver[Any]) -> Graph:
    """Give a graph a checkpointer for one use.

    A shallow copy: LangGraph's own `copy` validates the graph anew and drops its schema allow-list.
    """
    bound = copy.copy(graph)
    bound.checkpointer = checkpointer
    return bound


def run_config(run: Run, handlers: Sequence[BaseCallbackHandler]) -> RunnableConfig:
    """Make the config of a run: what the caller sent, and what names the run and its place."""
    sent: Mapping[str, Any] = run.kwargs["config"]
    context = run.kwargs.get("context") or {}
    names = {"run_id": run.run_id, "graph_id": run.graph_id, "assistant_id": run.assistant_id}
    configurable = {
        name: value for name, value in sent.get("configurable", {}).items() if name != "checkpoint_id"
    }
    config: RunnableConfig = {
        "configurable": {
            **_unreserved(configurable),
            **_unreserved(shared(context)),
            **_of_user(run.user),
            **names,
            "thread_id": run.thread_id,
            "checkpoint_ns": "",
        },
        "metadata": {**_unreserved({**sent.get("metadata", {}), **run.metadata}), **names},
        "run_id": UUID(run.run_id),
        "tags": list(sent.get("tags", [])),
        "callbacks": list(handlers),
    }
    if limit := sent.get("recursion_limit"):
        config["recursion_limit"] = limit
    return config


def _unreserved(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a client sent under the names that say who the user is."""
    return {name: value for name, value in sent.items() if name not in RESERVED}


def _of_user(fields: Mapping[str, Any] | None) -> dict[str, Any]:
    """Say who the user is, where LangGraph and its graphs look for that."""
    if fields is None:
        return {}
    user = User(fields)
    return {USER: user, USER_ID: user.identity, PERMISSIONS: user.permissions}


def run_context(graph: Graph, kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Make the runtime context of a run: what the crew's schema names, of context and `configurable`.

    A crew without a schema gets the context as it was sent.
    """
    context: dict[str, Any] | None = kwargs.get("context")
    names = _field_names(graph.context_schema)
    if not names:
        return context or None
    given = {**shared(kwargs["config"].get("configurable", {})), **(context or {})}
    return {name: value for name, value in given.items() if name in names} or None


def _field_names(schema: Any) -> frozenset[str]:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        aliases = (field.alias for field in schema.model_fields.values() if field.alias)
        return frozenset((*schema.model_fields, *aliases))
    if is_dataclass(schema):
        return frozenset(field.name for field in fields(schema))
    return frozenset(getattr(schema, "__annotations__", {}))


def assistant_config(assistant: Assistant) -> RunnableConfig:
    """Make the config with which a crew's factory is called outside of a run."""
    sent = assistant.config.get("configurable", {})
    names = {"graph_id": assistant.graph_id, "assistant_id": assistant.assistant_id}
    return {"configurable": {**_unreserved({**shared(sent), **shared(assistant.context)}), **names}}


def given_input(kwargs: Mapping[str, Any]) -> Any:
    """Make what a graph is invoked with of what the run was asked for."""
    command = kwargs.get("command")
    if command is None:
        return kwargs.get("input")
    parts: dict[str, Any] = {name: command[name] for name in ("resume", "update") if name in command}
    if isinstance(parts.get("update"), list):  # pairs of channel and value
        parts["update"] = [tuple(pair) for pair in parts["update"]]
    if goto := command.get("goto"):
        parts["goto"] = [_destination(one) for one in (goto if isinstance(goto, list) else [goto])]
    return Command(**parts)


def _destination(goto: Any) -> str | Send:
    return goto if isinstance(goto, str) else Send(goto["node"], goto.get("input"))


def run_error(error: BaseException) -> RunError:
    """Show what a crew raised as the error of its run."""
    # A text may hold what UTF-8 does not have; a message that cannot be stored would hide the failure.
    message = str(error)[:LONGEST_MESSAGE].encode(errors="replace").decode()
    return RunError(error=type(error).__name__, message=message)
