"""The HTTP server under the front door: uvicorn on a thread of its own."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Final

import uvicorn

from crewline.local.clouds import LOOPBACK
from crewline.local.failures import LocalServiceError
from crewline.local.frontdoor import FrontDoor

_GRACE: Final = 3
"""Seconds that answers under way get when the server stops."""


def listen(port: int) -> socket.socket:
    """Take a port of loopback.

    Args:
        port: The port; 0 for any free one.

    Returns:
        A bound socket, which refuses connections until something is served on it.

    Raises:
        LocalServiceError: The port is in use, or not ours to open.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # A port on which an earlier server's connections linger is free; one that is listened on is not.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as exc:
        listener.close()
        reason = "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be opened ({exc.strerror})"
        raise LocalServiceError(f"Port {port} {reason} on {LOOPBACK}; choose another with --port.") from exc
    return listener


class Serving:
    """A front door that is served."""

    def __init__(self, server: _Server, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    def retire(self, longest: float) -> None:
        """Take no connection and no request any more; returns when that is so. `wait` for the answers under way.

        Args:
            longest: Seconds after which those that are left are broken off, streams too.
        """
        self._server.patience = longest
        self._server.should_exit = True
        self._server.closed.wait()

    def wait(self) -> None:
        """Wait until every answer under way is complete or broken off."""
        self._thread.join()


@contextmanager
def serving(door: FrontDoor, listener: socket.socket) -> Iterator[Serving]:
    """Serve the front door.

    On a thread, so that signals stay with the main thread, which decides in which order things stop.

    Args:
        door: The front door.
        listener: A bound socket.

    Yields:
        Once connections are taken: the means to end well. On leaving, streams are closed and short answers finished.

    Raises:
        LocalServiceError: The server ended while it started.
    """
    server = _Server(door)
    thread = threading.Thread(target=server.run, args=([listener],), name="front door", daemon=True)
    thread.start()
    try:
        server.settled.wait()
        if not server.started:
            raise LocalServiceError("The HTTP server did not start; the log above says why.")
        yield Serving(server, thread)
    finally:
        server.should_exit = True
        # Bounded: a crew's node that runs on a thread cannot be stopped, and must not stop us.
        thread.join(_GRACE + 2)


class _Server(uvicorn.Server):
    """A server that tells other threads when it has started, and its application when it stops."""

    def __init__(self, door: FrontDoor) -> None:
        super().__init__(
            uvicorn.Config(
                door,
                lifespan="off",
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self.settled = threading.Event()
        """Set when the server takes connections, or has failed to."""
        self.closed = threading.Event()
        """Set when the server takes nothing more."""
        self.patience: float | None = None
        """Seconds that streams get to come to their end; without it they are broken when the server stops."""
        self._door = door

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self.settled.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.patience is None:
            self._door.stop()
        else:
            self.config.timeout_graceful_shutdown = ceil(self.patience)
            for server in self.servers:
                server.close()
            for connection in list(self.server_state.connections):
                connection.shutdown()
            await asyncio.sleep(0)  # connections are closed in the loop's next round
        self.closed.set()
        await super().shutdown(sockets)
