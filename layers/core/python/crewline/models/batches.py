"""Batches of runs: many that were asked for at once, and how they are getting on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import TypedDict

from crewline.models.runs import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One run of a batch."""

    thread_id: str
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Runs that were asked for at once and have nothing to do with one another."""

    batch_id: str
    created_at: str
    members: tuple[Member, ...]
    """Those that were started, in the order of the request."""
    failed: int = 0
    """How many could not be started."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What decides who may see it, where not everybody of a tenant may."""


class FailedItem(TypedDict):
    """What stands in the place of a run that could not be started; the others were."""

    error: str
    """A word for a program."""
    message: str
    retryable: bool
    """Whether the same may succeed in a moment."""


class BatchWire(TypedDict):
    """How the runs of a batch are getting on."""

    batch_id: str
    created_at: str
    total: int
    """Runs that were asked for."""
    failed: int
    """Those of them that could not be started."""
    counts: dict[RunStatus, int]
    """The others, by status."""
    removed: int
    """Runs that are gone, and with them how they ended: rolled back or deleted, or over for more than a day."""
