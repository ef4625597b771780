"""Batches: many runs that are asked for at once, each through the run queue, and how they are getting on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final
from uuid import UUID, uuid5

from aws_lambda_powertools import Logger

from crewline.errors import CrewlineError, NotFound
from crewline.models.batches import Batch, BatchWire, FailedItem, Member
from crewline.models.clocks import Clock, new_id, parse_id
from crewline.models.runs import Run, RunCreate, RunStatus
from crewline.models.users import EVERYTHING, NOBODY, Filters, Sender
from crewline.services.runs import KEEP_LONG_S, Runs
from crewline.store import batches, keys
from crewline.store.idempotency import Once
from crewline.store.table import Table

_AT_ONCE: Final = 16
"""How many runs of a batch are started at a time."""
_KEYS: Final = UUID("8b6d6c9e-6d0f-5e0b-9d5c-0a5ad7e7c1f4")
"""Namespace of the ids of batches whose request may be repeated."""


class Batches:
    """The batches of all tenants; safe for many threads."""

    def __init__(self, table: Table, runs: Runs, clock: Clock, *, logger: Logger) -> None:
        self._table = table
        self._runs = runs
        self._clock = clock
        self._logger = logger

    def create(
        self,
        tenant: str,
        bodies: Sequence[RunCreate],
        *,
        once: Once | None = None,
        senders: Sequence[Sender] = (NOBODY,),
    ) -> tuple[Batch, list[Run | FailedItem]]:
        """Start many stateless runs; all are checked before the first one starts.

        Then each is on its own: one that cannot be started stops no other. A request with a key that
        is sent again starts those that were not, and gives the others as they are.

        Args:
            tenant: Whose runs.
            bodies: What to run.
            once: Names the request.
            senders: Whom the runs execute for: one, or one for each.

        Returns:
            The batch, and what became of each item, in their order.

        Raises:
            BadRequest: A run resumes or forks, which needs a thread.
            InvalidRequest: An assistant is unknown, or a webhook's address is refused.
            NotFound: An assistant does not exist.
            CrewlineError: None could be started; what the first one was refused with.
            Unavailable: DynamoDB did not answer; some of the runs may have started.
        """
        self._runs.check_stateless(tenant, bodies)

        def start(place: int) -> Run | CrewlineError:
            each = replace(once, key=f"{once.key}#{place}") if once else None
            try:
                return self._runs.create_stateless(
                    tenant,
                    bodies[place],
                    once=each,
                    keep_s=KEEP_LONG_S,
                    sender=senders[min(place, len(senders) - 1)],
                )
            except CrewlineError as exc:
                self._logger.warning("run of a batch not started", place=place, reason=exc.message)
                return exc

        with ThreadPoolExecutor(min(_AT_ONCE, len(bodies))) as pool:
            made = list(pool.map(start, range(len(bodies))))
        started = [one for one in made if isinstance(one, Run)]
        if not started:
            raise next(one for one in made if isinstance(one, CrewlineError))
        batch = Batch(
            batch_id=str(uuid5(_KEYS, f"{tenant}\n{once.scope}\n{once.key}")) if once else new_id(),
            created_at=started[0].created_at,
            members=tuple(Member(thread_id=run.thread_id, run_id=run.run_id) for run in started),
            failed=len(made) - len(started),
            metadata=senders[0].stamps,
        )
        self._table.write(batches.put(tenant, batch, now=self._clock()))
        return batch, [one if isinstance(one, Run) else _failed(one) for one in made]

    def get(self, tenant: str, batch_id: str, *, sees: Filters = EVERYTHING) -> BatchWire:
        """Count the runs of a batch by status; it reads the row of each.

        Args:
            tenant: Whose batch.
            batch_id: The batch.
            sees: Which batches the caller may see.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such batch, or it is older than two weeks.
            Unavailable: DynamoDB did not answer.
        """
        batch = batches.get(self._table, tenant, parse_id(batch_id, "batch"))
        if batch is None or not sees.match(batch.metadata):
            raise NotFound(f"Batch with ID {batch_id} not found; a batch can be asked for during two weeks.")
        rows = self._table.get_many([keys.run(tenant, one.thread_id, one.run_id) for one in batch.members])
        counts: Counter[RunStatus] = Counter(row["status"] for row in rows if row)
        return {
            "batch_id": batch.batch_id,
            "created_at": batch.created_at,
            "total": len(batch.members) + batch.failed,
            "failed": batch.failed,
            "counts": dict(counts),
            "removed": len(rows) - counts.total(),
        }


def _failed(error: CrewlineError) -> FailedItem:
    return {"error": error.code, "message": error.message, "retryable": error.retryable}
