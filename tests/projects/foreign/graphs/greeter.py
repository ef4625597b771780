"""A graph that needs a package by name and the project's own library."""

from typing import TypedDict

from greetings import greet
from langgraph.graph import START, StateGraph
from slugify import slugify


class State(TypedDict, total=False):
    name: str
    slug: str
    greeting: str


def answer(state: State) -> State:
    return {"slug": slugify(state["name"]), "greeting": greet(state["name"])}


graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
