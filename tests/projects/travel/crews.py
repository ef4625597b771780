"""Crews whose runs are worth drawing: a subgraph that uses a tool, a question, a failure."""

import asyncio
import operator
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt
from typing_extensions import TypedDict


class Journey(TypedDict, total=False):
    """What a thread of the planner keeps."""

    message: str
    asked: Annotated[list[str], operator.add]
    plan: dict[str, Any]


class Research(TypedDict, total=False):
    """What its research keeps for itself."""

    message: str
    messages: Annotated[list[AnyMessage], add_messages]


@tool
def find_trains(to: str) -> str:
    """Find the trains to a place."""
    return f"Every hour to {to}."


def think(state: Research) -> Research:
    """Look for trains, as a model would ask to."""
    get_stream_writer()({"type": "log", "level": "info", "message": f"thinking about {state['message']}"})
    used: UsageMetadata = {"input_tokens": 1200, "output_tokens": 34, "total_tokens": 1234}
    call = {
        "name": "find_trains",
        "args": {"to": state["message"]},
        "id": "call-1",
        "type": "tool_call",
    }
    return {"messages": [AIMessage(content="", tool_calls=[call], usage_metadata=used)]}


def write(state: Journey) -> Journey:
    """Write the plan down."""
    days = len(state.get("asked") or []) + 1
    return {"asked": [state["message"]], "plan": {"goal": state["message"], "days": days}}


_research = StateGraph(Research).add_node("think", think).add_node("trains", ToolNode([find_trains]))
_research.add_edge(START, "think").add_edge("think", "trains")

planner = StateGraph(Journey).add_node("research", _research.compile()).add_node("write", write)
planner.add_edge(START, "research").add_edge("research", "write")


class Booking(TypedDict, total=False):
    """What a booking keeps."""

    train: str
    answer: Any


def ask(state: Booking) -> Booking:
    """Ask before money is spent."""
    return {"answer": interrupt({"question": f"Book the {state.get('train', 'next')} train?"})}


booking = StateGraph(Booking).add_node(ask).add_edge(START, "ask")


class Broken(TypedDict, total=False):
    """What a crew keeps that cannot work."""

    message: str


def fail(state: Broken) -> Broken:
    """Fail, as services do."""
    raise ValueError("The timetable is closed today.")


broken = StateGraph(Broken).add_node("fail", fail).add_edge(START, "fail")


class Waiting(TypedDict, total=False):
    """How long to wait."""

    seconds: float


async def wait(state: Waiting) -> Waiting:
    """Wait, as for a delayed train."""
    await asyncio.sleep(state["seconds"])
    return {}


waiting = StateGraph(Waiting).add_node("wait", wait).add_edge(START, "wait")
