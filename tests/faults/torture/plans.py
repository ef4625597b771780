"""What one torture is: its size, its seed and where it happens."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

SPEED: Final = 10
"""How many times faster than real time the product's clock runs: a lease of 30 s lasts 3 s."""
SKEW_MS: Final = 5_000
"""How far the clock of a process may be off, either way."""
TENANT: Final = "torture"
CREW: Final = "torture"

Broken = Literal["", "fence", "sweep"]
"""A part of the protocol that is taken out, to see that the checker notices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The size of a torture."""

    seed: int
    runs: int
    """Accepted runs after which no more are asked for."""
    seconds: int
    """After how long no more are asked for, however many there are."""
    workers: int = 8
    clients: int = 3
    """Processes that ask for runs, each in a few threads, and execute some in place."""
    threads: int = 50
    broken: Broken = ""

    def dice(self, *who: object) -> random.Random:
        """Give a process or thread its own random numbers, the same ones for the same seed."""
        return random.Random("/".join(map(str, (self.seed, *who))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What every process of a torture is told."""

    plan: Plan
    folder: Path
    table: str
    bucket: str
    queue_url: str
    dead_letter_url: str
    began_ns: int
    thread_ids: tuple[str, ...]

    @property
    def history(self) -> Path:
        """Where every process writes down what happens to it."""
        return self.folder / "history"

    @property
    def paused(self) -> Path:
        """A file that is there while clients are to ask for nothing."""
        return self.folder / "paused"

    @property
    def over(self) -> Path:
        """A file that is there when clients are to end."""
        return self.folder / "over"
