"""Following a run to its end, and saying how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

import typer
from rich.live import Live

from crewline.checkpoints.projection import INTERRUPT
from crewline.cli import screens
from crewline.cli.clients import Service
from crewline.cli.failures import CliError, ExitCode
from crewline.cli.screens import console, notes, seconds
from crewline.cli.trees import HEARTBEAT, LAST_EVENTS, RunTree, Screenful

Shown = Literal["quiet", "stream", "events"]
"""Nothing but the output at the end; the tree; or every event as a line of JSON."""

_LOOKS: Final = 40
_LOOK_PAUSE: Final = 0.25
"""How often, and after how many seconds, a run is read that has said that it ended."""
_SHORT: Final = 200
"""Characters of a part of a question."""
_DOING: Final = 50
"""Characters of what runs now."""


def start(service: Service, *, thread_id: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """Start a run.

    Args:
        service: Where.
        thread_id: The thread that it is to be on; None for a run without one.
        body: What is asked for.

    Returns:
        The service's answer.

    Raises:
        CliError: The service refuses it or does not answer.
    """
    path = f"/v1/threads/{thread_id}/runs" if thread_id else "/v1/runs"
    started: dict[str, Any] = service.post(path, body)
    return started


def finish(service: Service, started: Mapping[str, Any], *, wait: bool, stream: bool, as_json: bool) -> None:
    """Follow a run that was just started, or say what it is.

    Args:
        service: Where it executes.
        started: What `start` has returned.
        wait: Whether to follow it.
        stream: Whether to show it as it happens.
        as_json: Whether what is printed is JSON.

    Raises:
        CliError: It failed or was canceled, or the service does not answer.
        Exit: Ctrl-C.
    """
    run_id = str(started["run_id"])
    if wait:
        shown: Shown = "quiet" if not stream else "events" if as_json else "stream"
        follow(service, run_id, shown=shown, as_json=as_json)
    elif as_json:
        screens.print_json(started)
    else:
        console().print(run_id, markup=False)
        notes().print(f"Follow it: crewline runs events {run_id}", markup=False)


def follow(service: Service, run_id: str, *, shown: Shown, as_json: bool, with_output: bool = True) -> None:
    """Follow a run and end as it does.

    Args:
        service: Where it executes.
        run_id: Its public id.
        shown: What is printed on the way.
        as_json: Whether what is printed is JSON.
        with_output: Whether its output is printed at the end.

    Raises:
        CliError: It failed or was canceled, or the service does not answer.
        Exit: Ctrl-C: the run goes on, and this says how to follow or cancel it.
    """
    try:
        tree = _watch(service, run_id, shown)
        run = _read_ended(service, run_id)
    except KeyboardInterrupt:
        notes().print(
            f"\nThe run goes on. To follow or to cancel it:\n"
            f"  crewline runs events {run_id}\n"
            f"  crewline runs cancel {run_id}",
            markup=False,
        )
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if as_json and shown == "quiet":
        screens.print_json(run)
    elif shown == "stream":
        _say_how_it_ended(run, tree)
    if run["status"] != "succeeded":
        raise _failure(run)
    if with_output and not as_json:
        screens.show_json(run["output"])
    _say_what_is_asked(run)


def _watch(service: Service, run_id: str, shown: Shown) -> RunTree:
    tree = RunTree(run_id)
    with _drawn(tree, shown) as refresh:
        path = f"/v1/runs/{run_id}/events"
        for event in service.events(path, is_last=lambda data: data.get("type") in LAST_EVENTS):
            line = tree.take(event.data)
            refresh()
            if shown == "events":
                if event.data.get("type") != HEARTBEAT:
                    screens.print_json(event.data)
            elif shown == "stream" and line and not console().is_terminal:
                console().print(line, markup=False)
    return tree


@contextmanager
def _drawn(tree: RunTree, shown: Shown) -> Iterator[Callable[[], object]]:
    """Show on a terminal that something happens; gives what to call when something has."""
    if shown == "stream" and console().is_terminal:
        try:
            # It draws on a thread of its own, which Ctrl-C never stops in the middle of a line.
            with Live(Screenful(tree), console=console(), transient=True, refresh_per_second=10):
                yield lambda: None
        finally:
            console().print(tree)  # whole, however long; also when the line or the patience is lost
    elif shown == "quiet":
        with screens.working("Waiting for the run to begin …") as say:
            yield lambda: say(screens.shortened(", ".join(tree.running) or "Running", _DOING) + " …")
    else:
        yield lambda: None


def _read_ended(service: Service, run_id: str) -> dict[str, Any]:
    """Read a run that has said that it ended; its row may take a moment to say so, too."""
    for _ in range(_LOOKS):
        run: dict[str, Any] = service.get(f"/v1/runs/{run_id}")
        if run["status"] not in ("pending", "running"):
            return run
        time.sleep(_LOOK_PAUSE)
    raise CliError(
        f"Run {run_id} has said that it ended, and is still {run['status']}; look again with "
        f"`crewline runs get {run_id}`.",
        ExitCode.UNAVAILABLE,
    )


def _say_how_it_ended(run: Mapping[str, Any], tree: RunTree) -> None:
    ended = {"succeeded": "completed", "failed": "failed", "canceled": "was canceled"}[run["status"]]
    took = tree.took if tree.took is not None else _took(run)
    after = f" {'in' if ended == 'completed' else 'after'} {seconds(took)}" if took is not None else ""
    tokens = f" · {tree.tokens:,} tokens" if tree.tokens else ""
    style = {"succeeded": "bold green", "failed": "bold red"}.get(run["status"], "bold yellow")
    console().print(f"Run {ended}{after}{tokens}", style=style, markup=False)


def _took(run: Mapping[str, Any]) -> float | None:
    begin, end = run["started_at"], run["completed_at"]
    return screens.elapsed(begin, end) if begin and end else None


def _failure(run: Mapping[str, Any]) -> CliError:
    if run["status"] == "canceled":
        return CliError(f"Run {run['id']} was canceled.", ExitCode.RUN_FAILED)
    said = screens.plain(run["error_message"] or "it does not say why").rstrip(". ")
    return CliError(
        f"Run {run['id']} failed: {said}. Try it again with `crewline runs retry {run['id']}`.",
        ExitCode.RUN_FAILED,
    )


def _say_what_is_asked(run: Mapping[str, Any]) -> None:
    """Print the questions at which a run has stopped, if it has, and how to answer them."""
    output = run["output"]
    if not (questions := output.get(INTERRUPT) if isinstance(output, Mapping) else None):
        return
    for question in questions:
        _ask(question.get("value"))
    if run["thread_id"]:
        answer = f"""Answer: crewline invoke --thread {run["thread_id"]} --resume '"yes"'"""
    else:
        answer = "Without a thread nobody can answer; `crewline thread create` makes one."
    notes().print(answer, markup=False)


def _ask(question: Any) -> None:
    """Print a question: a text as it is, of an object each part on a line."""
    if not isinstance(question, Mapping):
        text = question if isinstance(question, str) else screens.json_text(question)
        notes().print(f"The crew asks: {screens.plain(text)}", markup=False)
        return
    notes().print("The crew asks:")
    for name, value in question.items():
        text = value if isinstance(value, str) else screens.json_text(value)
        notes().print(f"  {screens.plain(name)}: {screens.shortened(text, _SHORT)}", markup=False)
