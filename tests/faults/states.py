"""What a state of the model is: one thread, the requests to it, and the processes that work on it.

Everything is a tuple, so that millions of states can be compared and remembered. A time is a
truth about it: `live` says that `until` has not passed, `early` that `due` has not.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Kind = Literal[
    "enqueue", "reject", "interrupt", "rollback", "delayed", "in place", "yielding", "assumed",
    "repeat", "edit", "cancel", "revoke", "forget", "delete", "create",
]  # fmt: skip
"""What a request asks for.

The first four are runs with that multitask strategy. `delayed` is an enqueued run that is due
later, `in place` one that its requester executes if the thread is free, `yielding` such a one that the
next run interrupts once it executes, `assumed` such a one that was started before its assistant was read and
has to be settled: written again, to stay readable. `repeat` is one with the idempotency key of the first request. `edit` writes state. `cancel` and `revoke` stop a run, the
latter with action rollback; `forget` deletes a finished one. `delete` and `create` are the thread's.
"""

RUNS: Final[frozenset[Kind]] = frozenset(
    ("enqueue", "reject", "interrupt", "rollback", "delayed", "in place", "yielding", "assumed", "repeat")
)

Cancel = Literal["", "interrupt", "rollback"]
Status = Literal[
    "", "pending", "running", "success", "error", "interrupted", "removed", "forgotten", "refused", "gone"
]
"""A run is `gone` whose rows went with its end, for nobody was to read them."""
ROWS: Final[frozenset[Status]] = frozenset(("pending", "running", "success", "error", "interrupted"))
"""The statuses of a run that has a row."""
UNFINISHED: Final[frozenset[Status]] = frozenset(("pending", "running"))

NOBODY: Final = -1
"""No run."""

Place = tuple[int, int] | None
"""The name of a record: the request that wrote it, and its superstep; None is before the first."""


class Record(NamedTuple):
    """A checkpoint on the root line."""

    run: int
    step: int
    parent: Place

    @property
    def place(self) -> Place:
        """Its name."""
        return (self.run, self.step)


class Lease(NamedTuple):
    """The lease item; what `crewline.models.leases` says of each field holds here."""

    run: int = NOBODY
    owner: int = 0
    live: bool = False
    cancel: Cancel = ""
    upto: int = 0
    drop: Cancel = ""
    waiting: int = 0
    seq: int = 0
    attempt: int = 0
    steps: int = 0
    """Above zero, the run is fed: both are written by its first commit."""
    yields: bool = False
    base: Place = None
    keep: bool = False
    """The run's rows stay when it has ended; said when it is settled."""
    execution: int = 0
    """Above zero, the run is in the workflow: which execution of it counts."""
    undo: bool = False
    """A rollback has begun: the run's records are hidden and going."""
    head: Place = None
    deleted: int = 0
    purged: bool = False


class Run(NamedTuple):
    """A request's row, queue marker and idempotency item; and what was asked of it, for the invariants."""

    status: Status = ""
    seq: int = 0
    marker: bool = False
    early: bool = False
    keyed: bool = False
    asked: Cancel = ""
    settled: bool = False
    """It was written again with what its assistant says; of an assumed one alone."""


class View(NamedTuple):
    """What somebody has read of the lease, and rests a later write on."""

    run: int
    seq: int
    waiting: int
    cancel: Cancel
    upto: int
    drop: Cancel
    yields: bool
    """The run yields, and has been claimed."""
    head: Place
    deleted: int


class Worker(NamedTuple):
    """A process that has claimed a run; its token need only differ from those in use."""

    owner: int
    run: int
    step: int
    failing: bool = False
    """The run ends as an error: it was claimed too often, or its message was given up."""
    shown: bool = True
    """The row says that the run is executed; a write of its own, beside loading."""
    execution: int = 0
    """Which execution of the workflow waits for its answer; none for a message."""
    settles: bool = False
    """It has read a row that is to be settled."""
    keep: bool = False
    """What it knows of the lease's: whether the rows stay."""
    view: View | None = None
    """What it rests its finish on, when it stopped in between."""


class Purger(NamedTuple):
    """A delivery of a purge message at work, for the deletion that it found on the lease."""

    deleted: int
    empty: bool = False
    """It has seen that nothing is left, and stopped before it says so."""


Stage = Literal[
    "open", "dispatch", "cancel active", "cancel queued", "claim", "forget", "purge", "done"
]  # fmt: skip


class Client(NamedTuple):
    """A process that answers a request, between its writes."""

    stage: Stage = "open"
    target: int = NOBODY
    """The run that it acts on, when that is not its own."""
    view: View | None = None


class Executions(NamedTuple):
    """The workflow: what was started, and what of it goes on."""

    started: tuple[tuple[int, int], ...] = ()
    """Run and number of every one: a name is used once."""
    living: tuple[tuple[int, int], ...] = ()


class Budget(NamedTuple):
    """What may still go wrong."""

    crashes: int = 0
    expiries: int = 0
    """A lease expires while its owner lives."""
    duplicates: int = 0
    pauses: int = 0
    """A process stops between what it has read and what it writes."""
    slices: int = 0
    """Not a fault: how often a worker ends its slice before the run has ended."""


class State(NamedTuple):
    """Everything, at one moment."""

    lease: Lease
    runs: tuple[Run, ...]
    log: tuple[Record, ...]
    """The records on the root line, in the order of their commits."""
    messages: tuple[int, ...]
    executions: Executions
    purges: int
    workers: tuple[Worker, ...]
    purgers: tuple[Purger, ...]
    clients: tuple[Client, ...]
    budget: Budget


def look(lease: Lease) -> View:
    """Read the lease."""
    return View(
        lease.run,
        lease.seq,
        lease.waiting,
        lease.cancel,
        lease.upto,
        lease.drop,
        lease.yields and lease.owner > 0,
        lease.head,
        lease.deleted,
    )
