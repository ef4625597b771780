"""The host's process: it loads the crews and answers requests, until another one takes its place.

`python -m crewline.local.host LISTENER REPLIES MANIFEST FUNCTIONS KEPT`: LISTENER is a bound socket, REPLIES the pipe
on which the host says what it has come to, a line of JSON each; KEPT the
copy of the project's modules that it loads; see `crewline.local.hosts`. Standard input brings its orders, and is the lifeline: the process ends when it closes.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

from crewline.errors import CrewlineError
from crewline.local import handlers, servers, sources
from crewline.local.frontdoor import FrontDoor
from crewline.models.manifests import Manifest, read_manifest

SERVE: Final = "serve"
RETIRE: Final = "retire"
STOP: Final = "stop"

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_LONGEST_RETIREMENT: Final = 900.0
"""Seconds that answers under way get in a host that was replaced, as an invocation of a function does."""


def main() -> None:
    """Load, say so, and follow orders."""
    listener, replies, manifest, functions, kept = sys.argv[1:6]
    for fd in (int(listener), int(replies)):
        os.set_inheritable(fd, False)  # what a crew starts must not hold them
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    sources.pin(Path(kept))
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_take_orders, args=(orders,), name="orders", daemon=True).start()
    with os.fdopen(int(replies), "w", buffering=1) as said, ExitStack() as stack:
        door = _load(stack, Path(manifest), Path(functions), said)
        _say(said, loaded=True)
        if orders.get() == SERVE:
            _serve(door, socket.socket(fileno=int(listener)), orders, said)
    # Everything has ended but, maybe, a crew's node on a thread, which nothing can stop.
    sys.stdout.flush()
    os._exit(0)


def _take_orders(orders: SimpleQueue[str]) -> None:
    retiring = False
    for line in sys.stdin:
        order = line.strip()
        if retiring and order == STOP:
            os._exit(0)  # its last answers are not waited for: their runs go on elsewhere
        retiring = order == RETIRE
        orders.put(order)
    os._exit(1)


def _load(stack: ExitStack, path: Path, functions: Path, said: Any) -> FrontDoor:
    """Load the crews, or say why not and end."""
    manifest: Manifest | None = None
    try:
        manifest = read_manifest(path)
        return stack.enter_context(handlers.front_door(functions, manifest, replaced=True))
    except CrewlineError as error:
        folders = (manifest.folder, *manifest.local_folders) if manifest else ()
        _say(said, error=str(error), trace=list(_trace(error, folders)))
        sys.stdout.flush()
        os._exit(2)


def _trace(error: CrewlineError, folders: tuple[Path, ...]) -> Iterator[str]:
    """Give the lines of the project on the way to an error; those of libraries would hide them."""
    for frame in traceback.extract_tb(error.__cause__.__traceback__ if error.__cause__ else None):
        path = Path(frame.filename)
        if any(path.is_relative_to(folder) for folder in folders) and "site-packages" not in path.parts:
            yield f"{path}, line {frame.lineno}, in {frame.name}: {frame.line}"


def _serve(door: FrontDoor, listener: socket.socket, orders: SimpleQueue[str], said: Any) -> None:
    with servers.serving(door, listener) as serving:
        _say(said, serving=True)
        order = orders.get()
        # uvicorn would report every stream that is broken from here on as the application's error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        if order == RETIRE:
            serving.retire(_LONGEST_RETIREMENT)
            _say(said, retired=True)
            serving.wait()


def _say(said: Any, **what: Any) -> None:
    said.write(json.dumps(what) + "\n")


if __name__ == "__main__":
    main()
