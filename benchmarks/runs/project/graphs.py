"""The graphs that every server of the benchmarks serves: a plain answer of 600 bytes, and one that is streamed."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langgraph.graph import END, START, MessagesState, StateGraph

_SENTENCES = (
    "The draft names the goal and says who owns it. ",
    "Nothing was found that contradicts the second table. ",
    "A review by two more people would settle the open question. ",
    "Costs stay flat until the fourth month, then they follow usage. ",
    "Please check the dates once more before this goes out. ",
    "The numbers of last quarter are in the appendix. ",
    "Three suppliers answered; one asked for more time. ",
)
_BYTES = 600


def _text(seed: int) -> str:
    parts = (_SENTENCES[(seed * step + step * step) % len(_SENTENCES)] for step in range(1, 20))
    return f"{seed}: {''.join(parts)}"[:_BYTES]


# Made before anything is measured: a node that takes time would make all servers look alike.
_ANSWERS = tuple(map(_text, range(128)))


async def _answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(content=_ANSWERS[len(state["messages"]) // 2 % len(_ANSWERS)])]}


builder = StateGraph(MessagesState)
builder.add_node("answer", _answer)
builder.add_edge(START, "answer")
builder.add_edge("answer", END)

graph = builder.compile()


def with_checkpointer(checkpointer: Any) -> Any:
    """Compile the same graph over a checkpointer, for a server that hands out its own."""
    return builder.compile(checkpointer=checkpointer)


class _Speaker(BaseChatModel):
    """Says numbers at a pace; each token is the time at which it was said, by the machine's monotonic clock."""

    tokens: int
    pause: float

    @property
    def _llm_type(self) -> str:
        return "speaker"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for _number in range(self.tokens):
            await asyncio.sleep(self.pause)
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{time.monotonic_ns()} "))


class _Speech(MessagesState):
    tokens: int
    pause: float


async def _speak(state: _Speech) -> dict[str, Any]:
    model = _Speaker(tokens=state["tokens"], pause=state["pause"])
    return {"messages": [await model.ainvoke(state["messages"])]}


speech = StateGraph(_Speech).add_node("speak", _speak).add_edge(START, "speak").compile()
