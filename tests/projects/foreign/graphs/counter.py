"""A factory of a graph that needs what requirements.txt lists."""

from typing import TypedDict

import humanize
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph


class State(TypedDict, total=False):
    number: int
    words: str


def say(state: State) -> State:
    return {"words": humanize.intword(state["number"])}


def make_graph() -> CompiledStateGraph[State, None, State, State]:
    return StateGraph(State).add_node("say", say).add_edge(START, "say").compile()
