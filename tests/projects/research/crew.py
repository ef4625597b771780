"""A crew that researches a topic, and remembers in a thread what it was asked before."""

import operator
import time
from typing import Annotated

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    """What a thread keeps."""

    topic: str
    message: str
    asked: Annotated[list[str], operator.add]
    report: str
    seconds: float


def research(state: State) -> State:
    """Take in what is asked, for as long as the caller wants."""
    time.sleep(state.get("seconds", 0))
    if state.get("message") == "Fail":
        raise ValueError("The sources are closed today.")
    return {"asked": [state.get("message") or state["topic"]], "seconds": 0}


def write(state: State) -> State:
    """Report on everything that was asked so far."""
    return {"report": "; then ".join(state["asked"])}


builder = StateGraph(State).add_node(research).add_node(write)
builder.add_edge(START, "research").add_edge("research", "write")
graph = builder.compile(name="research")
