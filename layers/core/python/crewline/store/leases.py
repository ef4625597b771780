"""The lease item: each action on it is one conditional write, with its timeline above.

The writes are returned as values, together with the lease as they leave it: whoever acts puts
them into its transaction. A writer knows every value it writes, because it has read or chosen
it, and conditions make sure that nobody was in between; see docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from crewline.models.leases import GRACE_MS, LEASE_MS, Claim, Lease
from crewline.store import keys
from crewline.store.changes import Check, Update
from crewline.store.items import Item

_FIELDS: Final = tuple(field.name for field in fields(Lease))
_RUN_FIELDS: Final = (
    "run",
    "owner",
    "until",
    "due",
    "cancel",
    "upto",
    "drop",
    "attempt",
    "base",
    "fed",
    "steps",
    "execution",
    "channel",
)
"""What the lease says of the run in flight; gone when the thread is free."""

_MINE: Final = "#owner = :owner"


def from_item(item: Mapping[str, Any] | None) -> Lease:
    """Read a lease item; None is the lease of a thread that never ran."""
    return Lease(**{name: item[name] for name in _FIELDS if name in item}) if item else Lease()


def start(
    tenant: str,
    thread_id: str,
    lease: Lease,
    *,
    run_id: str,
    now: int,
    owner: str | None = None,
    due: int = 0,
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

    Returns:
        The write, and the lease as it leaves it.
    """
    after = replace(
        lease,
        run=run_id,
        owner=owner,
        epoch=lease.epoch + 1,
        until=now + LEASE_MS if owner else max(now, due) + GRACE_MS,
        due=due,
        cancel=None,
        upto=None,
        drop=None,
        seq=lease.seq + 1,
        attempt=1 if owner else 0,
        base=lease.head,
        fed=False,
        steps=0,
        execution=0,
        channel="queue",
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


def claim(tenant: str, thread_id: str, *, run_id: str, owner: str, now: int) -> Update:
    """Take the right to execute a run that nobody executes.

    ```
    W1: claim ──▶ owner w1, until t+30
    W2: ── claim ──✗ owner present and not expired          (a duplicate message)
    W1: dies ············ until passes
    W2: ──────────────────────────── claim ──▶ owner w2, epoch+1; every later write of W1 is refused
    ```

    Args:
        tenant: Whose thread.
        thread_id: The thread.
        run_id: The run that a message named.
        owner: A new random token.
        now: The time.

    Returns:
        The write; its answer is the whole lease.
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        set={"owner": owner, "until": now + LEASE_MS},
        add={"epoch": 1, "attempt": 1},
        condition=(
            "#run = :run AND (attribute_not_exists(#owner) OR #until < :now) AND (attribute_not_exists(#due) OR #due <= :now)"
        ),
        parameters={"run": run_id, "now": now},
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
    claim_: Claim, *, head: str | None, newest: str | None, steps: int, now: int, ending: bool = False
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
        newest: The highest checkpoint id of any namespace, with these records.
        steps: Supersteps of the run, with these records.
        now: The time.
        ending: The run is being finished, and a cancel changes nothing any more.

    Returns:
        The write, and the lease as it leaves it.
    """
    lease = replace(
        claim_.lease, head=head, newest=newest, until=now + LEASE_MS, fed=True, steps=steps, attempt=0
    )
    changed = {name: value for name, value in _spell(lease).items() if name in _COMMITTED}
    update = Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set=changed,
        condition=_MINE if ending else f"{_MINE} AND attribute_not_exists(#cancel)",
        parameters={"owner": claim_.owner},
    )
    return update, lease


_COMMITTED: Final = frozenset(("head", "newest", "until", "fed", "steps", "attempt"))


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


def finish(claim_: Claim, *, head: str | None, newest: str | None) -> tuple[Update, Lease]:
    """Free the thread, in the transaction that ends its run.

    ```
    W1: finish ──▶ free
    W1: reads seq 7 ── B: queue ──▶ seq 8 ── W1: finish ──✗ seq moved: W1 reads again and hands over to B
    W1: stalls ── W2: claim ── W1: finish ──✗ owner is w2
    W1: commit lands, its answer is lost ── W1: finish ──✗ head moved: W1 takes over the head that is there
    ```

    Args:
        claim_: The claim, with the lease as this owner last knew it.
        head: The newest checkpoint of the root namespace, last records included.
        newest: The highest checkpoint id of any namespace, last records included.

    Returns:
        The write, and the lease as it leaves it.
    """
    lease = replace(
        Lease(),
        epoch=claim_.lease.epoch,
        waiting=claim_.lease.waiting,
        seq=claim_.lease.seq,
        head=head,
        newest=newest,
    )
    update = Update(
        key=keys.lease(claim_.tenant, claim_.thread_id),
        set={"head": head, "newest": newest},
        remove=(*_RUN_FIELDS, keys.LEASES_IN_FLIGHT.partition, keys.LEASES_IN_FLIGHT.sort),
        condition=" AND ".join(
            (
                _MINE,
                "#seq = :seq",
                _as_read("waiting", claim_.lease.waiting or None),
                _as_read("head", claim_.lease.head),
            )
        ),
        parameters={
            "owner": claim_.owner,
            **_given(seq=claim_.lease.seq, waiting=claim_.lease.waiting or None, head=claim_.lease.head),
        },
    )
    return update, lease


def bury(tenant: str, thread_id: str, *, now: int) -> Update:
    """Turn the lease into the tombstone of a deleted thread.

    ```
    W1: runs ── D: bury ──▶ no owner, epoch+1 ── W1: commit ──✗ no owner is not its owner: nothing it writes is ever seen
    D: bury, dies before the purge message ── the tombstone stays in the index of leases in flight: the sweeper sends it
    ```
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        set={"deleted": now, **keys.in_flight(thread_id, now)},
        add={"epoch": 1},
        remove=(*_RUN_FIELDS, "head", "newest", "waiting"),
        condition="attribute_not_exists(#deleted)",
    )


def still_buried(tenant: str, thread_id: str, *, deleted: int) -> Check:
    """Let a purge remove only what belonged to the thread that it was sent for.

    ```
    P1: purges all, marks ── X: creates the same id ── P2 (duplicate): remove ──✗ that thread is alive
    ```
    """
    return Check(
        key=keys.lease(tenant, thread_id),
        condition="#deleted = :deleted AND attribute_not_exists(#purged)",
        parameters={"deleted": deleted},
    )


def lay_to_rest(tenant: str, thread_id: str, *, deleted: int, ends_at_s: int) -> Update:
    """Mark that nothing of a deleted thread is left; the tombstone itself ends by TTL.

    ```
    P1: purge all ── P2 (duplicate): purge all ── P1: mark ── X: create the same id ── P2: mark ──✗ not deleted any more
    … X: delete it again ── P2: mark ──✗ that is another deletion, with leftovers of its own
    ```
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        set={"purged": True, keys.TTL: ends_at_s},
        remove=(keys.LEASES_IN_FLIGHT.partition, keys.LEASES_IN_FLIGHT.sort),
        condition="#deleted = :deleted AND attribute_not_exists(#purged)",
        parameters={"deleted": deleted},
    )


def unearth(tenant: str, thread_id: str) -> Update:
    """Let a thread's id be used, for the first time or after its purge; the epoch goes on.

    ```
    X: create ──✗ deleted and not yet purged: 409, try again in a moment
    ```
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        add={"epoch": 1},
        remove=("deleted", "purged", keys.TTL),
        condition="attribute_not_exists(#deleted) OR attribute_exists(#purged)",
    )


def _spell(lease: Lease) -> Item:
    """Spell a lease as attributes; what is absent, zero or false is None and so removed."""
    return {name: getattr(lease, name) or None for name in _FIELDS}


def _as_read(name: str, value: object) -> str:
    return f"attribute_not_exists(#{name})" if value is None else f"#{name} = :{name}"


def _given(**values: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}
