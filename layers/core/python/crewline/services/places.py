"""Places: a thread and an assistant as a run finds them, from memory or in reads side by side.

What is read while a start is under way counts only if the start goes through: its condition says that
nobody was there since.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from aws_lambda_powertools import Logger

from crewline.checkpoints.records import Snapshot
from crewline.errors import NotFound, ThreadExists
from crewline.models.assistants import Assistant
from crewline.models.leases import Lease, Rest
from crewline.models.runs import Run, RunCreate
from crewline.models.threads import Thread, ThreadCreate
from crewline.models.users import EVERYTHING, NOBODY, Filters, Sender
from crewline.services.assistants import Assistants
from crewline.services.recents import Recents
from crewline.services.threads import Threads, not_found
from crewline.store import threads
from crewline.store.records import Records
from crewline.store.table import Table

_READING_THREADS: Final = 8
"""How many reads go on beside others at once; a run that finds none free makes its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """A thread as a run finds it."""

    lease: Lease
    rest: Rest
    thread: Thread | None = None
    """Its row; None when this process remembers the thread, which then names the run's crew already."""

    def unnamed(self, run: Run) -> dict[str, str]:
        """Give what the thread's metadata does not say yet of a run's crew."""
        if self.thread is None:
            return {}
        said = self.thread.metadata
        return {name: value for name, value in run.crew.items() if said.get(name) != value}


@dataclass(frozen=True, slots=True)
class Found:
    """What a run is to execute, and where."""

    place: Place | None
    """The thread; None when it is to be made."""
    assistant: Assistant
    assumed: bool = False
    """The assistant was not read."""


class Places:
    """Finds threads for runs; safe for many threads."""

    def __init__(
        self,
        table: Table,
        records: Records,
        *,
        threads: Threads,
        assistants: Assistants,
        recents: Recents,
        logger: Logger,
    ) -> None:
        self._table = table
        self._records = records
        self._threads = threads
        self._assistants = assistants
        self._recents = recents
        self._logger = logger
        self._readers = ThreadPoolExecutor(_READING_THREADS, thread_name_prefix="read ahead")

    def find(
        self, tenant: str, thread_id: str, body: RunCreate, *, in_place: bool, sees: Filters = EVERYTHING
    ) -> Found:
        """Find out how the thread and the assistant of a run are: from memory, or in reads side by side.

        A start in place on a thread that this process was the last one on reads nothing before it.

        Raises:
            InvalidRequest: The assistant is unknown.
            NotFound: The thread or the assistant does not exist.
            Unavailable: DynamoDB did not answer.
        """
        # What a process remembers of a thread does not say who may see it.
        known = None if body.resumes or sees else self._recents.get(tenant, thread_id)
        if known and known.lease.free and not known.taken:
            assumed = self.assume(tenant, body) if in_place else None
            assistant = assumed or self._assistants.resolve(tenant, body.assistant_id)
            if known.crew == assistant.crew:
                return Found(Place(known.lease, known.rest), assistant, assumed=assumed is not None)
        reading = self._readers.submit(self._assistants.resolve, tenant, body.assistant_id)
        place = self.look(tenant, thread_id, body, sees)
        if reading.cancel():  # every reader is busy
            return Found(place, self._assistants.resolve(tenant, body.assistant_id))
        return Found(place, reading.result())

    def look(self, tenant: str, thread_id: str, body: RunCreate, sees: Filters = EVERYTHING) -> Place | None:
        """Read how a thread is; None when it does not exist and is to be made.

        Raises:
            NotFound: It does not exist, and is not to be made.
            Unavailable: DynamoDB did not answer.
        """
        thread, lease = threads.read(self._table, tenant, thread_id)
        hidden = thread is not None and not sees.match(thread.metadata)
        if hidden or (thread is None and body.if_not_exists != "create"):
            raise NotFound(
                f"Thread or assistant not found. Thread with ID {thread_id} is not there; "
                "pass if_not_exists='create' to make it."
            )
        if thread is None:
            return None
        return _place(thread, lease)

    def make(self, tenant: str, thread_id: str, sender: Sender = NOBODY) -> Place:
        """Make the thread that a run needs, unless somebody else just has.

        ```
        A: no thread ── make ──▶ A's      B: no thread ── make ──✗ it is there: B's run waits, or B may not see it: 404
        ```

        Raises:
            NotFound: Somebody has deleted it since, or has made one that the sender may not see.
            Conflict: A thread with this id was deleted and is still being purged.
            Unavailable: DynamoDB did not answer.
        """
        with suppress(ThreadExists):  # another request made it in between, which is as good
            self._threads.create(tenant, ThreadCreate(thread_id=thread_id, metadata=dict(sender.stamps)))
        thread, lease = threads.read(self._table, tenant, thread_id)
        if thread is None or not sender.sees.match(thread.metadata):
            raise not_found(thread_id)
        return _place(thread, lease)

    # ------------------------------------------------------------------ beside a start

    def read_ahead(self, tenant: str, run: Run, place: Place) -> Future[Snapshot | None] | None:
        """Begin to read the checkpoint that the run goes on from, while the start is under way.

        ```
        A: read lease (head h1) ─┬─ start ──▶ head was h1: what was read is the newest ── execute
                                 └─ read h1 ──▶
        B: read lease (head h1) ─┬─ start ──✗ somebody was there: it is forgotten
                                 └─ read h1 ──▶
        ```
        """
        lease = place.lease
        if lease.head is None or run.kwargs["checkpoint_id"]:
            return None
        known = self._recents.get(tenant, run.thread_id)
        if place.thread is None or (known and known.snapshot and known.lease == lease):
            return None
        return self._readers.submit(
            self._records.latest, tenant, run.thread_id, "", head=lease.head, chain=lease.chain
        )

    def keep_ahead(self, tenant: str, thread_id: str, place: Place, ahead: Future[Snapshot | None]) -> None:
        """Remember a thread as the start has found it, with the checkpoint that was read meanwhile."""
        if ahead.cancel():
            return  # every reader is busy: the run reads it itself, and waits for nobody
        try:
            snapshot = ahead.result()
        except Exception as exc:  # noqa: BLE001 (the run is in flight, and reads it again)
            self._logger.warning("newest checkpoint not read ahead", thread_id=thread_id, reason=repr(exc))
            return
        self._recents.keep(tenant, thread_id, place.lease, place.rest, snapshot)

    def assume(self, tenant: str, body: RunCreate) -> Assistant | None:
        """Give the assistant of a run that starts at once, when it can be known without a read."""
        return None if body.after_seconds else self._assistants.assume(tenant, body.assistant_id)

    def read_assistant(self, tenant: str, run: Run) -> Future[Assistant] | None:
        """Begin to read an assistant that was assumed, while the start is under way."""
        return self._readers.submit(self._assistants.get, tenant, run.assistant_id) if run.assumed else None


def _place(thread: Thread, lease: Lease) -> Place:
    return Place(lease, "idle" if thread.status == "busy" else thread.status, thread)
