"""The other servers: where they come from, and how each is started.

Each has an environment of its own, made once, with every version pinned; nothing of it is part of
the project's. While they are measured they can reach nothing but this machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.runs.servers import PROJECT, Server, free_port, peer_service
from crewline import locations
from crewline.local.clouds import LOOPBACK

HOME: Final = locations.ROOT / ".crewline" / "bench-peers"
_PINS: Final = Path(__file__).with_name("pins")
_INSTALL_TIMEOUT: Final = 600
_REASON: Final = 300
"""Characters of what the installer said that the table shows: the last."""

_QUIET: Final = {
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    # What they would send all the same goes where nobody listens.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": f"{LOOPBACK},localhost",
}
"""Nothing else of the caller's environment reaches a peer, so that it finds no key either."""


class CannotInstall(Exception):
    """The package index did not give what a peer needs; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server that runs the same graph."""

    name: str
    """Its name in the table, and of its pins."""
    package: str
    """What it is known as in the package index."""
    ready: str
    """A path that it answers once it serves."""
    command: Callable[[Path, int], list[str]]
    """What starts it: from the folder of its environment's programs and a port."""

    @property
    def version(self) -> str:
        """The version that is pinned."""
        pins = dict(line.split(" ")[0].split("==") for line in self._lines())
        return pins[self.package]

    @property
    def pins(self) -> Path:
        """The versions of everything that it needs."""
        return _PINS / f"{self.name.replace(' ', '-')}.txt"

    def _lines(self) -> list[str]:
        return [line for line in self.pins.read_text().splitlines() if "==" in line and line[0] != "#"]


SKEINO: Final = Peer(
    "skeino",
    "skeino",
    "/info",
    lambda programs, port: [str(programs / "python"), "serve_skeino.py", str(port)],
)
LANGGRAPH_DEV: Final = Peer(
    "langgraph dev",
    "langgraph-cli",
    "/ok",
    lambda programs, port: [
        *(str(programs / "langgraph"), "dev", "--no-browser", "--no-reload"),
        *("--host", LOOPBACK, "--port", str(port)),
    ],
)


@contextmanager
def running(peer: Peer, folder: Path) -> Iterator[Server]:
    """Install a peer if need be, and run it on a copy of the project.

    Raises:
        CannotInstall: It cannot be installed here.
        DidNotStart: It does not run here.
    """
    programs = install(peer)
    project = folder / peer.pins.stem
    shutil.copytree(PROJECT, project)
    port = free_port()
    environ = {**_QUIET, "HOME": str(folder), "PATH": f"{programs}{os.pathsep}{os.defpath}"}
    command = peer.command(programs, port)
    with peer_service(
        peer.name, command, port=port, folder=project, environ=environ, ready=peer.ready
    ) as server:
        yield server


def install(peer: Peer) -> Path:
    """Make the environment of a peer, unless it is there.

    Returns:
        The folder of its programs.

    Raises:
        CannotInstall: The package index did not answer, or has not what is pinned.
    """
    digest = hashlib.sha256(sys.version.encode() + peer.pins.read_bytes()).hexdigest()[:12]
    place = HOME / f"{peer.pins.stem}-{digest}"
    done = place / "installed"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        _uv("venv", "--python", sys.executable, str(place))
        _uv("pip", "install", "--python", str(place / "bin" / "python"), "-r", str(peer.pins))
        done.touch()
    return place / "bin"


def _uv(*arguments: str) -> None:
    environ = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    environ.pop("VIRTUAL_ENV", None)
    command = [sys.executable, "-m", "uv", *arguments, "--quiet"]
    try:
        result = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise CannotInstall(f"the package index took longer than {_INSTALL_TIMEOUT} s") from exc
    if result.returncode:
        said = " ".join(re.findall(r"[!-~]+", result.stderr))  # without the frame that uv draws
        raise CannotInstall(said[-_REASON:] or f"uv ended with code {result.returncode}")
