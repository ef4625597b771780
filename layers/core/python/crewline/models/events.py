"""Events: what a run says while it executes, in one order, whoever listens and whenever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

METADATA, ERROR, END = "metadata", "error", "end"
LIFECYCLE: Final = frozenset((METADATA, ERROR, END))
"""Modes of frames that are not LangGraph's."""
STEPS: Final = "steps"
"""A mode of our own: the beginning and end of each task, without what it was given."""
TOKENS: Final = frozenset(("messages", "custom", "events"))
"""Modes whose frames come while a superstep runs, and that no checkpoint holds."""
LAST_EPOCH: Final = 9_999_999_999
"""Epoch of an end that nobody wrote: its worker was lost, or the run never began."""


class Position(NamedTuple):
    """A place in a run's events: strictly increasing, whoever executes the run."""

    epoch: int
    """Of the claim that wrote it."""
    seq: int
    """Counts the frames of an epoch, from 1."""

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


START: Final = Position(0, 0)
"""Before every event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where the values of a frame are stored anyway: in a checkpoint."""

    namespace: str
    checkpoint_id: str
    names: tuple[str, ...] | None = None
    """The channels that the frame shows; None when the state is one value."""
    path: tuple[str, ...] = ()
    """Where in the frame's data the values belong; empty: beside it, at the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event."""

    position: Position
    mode: str
    """LangGraph's stream mode, or `metadata`, `error`, `end`."""
    data: bytes | None = None
    """JSON; with a reference, what is not in the checkpoint."""
    namespace: tuple[str, ...] = ()
    """The subgraph that it comes from, as LangGraph names it; empty for the graph itself."""
    reference: Reference | None = None
    at: int | None = None
    """When it was said, in milliseconds since the epoch; of `steps` alone, which nothing else dates."""

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return 64 + len(self.data or b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Frames as they are stored together."""

    frames: tuple[Frame, ...]
    attempt: int = 1
    """How many claims have written events of this run, this one included."""
    upto: Position | None = None
    """The last event of the epochs before: what they wrote after it came too late, and does not count."""
    opens: int | None = None
    """The epoch that begins here, of a batch without frames: how far those before it count is said next."""

    @property
    def position(self) -> Position:
        """Where it ends."""
        return self.frames[-1].position if self.frames else Position(self.opens or 0, 0)


Listener = Callable[[Frame], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """To whom a run tells what it does, and how much of it."""

    listener: Listener | None = None
    """Gets every frame at once, on the crew loop."""
    logged: bool = True
    """Whether there is a log at all: not when the caller only waits for the answer."""
    tokens: bool = True
    """Whether the log gets what comes within a superstep before anybody follows it."""
