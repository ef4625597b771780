"""The log of a run as events of `/v1`: frames in, events out, the same ones whenever it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from crewline.models.clocks import milliseconds
from crewline.models.crewship import STATUSES
from crewline.models.crewship_events import CUSTOM_TYPES, EventType, RunEvent, run_event
from crewline.models.events import Frame
from crewline.models.public_ids import public_id
from crewline.models.runs import Run

_AI: Final = frozenset(("ai", "AIMessageChunk"))
_TOKENS: Final = ("input_tokens", "output_tokens", "total_tokens")


@dataclass(frozen=True, slots=True)
class _Begun:
    """A task that has begun."""

    at: int | None
    known: frozenset[str]
    """Ids of the messages that it was given: what it repeats of them is not what it says."""


class Translator:
    """Turns the frames of one run into events; pure, and from its beginning on, so that every id is stable.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._attempt = 0
        self._begun: dict[str, _Begun] = {}
        self._ended: dict[str, bytes] = {}
        self._again: dict[str, RunEvent] = {}
        self._called: set[str] = set()

    def translate(self, frame: Frame) -> Iterator[RunEvent]:
        """Give the events of the next frame; the run's error and end are told by `ending`."""
        match frame.mode:
            case "metadata":
                yield from self._begin(_read(frame)["attempt"])
            case "tasks":
                yield from self._task(frame, _read(frame))
            case "custom":
                yield _said(_read(frame))

    def _begin(self, attempt: int) -> Iterator[RunEvent]:
        run, before = self._run, self._attempt
        self._attempt = attempt
        if not before:
            yield run_event(
                "run.started",
                run_id=public_id("run", run.run_id),
                deployment_id=public_id("deployment", run.assistant_id),
                thread_id=None if run.kwargs.get("temporary") else public_id("thread", run.thread_id),
            )
        elif attempt > before:  # else it goes on in another slice
            message = "The worker of this run was lost; another one goes on with what is kept."
            yield run_event("log", level="warning", message=message, attempt=attempt)

    # ------------------------------------------------------------------ tasks

    def _task(self, frame: Frame, task: Mapping[str, Any]) -> Iterator[RunEvent]:
        ended = "result" in task or "error" in task
        return self._end_task(frame, task) if ended else self._begin_task(frame, task)

    def _begin_task(self, frame: Frame, task: Mapping[str, Any]) -> Iterator[RunEvent]:
        known = frozenset(one["id"] for one in _messages(task.get("input")) if one.get("id"))
        self._begun[task["id"]] = _Begun(frame.at, known)
        event = run_event("task.started", **self._names(frame, task))
        if task["id"] in self._ended:  # its result was kept, or it is done again: its end tells which
            self._again[task["id"]] = event
        else:
            yield event

    def _end_task(self, frame: Frame, task: Mapping[str, Any]) -> Iterator[RunEvent]:
        again = self._again.pop(task["id"], None)
        if again and self._ended[task["id"]] == frame.data:
            return
        self._ended[task["id"]] = frame.data or b""
        if again:
            yield again
        begun, names = self._begun.pop(task["id"], _Begun(None, frozenset())), self._names(frame, task)
        said = [one for one in _messages(task.get("result")) if one.get("id") not in begun.known]
        for call in (call for message in said for call in message.get("tool_calls") or ()):
            if call.get("id") not in self._called:  # a graph repeats what a subgraph of it has said
                self._called.add(call.get("id"))
                yield run_event(
                    "tool_use",
                    name=call.get("name"),
                    input=call.get("args"),
                    id=call.get("id"),
                    **_place(names),
                )
        took_ms = frame.at - begun.at if frame.at and begun.at else None
        ended = run_event(
            "task.completed", **names, output=task.get("result"), duration_ms=took_ms, usage=_usage(said)
        )
        if task.get("error"):
            ended["data"] |= {"output": None, "error": task["error"]}
        elif task.get("interrupts"):
            asked = [{"id": one["id"], "value": one["value"]} for one in task["interrupts"]]
            ended["data"] |= {"output": None, "interrupts": asked}
        yield ended

    def _names(self, frame: Frame, task: Mapping[str, Any]) -> dict[str, Any]:
        """Name a task, and the graph that it is a node of: the crew, or a subgraph by its own node."""
        within = [part.partition(":")[0] for part in frame.namespace if ":" in part]
        agent = within[-1] if within else self._run.graph_id
        return {"task": task["name"], "agent": agent, "id": task["id"], "path": list(frame.namespace)}


def ending(run: Run, output: Any) -> RunEvent:
    """Tell how a run has ended.

    Args:
        run: The run, finished.
        output: What it left, if it has succeeded.
    """
    status = STATUSES[run.status]
    took_ms = (
        milliseconds(run.ended_at) - milliseconds(run.started_at) if run.ended_at and run.started_at else 0
    )
    measured = {"duration_ms": took_ms, "usage": run.usage.wire() if run.usage else None}
    if status == "succeeded":
        return run_event("run.completed", status=status, output=output, **measured)
    if status == "failed":
        return run_event(
            "run.failed", status=status, error=run.error.message if run.error else "", **measured
        )
    return run_event("run.canceled", status=status, **measured)


def _read(frame: Frame) -> Any:
    return orjson.loads(frame.data or b"null")


def _place(names: Mapping[str, Any]) -> dict[str, Any]:
    return {"task": names["task"], "agent": names["agent"], "task_id": names["id"]}


def _said(value: Any) -> RunEvent:
    """Tell what a node has written: as it says itself, or as a line of its log."""
    if isinstance(value, dict) and value.get("type") in CUSTOM_TYPES:
        rest = {name: part for name, part in value.items() if name != "type"}
        if rest.keys() == {"data"} and isinstance(rest["data"], dict):
            rest = rest["data"]
        if value["type"] == "log":
            rest = {"level": "info", "message": "", **rest}
        return {"type": cast("EventType", value["type"]), "data": rest}
    message = value if isinstance(value, str) else orjson.dumps(value).decode()
    return run_event("log", level="info", message=message)


def _messages(state: Any) -> Iterator[Mapping[str, Any]]:
    """Find what models have said in what a task was given, or gives back: a state, or one value."""
    for value in state.values() if isinstance(state, dict) else (state,):
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, dict) and one.get("type") in _AI:
                yield one


def _usage(messages: Iterable[Mapping[str, Any]]) -> dict[str, int] | None:
    """Add up what the model calls have used that gave these messages; None when none of them says so."""
    used = [one["usage_metadata"] for one in messages if one.get("usage_metadata")]
    return {name: sum(one.get(name) or 0 for one in used) for name in _TOKENS} if used else None
