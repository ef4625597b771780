"""Threads that begin with a state: worked out by a graph, and seen when they are whole."""

from __future__ import annotations

from dataclasses import replace

from crewline.errors import BadRequest, ThreadExists
from crewline.models.clocks import Clock
from crewline.models.leases import Lease
from crewline.models.runs import CheckpointRef
from crewline.models.states import ThreadBegin
from crewline.models.threads import ThreadWire
from crewline.models.users import EVERYTHING, Filters
from crewline.services.drafts import Drafts
from crewline.services.edits import Editor
from crewline.services.leases import progress
from crewline.services.threads import Threads
from crewline.store import idempotency
from crewline.store.idempotency import Once
from crewline.store.records import Records
from crewline.store.table import Table


class Creations:
    """Makes threads that begin with a state; safe for many threads."""

    def __init__(
        self,
        table: Table,
        records: Records,
        clock: Clock,
        *,
        threads: Threads,
        drafts: Drafts,
        editor: Editor,
    ) -> None:
        self._table = table
        self._records = records
        self._clock = clock
        self._threads = threads
        self._drafts = drafts
        self._editor = editor

    def create(
        self, tenant: str, body: ThreadBegin, *, once: Once | None = None, sees: Filters = EVERYTHING
    ) -> ThreadWire:
        """Make a thread whose state is what its supersteps make of nothing.

        Args:
            tenant: Whose thread.
            body: What it is to be.
            once: Names the request, so that a repetition gives the same thread.
            sees: Which threads the caller may see.

        Returns:
            The thread as the API answers it; the one that is there when the id is taken, and the
            caller said `do_nothing` and may see it.

        Raises:
            InvalidRequest: There are too many keys, or this deployment has no such crew.
            TooLarge: The metadata is too large, or what a superstep writes is.
            BadRequest: No crew is named, or its graph refuses the supersteps; nothing was made.
            ThreadExists: The id is taken.
            Conflict: A thread with this id is being made or purged, or the same key came with another
                body.
            NotFound: The thread that the first such request made has been deleted.
            Unavailable: DynamoDB or S3 did not answer; the thread may or may not be there.
        """
        thread = self._threads.new(body)
        if once and (made := idempotency.get(self._table, tenant, once, now=self._clock())):
            return self._threads.repeated(tenant, once, made, sees=sees)
        if "graph_id" not in thread.metadata:
            raise BadRequest(
                "A thread that begins with supersteps needs a crew; put graph_id into its metadata."
            )
        edited = self._editor.edit(tenant, thread, Lease(), CheckpointRef(), body.supersteps or ())
        head, chain, newest, _ = progress(Lease(), edited.entries)
        thread = replace(thread, status="interrupted" if edited.open_steps else "idle")
        try:
            with self._drafts.draft(tenant, thread.thread_id) as draft:
                puts = (self._records.put(tenant, thread.thread_id, entry) for entry in edited.entries)
                self._drafts.write(draft, puts)
                lease = Lease(head=head, chain=chain, newest=newest)
                earlier = self._drafts.complete(draft, thread, lease, once=once)
        except ThreadExists:
            taken = body.if_exists == "do_nothing" and self._threads.get(tenant, thread.thread_id)
            if not taken or not sees.match(taken["metadata"]):
                raise
            return taken
        if once and earlier:
            return self._threads.repeated(tenant, once, earlier, sees=sees)
        return self._threads.get(tenant, thread.thread_id)
