"""A crew that goes on when it is told to: its second node waits until a file is there."""

import asyncio
import operator
from pathlib import Path
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class Gated(TypedDict, total=False):
    gate: str
    log: Annotated[list[str], operator.add]


async def _begin(state: Gated) -> dict[str, Any]:
    return {"log": ["begin"]}


async def _wait(state: Gated) -> dict[str, Any]:
    while not Path(state["gate"]).exists():  # noqa: ASYNC110, ASYNC240  (from another process)
        await asyncio.sleep(0.1)
    return {"log": ["wait"]}


async def _end(state: Gated) -> dict[str, Any]:
    return {"log": ["end"]}


graph = (
    StateGraph(Gated)
    .add_node("begin", _begin)
    .add_node("wait", _wait)
    .add_node("end", _end)
    .add_edge(START, "begin")
    .add_edge("begin", "wait")
    .add_edge("wait", "end")
    .compile()
)
