"""The lease of a draft: a thread that is being written and that nobody sees yet.

A draft looks like a deleted thread whose purge is not over: nothing finds it, its id cannot be used,
and the sweeper has what is left of it purged when nobody completes it. Each action is one write.
"""

from __future__ import annotations

from typing import Final

from crewline.models.leases import DRAFT_MS, Lease
from crewline.store import keys
from crewline.store.changes import Check, Update

_MINE: Final = "#draft = :draft"


def begin(tenant: str, thread_id: str, *, token: str, now: int) -> Update:
    """Reserve an id, together with the check that no thread has it.

    ```
    A: begin ──▶ draft a ── writes ── complete ──▶ the thread is there, whole
    A: begin ── writes ── dies ··· 16 min ··· sweeper sends the purge ── P: give up ── removes all ──▶ id free
    B: begin ──✗ A's draft, or a thread that was deleted: 409, try again in a moment
    ```
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        set={"deleted": now, "draft": token, **keys.in_flight(thread_id, now + DRAFT_MS)},
        add={"epoch": 1},
        remove=("purged", keys.TTL),
        condition="attribute_not_exists(#deleted) OR attribute_exists(#purged)",
    )


def unfinished(tenant: str, thread_id: str, *, token: str) -> Check:
    """Let a group be written only while its draft is.

    ```
    A: stalls ··· P: give up ──▶ no draft ── removes all ── A: writes ──✗ not its draft any more: nothing stays behind
    ```
    """
    return Check(key=keys.lease(tenant, thread_id), condition=_MINE, parameters={"draft": token})


def complete(tenant: str, thread_id: str, *, token: str, lease: Lease) -> Update:
    """Make the thread visible, in the transaction that writes its row.

    ```
    A: complete ──▶ row and lease together      P: give up ──▶ ── A: complete ──✗ not its draft any more
    A: complete ──▶ ── P: give up ──✗ no draft any more
    ```

    Args:
        tenant: Whose thread.
        thread_id: The thread.
        token: Of the draft.
        lease: What it begins with: its head, chain, newest id and count of runs.
    """
    index = keys.LEASES_IN_FLIGHT
    return Update(
        key=keys.lease(tenant, thread_id),
        set={
            "head": lease.head,
            "chain": lease.chain,
            "newest": lease.newest,
            "seq": lease.seq or None,
        },
        remove=("deleted", "draft", index.partition, index.sort),
        condition=_MINE,
        parameters={"draft": token},
    )


def give_up(tenant: str, thread_id: str, *, token: str, now: int) -> Update:
    """Turn a draft into the tombstone of a deleted thread: nobody completes it any more.

    ```
    P1: give up ──▶ tombstone ── removes all      P2: give up ──✗ no draft any more: P2 goes on as for any tombstone
    ```
    """
    return Update(
        key=keys.lease(tenant, thread_id),
        set=keys.in_flight(thread_id, now),
        remove=("draft",),
        condition=_MINE,
        parameters={"draft": token},
    )
