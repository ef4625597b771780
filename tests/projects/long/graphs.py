"""A crew that outlives an invocation: many supersteps, each noted outside of the state."""

from __future__ import annotations

import operator
import os
import time
from pathlib import Path
from typing import Annotated, Any

from langgraph.config import get_config, get_stream_writer
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class Steps(TypedDict, total=False):
    wanted: int
    pause_s: float
    done: Annotated[list[int], operator.add]


def step(state: Steps) -> dict[str, Any]:
    """Take a while, and leave a line: which run, which step, which process, when it began and ended."""
    number = len(state.get("done", []))
    began = time.time()
    get_stream_writer()({"step": number})
    time.sleep(state["pause_s"])
    line = f"{get_config()['configurable']['run_id']} {number} {os.getpid()} {began}\n"
    with Path(os.environ["STEPS_FILE"]).open("a") as steps:
        steps.write(line)
    return {"done": [number]}


def more(state: Steps) -> str:
    return "step" if len(state["done"]) < state["wanted"] else END


graph = (
    StateGraph(Steps)
    .add_node("step", step)
    .add_edge(START, "step")
    .add_conditional_edges("step", more)
    .compile()
)
