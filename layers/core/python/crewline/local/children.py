"""`crewline dev` as a child process: for the demo, tests and other programs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crewline.local.clouds import last_lines
from crewline.local.failures import LocalServiceError

_READY_TIMEOUT: Final = 90.0
_STOP_TIMEOUT: Final = 40.0
_POLL: Final = 0.05


@dataclass(frozen=True, slots=True)
class ChildService:
    """A `crewline dev` that runs as our child."""

    url: str
    """Where its HTTP API is."""
    process: subprocess.Popen[bytes]
    log: Path
    """What it printed."""


@contextmanager
def local_service(
    *,
    state: Path,
    project: Path | None = None,
    port: int = 0,
    environ: Mapping[str, str] | None = None,
    reload: bool = False,
) -> Iterator[ChildService]:
    """Run `crewline dev` and wait until it answers.

    Args:
        state: The folder for state and logs.
        project: The folder of the project; the example crews without it.
        port: Port on loopback; 0 for any free one.
        environ: The environment of the child; ours without it.
        reload: Whether it loads the project anew when that is edited.

    Yields:
        The running service; stopped on leaving. It also ends if this process is killed.

    Raises:
        LocalServiceError: It ended, or did not answer in time; the message ends with what it printed.
    """
    state.mkdir(parents=True, exist_ok=True)
    log = state / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            _command(state, project, port, reload=reload),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            # A group of its own: Ctrl-C reaches us alone, and we stop it once.
            process_group=0,
        )
    try:
        yield ChildService(_await_ready(process, state, log), process, log)
    finally:
        _stop(process)


def _command(state: Path, project: Path | None, port: int, *, reload: bool) -> list[str]:
    command = [sys.executable, "-P", "-m", "crewline.cli", "dev", "--stop-on-eof"]
    command += [] if reload else ["--no-reload"]
    command += ["--port", str(port), "--state", str(state)]
    return command if project is None else [*command, "--project", str(project)]


def _await_ready(process: subprocess.Popen[bytes], state: Path, log: Path) -> str:
    deadline = time.monotonic() + _READY_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LocalServiceError(
                f"`crewline dev` ended with code {process.returncode}.\n{last_lines(log)}"
            )
        url = _announced_url(state / "service.json", process.pid)
        if url and _answers(url):
            return url
        time.sleep(_POLL)
    raise LocalServiceError(
        f"`crewline dev` did not answer within {_READY_TIMEOUT:.0f} s.\n{last_lines(log)}"
    )


def _announced_url(address: Path, pid: int) -> str | None:
    try:
        said = json.loads(address.read_bytes())
    except FileNotFoundError:
        return None
    return str(said["url"]) if said["pid"] == pid else None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/ok", timeout=_READY_TIMEOUT) as response:  # noqa: S310
            return bool(response.status == 200)  # noqa: PLR2004
    except urllib.error.HTTPError as error:
        error.close()
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()  # its local cloud follows: its lifeline breaks
        process.wait()
    if process.stdin:
        process.stdin.close()
