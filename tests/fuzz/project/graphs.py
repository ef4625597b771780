"""Graphs that take any input: one ends at once, one asks first."""

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict


class Notes(TypedDict, total=False):
    note: Any
    answer: Any


def _keep(state: Notes) -> dict[str, Any]:
    return {"note": state.get("note")}


def _ask(state: Notes) -> dict[str, Any]:
    return {"answer": interrupt({"note": state.get("note")})}


notes = StateGraph(Notes).add_node("node", _keep).add_edge(START, "node").add_edge("node", END).compile()
ask = StateGraph(Notes).add_node("node", _ask).add_edge(START, "node").add_edge("node", END).compile()
