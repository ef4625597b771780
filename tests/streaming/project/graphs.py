"""A graph whose second step waits until the test lets it go."""

import asyncio
from pathlib import Path
from typing import Any

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class Gated(TypedDict, total=False):
    gate: str
    said: str


def _first(state: Gated) -> dict[str, Any]:
    return {"said": "at once"}


async def _second(state: Gated) -> dict[str, Any]:
    while not Path(state["gate"]).exists():  # noqa: ASYNC110, ASYNC240 (the test is another process)
        await asyncio.sleep(0.005)
    return {"said": "when let go"}


gated = (
    StateGraph(Gated)
    .add_node("first", _first)
    .add_node("second", _second)
    .add_edge(START, "first")
    .add_edge("first", "second")
    .compile()
)
