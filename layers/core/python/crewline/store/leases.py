"""The lease item: each action on it is one conditional write, with its timeline above.

The writes are returned as values, together with the lease as they leave it: whoever acts puts
them into its transaction. A writer knows every value it writes, because it has read or chosen
it, and conditions make sure that nobody was in between; see docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from crewline.models.leases import (
    GRACE_MS,
    LEASE_MS,
    MOST_WAITING,
    SLICE_GRACE_MS,
    Cancel,
    Claim,
    Lease,
    Rest,
)
from crewline.models.runs import MultitaskStrategy, Usage
from crewline.store import keys
from crewline.store.changes import Check, Update
from crewline.store.items import Item
from crewline.store.markers import Marker
from crewline.store.table import Table

_FIELDS: Final = tuple(field.name for field in fields(Lease))
_THREAD_FIELDS: Final = frozenset(
    (
        "epoch",
        "seq",
        "waiting",
        "head",
        "chain",
        "newest",
        "pruned",
        "deleted",
        "purged",
        "private",
        "keep_s",
    )
)
_RUN_FIELDS: Final = tuple(name for name in _FIELDS if name not in _THREAD_FIELDS)
"""What the lease says of the run in flight; gone when the thread is free."""
OF_THE_LIVING: Final = (*_RUN_FIELDS, "head", "chain", "newest", "pruned", "waiting", "private", "keep_s")
"""What a lease says no more when its thread is deleted."""
_SPENT: Final = frozenset(field.name for field in fields(Usage))
_IN_FLIGHT: Final = (keys.LEASES_IN_FLIGHT.partition, keys.LEASES_IN_FLIGHT.sort)

_NEW: Final = Lease()
_MINE: Final = "#owner = :owner"


def from_item(item: Mapping[str, Any] | None) -> Lease:
    """Read a lease item; None is the lease of a thread that never ran."""
    return Lease(**{name: item[name] for name in _FIELDS if name in item}) if item else Lease()


def read_many(table: Table, tenant: str, thread_ids: Sequence[str]) -> list[Lease]:
    """Read the leases of some threads, strongly consistent.

    Raises:
        Unavailable: DynamoDB did not answer.
    """
    return [from_item(item) for item in table.get_many([keys.lease(tenant, one) for one in thread_ids])]


# ------------------------------------------------------------------ how a run comes to be in flight


def start(
    tenant: str,
    thread_id: str,
    lease: Lease,
    *,
    run_id: str,
    now: int,
    owner: str | None = None,
    due: int = 0,
    was: Rest = "idle",
    yields: bool = False,
) -> tuple[Update, Lease]:
    """Put a run in flight on a free thread; with an owner, claim it in the same write.

    ```
    A: read lease (free, epoch 4) ── start ──▶ epoch 5, run a
    B: read lease (free, epoch 4) ─────────── start ──✗ run present: B reads again, and queues or refuses
    C: read lease (head h1) ─ D: edit, head h2 ── start ──✗ head moved: a rollback would return past the edit
    E: read lease (free, epoch 4) ─ F: start and finish, epoch 5 ── start ──✗ epoch moved: seq and head may have, too
    ```

    Args:
        tenant: Whose thread.
        thread_id: The thread.
        lease: The lease as it was read; free and not deleted.
        run_id: The run.
        now: The time.
        owner: The token of the claim, for a run that executes in place.
        due: When a delayed run may begin.
        was: The thread's status before.
        yields: The next run interrupts it.

    Returns:
        The write, and the lease as it leaves it.
    """
    after = replace(
        _freed(lease),
        run=run_id,
        turn=lease.seq + 1,
        owner=owner,
        epoch=lease.epoch + 1,
        until=now + LEASE_MS if owner else max(now, due) + GRACE_MS,
        due=due,
        seq=lease.seq + 1,
        attempt=1 if owner else 0,
        base=lease.head,
        was=was,
        started=now if owner else 0,
        yields=yields,
    )
    update = Update(
        key=keys.lease(tenant, thread_id),
        set={**_spell(after), **keys.in_flight(thread_id, max(now, due))},
        condition=" AND ".join(
            (
                "attribute_not_exists(#run)",
                "attribute_not_exists(#deleted)",
                _as_read("epoch", lease.epoch or None),
                _as_read("head", lease.head),
            )
        ),
        parameters=_given(epoch=lease.epoch or None, head=lease.head),
    )
    return update, after


def queue(tenant: str, thread_id: str, lease: Lease, *, strategy: MultitaskStrategy, now: int) -> Update:
    """Accept a run on a busy thread: its marker has the turn `lease.seq + 1`.

    ```
    A: read (run r, seq 7) ── queue ──▶ seq 8, waiting 1        r: finish ──✗ seq moved: r reads again, and hands over
    B: read (run r, seq 7) ─────── queue ──✗ seq moved: B reads again     C: read ─ r: finish ─ queue ──✗ free: C starts
    D: queue, interrupt ──▶ cancel set ── r: commit ──✗ cancelled: r finishes, and those before D are superseded
    E: queue (r yields) ──▶ cancel set: r ends, whether its client is still there or not, and those before E have their turn
    F: read (r yields) ── r: finish, hands over to q ── F: queue ──✗ another run: q may not yield, or has not begun
    ```

    Args:
        tenant: Whose thread.
        thread_id: The thread.
        lease: The lease as it was read; a run is in flight.
        strategy: `interrupt` and `rollback` also stop the run in flight and supersede those that wait;
            `enqueue` stops it if it yields and has begun.
        now: The time.

    Returns:
        The write.
    """
    turn = lease.seq + 1
    change: dict[str, Any] = {"seq": turn}
    once: dict[str, Any] = {}
    conditions = [
        "attribute_exists(#run) AND attribute_not_exists(#private) AND #seq = :seq",
        "(attribute_not_exists(#waiting) OR #waiting < :most)",
    ]
    parameters: dict[str, str | int] = {"seq": lease.seq, "most": MOST_WAITING}
    if strategy == "interrupt":
        once = {"cancel": "interrupt"}  # a rollback that somebody asked for stays one
        change |= {"upto": turn, "drop": "interrupt", **keys.in_flight(thread_id, now)}
    elif strategy == "rollback":
        change |= {
            "cancel": "rollback",
            "upto": turn,
            "drop": "rollback",
            **keys.in_flight(thread_id, now),
        }
    elif lease.run and lease.yields and lease.owner:
        once = {"cancel": "interrupt"}
        conditions.append("#run = :run")  # a hand-over does not move `seq`
        parameters["run"] = lease.run
    return Update(
        key=keys.lease(tenant, thread_id),
        set=change,
        once=once,
        add={"waiting": 1},
        condition=" AND ".join(conditions),
        parameters=parameters,
    )


def unqueue(tenant: str, thread_id: str) -> Update:
    """Count one marker less, in the transaction that removes it.

    ```
    C: cancel queued q ──▶ marker gone, waiting-1 ── r: finish ──✗ waiting moved: r reads the markers again
    r: finish, hands over to q ──▶ marker gone ── C: cancel queued q ──✗ no marker: q is in flight, C cancels that
    ```
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        add={"waiting": -1},
        condition="attribute_exists(#run) AND #waiting > :none",
        parameters={"none": 0},
    )


# ------------------------------------------------------------------ what its owner does


def claim(
    tenant: str, thread_id: str, *, run_id: str, owner: str, now: int, execution: int | None = None
) -> Update:
    """Take the right to execute a run that nobody executes.

    ```
    W1: claim ──▶ owner w1, until t+30
    W2: ── claim ──✗ owner present and not expired          (a duplicate message)
    W1: dies ············ until passes
    W2: ──────────────────────────── claim ──▶ owner w2, epoch+1; every later write of W1 is refused
    W3: (run is due at t+60) claim ──✗ not due      C: cancel ──▶ cancel set ── claim ──▶ to end it, due or not
    X1: (workflow, execution 1) ── S: move ──▶ execution 2 ── X1: claim ──✗ X2 goes on with it
    ```

    Args:
        tenant: Whose thread.
        thread_id: The thread.
        run_id: The run that a message named.
        owner: A new random token.
        now: The time.
        execution: The execution of the workflow that asks; without it, somebody else does.

    Returns:
        The write; its answer is the whole lease.
    """
    counts = " AND (attribute_not_exists(#execution) OR #execution <= :execution)" if execution else ""
    return Update(
        key=keys.lease(tenant, thread_id),
        set={"owner": owner, "until": now + LEASE_MS},
        once={"started": now},
        add={"epoch": 1, "attempt": 1},
        condition=(
            "#run = :run AND (attribute_not_exists(#owner) OR #until < :now)"
            f" AND (attribute_not_exists(#due) OR #due <= :now OR attribute_exists(#cancel)){counts}"
        ),
        parameters={"run": run_id, "now": now, **_given(execution=execution)},
    )


def own(tenant: str, thread_id: str, *, owner: str) -> Update:
    """Take a free thread for a checkpointer that is used alone; whoever owned it before is fenced off.

    ```
    A: own ──▶ owner a ── commit      B: own ──▶ owner b      A: ── commit ──✗ owner is b
    R: start ──▶ a run is in flight   A: own ──✗ it is the run's
    ```
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        set={"owner": owner},
        add={"epoch": 1},
        condition="attribute_not_exists(#run) AND attribute_not_exists(#deleted)",
    )


def commit(
    claim_: Claim,
    *,
    head: str | None,
    chain: str | None,
    newest: str | None,
    steps: int,
    now: int,
    usage: Usage | None = None,
    ending: bool = False,
) -> tuple[Update, Lease]:
    """Fence a group of checkpoint records, move the head to them and renew the lease.

    ```
    W1: commit h5 ──▶ head h5
    W1: stalls ········ until passes ── W2: claim
    W1: ─────────────────────────────────────── commit h6 ──✗ owner is w2: W1 stops
    C:  cancel ──▶ cancel set ── W1: commit h6 ──✗ cancelled: the same records go into the finish
    ```

    Args:
        claim_: The claim, with the lease as this owner last left it.
        head: The newest checkpoint of the root namespace, with these records.
        chain: The root that it builds on.
        newest: The highest checkpoint id of any namespace, with these records.
        steps: Supersteps of the run, with these records.
        now: The time.
        usage: What the run has used so far; None when nothing more is known.
        ending: The run is being finished, and a cancel changes nothing any more.

    Returns:
        The write, and the lease as it leaves it.
    """
    lease = replace(
        claim_.lease,
        head=head,
        chain=chain,
        newest=newest,
        until=now + LEASE_MS,
        fed=True,
        steps=steps,
        attempt=0,
    ).using(usage or claim_.lease.usage)
    changed = {name: value for name, value in _spell(lease).items() if name in _COMMITTED}
    update = Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set=changed,
        condition=_MINE if ending else f"{_MINE} AND attribute_not_exists(#cancel)",
        parameters={"owner": claim_.owner},
    )
    return update, lease


_COMMITTED: Final = frozenset(("head", "chain", "newest", "until", "fed", "steps", "attempt", *_SPENT))


def heartbeat(claim_: Claim, *, now: int) -> Update:
    """Renew a claim during a long node; the answer brings a cancel that somebody asked for.

    ```
    W1: commit ·· 5 s ·· heartbeat ──▶ until renewed ·· heartbeat ──✗ owner is w2: W1 cancels its task
    ```
    """
    return Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set={"until": now + LEASE_MS},
        condition=_MINE,
        parameters={"owner": claim_.owner},
    )


def held(claim_: Claim) -> Check:
    """Let a write beside the lease through only while a claim holds.

    ```
    W1: stalls ── W2: claim ── W1: write ──✗ owner is w2
    ```
    """
    return Check(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        condition=_MINE,
        parameters={"owner": claim_.owner},
    )


def keep(claim_: Claim, *, keep_s: int) -> Update:
    """Let the rows of a stateless run stay readable for longer, while a claim on it holds.

    ```
    W1: stalls ── W2: claim ── W1: keep ──✗ owner is w2
    W1: keep ── W1: dies ── W2: claim ──▶ W2 finds that they are to stay
    ```
    """
    return Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set={"keep_s": keep_s},
        condition=_MINE,
        parameters={"owner": claim_.owner},
    )


def end_slice(claim_: Claim, *, longest: int, now: int, usage: Usage | None = None) -> tuple[Update, Lease]:
    """Give a run back that is to go on in the workflow: an orderly end of a slice is progress.

    ```
    W1: commit ── end slice ──▶ unclaimed, attempt 0 ── dispatch ── W2: claim, at head
    W1: end slice ──▶ ── dies before the dispatch ··· until passes ── sweeper dispatches it
    W1: stalls ── W2: claim ── W1: end slice ──✗ owner is w2
    C: cancel ──▶ W1: end slice ──▶ the cancel stays: W2 claims, and ends the run
    W1: stalls ── sweeper: move ──▶ execution 2 ── W1: commit ── end slice ──▶ execution 2 stays: the first gives way
    ```

    Args:
        claim_: The claim.
        longest: Milliseconds that the longest node of the run has taken so far.
        now: The time.
        usage: What the run has used so far, also for what was given up; None when nothing more is known.

    Returns:
        The write, and the lease as it leaves it if nobody has counted another execution since.
    """
    lease = replace(
        claim_.lease,
        owner=None,
        until=now + SLICE_GRACE_MS,
        attempt=0,
        channel="workflow",
        execution=max(1, claim_.lease.execution),
        parted=claim_.lease.epoch,
        longest=longest,
    ).using(usage or claim_.lease.usage)
    update = Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set={
            "until": lease.until,
            "channel": lease.channel,
            "parted": lease.parted,
            "longest": lease.longest,
            **{name: value for name, value in _spell(lease).items() if name in _SPENT},
        },
        once={"execution": lease.execution},
        remove=("owner", "attempt"),
        condition=_MINE,
        parameters={"owner": claim_.owner},
    )
    return update, lease


def move(tenant: str, thread_id: str, lease: Lease) -> tuple[Update, Lease]:
    """Count another execution of the workflow for a run that nobody executes: the name of one is used once.

    ```
    S: reads lease (execution 1) ── move ──▶ execution 2 ── starts run-2 ··· run-1 finds 2, and ends
    S: reads lease (execution 1) ── T: move ──▶ ── S: move ──✗ execution moved: T starts it
    S: move ──▶ ── dies before the start ··· the next sweep counts on
    S: reads lease ── W: claim ── S: move ──✗ epoch moved: somebody executes it
    ```

    Args:
        tenant: Whose run.
        thread_id: Its thread.
        lease: The lease, as it was read.

    Returns:
        The write, and the lease as it leaves it.
    """
    moved = replace(lease, execution=lease.execution + 1)
    update = Update(
        key=keys.lease(tenant, thread_id),
        set={"execution": moved.execution},
        condition=" AND ".join(
            ("#run = :run", "#epoch = :epoch", _as_read("execution", lease.execution or None))
        ),
        parameters=_given(run=lease.run, epoch=lease.epoch, execution=lease.execution or None),
    )
    return update, moved


# ------------------------------------------------------------------ how it ends


def cancel(tenant: str, thread_id: str, *, run_id: str, action: Cancel, now: int) -> Update:
    """Ask the run in flight to stop; the answer is the whole lease, which tells who must end it.

    ```
    C: cancel ──▶ cancel set ── W1: commit ──✗ · heartbeat brings it · finish ──✗ cancel moved: W1 decides again
    C: cancel ──▶ unclaimed and not fed: C claims it and finishes it itself
    W1: finish ──▶ ── C: cancel ──✗ another run, or none: C looks again
    ```
    """
    asked = {"cancel": action}
    return Update(
        key=keys.lease(tenant, thread_id),
        # A delayed run is in the sweeper's index under the time at which it is due: not so when it is to end.
        set={**(asked if action == "rollback" else {}), **keys.in_flight(thread_id, now)},
        once=asked if action == "interrupt" else {},
        condition="#run = :run",
        parameters={"run": run_id},
    )


def undo(claim_: Claim, *, now: int) -> tuple[Update, Lease]:
    """Return the head to where it was before the run; what the run wrote is removed after this.

    ```
    W1: undo ──▶ head base ── removes a record ── dies ··· W2: claim ── undo ──▶ again ── removes the rest ── finish
    W1: stalls ── W2: claim, undo, finish, next run commits ── W1: removes: only what that run had written
    ```
    """
    # The root that the base builds on is not known any more: until the next one, readers look for it.
    lease = replace(claim_.lease, head=claim_.lease.base, chain=None, undoing=True, until=now + LEASE_MS)
    update = Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set={"head": lease.head, "chain": None, "undoing": True, "until": lease.until},
        condition=f"{_MINE} AND #cancel = :rollback",
        parameters={"owner": claim_.owner, "rollback": "rollback"},
    )
    return update, lease


def finish(
    claim_: Claim,
    *,
    head: str | None,
    chain: str | None,
    newest: str | None,
    rest: Rest,
    now: int,
    waiting: int = 0,
    following: Marker | None = None,
) -> tuple[Update, Lease]:
    """Free the thread, or hand it over to the run that waits longest, in the transaction that ends a run.

    ```
    W1: finish ──▶ free
    W1: reads seq 7 ── B: queue ──▶ seq 8 ── W1: finish ──✗ seq moved: W1 reads again and hands over to B
    W1: stalls ── W2: claim ── W1: finish ──✗ owner is w2
    W1: commit lands, its answer is lost ── W1: finish ──✗ head moved: W1 takes over the head that is there
    W1: reads no cancel ── C: cancel, rollback ── W1: finish ──✗ cancel moved: W1 rolls back instead
    W1: hands over to B ── dies before the message ··· until passes ── sweeper sends it
    ```

    Args:
        claim_: The claim, with the lease as this owner last knew it.
        head: The newest checkpoint of the root namespace, last records included.
        chain: The root that it builds on.
        newest: The highest checkpoint id of any namespace, last records included.
        rest: What the run leaves the thread as.
        now: The time.
        waiting: Markers that are left.
        following: The marker of the run that is next.

    Returns:
        The write, and the lease as it leaves it.
    """
    before = claim_.lease
    lease = replace(_freed(before), head=head, chain=chain, newest=newest, waiting=waiting)
    index: dict[str, str | None] = dict.fromkeys(_IN_FLIGHT)
    if following:
        lease = replace(
            lease,
            run=following.run_id,
            turn=following.turn,
            epoch=before.epoch + 1,
            until=max(now, following.due) + GRACE_MS,
            due=following.due,
            yields=following.yields,
            base=head,
            was=rest,
        )
        index |= keys.in_flight(claim_.thread_id, max(now, following.due))
    update = Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set={**_spell(lease), **index},
        condition=_unmoved(before),
        parameters=_unmoved_values(claim_),
    )
    return update, lease


def entomb(claim_: Claim, *, now: int, purge_at: int) -> Update:
    """Turn the lease of a private thread into its tombstone, in the transaction that ends its run.

    ```
    W1: entomb ──▶ no thread any more; its rows answer until the purge ── C: cancel ──✗ no run
    W1: reads no cancel ── C: cancel ── W1: entomb ──✗ cancel moved: W1 decides again
    S: reads the index (in flight) ── W1: entomb ── S: reads the lease ──▶ deleted, and its time is not over: it stays
    ```

    It is no more among what is in flight, which a cancellation of all reads whole: of these there may be many.
    """
    return Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set={"deleted": now, **keys.expiring(claim_.thread_id, purge_at)},
        add={"epoch": 1},
        remove=(*OF_THE_LIVING, *_IN_FLIGHT),
        condition=_unmoved(claim_.lease),
        parameters=_unmoved_values(claim_),
    )


def watch(tenant: str, thread_id: str, *, run_id: str, now: int) -> Update:
    """Ask the owner of a run to log all that it says; its next heartbeat brings it.

    ```
    F: watch ──▶ watch set ── W1: heartbeat ──▶ logs everything from here on      F: watch ──✗ another run, or none: read on
    ```
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        once={"watch": now},
        condition="#run = :run",
        parameters={"run": run_id},
    )


def not_in_flight(tenant: str, thread_id: str, *, run_id: str) -> Check:
    """Let a run's row be deleted only while nobody executes it.

    ```
    D: reads that r has ended ── D: delete row ──▶        r can never be in flight again
    D: (r waits, its marker is handed over) ── D: delete row ──✗ in flight: 409, cancel it first
    ```
    """
    return Check(
        key=keys.lease(tenant, thread_id),
        condition="attribute_not_exists(#run) OR #run <> :run",
        parameters={"run": run_id},
    )


# ------------------------------------------------------------------ the state without a run


def edit(
    tenant: str,
    thread_id: str,
    lease: Lease,
    *,
    head: str | None,
    chain: str | None,
    newest: str | None,
    pruning: bool = False,
) -> tuple[Update, Lease]:
    """Move the head of a free thread to records that the same transaction writes.

    ```
    A: read (free, head h1) ── edit ──▶ head h2      B: read (free, head h1) ── edit ──✗ head moved: B reads again
    A: read (free, head h1) ─ R: start ── edit ──✗ a run is in flight: 409
    R: read (free, head h1) ─ A: edit ── R: start ──✗ head moved: R reads again
    P: read (free, head h1) ── edit, pruning ──▶ h1 is a root ── removes what is older, while nobody else was there
    ```

    Args:
        tenant: Whose thread.
        thread_id: The thread.
        lease: The lease as it was read; free and not deleted.
        head: The newest checkpoint of the root namespace, with these records.
        chain: The root that it builds on.
        newest: The highest checkpoint id of any namespace, with these records.
        pruning: Records are about to go.

    Returns:
        The write, and the lease as it leaves it.
    """
    after = replace(
        lease,
        head=head,
        chain=chain,
        newest=newest,
        epoch=lease.epoch + 1,
        pruned=lease.pruned + pruning,
    )
    update = Update(
        key=keys.lease(tenant, thread_id),
        set={
            "head": head,
            "chain": chain,
            "newest": newest,
            "epoch": after.epoch,
            "pruned": after.pruned or None,
        },
        condition=" AND ".join(
            (
                "attribute_not_exists(#run)",
                "attribute_not_exists(#deleted)",
                _as_read("epoch", lease.epoch or None),
                _as_read("head", lease.head),
            )
        ),
        parameters=_given(epoch=lease.epoch or None, head=lease.head),
    )
    return update, after


def unmoved(tenant: str, thread_id: str, lease: Lease) -> Check:
    """Let records go only while nobody was on the thread since a pruning began.

    ```
    P: edit, pruning ──▶ epoch 5 ── removes a group ── R: start ──▶ epoch 6 ── P: removes ──✗ epoch moved: the rest stays
    ```
    """
    return Check(
        key=keys.lease(tenant, thread_id),
        condition="attribute_not_exists(#run) AND attribute_not_exists(#deleted) AND #epoch = :epoch",
        parameters={"epoch": lease.epoch},
    )


def _freed(lease: Lease) -> Lease:
    """Forget what the lease says of a run."""
    return replace(Lease(), **{name: getattr(lease, name) for name in _THREAD_FIELDS})


def _unmoved(lease: Lease) -> str:
    """Spell that the claim still holds and that nobody has asked for anything since it was read."""
    return " AND ".join(
        (
            _MINE,
            "#seq = :seq",
            "#waiting = :waiting"
            if lease.waiting
            else "(attribute_not_exists(#waiting) OR #waiting = :waiting)",
            _as_read("head", lease.head),
            _as_read("cancel", lease.cancel),
        )
    )


def _unmoved_values(claim_: Claim) -> dict[str, str | int]:
    lease = claim_.lease
    given = _given(seq=lease.seq, head=lease.head, cancel=lease.cancel)
    return {"owner": claim_.owner, "waiting": lease.waiting, **given}


def _spell(lease: Lease) -> Item:
    """Spell a lease as attributes; what is as in a new lease is None and so removed."""
    return {name: getattr(lease, name) for name in _FIELDS} | {
        name: None for name in _FIELDS if getattr(lease, name) == getattr(_NEW, name)
    }


def _as_read(name: str, value: object) -> str:
    return f"attribute_not_exists(#{name})" if value is None else f"#{name} = :{name}"


def _given(**values: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}
