"""What a run's model calls use, counted as they end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from crewline.models.runs import Usage


class TokenCounter(BaseCallbackHandler):
    """Adds up the tokens of every model call of a run; safe for the threads of its nodes.

    Models that a crew calls without LangChain are not seen here: then the usage that its new AI
    messages carry is what counts.

    Args:
        before: What earlier claims of the run have used.
    """

    run_inline = True
    """On the loop: LangChain would otherwise send every event to a thread, also those that do nothing here."""
    # Only the ends of model calls count. What is ignored is not called at all.
    ignore_chain = True
    ignore_agent = True
    ignore_chat_model = True
    ignore_custom_event = True
    ignore_retriever = True
    ignore_retry = True

    def __init__(self, before: Usage) -> None:
        self._lock = threading.Lock()
        self._before = before
        self._input = 0
        self._output = 0
        self._calls = 0

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Count a model call that has ended."""
        for message in _answers(response):
            if used := message.usage_metadata:
                with self._lock:
                    self._calls += 1
                    self._input += used["input_tokens"]
                    self._output += used["output_tokens"]

    @property
    def committed(self) -> Usage:
        """What the run has used so far, earlier claims included."""
        with self._lock:
            return Usage(
                input_tokens=self._before.input_tokens + self._input,
                output_tokens=self._before.output_tokens + self._output,
            )

    def total(self, first: Any, last: Any) -> Usage:
        """Tell what the run has used.

        Args:
            first: The state that this claim began with.
            last: The state that it left.
        """
        if self._calls:
            return self.committed
        seen = {message.id for message in _ai_messages(first)}
        new = [message.usage_metadata for message in _ai_messages(last) if message.id not in seen]
        return Usage(
            input_tokens=self._before.input_tokens + sum(used["input_tokens"] for used in new if used),
            output_tokens=self._before.output_tokens + sum(used["output_tokens"] for used in new if used),
        )


def _answers(response: LLMResult) -> Iterator[AIMessage]:
    for generations in response.generations:
        for generation in generations:
            if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
                yield generation.message


def _ai_messages(state: Any) -> Iterator[AIMessage]:
    channels: Iterable[Any] = state.values() if isinstance(state, dict) else ()
    for value in channels:
        messages = value if isinstance(value, list) else [value]
        yield from (one for one in messages if isinstance(one, BaseMessage) and isinstance(one, AIMessage))
