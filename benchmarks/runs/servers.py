"""The servers that are measured: ours and its peers, each in processes of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.runs.hooks import Watch
from crewline import locations
from crewline.local.clouds import LOOPBACK, inherited

PROJECT: Final = Path(__file__).with_name("project")

_START_TIMEOUT: Final = 120.0
_STOP_TIMEOUT: Final = 40.0
_POLL: Final = 0.1
_OK: Final = 200

SERVER: Final = "server"
BOTO3: Final = "boto3"
CLOUD: Final = "cloud"


class DidNotStart(Exception):
    """A server ended, or did not answer in time; the message ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    said: Mapping[str, Any] = field(default_factory=dict)
    """What our own service said of itself."""

    def cpu_ms(self) -> dict[str, float]:
        """Give the milliseconds of CPU so far: the server's, and apart what it has apart.

        boto3's is part of the server's; the local cloud's is not.
        """
        if not self.said:
            return {SERVER: tree_cpu_ms(self.process.pid)}
        cloud = self.said["cloud_pid"]
        return {
            SERVER: process_cpu_ms(self.process.pid),
            BOTO3: self._ask()["boto3_ms"],
            CLOUD: tree_cpu_ms(cloud),
        }

    def _ask(self) -> Any:
        if self.process.stdin is None or self.process.stdout is None:
            raise DidNotStart(f"{self.name} cannot be asked.")
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def process_cpu_ms(pid: int) -> float:
    """Give the CPU of a process, every thread included that it has or had.

    By the clock that Linux keeps of every process, to the nanosecond (`clock_getcpuclockid`).
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e6


def tree_cpu_ms(pid: int) -> float:
    """Give the CPU of a process and of what it has started and still runs."""
    return process_cpu_ms(pid) + sum(map(tree_cpu_ms, _children(pid)))


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@contextmanager
def our_service(folder: Path, *, watch: Watch) -> Iterator[Server]:
    """Run the front door over a local cloud of its own.

    Args:
        folder: Where it keeps its state: another service that is given the same goes on with it.
        watch: What is seen of its requests, in `requests.log` of the folder.

    Raises:
        DidNotStart: It ended while it started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.runs.service", str(PROJECT), "--state", str(folder)]
    command += ["--log", str(request_log(folder)), "--watch", watch]
    path = os.pathsep.join((str(locations.ROOT), str(locations.IMPORT_ROOT)))
    printed = folder / "service.log"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=locations.ROOT,
            env={**inherited(os.environ), "PYTHONPATH": path, "LANGSMITH_TRACING": "false"},
            process_group=0,
        )
    try:
        first = process.stdout.readline() if process.stdout else b""
        if not first:
            raise DidNotStart(_last_lines(printed))
        said = json.loads(first)
        yield Server("crewline", said["url"], process, said)
    finally:
        if process.stdin:
            process.stdin.close()
        _stop(process)


def request_log(folder: Path) -> Path:
    """Name the log of requests of a service."""
    return folder / "requests.log"


@contextmanager
def peer_service(
    name: str, command: list[str], *, port: int, folder: Path, environ: Mapping[str, str], ready: str
) -> Iterator[Server]:
    """Run another server.

    Args:
        name: Its name in the table.
        command: What starts it.
        port: Where it listens, on loopback.
        folder: Its working folder; what it prints goes beside it.
        environ: Its whole environment.
        ready: A path that it answers once it serves.

    Raises:
        DidNotStart: It ended, or did not answer in time.
    """
    printed = folder.with_suffix(".log")
    url = f"http://{LOOPBACK}:{port}"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environ,
            process_group=0,
        )
    try:
        _await(f"{url}{ready}", process, printed)
        yield Server(name, url, process)
    finally:
        process.terminate()
        _stop(process)


def free_port() -> int:
    """Find a port of loopback on which nobody listens."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def _await(url: str, process: subprocess.Popen[bytes], printed: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=_POLL * 10) as response:
                if response.status == _OK:
                    return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(_POLL)
    raise DidNotStart(_last_lines(printed))


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _last_lines(printed: Path) -> str:
    lines = printed.read_text(errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-3:] if line.strip()) or "it printed nothing"
