"""Small real graphs that the tests serve: one of each form that a manifest can name."""

import asyncio
import operator
import os
from collections.abc import AsyncIterator
from typing import Annotated, Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict


# ------------------------------------------------------------------ echo: a compiled graph with messages
def _reply(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(content=f"echo: {state['messages'][-1].content}")]}


echo = (
    StateGraph(MessagesState)
    .add_node("reply", _reply)
    .add_edge(START, "reply")
    .add_edge("reply", END)
    .compile()
)


# ------------------------------------------------------------------ steps: a builder that is not compiled
class Steps(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def _step(name: str) -> Any:
    def step(state: Steps) -> dict[str, Any]:
        return {"n": (state.get("n") or 0) + 1, "log": [name]}

    return step


steps_builder = StateGraph(Steps)
for _before, _name in ((START, "a"), ("a", "b"), ("b", "c")):
    steps_builder.add_node(_name, _step(_name))
    steps_builder.add_edge(_before, _name)


# ------------------------------------------------------------------ approval: asks in the middle
class Approval(TypedDict, total=False):
    topic: str
    answer: Any
    log: Annotated[list[str], operator.add]


def _ask(state: Approval) -> dict[str, Any]:
    return {"answer": interrupt({"question": f"approve {state['topic']}?"}), "log": ["ask"]}


def _done(state: Approval) -> dict[str, Any]:
    return {"log": ["done"]}


approval = (
    StateGraph(Approval)
    .add_node("ask", _ask)
    .add_node("done", _done)
    .add_edge(START, "ask")
    .add_edge("ask", "done")
    .compile()
)


# ------------------------------------------------------------------ failing: raises after one good superstep
class Failing(TypedDict, total=False):
    x: str
    good: bool


def _good(state: Failing) -> dict[str, Any]:
    return {"good": True}


def _boom(state: Failing) -> dict[str, Any]:
    raise ValueError(f"boom: {state.get('x')}")


failing = (
    StateGraph(Failing)
    .add_node("first", _good)
    .add_node("boom", _boom)
    .add_edge(START, "first")
    .add_edge("first", "boom")
    .compile()
)


# ------------------------------------------------------------------ typed: a factory; pydantic models in the state
class Customer(BaseModel):
    name: str
    orders: int = 0


class Typed(BaseModel):
    customer: Customer
    kind: str = ""
    greeting: str = ""


def _greet(state: Typed) -> dict[str, Any]:
    known = state.customer
    return {
        "customer": Customer(name=known.name, orders=known.orders + 1),
        "kind": type(known).__name__,
        "greeting": os.environ.get("BASIC_GREETING", ""),
    }


def make_typed(config: RunnableConfig) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Make the graph for one use, as a factory that reads its config may."""
    assert "configurable" in config
    return StateGraph(Typed).add_node("greet", _greet).add_edge(START, "greet").compile()


# ------------------------------------------------------------------ large: a value over DynamoDB's item limit
class Large(TypedDict, total=False):
    size: int
    text: str


def _grow(state: Large) -> dict[str, Any]:
    # Random text: what compresses would stay small.
    return {"text": os.urandom(state["size"] // 2).hex()}


large = StateGraph(Large).add_node("grow", _grow).add_edge(START, "grow").compile()


# ------------------------------------------------------------------ slow: five supersteps of a given length
class Slow(TypedDict, total=False):
    delay: float
    log: Annotated[list[str], operator.add]


def _wait(name: str) -> Any:
    async def wait(state: Slow) -> dict[str, Any]:
        await asyncio.sleep(state.get("delay", 0.1))
        return {"log": [name]}

    return wait


_slow = StateGraph(Slow)
for _before, _name in ((START, "s0"), ("s0", "s1"), ("s1", "s2"), ("s2", "s3"), ("s3", "s4")):
    _slow.add_node(_name, _wait(_name))
    _slow.add_edge(_before, _name)
slow = _slow.compile()


# ------------------------------------------------------------------ interview: one node with two questions
class Interview(TypedDict, total=False):
    answers: list[Any]


def _interview(state: Interview) -> dict[str, Any]:
    return {"answers": [interrupt("name?"), interrupt("age?")]}


interview = StateGraph(Interview).add_node("interview", _interview).add_edge(START, "interview").compile()


# ------------------------------------------------------------------ metered: a chat model that says what it used
async def _metered(state: MessagesState) -> dict[str, Any]:
    used: UsageMetadata = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    model = GenericFakeChatModel(messages=iter([AIMessage(content="so be it", usage_metadata=used)]))
    return {"messages": [await model.ainvoke(state["messages"])]}


metered = StateGraph(MessagesState).add_node("model", _metered).add_edge(START, "model").compile()


# ------------------------------------------------------------------ chat: a model that answers letter by letter
async def _chat(state: MessagesState) -> dict[str, Any]:
    model = FakeListChatModel(responses=[f"You said: {state['messages'][-1].text}"], sleep=0.02)
    return {"messages": [await model.ainvoke(state["messages"])]}


chat = StateGraph(MessagesState).add_node("model", _chat).add_edge(START, "model").compile()


# ------------------------------------------------------------------ tooled: a model that calls a tool
@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def _call(state: MessagesState) -> dict[str, Any]:
    call = {"name": "add", "args": {"a": 1, "b": 2}, "id": "call-1", "type": "tool_call"}
    return {"messages": [AIMessage(content="", tool_calls=[call])]}


tooled = (
    StateGraph(MessagesState)
    .add_node("model", _call)
    .add_node("tools", ToolNode([add]))
    .add_edge(START, "model")
    .add_edge("model", "tools")
    .add_edge("tools", END)
    .compile()
)


# ------------------------------------------------------------------ story: tokens, a subgraph, events of its own
class Speaker(BaseChatModel):
    """Says the words that it is given, one token each."""

    words: list[str]
    pause: float = 0

    @property
    def _llm_type(self) -> str:
        return "speaker"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=" ".join(self.words)))])

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for place, word in enumerate(self.words):
            await asyncio.sleep(self.pause)
            yield ChatGenerationChunk(message=AIMessageChunk(content=f" {word}" if place else word))
        used: UsageMetadata = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", usage_metadata=used, chunk_position="last")
        )


class Story(MessagesState, total=False):
    pause: float
    nap: float
    log: Annotated[list[str], operator.add]


async def _outline(state: Story) -> dict[str, Any]:
    get_stream_writer()({"outline": ["once", "then"]})
    return {"log": ["outline"]}


def _saying(*words: str) -> Any:
    async def say(state: Story) -> dict[str, Any]:
        get_stream_writer()({"words": len(words)})
        said = await Speaker(words=list(words), pause=state.get("pause", 0)).ainvoke(state["messages"])
        return {"messages": [said], "log": [words[0]]}

    return say


async def _nap(state: Story) -> dict[str, Any]:
    await asyncio.sleep(state.get("nap", 0))
    return {"log": ["nap"]}


_chapter = (
    StateGraph(Story)
    .add_node("say", _saying("then", "it", "rained"))
    .add_node("nap", _nap)
    .add_edge(START, "say")
    .add_edge("say", "nap")
    .compile()
)


async def _tell_chapter(state: Story) -> dict[str, Any]:
    told = await _chapter.ainvoke({**state, "log": []})
    return {"messages": told["messages"][-1:], "log": told["log"]}


story = (
    StateGraph(Story)
    .add_node("outline", _outline)
    .add_node("say", _saying("once", "there", "was", "a", "crew"))
    .add_node("chapter", _tell_chapter)
    .add_edge(START, "outline")
    .add_edge("outline", "say")
    .add_edge("say", "chapter")
    .compile()
)


# ------------------------------------------------------------------ flood: more than a slow client can take
class Flood(TypedDict, total=False):
    chunks: int
    size: int
    pause: float
    done: bool


async def _pour(state: Flood) -> dict[str, Any]:
    write = get_stream_writer()
    for number in range(state["chunks"]):
        write({"number": number, "text": os.urandom(state["size"] // 2).hex()})
        await asyncio.sleep(state.get("pause", 0))
    return {"done": True}


flood = StateGraph(Flood).add_node("pour", _pour).add_edge(START, "pour").compile()
