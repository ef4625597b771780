"""The lease of a deleted thread: it fences off whoever still executes a run, until nothing of the thread is left.

Each action is one conditional write with its timeline above. A stateless run's thread becomes one in
the transaction that ends the run: see `leases.entomb`.
"""

from __future__ import annotations

from crewline.store import keys, leases
from crewline.store.changes import Check, Update


def bury(tenant: str, thread_id: str, *, now: int, idle: bool = False) -> Update:
    """Turn the lease into the tombstone of a deleted thread.

    ```
    W1: runs ── D: bury ──▶ no owner, epoch+1 ── W1: commit ──✗ no owner is not its owner: nothing it writes is ever seen
    D: bury, dies before the purge message ── the tombstone stays in the index of leases in flight: the sweeper sends it
    S: finds it expired ─ R: start ── S: bury, idle ──✗ a run is in flight: it stays
    ```

    Args:
        tenant: Whose thread.
        thread_id: The thread.
        now: The time.
        idle: Only while no run is in flight.
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        set={"deleted": now, **keys.in_flight(thread_id, now)},
        add={"epoch": 1},
        remove=leases.OF_THE_LIVING,
        condition="attribute_not_exists(#deleted)" + (" AND attribute_not_exists(#run)" if idle else ""),
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
    indexes = (keys.LEASES_IN_FLIGHT, keys.THREADS_EXPIRING)
    return Update(
        key=keys.lease(tenant, thread_id),
        set={"purged": True, keys.TTL: ends_at_s},
        remove=tuple(name for index in indexes for name in (index.partition, index.sort)),
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
