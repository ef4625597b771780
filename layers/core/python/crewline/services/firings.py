"""Firings of crons: each starts one run, or none."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from aws_lambda_powertools import Logger

from crewline.errors import BadMessage, NotFound, ThreadBusy, Unavailable, Withdrawn
from crewline.models.clocks import Clock, iso
from crewline.models.crons import Firing
from crewline.models.runs import Run
from crewline.services.crons import Crons
from crewline.services.intake import HOPELESS, reason_of
from crewline.services.runs import Runs
from crewline.services.threads import pause
from crewline.store import crons, idempotency
from crewline.store.crons import Row
from crewline.store.idempotency import Once
from crewline.store.schedules import Schedules, schedule_name
from crewline.store.table import Table

_TRIES: Final = 20


class Firings:
    """Starts the runs of crons that are due; safe for many threads.

    Args:
        table: The table.
        runs: The runs.
        crons: The crons.
        schedules: What fires.
        clock: Tells the time.
        logger: Where it is noted why a firing started nothing.
    """

    def __init__(
        self, table: Table, runs: Runs, crons: Crons, schedules: Schedules, clock: Clock, *, logger: Logger
    ) -> None:
        self._table = table
        self._runs = runs
        self._crons = crons
        self._schedules = schedules
        self._clock = clock
        self._logger = logger

    def fire(self, firing: Firing) -> Run | None:
        """Start the run of a cron that is due.

        The firing says which cron and which minute: the row as it is now decides, and the starting transaction
        is refused when that has changed since it was read.

        ```
        F: read ── start + item `cron/minute` ──▶ run          F again: start ──✗ the item names the run: done
        F: read (enabled) ── D: disable ── F: start ──✗ F reads again: disabled, nothing starts
        F: read ── start ──▶ run ── dies                       F again: start ──✗ the item names the run: done
        ```

        Args:
            firing: What fired.

        Returns:
            The run; None when it is none that may start.

        Raises:
            BadMessage: The run can never be started as it is asked for.
            LimitExceeded: Too many runs wait on its thread.
            Conflict: Its thread was deleted and is still being purged.
            Unavailable: DynamoDB or S3 did not answer.
        """
        due = round(firing.due.timestamp()) // 60 * 60_000
        once = Once.of("cron", f"{firing.cron_id}/{iso(due)}", None)
        for attempt in range(_TRIES):
            row = crons.get(self._table, firing.tenant, firing.cron_id)
            if row is None or row.revision != firing.revision:
                self._end(firing)
            if row is None or row.deleted or due <= row.since or not _is_due(row, firing):
                self._log("not due", firing)
                return None
            try:
                return self._start(firing, row, replace(once, provided=crons.unchanged(firing.tenant, row)))
            except Withdrawn:
                pause(attempt)
        raise Unavailable(f"Cron {firing.cron_id} is being changed by many others; try again in a moment.")

    def _start(self, firing: Firing, row: Row, once: Once) -> Run | None:
        tenant, cron = firing.tenant, row.cron
        try:
            if cron.thread_id is None:
                return self._runs.create_stateless(tenant, cron.run(), once=once, sender=cron.starter)
            return self._runs.create(tenant, cron.thread_id, cron.run(), once=once, sender=cron.starter)
        except tuple(HOPELESS) as exc:
            if idempotency.get(self._table, tenant, once, now=self._clock()):
                return None  # started before, and gone since with what it needed
            if isinstance(exc, ThreadBusy):
                self._log("skipped, its thread is busy", firing)
                return None
            if isinstance(exc, NotFound):
                self._crons.disable(tenant, row)
                self._log("disabled, its thread or its assistant is gone", firing)
                return None
            raise BadMessage(reason_of(exc)) from exc

    def _end(self, firing: Firing) -> None:
        """Delete a schedule that no cron has any more: whoever made it was late."""
        try:
            self._schedules.delete(schedule_name(firing.cron_id, firing.revision, firing.part))
        except Unavailable as exc:  # it fires again
            self._log("schedule of another revision not deleted", firing, reason=exc.message)

    def _log(self, what: str, firing: Firing, **more: str) -> None:
        self._logger.warning("cron %s", what, extra={**firing.model_dump(mode="json"), **more})


def _is_due(row: Row, firing: Firing) -> bool:
    """Tell whether a cron starts a run at the minute of a firing.

    A schedule that was made for the row as it is says what the row does, and knows clocks that were changed by
    law since this process got its time zones; one of before is due only where both are.
    """
    if row.revision == firing.revision:
        return row.cron.is_on(firing.due)
    return row.cron.is_due(firing.due)
