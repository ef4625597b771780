"""State snapshots as the API answers them."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import PregelTask, StateSnapshot

from crewline.checkpoints.projection import project

EMPTY: dict[str, Any] = {
    "values": {},
    "next": [],
    "tasks": [],
    "metadata": {},
    "created_at": None,
    "checkpoint": None,
    "parent_checkpoint": None,
    "checkpoint_id": None,
    "parent_checkpoint_id": None,
    "interrupts": [],
}
"""The state of a thread that nothing has written yet."""


def render(snapshot: StateSnapshot, serializer: JsonPlusSerializer) -> dict[str, Any]:
    """Spell a snapshot as `GET /threads/{thread_id}/state` answers it.

    Values go through the serialiser and the projection, as the control plane shows them.
    """
    if snapshot.metadata is None and not snapshot.values:
        return EMPTY
    checkpoint, parent = _checkpoint(snapshot.config), _checkpoint(snapshot.parent_config)
    return {
        "values": _json(snapshot.values, serializer),
        "next": list(snapshot.next),
        "tasks": [_task(task, serializer) for task in snapshot.tasks],
        "metadata": {
            **_json(snapshot.metadata or {}, serializer),
            "thread_id": (checkpoint or {}).get("thread_id"),
        },
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "checkpoint_id": checkpoint and checkpoint["checkpoint_id"],
        "parent_checkpoint_id": parent and parent["checkpoint_id"],
        "interrupts": _json(list(snapshot.interrupts), serializer),
    }


def _task(task: PregelTask, serializer: JsonPlusSerializer) -> dict[str, Any]:
    inner = task.state
    return {
        "id": task.id,
        "name": task.name,
        "path": _json(list(task.path), serializer),
        "error": None if task.error is None else str(_json(task.error, serializer)),
        "interrupts": _json(list(task.interrupts), serializer),
        "checkpoint": _checkpoint(inner) if isinstance(inner, dict) else None,
        "state": render(inner, serializer) if isinstance(inner, StateSnapshot) else None,
        "result": _json(task.result, serializer),
    }


def _checkpoint(config: RunnableConfig | None) -> dict[str, Any] | None:
    configurable = (config or {}).get("configurable", {})
    if not configurable.get("checkpoint_id") and "checkpoint_ns" not in configurable:
        return None
    return {
        "checkpoint_id": configurable.get("checkpoint_id"),
        "thread_id": configurable.get("thread_id"),
        "checkpoint_ns": configurable.get("checkpoint_ns", ""),
    }


def _json(value: Any, serializer: JsonPlusSerializer) -> Any:
    return project(serializer.dumps_typed(value))
