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


notes = StateGraph(Notes).add_node("keep", _keep).add_edge(START, "keep").add_edge("keep", END).compile()
ask = StateGraph(Notes).add_node("ask", _ask).add_edge(START, "ask").add_edge("ask", END).compile()
