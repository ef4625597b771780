"""What tests ask of other processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def is_alive(pid: int) -> bool:
    # An orphan that has ended stays a zombie until init takes notice.
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    return state.strip()[:1] not in {"", "Z"}


def eventually(read: Callable[[], T | None], seconds: float = 8.0) -> T:
    """Wait for what another process does; bounded."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := read():
            return value
        time.sleep(0.02)
    raise TimeoutError


def gone(*pids: int) -> bool:
    return not any(map(is_alive, pids))
