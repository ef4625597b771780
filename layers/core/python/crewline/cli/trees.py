"""A run as it happens: its events as a tree of tasks, which a terminal draws live, or as plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text
from rich.tree import Tree

from crewline.cli.screens import json_text, plain, seconds, shortened

LAST_EVENTS: Final = frozenset(("run.completed", "run.failed", "run.canceled"))
"""After these nothing comes."""
HEARTBEAT: Final = "heartbeat"

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_PER_SECOND: Final = 10
_MOST: Final = 100
"""Characters of a note."""
_MOST_NOTES: Final = 20
"""Lines of a task that a tree keeps, the newest ones; a pipe gets all."""
_NAMED: Final = {"tool_use": "name", "artifact": "name", "agent.action": "action"}
"""Event → the field that names it; what is beside it is shown as JSON."""
_LEVEL_STYLES: Final = {"warning": "yellow", "error": "red", "debug": "dim"}


@dataclass(slots=True, kw_only=True)
class Task:
    """A task of a run: a node, with what it did and the tasks of its subgraph."""

    name: str
    path: str = ""
    """The tasks in whose subgraphs it is, for a line of text."""
    begun: float = 0
    """Seconds of the monotonic clock."""
    took: float | None = None
    """Seconds; None while it runs."""
    tokens: int = 0
    error: str = ""
    asks: bool = False
    """Whether it has stopped at a question."""
    notes: list[Text | Task] = field(default_factory=list)
    """What was said in it and its subgraph's tasks, in their order."""
    left_out: int = 0
    """Lines that came before those."""

    def say(self, line: Text) -> None:
        """Add a line, and let the oldest go when there are too many."""
        self.notes.append(line)
        lines = [one for one in self.notes if isinstance(one, Text)]
        if len(lines) > _MOST_NOTES:
            self.notes.remove(lines[0])
            self.left_out += 1


class RunTree:
    """The tasks of one run, put together from its events.

    Args:
        title: What stands at the root.
        clock: Seconds of a monotonic clock.
    """

    def __init__(self, title: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._clock = clock
        self._root = Task(name="")
        self._tasks: dict[str, Task] = {}
        self.last: Mapping[str, Any] | None = None
        """The event that ended the run."""
        self.took: float | None = None
        """How long the run has taken, in seconds, if it has ended and says so."""

    def take(self, event: Mapping[str, Any]) -> str | None:
        """Put an event where it belongs.

        Args:
            event: `type` and `data`, as the service says them.

        Returns:
            The same as a plain line; None when there is nothing to say.
        """
        kind, data = str(event.get("type")), event.get("data") or {}
        if kind in LAST_EVENTS:
            self._end(event, data)
            return None
        if kind == "task.started":
            return self._start(data)
        if kind == "task.completed":
            return self._complete(data)
        if kind in ("run.started", HEARTBEAT):
            return None
        return self._note(kind, data)

    @property
    def running(self) -> list[str]:
        """The names of the tasks that run now."""
        return [task.name for task in self._tasks.values() if task.took is None]

    @property
    def tokens(self) -> int:
        """What the model calls of the run have used, as far as it has said."""
        usage = ((self.last or {}).get("data") or {}).get("usage") or {}
        return int(usage.get("total_tokens") or sum(task.tokens for task in self._tasks.values()))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the tree."""
        tree = Tree(Text(plain(self._title), style="bold"), guide_style="dim")
        self._draw(tree, self._root)
        yield tree

    def _start(self, data: Mapping[str, Any]) -> str:
        task = self._tasks.get(_id(data))
        if task is None:
            parent = self._parent(data)
            task = Task(
                name=plain(data.get("task")), path=f"{parent.path}{parent.name} / " if parent.name else ""
            )
            self._tasks[_id(data)] = task
            parent.notes.append(task)
        task.begun, task.took = self._clock(), None
        return f"{'task.started':<15} {task.path}{task.name}"

    def _complete(self, data: Mapping[str, Any]) -> str:
        if _id(data) not in self._tasks:  # it began before what is kept of the log
            self._start(data)
        task = self._tasks[_id(data)]
        milliseconds = data.get("duration_ms")
        task.took = milliseconds / 1000 if milliseconds is not None else self._clock() - task.begun
        task.tokens = int((data.get("usage") or {}).get("total_tokens") or 0)
        task.error = shortened(str(data.get("error") or ""), _MOST)
        task.asks = bool(data.get("interrupts"))
        return f"{'task.completed':<15} {task.path}{task.name}  {_figures(task)}"

    def _note(self, kind: str, data: Mapping[str, Any]) -> str:
        owner = self._tasks.get(str(data.get("task_id"))) or self._only_running()
        note = _drawn(kind, data)
        owner.say(note)
        where = f"{owner.path}{owner.name} / " if owner.name else ""
        return f"{kind:<15} {where}{note.plain}"

    def _end(self, event: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        self.last = event
        milliseconds = data.get("duration_ms")
        self.took = milliseconds / 1000 if milliseconds is not None else None

    def _parent(self, data: Mapping[str, Any]) -> Task:
        """Find the task in whose subgraph another one is."""
        found = (self._tasks.get(_task_of(part)) for part in reversed(data.get("path") or []))
        return next((task for task in found if task), self._root)

    def _only_running(self) -> Task:
        """Find who has said something: the innermost task that runs, as long as there is one alone."""
        task = self._root
        while len(running := [one for one in task.notes if isinstance(one, Task) and one.took is None]) == 1:
            task = running[0]
        return task

    def _draw(self, tree: Tree, task: Task) -> None:
        if task.left_out:
            tree.add(Text(f"… {task.left_out} lines before", style="dim"))
        for note in task.notes:
            if isinstance(note, Task):
                self._draw(tree.add(self._line(note)), note)
            else:
                tree.add(note)

    def _line(self, task: Task) -> Text:
        if task.took is None:
            frame = int(self._clock() * _FRAMES_PER_SECOND) % len(_SPINNER)
            sign, style = (_SPINNER[frame], "cyan") if self.last is None else ("•", "dim")
        else:
            sign, style = ("✗", "red") if task.error else ("?", "yellow") if task.asks else ("✓", "green")
        line = Text(f"{sign} ", style=style).append(task.name, style="default")
        if task.took is not None or self.last is None:
            line.append(f"  {_figures(task, self._clock())}", style="dim")
        return line


class Screenful:
    """The end of a drawing that may be longer than the screen.

    Args:
        drawing: What is drawn.
    """

    def __init__(self, drawing: RunTree) -> None:
        self._drawing = drawing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what the screen can hold, with the newest at the bottom."""
        lines = console.render_lines(self._drawing, options.update(height=None), pad=False)
        most = max(console.height - 2, 1)
        if len(lines) > most:
            yield Text(f"… {len(lines) - most + 1} lines above", style="dim")
            lines = lines[-most + 1 :] if most > 1 else []
        for line in lines:
            yield from line
            yield Segment.line()


def _id(data: Mapping[str, Any]) -> str:
    return str(data.get("id") or data.get("task"))


def _task_of(part: Any) -> str:
    """Read the id of a task out of a part of a path, which is `name:id`."""
    return str(part).rpartition(":")[2]


def _figures(task: Task, now: float = 0) -> str:
    parts = [seconds(task.took if task.took is not None else now - task.begun)]
    if task.tokens:
        parts.append(f"{task.tokens:,} tokens")
    if task.asks:
        parts.append("asks")
    if task.error:
        parts.append(task.error)
    return " · ".join(parts)


def _drawn(kind: str, data: Mapping[str, Any]) -> Text:
    if kind == "log":
        level = str(data.get("level") or "info").lower()
        message = data.get("message")
        text = message if isinstance(message, str) else json_text(message)
        return Text(shortened(f"{level}: {text}", _MOST), style=_LEVEL_STYLES.get(level, ""))
    name = data.get(_NAMED.get(kind, ""), "")
    beside = data.get("input") if kind == "tool_use" else _beside(kind, data)
    shown = json_text(beside) if beside not in (None, {}, "") else ""
    sign = "⚒ " if kind == "tool_use" else ""
    return Text(shortened(f"{sign}{name} {shown}" if name else f"{kind} {shown}", _MOST), style="magenta")


def _beside(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    left_out = {_NAMED.get(kind), "path", "task_id", "type"}
    return {name: value for name, value in data.items() if name not in left_out}
