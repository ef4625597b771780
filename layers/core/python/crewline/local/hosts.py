"""The host as its starter sees it: a process that loads the crews and answers, started, replaced, stopped.

A crew's modules cannot be loaded anew in the process that has them: objects of the old classes live on in
threads, in caches, and in what other modules imported from them. So each host is a process, and all
hosts serve one listening socket: who connects meanwhile waits in it until one of them takes it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from crewline.errors import CrewFailedToLoad
from crewline.local import host
from crewline.local.failures import LocalServiceError
from crewline.models.manifests import Manifest

_STOP_TIMEOUT: Final = 8.0
_PATIENCE: Final = 5.0
"""Seconds that a load takes before it is asked whether it is still wanted; most take less, and are not disturbed."""


class Outdated(Exception):
    """What was being loaded is no longer what is wanted."""


class Host:
    """A running host.

    Args:
        listener: The socket that it is to serve; bound.
        manifest: The project.
        functions: The folder of the functions' entry points.
        environ: Its environment: that of a function.
        kept: The copy of the project's modules that it is to load.
        is_outdated: Tells of a load that takes its time, maybe for ever, whether it is still wanted.

    Raises:
        Outdated: It is not, and was ended.
        CrewFailedToLoad: The crews do not load; `details` has the lines of the project on the way as `trace`.
        LocalServiceError: It ended while it loaded; what it printed says why.
    """

    def __init__(
        self,
        listener: socket.socket,
        manifest: Manifest,
        functions: Path,
        environ: Mapping[str, str],
        kept: Path,
        *,
        is_outdated: Callable[[], bool] = lambda: False,
    ) -> None:
        replies, said = os.pipe()
        command = [sys.executable, "-P", "-m", "crewline.local.host"]
        command += [str(listener.fileno()), str(said), str(manifest.path), str(functions), str(kept)]
        try:
            self.process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                text=True,
                env=dict(environ),
                cwd=manifest.folder,
                pass_fds=(listener.fileno(), said),
                # A group of its own: Ctrl-C in the terminal must reach the starter alone.
                process_group=0,
            )
        finally:
            os.close(said)
        self._replies = os.fdopen(replies)
        try:
            self._await_load(is_outdated)
        except BaseException:
            self.kill()
            raise

    def serve(self) -> None:
        """Have it take connections; returns when it does.

        Raises:
            LocalServiceError: It ended instead.
        """
        self._order(host.SERVE)
        self._await_reply()

    def retire(self) -> None:
        """Have it take nothing more, and end when the answers under way are complete; returns before that.

        Raises:
            LocalServiceError: It ended instead.
        """
        self._order(host.RETIRE)
        self._await_reply()

    def stop(self) -> None:
        """Have streams broken and short answers finished, and wait for its end."""
        self._order(host.STOP)
        try:
            self.process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass  # a node that nothing can stop
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once; what it executes is gone on with by a worker when its lease is over."""
        self.process.kill()
        self.process.wait()
        self._replies.close()
        if self.process.stdin:
            self.process.stdin.close()

    def _order(self, order: str) -> None:
        if self.process.stdin:
            try:
                self.process.stdin.write(f"{order}\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                return  # it has ended, which whoever waits for it sees

    def _await_load(self, is_outdated: Callable[[], bool]) -> None:
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        while not poll.poll(_PATIENCE * 1_000):
            if is_outdated():
                raise Outdated
        self._await_reply()

    def _await_reply(self) -> None:
        line = self._replies.readline()
        if not line:
            code = self.process.wait()
            raise LocalServiceError(f"The process that loads the crews ended by itself (code {code}).")
        reply: dict[str, Any] = json.loads(line)
        if message := reply.get("error"):
            raise CrewFailedToLoad(message, details={"trace": reply["trace"]})
