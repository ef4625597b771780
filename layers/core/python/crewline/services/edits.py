"""Edits: a thread's state is changed without a run, in one write.

What the change makes of the state is worked out in memory, by the crew's own graph. It lands whole
or not at all: the records, the head and the thread's row are one transaction, refused when a run is
in flight or the head has moved since it was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from crewline.checkpoints.records import Sealed
from crewline.errors import BadRequest, NotFound, ThreadBusy, TooLarge, Unavailable
from crewline.models.clocks import Clock, iso, parse_id
from crewline.models.leases import Lease
from crewline.models.runs import CheckpointRef
from crewline.models.states import StateEdit, Superstep
from crewline.models.threads import Thread
from crewline.services.leases import progress
from crewline.services.recents import Recents
from crewline.services.threads import Threads, not_found
from crewline.store import keys, leases, threads
from crewline.store.changes import grouped
from crewline.store.records import Records
from crewline.store.table import Refused, Table

COPY_NODE: Final = "__copy__"
"""What LangGraph calls a node that leaves a state as it was at a checkpoint."""
_TRIES: Final = 5
"""How often an edit is worked out anew because another one was faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What an edit makes of a thread."""

    entries: Sequence[Sealed]
    """Its records and late writes, oldest first."""
    checkpoint: dict[str, Any]
    """The new checkpoint, as the API names it."""
    open_steps: bool
    """Whether nodes are next."""


class Editor(Protocol):
    """The engine as edits use it."""

    def edit(
        self,
        tenant: str,
        thread: Thread,
        lease: Lease,
        at: CheckpointRef,
        supersteps: Sequence[Superstep],
    ) -> Edited:
        """Work out an edit and write nothing; raises BadRequest when the graph refuses it."""


class Edits:
    """Edits of threads; safe for many threads."""

    def __init__(
        self,
        table: Table,
        records: Records,
        clock: Clock,
        *,
        threads: Threads,
        editor: Editor,
        recents: Recents,
    ) -> None:
        self._table = table
        self._records = records
        self._clock = clock
        self._threads = threads
        self._editor = editor
        self._recents = recents

    def edit(self, tenant: str, thread_id: str, body: StateEdit) -> dict[str, Any]:
        """Change the state of a thread as if a node had written it.

        Of two edits at once one is first; the other is worked out again on what that one has left.

        Returns:
            The new checkpoint, as the API answers it.

        Raises:
            InvalidRequest: The id is no UUID, or the thread's crew is not in this deployment.
            NotFound: There is no such thread.
            BadRequest: The thread has no crew yet, or its graph refuses the edit.
            ThreadBusy: A run is in flight.
            TooLarge: What the edit writes does not fit one transaction.
            Unavailable: DynamoDB or S3 did not answer, or other edits kept this one out.
        """
        thread_id, at = parse_id(thread_id, "thread"), body.at
        for _ in range(_TRIES):
            thread, lease = self._threads.read(tenant, thread_id)
            if not lease.free:
                raise _busy(thread_id, lease)
            if "graph_id" not in thread.metadata:
                raise BadRequest(
                    f"Thread {thread_id} has no crew yet; put graph_id into its metadata, or run it once."
                )
            edited = self._editor.edit(tenant, thread, lease, at, body.supersteps)
            if self._write(tenant, thread, lease, edited):
                return answer(edited.checkpoint)
        raise Unavailable(f"Other edits of thread {thread_id} kept this one out; try again in a moment.")

    def rollback(self, tenant: str, thread_id: str, checkpoint_id: str) -> None:
        """Let a thread go on from a checkpoint that it has been at: a new one, equal to that, becomes its head.

        History is never rewritten. What was next there is next again: a thread that had stopped at a question has
        stopped there again, and takes an answer.

        Raises:
            InvalidRequest: An id is no UUID, or the thread's crew is not in this deployment.
            NotFound: There is no such thread, or it has no such checkpoint.
            ThreadBusy: A run is in flight.
            Unavailable: DynamoDB or S3 did not answer, or other edits kept this one out.
        """
        checkpoint_id = parse_id(checkpoint_id, "checkpoint")
        thread, lease = self._threads.read(tenant, thread_id)
        seen = self._records.seen_under(lease)
        if seen.get(tenant, thread.thread_id, "", checkpoint_id) is None:
            raise NotFound(f"Checkpoint {checkpoint_id} not found on thread {thread.thread_id}.")
        copied = StateEdit(as_node=COPY_NODE, checkpoint_id=checkpoint_id)
        self.edit(tenant, thread.thread_id, copied)

    def _write(self, tenant: str, thread: Thread, lease: Lease, edited: Edited) -> bool:
        """Write an edit; False when the thread has moved and it must be worked out anew."""
        entries, thread_id = edited.entries, thread.thread_id
        if len(list(grouped(entries, self._records.weight))) > 1:
            raise TooLarge(
                f"The edit of thread {thread_id} makes {len(entries)} items, more than one transaction "
                "holds; divide it."
            )
        head, chain, newest, _ = progress(lease, entries)
        update, after = leases.edit(tenant, thread_id, lease, head=head, chain=chain, newest=newest)
        row = threads.set_outcome(
            tenant,
            thread_id,
            status="interrupted" if edited.open_steps else "idle",
            error=None,
            updated_at=iso(self._clock()),
        )
        puts = [self._records.put(tenant, thread_id, entry) for entry in entries]
        self._recents.drop(tenant, thread_id)
        try:
            self._table.transact([update, row, *puts])
        except Refused as exc:
            if 0 not in exc.items:
                raise not_found(thread_id) from exc
            now = leases.from_item(exc.items[0])
            return now.epoch == after.epoch and now.newest == newest  # ours: its answer was lost
        except Unavailable:
            now = leases.from_item(self._table.get(keys.lease(tenant, thread_id)))
            if now.epoch != after.epoch or now.newest != newest:
                raise
        return True


def answer(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Spell where an edit has led to, as the API answers it: also as older clients read it."""
    return {
        "checkpoint": checkpoint,
        "configurable": checkpoint,
        "checkpoint_id": checkpoint["checkpoint_id"],
    }


def _busy(thread_id: str, lease: Lease) -> ThreadBusy:
    return ThreadBusy(
        f"Thread {thread_id} is busy with run {lease.run}; wait for it or cancel it, then change the state.",
        details={"run_id": lease.run},
    )
