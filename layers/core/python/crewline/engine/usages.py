"""What a run's model calls use, counted as they end."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from crewline.models.limits import OTHERS, Price
from crewline.models.runs import Usage

_DATE: Final = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2})$")
"""How providers name the version of a model, behind its name."""


class TokenCounter(BaseCallbackHandler):
    """Adds up the tokens of every model call of a run, and what they cost; safe for the threads of its nodes.

    Models that a crew calls without LangChain are not seen here: then the usage that its new AI
    messages carry is what counts.

    Args:
        before: What earlier claims of the run have used.
        prices: What models cost; one that has no price costs nothing.
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

    def __init__(self, before: Usage, prices: Mapping[str, Price]) -> None:
        self._lock = threading.Lock()
        self._before = before
        self._prices = prices
        self._sum = _Sum(prices)

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Count a model call that has ended."""
        with self._lock:
            self._sum.add(_answers(response))

    @property
    def committed(self) -> Usage:
        """What the run has used so far, earlier claims included."""
        with self._lock:
            return self._sum.after(self._before)

    def total(self, first: Any, last: Any) -> Usage:
        """Tell what the run has used.

        Args:
            first: The state that this claim began with.
            last: The state that it left.
        """
        if self._sum.calls:
            return self.committed
        seen = {message.id for message in _ai_messages(first)}
        new = _Sum(self._prices)
        new.add(message for message in _ai_messages(last) if message.id not in seen)
        return new.after(self._before)


class _Sum:
    """What some answers have used."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices
        self._input = 0
        self._output = 0
        self._micro_usd = 0.0
        self.calls = 0

    def add(self, answers: Iterable[AIMessage]) -> None:
        for message in answers:
            if used := message.usage_metadata:
                self.calls += 1
                self._input += used["input_tokens"]
                self._output += used["output_tokens"]
                if price := _price(self._prices, message):
                    # Dollars for a million tokens are millionths of a dollar for one.
                    self._micro_usd += (
                        used["input_tokens"] * price.input + used["output_tokens"] * price.output
                    )

    def after(self, before: Usage) -> Usage:
        return Usage(
            input_tokens=before.input_tokens + self._input,
            output_tokens=before.output_tokens + self._output,
            micro_usd=before.micro_usd + round(self._micro_usd),
        )


def _price(prices: Mapping[str, Price], message: AIMessage) -> Price | None:
    said = message.response_metadata
    model = str(said.get("model_name") or said.get("model") or "")
    return prices.get(model) or prices.get(_DATE.sub("", model)) or prices.get(OTHERS)


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
