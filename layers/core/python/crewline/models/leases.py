"""The lease of a thread: the right to run it until a moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from crewline.models.runs import Usage

LEASE_MS: Final = 30_000
"""How long a claim lasts without a commit or heartbeat."""
HEARTBEAT_MS: Final = 5_000
"""How old the last write of a lease may be before a heartbeat renews it."""
GRACE_MS: Final = 15_000
"""How long a run that was started or handed over may stay unclaimed."""
SLICE_GRACE_MS: Final = 60_000
"""How long a run may stay unclaimed between two slices."""
MOST_WAITING: Final = 32
"""Runs that may wait on one thread."""
DRAFT_MS: Final = 960_000
"""How long a draft may take; no invocation lives longer. What is left of it is purged then."""
MOST_ATTEMPTS: Final = 3
"""Claims without progress, after which a run is given up."""

Cancel = Literal["interrupt", "rollback"]
Channel = Literal["queue", "workflow"]
Rest = Literal["idle", "interrupted", "error"]
"""What a thread is while no run is in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One state of a lease item; times are in milliseconds since the epoch.

    A thread that never ran has no item: `Lease()` is its lease.
    """

    run: str | None = None
    """The run in flight; None means that the thread is free."""
    turn: int = 0
    """Its number: the `seq` of its acceptance. Everything it writes carries it."""
    owner: str | None = None
    """Random token of the claim that executes it; None means unclaimed. Fences every write."""
    epoch: int = 0
    """Counts starts and claims; never goes back, orders event ids."""
    until: int = 0
    """When the claim, or the grace for a first claim, ends."""
    due: int = 0
    """When a delayed run may begin."""
    cancel: Cancel | None = None
    """Set by whoever wants the run in flight to stop."""
    upto: int | None = None
    """Queued runs with a smaller turn are superseded."""
    drop: Cancel | None = None
    """What becomes of superseded runs."""
    waiting: int = 0
    """How many queue markers there are."""
    seq: int = 0
    """Counts accepted runs; the order of the queue."""
    attempt: int = 0
    """Claims without progress."""
    base: str | None = None
    """The head before the run: where a rollback returns to."""
    was: Rest = "idle"
    """The thread's status before the run: what a rollback returns to."""
    fed: bool = False
    """The run's input has been taken in."""
    steps: int = 0
    """Supersteps that the run has committed."""
    undoing: bool = False
    """The run is being rolled back: `head` is `base` again, and what it wrote is being removed."""
    started: int = 0
    """When the run was first claimed."""
    input_tokens: int = 0
    output_tokens: int = 0
    micro_usd: int = 0
    """What the run's model calls have used and cost, as far as it has committed."""
    yields: bool = False
    """The run is to end with its client, and nobody sees that one leave: once it executes, the next run
    interrupts it instead of waiting behind it."""
    watch: int = 0
    """When somebody began to follow the events of the run."""
    private: bool = False
    """The thread was made for this one run, which takes it along when it ends."""
    keep_s: int = 0
    """How long the rows of such a run stay readable after its end."""
    execution: int = 0
    """Counts the Step Functions executions of the run; an earlier one gives way."""
    channel: Channel = "queue"
    """Where the run is dispatched."""
    parted: int = 0
    """The epoch whose slice ended in order, if the run has gone on from one: the next repeats nothing."""
    longest: int = 0
    """Milliseconds that the longest node of its slices has taken."""
    head: str | None = None
    """The newest checkpoint of the root namespace: what `latest` means."""
    chain: str | None = None
    """The root that the head builds on: whoever reads the head need not look further back."""
    newest: str | None = None
    """The highest checkpoint id of any namespace: later ids must be above it."""
    pruned: int = 0
    """Counts prunings: whoever reads many records finds out that some went meanwhile."""
    deleted: int | None = None
    """When the thread was deleted; the item stays as its tombstone."""
    draft: str | None = None
    """Random token of who writes a thread that nobody sees yet; until then it counts as deleted."""
    purged: bool = False
    """Nothing of the deleted thread is left; its id may be used again."""

    @property
    def free(self) -> bool:
        """Whether no run is in flight."""
        return self.run is None

    @property
    def usage(self) -> Usage:
        """What the run has used, as far as it has committed."""
        return Usage(
            input_tokens=self.input_tokens, output_tokens=self.output_tokens, micro_usd=self.micro_usd
        )

    def using(self, usage: Usage) -> Lease:
        """Give the lease of a run that has used this much."""
        return replace(
            self,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            micro_usd=usage.micro_usd,
        )

    @property
    def ready(self) -> int:
        """Since when a run that nobody has claimed yet, or for its next slice, could be executed."""
        return self.until - (SLICE_GRACE_MS if self.parted else GRACE_MS)

    @property
    def orderly(self) -> bool:
        """Whether this claim goes on where a slice ended in order, and nobody was in between."""
        return self.parted > 0 and self.epoch == self.parted + 1

    @property
    def resumed(self) -> bool:
        """Whether this claim, which has written nothing yet, goes on where a worker was lost."""
        return self.started < self.until - LEASE_MS and not self.orderly

    def unclaimed(self, now: int) -> bool:
        """Whether nobody has the right to execute the run in flight."""
        return self.run is not None and (self.owner is None or self.until < now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an owner knows of the thread it may write: the fence of all its writes."""

    tenant: str
    thread_id: str
    run_id: str
    owner: str
    lease: Lease
    """The lease as this claim left it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continues:
    """What an execution gives whose run goes on in another slice, which is to be dispatched."""

    claim: Claim
    """The claim that has ended, with the lease as it left it."""
