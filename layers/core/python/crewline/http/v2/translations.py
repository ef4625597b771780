"""The log of a run as events of protocol v2: frames in, events out, the same ones whenever it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson

from crewline.checkpoints.projection import INTERRUPT
from crewline.http.v2.events import Event, first_seq
from crewline.http.v2.messages import Messages, Said, plain
from crewline.models.events import END, ERROR, METADATA, Frame
from crewline.models.runs import Run, RunStatus

_LOST: Final = "The attempt that said this was lost, and the run went on in another."
_ENDED: Final = "The run ended before this was said to the end."
_TERMINAL: Final[dict[RunStatus, str]] = {
    "success": "completed",
    "error": "failed",
    "timeout": "failed",
    "interrupted": "interrupted",
}
_UUID6_EPOCH: Final = 0x01B21DD213814000
"""Of uuid's clock, in its units of 100 ns."""

Namespace = tuple[str, ...]


class Translator:
    """Turns the frames of one run into events; pure, and never filtered, so that every number is stable.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seq = first_seq(run.turn)
        self._time = _milliseconds(run.started_at or run.created_at)
        self._place = ""
        self._part = 0
        self._running = False
        self._error: str | None = None
        self._stopped = False
        self._questions: dict[str, tuple[Namespace, Any]] = {}
        self._messages = Messages()
        self._subgraphs: dict[Namespace, None] = {}
        self._pairs = "checkpoints" in run.kwargs["stream_mode"]
        self._held: dict[Namespace, Event] = {}
        self._shown: set[Namespace] = set()

    def translate(self, frames: Iterable[Frame]) -> list[Event]:
        """Give the events of the next frames."""
        return [self._numbered(event) for frame in frames for event in self._translate(frame)]

    def move_to(self, time: int) -> None:
        """Learn that what comes next is said after a time."""
        self._time = max(self._time, time)

    def vanish(self) -> list[Event]:
        """Give the end of a run that was rolled back, or removed, while it was followed."""
        self._place, self._part = "gone", 0
        ended = self._end("interrupted") if self._running else ()
        return [self._numbered(event) for event in ended]

    def _translate(self, frame: Frame) -> Iterator[Event]:
        self._place, self._part = str(frame.position), 0
        namespace = frame.namespace
        if not self._running and (frame.mode != END or self._run.started_at):
            self._running = True
            yield self._lifecycle((), "running")
        yield from self._discover(namespace)
        if frame.mode not in ("checkpoints", END):
            yield from self._release(namespace)
        data = frame.data or b"null"
        match frame.mode:
            case "values":
                yield from self._values(namespace, data)
            case "updates":
                yield from self._updates(namespace, orjson.loads(data))
            case "messages":
                message, metadata = orjson.loads(data)
                yield from self._say(self._messages.take(namespace, message, metadata or {}))
            case "checkpoints":
                yield from self._checkpoint(namespace, orjson.loads(data))
            case "tasks":
                yield from self._task(namespace, orjson.loads(data))
            case "custom":
                yield self._event("custom", _custom(orjson.loads(data)), namespace)
            case "tools":
                yield self._event("tools", orjson.loads(data), namespace)
            case _:
                yield from self._tell(frame.mode, orjson.loads(data))

    def _tell(self, mode: str, data: Any) -> Iterator[Event]:
        """Tell what is not LangGraph's: attempts, the error, the end."""
        if mode == METADATA and data["attempt"] > 1:
            yield from self._say(self._messages.abandon(_LOST))
        elif mode == ERROR:
            self._error = data.get("message") or data.get("error")
        elif mode == END:
            status = _TERMINAL.get(data["status"], "completed")
            yield from self._end("interrupted" if status == "completed" and self._stopped else status)

    def _end(self, status: str) -> Iterator[Event]:
        for namespace in list(self._held):
            yield from self._release(namespace)
        over = self._messages.abandon(_ENDED) if status == "failed" else self._messages.finish()
        yield from self._say(over)
        for namespace in reversed(list(self._subgraphs)):
            yield self._lifecycle(namespace, status, self._error)
        if status == "interrupted":  # not before: until the run has ended, nobody can answer
            for ident, (namespace, value) in self._questions.items():
                # One client reads `payload`, another `value`.
                asked = {"interrupt_id": ident, "payload": value, "value": value}
                yield self._event("input.requested", asked, namespace)
        yield self._lifecycle((), status, self._error)

    # ------------------------------------------------------------------ LangGraph's modes

    def _values(self, namespace: Namespace, data: bytes) -> Iterator[Event]:
        yield from self._say(self._messages.end_step(namespace))
        values = orjson.loads(data)
        if isinstance(values, dict) and INTERRUPT in values:
            self._ask(namespace, values.pop(INTERRUPT))
            if namespace in self._shown:
                return  # the state has been told; only the question is new
        shown = {name: plain(value) for name, value in values.items()} if isinstance(values, dict) else values
        event = self._event("values", shown, namespace)
        self._shown.add(namespace)
        if self._pairs:
            self._held[namespace] = event
        else:
            yield event

    def _updates(self, namespace: Namespace, updates: Any) -> Iterator[Event]:
        for node, update in updates.items():
            if node == INTERRUPT:
                self._ask(namespace, update)
                continue
            values = update
            if isinstance(update, dict):
                values = {name: plain(value) for name, value in update.items()}
            yield self._event("updates", {"node": node, "values": values}, namespace, node)

    def _checkpoint(self, namespace: Namespace, data: Mapping[str, Any]) -> Iterator[Event]:
        ident = data["config"]["configurable"]["checkpoint_id"]
        self.move_to(_time_of(ident))
        shown = {"id": ident}
        if parent := ((data.get("parent_config") or {}).get("configurable") or {}).get("checkpoint_id"):
            shown["parent_id"] = parent
        metadata = data.get("metadata") or {}
        shown |= {name: metadata[name] for name in ("step", "source") if name in metadata}
        yield self._event("checkpoints", shown, namespace)
        # LangGraph tells the values first. Clients pair a checkpoint with the values that follow it.
        yield from self._release(namespace)

    def _task(self, namespace: Namespace, task: Mapping[str, Any]) -> Iterator[Event]:
        if "result" in task or "error" in task:
            yield from self._say(self._messages.end_task(namespace, task["id"]))
            yield from self._leave(namespace, task)
        yield self._event("tasks", task, namespace, task.get("name"))

    def _ask(self, namespace: Namespace, questions: Iterable[Mapping[str, Any]]) -> None:
        self._stopped = self._stopped or not namespace
        for question in questions:
            self._questions.setdefault(question["id"], (namespace, question["value"]))

    def _release(self, namespace: Namespace) -> Iterator[Event]:
        if held := self._held.pop(namespace, None):
            yield held

    # ------------------------------------------------------------------ subgraphs

    def _discover(self, namespace: Namespace) -> Iterator[Event]:
        for depth in range(1, len(namespace) + 1):
            if (inner := namespace[:depth]) not in self._subgraphs:
                self._subgraphs[inner] = None
                yield self._lifecycle(inner, "started")

    def _leave(self, parent: Namespace, task: Mapping[str, Any]) -> Iterator[Event]:
        """End the subgraphs that a task has run."""
        status = "interrupted" if task.get("interrupts") else "failed" if task.get("error") else "completed"
        for namespace in reversed(list(self._subgraphs)):
            segment = namespace[len(parent)] if namespace[: len(parent)] == parent != namespace else ""
            if segment.partition(":")[2] == task["id"]:
                del self._subgraphs[namespace]
                yield from self._release(namespace)
                error = task.get("error") if status == "failed" else None
                yield self._lifecycle(namespace, status, error)

    # ------------------------------------------------------------------ spelling

    def _lifecycle(self, namespace: Namespace, event: str, error: Any = None) -> Event:
        name = namespace[-1].partition(":")[0] if namespace else self._run.graph_id
        data = {"event": event, "graph_name": name}
        if event == "failed":
            data["error"] = str(error or "The run failed.")
        return self._event("lifecycle", data, namespace)

    def _say(self, said: Iterable[Said]) -> Iterator[Event]:
        for namespace, node, data in said:
            yield self._event("messages", data, namespace, node)

    def _event(self, method: str, data: Any, namespace: Namespace, node: str | None = None) -> Event:
        """Make an event; its number and time are those of the moment at which it is told."""
        # Clients read the run from the id: `synth:<run>:…` says that the log does not have the event itself.
        ident = f"synth:{self._run.run_id}:{self._place}.{self._part}"
        self._part += 1
        return Event(
            method=method, data=data, namespace=namespace, node=node, event_id=ident, seq=0, timestamp=0
        )

    def _numbered(self, event: Event) -> Event:
        self._seq += 1
        return replace(event, seq=self._seq, timestamp=self._time)


def _custom(value: Any) -> dict[str, Any]:
    """Show what a node has written; with a name it has a channel of its own."""
    if isinstance(value, dict) and isinstance(value.get("name"), str) and "payload" in value:
        return value
    return {"payload": value}


def _milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _time_of(checkpoint_id: str) -> int:
    """Read the time in a checkpoint's id, a uuid6, in milliseconds since the epoch."""
    number = UUID(checkpoint_id).int
    ticks = (number >> 80) << 12 | (number >> 64) & 0xFFF
    return (ticks - _UUID6_EPOCH) // 10_000
