"""The graph that is tortured: it does what its input says, and writes down each start of a node."""

from __future__ import annotations

import asyncio
import operator
import random
import time
from typing import Annotated, Any, Final, TypedDict
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from tests.faults.torture.journals import OWNER, Journal

NODES: Final = {
    "work": ("work",),
    "block": ("block",),
    "slow": ("slow",),
    "fork": ("left", "right"),
    "ask": ("ask",),
}
"""A word of a plan → the nodes of its superstep."""

SLOW_S: Final = 3.6
"""Longer than a lease lasts."""

_journal: list[Journal] = []


def write_to(journal: Journal) -> None:
    """Say where nodes of this process write down that they start."""
    _journal[:] = [journal]


def _moved(old: int, new: int) -> int:
    return max(old, new) if new else 0


class State(TypedDict):
    """What a thread holds."""

    plan: list[str]
    """The supersteps that the newest input asked for."""
    at: Annotated[int, _moved]
    """Which of them is next."""
    log: Annotated[list[list[Any]], operator.add]
    """An entry for each input and each node: run (request, for an input), step, node, execution, answer."""


def _begin(state: State, config: RunnableConfig, node: str) -> tuple[str, str]:
    run_id = str(config["configurable"]["run_id"])
    execution = uuid4().hex[:12]
    owner, epoch = OWNER.get()
    if _journal:
        _journal[0].note(
            "node",
            thread=config["configurable"]["thread_id"],
            run=run_id,
            step=state["at"],
            node=node,
            execution=execution,
            owner=owner,
            epoch=epoch,
        )
    return run_id, execution


def _done(state: State, run_id: str, node: str, execution: str, answer: str = "") -> dict[str, Any]:
    step = state["at"]
    return {"at": step + 1, "log": [[run_id, step, node, execution, answer]]}


async def work(state: State, config: RunnableConfig) -> dict[str, Any]:
    begun = _begin(state, config, "work")
    await asyncio.sleep(random.uniform(0, 0.03))
    return _done(state, begun[0], "work", begun[1])


def block(state: State, config: RunnableConfig) -> dict[str, Any]:
    begun = _begin(state, config, "block")
    time.sleep(random.uniform(0, 0.1))
    return _done(state, begun[0], "block", begun[1])


async def slow(state: State, config: RunnableConfig) -> dict[str, Any]:
    begun = _begin(state, config, "slow")
    await asyncio.sleep(random.uniform(0.5, 1) * SLOW_S)
    return _done(state, begun[0], "slow", begun[1])


async def left(state: State, config: RunnableConfig) -> dict[str, Any]:
    begun = _begin(state, config, "left")
    return _done(state, begun[0], "left", begun[1])


async def right(state: State, config: RunnableConfig) -> dict[str, Any]:
    begun = _begin(state, config, "right")
    await asyncio.sleep(random.uniform(0, 0.5))
    return _done(state, begun[0], "right", begun[1])


async def ask(state: State, config: RunnableConfig) -> dict[str, Any]:
    begun = _begin(state, config, "ask")
    answer = interrupt("Go on?")
    return _done(state, begun[0], "ask", begun[1], str(answer))


def _next(state: State) -> list[str]:
    if state.get("at", 0) >= len(state.get("plan", ())):  # a thread that never had an input has neither
        return [END]
    return list(NODES[state["plan"][state["at"]]])


def make() -> Any:
    """Compile the graph."""
    builder = StateGraph(State)
    for node in (work, block, slow, left, right, ask):
        builder.add_node(node.__name__, node)
        builder.add_conditional_edges(node.__name__, _next)
    builder.add_conditional_edges(START, _next)
    return builder.compile()
