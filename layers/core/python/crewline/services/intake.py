"""Runs that nobody requests: what a message from outside starts, once, or why it never will."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crewline.errors import (
    BadMessage,
    BadRequest,
    CrewlineError,
    InvalidRequest,
    KeyReused,
    NotFound,
    ThreadBusy,
    TooLarge,
)
from crewline.models.clocks import Clock
from crewline.models.intake import Message
from crewline.models.runs import Run
from crewline.services.runs import Runs
from crewline.store import idempotency
from crewline.store.idempotency import Once
from crewline.store.table import Table

HOPELESS: Final[Mapping[type[CrewlineError], str]] = {
    KeyReused: "Its idempotency key was used before, for another message.",
    ThreadBusy: "Its thread has a run in flight, and its strategy is reject.",
    NotFound: "Its thread, its assistant or its checkpoint does not exist.",
    TooLarge: "Its input, metadata or config is too large to be stored.",
    InvalidRequest: "Its assistant is unknown, or its webhook's address is refused.",
    BadRequest: "Its fields contradict each other, or its thread has nothing to resume.",
}
"""What stays wrong however often a message comes, in words that repeat nothing of it.

Everything else may be well the next time: a queue of 32 runs is shorter then, a deleted thread
purged, DynamoDB answers.
"""


class Intake:
    """Starts the runs of messages; safe for many threads.

    Args:
        table: The table.
        runs: The runs.
        clock: Tells the time.
        tenant: Whose runs they are when a message does not say.
    """

    def __init__(self, table: Table, runs: Runs, clock: Clock, *, tenant: str) -> None:
        self._table = table
        self._runs = runs
        self._clock = clock
        self._tenant = tenant

    def start(self, message: Message, once: Once) -> Run | None:
        """Start the run of a message, in the background.

        The idempotency item is part of the starting transaction, so a message that comes again finds
        the run that it has started, for 14 days.

        ```
        A: start + item ──▶ run ── dies                       A again: start + item ──✗ it names the run: done
        A: start + item ──▶ run ── dies ··· thread deleted    A again: no such thread ── reads the item: done
        ```

        Args:
            message: What to run.
            once: Names the message.

        Returns:
            The run; None when it was started before, and could not be started again.

        Raises:
            BadMessage: It can never be started; no run of it was.
            LimitExceeded: Too many runs wait on its thread.
            Conflict: Its thread was deleted and is still being purged.
            Unavailable: DynamoDB or S3 did not answer.
        """
        tenant = message.tenant or self._tenant
        thread_id, body = message.run(tenant)
        try:
            if thread_id is None:
                return self._runs.create_stateless(tenant, body, once=once)
            return self._runs.create(tenant, thread_id, body, once=once)
        except tuple(HOPELESS) as exc:
            made = idempotency.get(self._table, tenant, once, now=self._clock())
            if made and made.digest == once.digest:
                return None
            raise BadMessage(reason_of(exc)) from exc


def reason_of(error: CrewlineError) -> str:
    """Say why a run can never be started, without a word of what was asked for."""
    return next(reason for kind, reason in HOPELESS.items() if isinstance(error, kind))
