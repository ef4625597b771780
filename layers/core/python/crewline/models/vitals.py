"""VitalsWire: what the rows tell of how a deployment is doing, as `/metrics` answers it."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

Format = Literal["prometheus", "json"]
"""How they are spelled."""


class RunCounts(TypedDict):
    """Runs that have not ended."""

    pending: int
    """Wait for a worker."""
    queued: int
    """Wait for another run on their thread."""
    delayed: int
    """Are not due yet."""
    running: int
    """Are executed."""
    expired: int
    """Nobody executes any more: their worker is gone, and the sweeper sends them again."""
    oldest_pending_s: float
    """For how many seconds the one that waits longest for a worker has done so."""


class ThreadCounts(TypedDict):
    """Threads that are not idle, by status."""

    busy: int
    interrupted: int
    error: int


class OutboxCounts(TypedDict):
    """What happened to runs and has not been handed to the webhook queue or the event bus."""

    waiting: int
    oldest_s: float
    """For how many seconds the oldest has waited."""


class CronCounts(TypedDict):
    """Crons."""

    enabled: int
    """Start runs, and have not ended."""
    unsettled: int
    """Wait for their schedules to be brought in line with them."""


class VitalsWire(TypedDict):
    """What is there now, by the rows and by no process's memory."""

    runs: RunCounts
    threads: ThreadCounts
    outbox: OutboxCounts
    crons: CronCounts
    purges: int
    """Deleted threads of which something is left."""
    at_least: list[str]
    """Which of these stopped counting at their bound."""
