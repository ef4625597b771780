"""Runs as tasks of A2A: where they stand, what they have made, and what they say meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import orjson

from crewline.http.a2a.dialects import Artifact, Dialect, Part, State
from crewline.models.events import Frame
from crewline.models.runs import Run, RunStatus

_STATES: Final[Mapping[RunStatus, State]] = {
    "pending": "submitted",
    "running": "working",
    "success": "completed",
    "error": "failed",
    "timeout": "failed",
    "interrupted": "canceled",
}
_SPOKEN: Final = frozenset(("ai", "AIMessageChunk"))
"""Types of the messages that answer."""


class Result:
    """What a run has come to, as far as it has.

    Args:
        run: The run, as it is now.
        outcome: What it answers to those who wait for it, if it has ended.
    """

    def __init__(self, run: Run, outcome: Any = None) -> None:
        self.run = run
        self._outcome = outcome

    @property
    def state(self) -> State:
        """Where the task stands."""
        return "input-required" if self._questions else _STATES[self.run.status]

    @property
    def parts(self) -> list[Part]:
        """What is said about that: questions, or an error."""
        if self.run.error:
            return [Part(text=f"{self.run.error.error}: {self.run.error.message}")]
        return [
            Part(text=value) if isinstance(value, str) else Part(data=value)
            for value in (question["value"] for question in self._questions)
        ]

    @property
    def artifact(self) -> Artifact | None:
        """What the run has left, once it has succeeded: the last message of a chat, or its values."""
        if self.state != "completed":
            return None
        values = self._outcome
        messages = values.get("messages") if isinstance(values, dict) else None
        last = messages[-1] if isinstance(messages, list) and messages else None
        if isinstance(last, dict) and last.get("type") in _SPOKEN and (text := _text(last)):
            return Artifact(last.get("id") or self.run.run_id, [Part(text=text)])
        return Artifact(self.run.run_id, [Part(data=values)])

    def task(self, dialect: Dialect) -> dict[str, Any]:
        """Spell the task."""
        return dialect.task(self.run, self.state, parts=self.parts, artifact=self.artifact)

    @property
    def _questions(self) -> list[dict[str, Any]]:
        ended = self.run.status == "success" and isinstance(self._outcome, dict)
        return self._outcome.get("__interrupt__") or [] if ended else []


async def narrated(
    told: AsyncIterator[list[Frame]], run: Run, dialect: Dialect, result: Callable[[], Awaitable[Result]]
) -> AsyncIterator[dict[str, Any]]:
    """Give what a task says while it works, and what it has come to.

    Args:
        told: What its run says, to the end.
        run: The run, as it was accepted.
        dialect: How it is spelled.
        result: Reads what has come of it.

    Yields:
        The task; what its models say, token by token, an artifact each; and its end.

    Raises:
        CrewlineError: What reading the run raises.
    """
    yield dialect.sent(Result(run).task(dialect))
    begun: set[str] = set()
    async for frames in told:
        for frame in frames:
            for message_id, text in _said(frame):
                artifact = Artifact(message_id, [Part(text=text)])
                yield dialect.artifact_update(run, artifact, append=message_id in begun, last=False)
                begun.add(message_id)
    ended = await result()
    if left := ended.artifact:  # whole, in place of what tokens have made of it
        yield dialect.artifact_update(ended.run, left, append=False, last=True)
    yield dialect.status_update(ended.run, ended.state, parts=ended.parts, final=True)


def _said(frame: Frame) -> Iterator[tuple[str, str]]:
    """Give the id and the text of what a model has said in a frame."""
    if frame.mode != "messages":
        return
    message = orjson.loads(frame.data or b"[null]")[0]
    if not isinstance(message, dict) or message.get("type") not in _SPOKEN or not message.get("id"):
        return
    if text := _text(message):
        yield message["id"], text


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    blocks = content if isinstance(content, list) else [content]
    texts = (block.get("text") if isinstance(block, dict) else block for block in blocks)
    return "".join(text for text in texts if isinstance(text, str))
