"""Checkpoints made by hand, and graphs small enough to read at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6

from crewline.engine.checkpointer import DynamoDBCheckpointer


def at(thread_id: str, namespace: str | None = "", checkpoint_id: str | None = None) -> RunnableConfig:
    """Address a thread, a namespace of it, or one checkpoint."""
    configurable = {"thread_id": thread_id}
    if namespace is not None:
        configurable["checkpoint_ns"] = namespace
    if checkpoint_id is not None:
        configurable["checkpoint_id"] = checkpoint_id
    return {"configurable": configurable}


def checkpoint(
    values: Mapping[str, Any], versions: Mapping[str, str | int | float] | None = None
) -> Checkpoint:
    """Make a checkpoint that holds these values, with an id above all earlier ones."""
    return {
        **empty_checkpoint(),
        "id": str(uuid6()),
        "channel_values": dict(values),
        "channel_versions": dict(versions or dict.fromkeys(values, 1)),
    }


def plain(found: CheckpointTuple | None) -> Any:
    """Spell a checkpoint so that two can be compared, and a difference be read."""
    if found is None:
        return None
    parent = found.parent_config
    return {
        **found.checkpoint,
        "metadata": dict(found.metadata),
        "namespace": found.config["configurable"]["checkpoint_ns"],
        "parent": parent["configurable"]["checkpoint_id"] if parent else None,
        "writes": [*(found.pending_writes or [])],
    }


def begin_writes(
    saver: DynamoDBCheckpointer,
    config: RunnableConfig,
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    task_path: str = "",
) -> None:
    """Do the first half of `put_writes`: what LangGraph's loop has done when the child's `put` comes."""
    saver._take_writes(config, writes, task_id, task_path)
