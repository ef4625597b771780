"""The log of a run as events of `/v1`: frames in, events out, the same ones whenever it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import orjson

from crewline.models.clocks import milliseconds
from crewline.models.crewship import STATUSES
from crewline.models.crewship_events import CUSTOM_TYPES, EventType, RunEvent, run_event
from crewline.models.events import Frame
from crewline.models.public_ids import public_id
from crewline.models.runs import Run


class Translator:
    """Turns the frames of one run into events; pure, and from its beginning on, so that every id is stable.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._attempt = 0
        self._begun: dict[str, int | None] = {}
        self._ended: dict[str, bytes] = {}  # digests: what all tasks have said would not fit into memory
        self._again: dict[str, RunEvent] = {}
        self._called: set[str] = set()

    def translate(self, frame: Frame) -> Iterator[RunEvent]:
        """Give the events of the next frame; the run's error and end are told by `ending`."""
        match frame.mode:
            case "metadata":
                yield from self._begin(_read(frame)["attempt"])
            case "steps":
                yield from self._step(frame, _read(frame))
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

    def _step(self, frame: Frame, task: Mapping[str, Any]) -> Iterator[RunEvent]:
        names = self._names(frame, task)
        return self._end_task(frame, task, names) if "result" in task else self._begin_task(frame, names)

    def _begin_task(self, frame: Frame, names: Mapping[str, Any]) -> Iterator[RunEvent]:
        ident = names["id"]
        self._begun[ident] = frame.at
        event = run_event("task.started", **names)
        if ident in self._ended:  # its result was kept, or it is done again: its end tells which
            self._again[ident] = event
        else:
            yield event

    def _end_task(
        self, frame: Frame, task: Mapping[str, Any], names: Mapping[str, Any]
    ) -> Iterator[RunEvent]:
        ident = names["id"]
        again, digest = self._again.pop(ident, None), hashlib.sha256(frame.data or b"").digest()
        if again and self._ended[ident] == digest:
            return
        self._ended[ident] = digest
        if again:
            yield again
        for call in task["tool_calls"]:
            if call["id"] not in self._called:  # a graph repeats what a subgraph of it has said
                self._called |= {call["id"]} - {None}
                where = {"task": names["task"], "agent": names["agent"], "task_id": ident}
                yield run_event("tool_use", name=call["name"], input=call["args"], id=call["id"], **where)
        begun = self._begun.pop(ident, None)
        took_ms = frame.at - begun if frame.at and begun else None
        ended = run_event(
            "task.completed", **names, output=task["result"], duration_ms=took_ms, usage=task["usage"]
        )
        if task["error"]:
            ended["data"] |= {"output": None, "error": task["error"]}
        elif task["interrupts"]:
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


def _said(value: Any) -> RunEvent:
    """Tell what a node has written: as it says itself, or as a line of its log."""
    said = value.get("type") if isinstance(value, dict) else None
    if isinstance(said, str) and said in CUSTOM_TYPES:
        rest = {name: part for name, part in value.items() if name != "type"}
        if rest.keys() == {"data"} and isinstance(rest["data"], dict):
            rest = rest["data"]
        if said == "log":
            rest = {"level": "info", "message": "", **rest}
        return {"type": cast("EventType", said), "data": rest}
    message = value if isinstance(value, str) else orjson.dumps(value).decode()
    return run_event("log", level="info", message=message)
