"""`make demo`: the example crews on the local cloud, through the LangGraph SDK, as a person would see them."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any, Final

from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table

from crewline import locations
from crewline.local.children import local_service
from crewline.local.failures import LocalServiceError

_TURNS: Final = (
    ("Generate a plan for evening opening at the library", "Goal"),
    ("Make the budget section more detailed", "Budget"),
    ("Add a timeline", "Timeline"),
)
"""What is said in each turn, and the section of the answer that shows what it did."""

_SHOWN_LINES: Final = 12
_INDENT: Final = 9


class Demo:
    """One walk through the example crews."""

    def __init__(self, client: SyncLangGraphClient, console: Console) -> None:
        self._client = client
        self._console = console

    def refine_a_plan(self) -> None:
        """Run three turns on one thread in the background: each builds on the last."""
        self._heading("planner: one thread, three turns; each run goes through the queue to the worker")
        thread_id = self._client.threads.create(metadata={"user": "demo"})["thread_id"]
        for message, section in _TURNS:
            self._console.print(f"\n[bold]you[/]      {message}")
            values = self._timed(thread_id, partial(self._in_background, thread_id, message))
            answer = str(values["messages"][-1]["content"])
            self._console.print(f"[bold]planner[/]  {answer.splitlines()[0]}")
            self._show(_section(answer, section))
        self._show_history(thread_id)

    def review_a_document(self) -> None:
        """Run a crew that stops in the middle and asks a person."""
        self._heading("reviewer: checks a document in parallel, then asks before it publishes")
        thread_id = self._client.threads.create()["thread_id"]
        self._console.print("\n[bold]you[/]      Review evening-library")
        values = self._timed(
            thread_id, partial(self._wait, thread_id, input={"document_name": "evening-library"})
        )
        question = values["__interrupt__"][0]["value"]
        self._console.print(f"[bold]reviewer[/] {question['question']}")
        self._show(question["summary"])
        self._console.print("\n[bold]you[/]      approve")
        values = self._timed(thread_id, partial(self._wait, thread_id, command={"resume": "approve"}))
        self._show(_first_lines(values["report"]))

    def _in_background(self, thread_id: str, message: str) -> Mapping[str, Any]:
        run = self._client.runs.create(thread_id, "planner", input={"message": message})
        return self._answered(self._client.runs.join(thread_id, run["run_id"]))

    def _wait(self, thread_id: str, **given: Any) -> Mapping[str, Any]:
        return self._answered(self._client.runs.wait(thread_id, "reviewer", **given))

    @staticmethod
    def _answered(values: Any) -> Mapping[str, Any]:
        if "__error__" in values:
            raise LocalServiceError(f"A run failed: {values['__error__']['message']}")
        answer: Mapping[str, Any] = values
        return answer

    def _timed(self, thread_id: str, work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        began = time.monotonic()
        values = work()
        took = time.monotonic() - began
        run = self._client.runs.list(thread_id, limit=1)[0]
        self._console.print(f"[dim]run      {run['run_id']}  {run['status']}  {took:.2f} s[/]")
        return values

    def _show_history(self, thread_id: str) -> None:
        history = self._client.threads.get_history(thread_id, limit=100)
        self._console.print(f"\n[bold]history[/]  thread {thread_id}, the newest checkpoint first")
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for column in ("time", "run", "step", "next", "changed", "checkpoint"):
            table.add_column(column, style="dim" if column == "checkpoint" else None)
        for state, parent in zip_longest(history, history[1:]):
            metadata = state["metadata"] or {}
            table.add_row(
                _clock(state["created_at"]),
                f"…{str(metadata.get('run_id'))[-6:]}",
                str(metadata.get("step")),
                ", ".join(state["next"]) or "done",
                ", ".join(_changed(parent["values"] if parent else {}, state["values"])) or "-",
                f"…{str(state['checkpoint']['checkpoint_id'])[-12:]}",
            )
        self._console.print(Padding(table, (0, 0, 0, _INDENT)))

    def _show(self, markdown: str) -> None:
        self._console.print(Padding(Markdown(markdown), (0, 0, 0, _INDENT)))

    def _heading(self, text: str) -> None:
        self._console.print()
        self._console.rule(f"[bold]{text}", align="left")


def main() -> int:
    """Run the demo.

    Returns:
        The exit code: 0, or 2 when the local service does not come up or a run fails.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="crewline-demo-") as folder:
            console.print("Starting the local cloud and deploying the stack …")
            with local_service(project=locations.EXAMPLES, state=Path(folder)) as service:
                console.print(f"Ready at {service.url} after {time.monotonic() - began:.1f} s.")
                with get_sync_client(url=service.url) as client:
                    demo = Demo(client, console)
                    demo.refine_a_plan()
                    demo.review_a_document()
    except LocalServiceError as exc:
        print(f"Error: {exc}", file=sys.stderr)  # noqa: T201 (a command says what went wrong)
        return 2
    _say_how_to_go_on(console, time.monotonic() - began)
    return 0


def _say_how_to_go_on(console: Console, took: float) -> None:
    console.print(f"\nDone in {took:.1f} s; everything it started has been stopped. To go on:")
    console.print("  .venv/bin/crewline dev                      serve these crews on http://127.0.0.1:2024")
    console.print("  .venv/bin/crewline dev --project DIR        serve your own LangGraph project")
    console.print(
        "  layers/crews/python/crews/planner.py        read a crew;  docs/architecture.md: how it works"
    )


def _section(markdown: str, title: str) -> str:
    """Cut one section out of a text, without its heading."""
    lines = markdown.splitlines()
    start = next((place for place, line in enumerate(lines) if line == f"## {title}"), len(lines))
    body = takewhile(lambda line: not line.startswith("## "), lines[start + 1 :])
    return "\n".join(body)


def _first_lines(text: str) -> str:
    lines = text.strip().splitlines()
    more = len(lines) - _SHOWN_LINES
    shown = "\n".join(lines[:_SHOWN_LINES])
    return f"{shown}\n\n… {more} more lines" if more > 0 else shown


def _changed(before: Any, after: Any) -> list[str]:
    return [name for name in after if after[name] != before.get(name)]


def _clock(moment: Any) -> str:
    return datetime.fromisoformat(str(moment)).strftime("%H:%M:%S.%f")[:-3]


if __name__ == "__main__":
    sys.exit(main())
