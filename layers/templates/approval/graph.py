"""A graph that asks a person: it drafts a text, stops, and goes on with the answer, days later if need be."""

from typing import Literal, NotRequired, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt


class State(TypedDict):
    """What a thread keeps."""

    topic: str
    draft: NotRequired[str]
    wishes: NotRequired[list[str]]
    published: NotRequired[bool]


def write(state: State) -> dict:
    """Write a draft. A model's call goes here."""
    wishes = "".join(f" With {wish}." for wish in state.get("wishes", []))
    return {"draft": f"About {state['topic']}.{wishes}"}


def review(state: State) -> Command[Literal["write", "publish"]]:
    """Ask a person; the answer is true, or what is to be different."""
    answer = interrupt({"question": "Publish this?", "draft": state["draft"]})
    if answer is True:
        return Command(goto="publish")
    return Command(goto="write", update={"wishes": [*state.get("wishes", []), str(answer)]})


def publish(state: State) -> dict:
    """Publish what was approved."""
    return {"published": True}


graph = (
    StateGraph(State)
    .add_node(write)
    .add_node(review)
    .add_node(publish)
    .add_edge(START, "write")
    .add_edge("write", "review")
    .compile()
)
