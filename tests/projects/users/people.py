"""Graphs that tell whom they execute for."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.runtime import get_runtime
from typing_extensions import TypedDict


class Steps(TypedDict, total=False):
    """A counter."""

    n: int
    log: Annotated[list[str], operator.add]


def _add(state: Steps) -> Steps:
    return {"n": state.get("n", 0) + 1, "log": ["a"]}


class Told(TypedDict, total=False):
    """What the run knows of its user."""

    told: dict[str, Any]


def _tell(state: Told, config: RunnableConfig) -> Told:
    configurable = config["configurable"]
    user = configurable.get("langgraph_auth_user")
    server = get_runtime().server_info
    return {
        "told": {
            "before": state.get("told"),
            "id": configurable.get("langgraph_auth_user_id"),
            "permissions": configurable.get("langgraph_auth_permissions"),
            "name": user.display_name if user else None,
            "secret_length": len(user["secret"]) if user else 0,
            "server": server.user.identity if server and server.user else None,
            "budget": configurable.get("budget"),
        }
    }


steps = StateGraph(Steps).add_node("a", _add).add_edge(START, "a").compile()
whoami = StateGraph(Told).add_node("tell", _tell).add_edge(START, "tell").compile()
