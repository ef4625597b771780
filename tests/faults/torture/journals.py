"""What the processes of a torture write down: one line a fact, whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import orjson

Fact = dict[str, Any]
"""`at` (nanoseconds since the epoch, real time), `who`, `what`, and what belongs to it."""

OWNER: ContextVar[tuple[str, int]] = ContextVar("owner", default=("", 0))
"""Owner and epoch of the claim under which the code at hand executes."""


class Journal:
    """The facts of one process; safe for its threads, and for being killed at any moment.

    Args:
        folder: Where the journals of all processes are.
        who: Name of the process.
    """

    def __init__(self, folder: Path, who: str) -> None:
        self.who = who
        self._file = os.open(folder / f"{who}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def note(self, what: str, **more: Any) -> None:
        fact = {"at": time.time_ns(), "who": self.who, "what": what, **more}
        os.write(self._file, orjson.dumps(fact, default=str) + b"\n")

    def close(self) -> None:
        os.close(self._file)


def read(folder: Path) -> list[Fact]:
    """Read the facts of all processes in the order of their times."""
    return sorted(
        (fact for path in folder.glob("*.jsonl") for fact in _lines(path)), key=lambda one: one["at"]
    )


def _lines(path: Path) -> Iterator[Fact]:
    for line in path.read_bytes().split(b"\n"):
        if line:
            yield orjson.loads(line)
