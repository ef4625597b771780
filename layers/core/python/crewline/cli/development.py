"""`crewline dev`: serve until told to stop."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final, Never

from rich.console import Console

from crewline.cli.configurations import LOCAL_URL
from crewline.local import lifelines
from crewline.local.clouds import last_lines
from crewline.local.failures import LocalServiceError
from crewline.local.host import LOG_FORMAT
from crewline.local.reloads import Reload, serve_reloading
from crewline.local.services import LocalService, serve

_STUDIO: Final = "https://smith.langchain.com/studio/?baseUrl="
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_FORCED: Final = 130
_MOST_NAMES: Final = 3


def run(
    project: Path,
    *,
    port: int,
    state: Path,
    event_bus: str = "",
    reload: bool = True,
    stop_on_eof: bool = False,
) -> None:
    """Serve a project until Ctrl-C or SIGTERM.

    Args:
        project: The folder of the project's `langgraph.json`.
        port: Port on loopback; 0 for any free one.
        state: The folder for state and logs.
        event_bus: Name of a bus on the local cloud that is told of every run.
        reload: Load the project anew when it is edited; without, the crews run in this process.
        stop_on_eof: Stop when standard input ends, too.

    Raises:
        CrewlineError: The service cannot start, or its local cloud ended by itself.
    """
    begun = time.monotonic()
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    console = Console(highlight=False, soft_wrap=True)
    try:
        with _raised_signals():
            if stop_on_eof:
                lifelines.when_input_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
            if reload:
                with serve_reloading(project, state=state, port=port, event_bus=event_bus) as reloading:
                    _welcome(console, reloading.service, time.monotonic() - begun)
                    for done in reloading.reloads():
                        _tell(console, done, reloading.service.manifest.folder)
            with serve(project, state=state, port=port, event_bus=event_bus) as service:
                _welcome(console, service, time.monotonic() - begun)
                code = service.cloud.process.wait()
                log = last_lines(service.state.cloud_log)
                raise LocalServiceError(f"The local cloud ended by itself (code {code}).\n{log}")
    except _Stop:
        console.print("Stopped.")
    # Everything has ended but, maybe, a crew's node on a thread, which nothing can stop.
    sys.stdout.flush()
    os._exit(0)


class _Stop(BaseException):
    """A signal asked for the end; not an `Exception`, so that nothing on the way takes it for one."""


@contextlib.contextmanager
def _raised_signals() -> Iterator[None]:
    """Leave the block with `_Stop` at the first signal; at the second, exit at once."""

    def force(_number: int, _frame: FrameType | None) -> Never:
        os._exit(_FORCED)  # the local cloud sees its lifeline break and ends by itself

    def stop(_number: int, _frame: FrameType | None) -> Never:
        for number in _SIGNALS:
            signal.signal(number, force)
        # uvicorn would report every stream that is broken from here on as the application's error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        raise _Stop

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _welcome(console: Console, service: LocalService, seconds: float) -> None:
    ready = f"[bold]Crewline is ready[/] at {service.url} after {seconds:.1f} s"
    auth = service.manifest.auth
    asks = (
        f"open on loopback, {auth.path.name} decides for whom" if auth else "open on loopback, no key needed"
    )
    console.print(f"{ready}: {asks}\n\nCrews")
    crews = service.manifest.crews
    width = max(map(len, crews))
    for name, crew in crews.items():
        description = crew.description or f"{crew.path.name}:{crew.attribute}"
        console.print(f"  {name:<{width}}  {description}", markup=False)
    console.print("\nTry")
    console.print(f"  {_invocation(service, next(iter(crews)))}", markup=False)
    console.print(f"  {_example(service.url, next(iter(crews)))}", markup=False)
    console.print(f"  Studio: {_STUDIO}{service.url}")
    console.print(f"\nQueue {service.intake_queue_url} at {service.cloud.url}", markup=False)
    console.print(f"State {service.state.root}", markup=False)
    console.print(f"Logs  {service.state.logs}\nCtrl-C stops; the state stays.", markup=False)


def _tell(console: Console, reload: Reload, folder: Path) -> None:
    """Say what came of an edit."""
    names = [
        str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in reload.files
    ]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    named = f"{', '.join(names[:_MOST_NAMES])}{more}"
    if reload.error is None:
        console.print(f"Reloaded in {reload.seconds:.1f} s: {named}", markup=False)
        return
    console.print(f"\nNot reloaded: {named}", style="bold red", markup=False)
    console.print(f"  {reload.error}", markup=False)
    for line in reload.error.details.get("trace", ()):
        console.print(f"    {line}", markup=False)
    console.print("  The project as it was before is still served; save a file to try again.\n", markup=False)


def _example(url: str, crew: str) -> str:
    body = {"assistant_id": crew, "input": {"messages": [{"role": "user", "content": "Hello"}]}}
    data = shlex.quote(json.dumps(body))
    return f"curl -s {url}/runs/wait -H 'content-type: application/json' -d {data}"


def _invocation(service: LocalService, crew: str) -> str:
    """Say how to run a crew in another terminal; its input is its own."""
    place = "" if service.url == LOCAL_URL else f" --url {service.url}"
    return f"crewline invoke {shlex.quote(crew)}{place} -i '{{…}}' --stream"
