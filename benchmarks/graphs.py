"""The graphs whose threads are measured, and what a thread of them holds in the end.

* `chat1`: one node; a question of 200 bytes, an answer of 600.
* `chat5`: five nodes; classify, call a tool, its result of 1,200 bytes, answer, summarise.
* `docs`: `chat1` with ten documents of 2,000 bytes in the state from the first turn on.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypedDict, get_args

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.graph.state import CompiledStateGraph

Kind = Literal["chat1", "chat5", "docs"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

Graph = CompiledStateGraph[Any, Any, Any, Any]

_LETTERS: Final = (
    "eeeeeeeeeeeetttttttttaaaaaaaaoooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllccuummwwffggyyppbvk"
)
_VOCABULARY: Final = 3_000
_QUESTION, _ANSWER, _CALL, _FOUND, _INTENT, _SUMMARY, _DOCUMENT = 200, 600, 80, 1_200, 20, 200, 2_000
_DOCUMENTS: Final = 10


class State(TypedDict, total=False):
    """What a thread holds."""

    messages: Annotated[list[AnyMessage], add_messages]
    intent: str
    summary: str
    documents: list[dict[str, Any]]


@functools.cache
def _vocabulary() -> tuple[list[str], list[float]]:
    drawn = random.Random("vocabulary")
    words = ["".join(drawn.choices(_LETTERS, k=drawn.randint(2, 9))) for _ in range(_VOCABULARY)]
    return words, [1 / rank for rank in range(5, _VOCABULARY + 5)]


@functools.cache
def text(size: int, seed: str) -> str:
    """Write so many characters of prose; the same seed gives the same."""
    words, weights = _vocabulary()
    return " ".join(random.Random(seed).choices(words, weights, k=size // 2))[:size]


def question(turn: int) -> dict[str, Any]:
    """Give the input of a turn."""
    return {"messages": [HumanMessage(content=text(_QUESTION, f"question {turn}"))]}


def contents(kind: Kind, turns: int) -> list[str]:
    """Say what the messages of a thread are after so many turns."""
    found: list[str] = []
    for turn in range(1, turns + 1):
        found.append(text(_QUESTION, f"question {turn}"))
        if kind == "chat5":
            found += [text(_CALL, f"call {len(found)}"), text(_FOUND, f"result {len(found) + 1}")]
        found.append(text(_ANSWER, f"answer {len(found)}"))
    return found


def holds_everything(kind: Kind, turns: int, values: Mapping[str, Any]) -> bool:
    """Tell whether a state has every message of its turns, in order, and its documents."""
    if [message.content for message in values["messages"]] != contents(kind, turns):
        return False
    return kind != "docs" or values["documents"] == _documents()


def build(kind: Kind, checkpointer: BaseCheckpointSaver[Any]) -> Graph:
    """Make a graph over a checkpointer."""
    builder = StateGraph(State)
    match kind:
        case "chat1":
            builder.add_sequence([("answer", _answer)])
        case "docs":
            builder.add_sequence([("answer", _answer_from_documents)])
        case "chat5":
            builder.add_sequence(
                [
                    ("classify", _classify),
                    ("agent", _call),
                    ("tools", _search),
                    ("answer", _answer),
                    ("summarize", _summarize),
                ]
            )
    first, last = next(iter(builder.nodes)), next(reversed(builder.nodes))
    builder.add_edge(START, first)
    builder.add_edge(last, END)
    return builder.compile(checkpointer=checkpointer)


async def _classify(state: State) -> State:
    return {"intent": text(_INTENT, f"intent {len(state['messages'])}")}


async def _call(state: State) -> State:
    count = len(state["messages"])
    call = {"name": "search", "args": {"query": text(40, f"query {count}")}, "id": f"call_{count}"}
    return {"messages": [_reply(text(_CALL, f"call {count}"), tool_calls=[call])]}


async def _search(state: State) -> State:
    count = len(state["messages"])
    found = text(_FOUND, f"result {count}")
    return {"messages": [ToolMessage(content=found, tool_call_id=f"call_{count - 1}")]}


async def _answer(state: State) -> State:
    return {"messages": [_reply(text(_ANSWER, f"answer {len(state['messages'])}"))]}


async def _answer_from_documents(state: State) -> State:
    answer = await _answer(state)
    return answer if state.get("documents") else {**answer, "documents": _documents()}


async def _summarize(state: State) -> State:
    return {"summary": text(_SUMMARY, f"summary {len(state['messages'])}")}


def _reply(content: str, **more: Any) -> AIMessage:
    return AIMessage(
        content=content,
        response_metadata={"model_name": "model-1-mini", "finish_reason": "stop"},
        usage_metadata={"input_tokens": 900, "output_tokens": 150, "total_tokens": 1_050},
        **more,
    )


def _documents() -> list[dict[str, Any]]:
    return [{"id": count, "text": text(_DOCUMENT, f"document {count}")} for count in range(_DOCUMENTS)]
