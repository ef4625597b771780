"""Crons: made, changed and deleted, and their schedules brought in line with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from aws_lambda_powertools import Logger

from crewline.errors import InvalidRequest, KeyReused, NotFound, Unavailable
from crewline.models.clocks import Clock, iso, new_id, parse_id
from crewline.models.containment import contains
from crewline.models.crons import Cron, CronCount, CronCreate, CronPatch, CronSearch
from crewline.models.timetables import expressions
from crewline.models.users import EVERYTHING, NOBODY, Filters, Sender
from crewline.services.assistants import Assistants
from crewline.services.runs import Runs
from crewline.services.threads import Threads, check_size, pause
from crewline.store import crons, idempotency
from crewline.store.changes import Change
from crewline.store.crons import Row
from crewline.store.idempotency import Made, Once
from crewline.store.schedules import Schedules, schedule_name
from crewline.store.table import Refused, Table

LOOKS: Final = 10_000
"""How many crons of a tenant a search or a count looks at."""

_TRIES: Final = 20


class Crons:
    """The crons of all tenants; safe for many threads.

    Args:
        table: The table.
        schedules: What tells when they are due.
        clock: Tells the time.
        runs: Checks what they ask for.
        threads: The threads on which their runs are.
        assistants: What they may execute.
        logger: Where it is noted that schedules are not in line yet.
    """

    def __init__(
        self,
        table: Table,
        schedules: Schedules,
        clock: Clock,
        *,
        runs: Runs,
        threads: Threads,
        assistants: Assistants,
        logger: Logger,
    ) -> None:
        self._table = table
        self._schedules = schedules
        self._clock = clock
        self._runs = runs
        self._threads = threads
        self._assistants = assistants
        self._logger = logger

    # ------------------------------------------------------------------ one cron

    def create(
        self,
        tenant: str,
        body: CronCreate,
        *,
        thread_id: str | None = None,
        once: Once | None = None,
        sender: Sender = NOBODY,
    ) -> Cron:
        """Make a cron.

        Args:
            tenant: Whose cron.
            body: What it is to be.
            thread_id: The thread on which its runs are; without it each run has one of its own.
            once: Names the request, so that a repetition gives the same cron.
            sender: Whom its runs execute for, and on which threads.

        Raises:
            BadRequest: `config.configurable` and `context` are both given.
            InvalidRequest: The assistant is unknown, the webhook's address is refused, or Scheduler does not take
                the schedule; then the cron is gone again.
            NotFound: The thread or the assistant does not exist, or the cron that the first such request
                made was deleted.
            KeyReused: The same key came with another body.
            TooLarge: What its runs are asked for is over the limit.
            Unavailable: DynamoDB did not answer; the cron may or may not be there.
        """
        if thread_id is not None:
            thread_id = self._threads.read(tenant, thread_id)[0].thread_id
        now = self._clock()
        cron = Cron(
            cron_id=new_id(),
            assistant_id=self._assistants.identify(body.assistant_id),
            thread_id=thread_id,
            schedule=body.schedule,
            timezone=body.timezone,
            end_time=body.end_time,
            enabled=body.enabled is not False,
            payload=body.payload,
            metadata=body.metadata,
            on_run_completed=None if thread_id else body.on_run_completed or "delete",
            created_at=iso(now),
            updated_at=iso(now),
            sender=sender,
        )
        self._check(tenant, cron)
        row = Row(
            cron=cron,
            token=uuid4().hex,
            since=now,
            placed=tuple(_expressions(cron, 1)),
            unsettled=cron.enabled,
        )
        changes: list[Change] = [crons.put(tenant, row, before=None, now=now)]
        if once:
            made = Made(cron_id=cron.cron_id, digest=once.digest, created_at=cron.created_at)
            changes.append(idempotency.put(tenant, once, made, now=now))
        try:
            self._table.transact(changes)
        except Refused as exc:
            # The first item refuses only what has landed already, sent again because the answer was lost.
            if once and (item := exc.items.get(1)):
                cron = self._repeated(tenant, once, idempotency.from_item(item))
        try:
            self._try_to_bring_in_line(tenant, cron.cron_id)
        except InvalidRequest:
            self.delete(tenant, cron.cron_id)
            raise
        return cron

    def get(self, tenant: str, cron_id: str, *, sees: Filters = EVERYTHING) -> Cron:
        """Find a cron by its id.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such cron.
            Unavailable: DynamoDB did not answer.
        """
        return self._read(tenant, parse_id(cron_id, "cron"), sees).cron

    def patch(self, tenant: str, cron_id: str, body: CronPatch, *, sees: Filters = EVERYTHING) -> Cron:
        """Change a cron; runs that it has started go on as they are.

        Raises:
            BadRequest: `config.configurable` and `context` are both given.
            InvalidRequest: The id is no UUID, the webhook's address is refused, or Scheduler does not take the
                schedule; then the cron is again as it was.
            NotFound: There is no such cron, or its assistant is gone.
            TooLarge: What its runs are asked for is over the limit.
            Unavailable: DynamoDB did not answer, or many others change it; the change may have landed.
        """
        cron_id = parse_id(cron_id, "cron")
        token = uuid4().hex
        for attempt in range(_TRIES):
            before = self._read(tenant, cron_id, sees)
            cron = _patched(before.cron, body, now=iso(self._clock()))
            if body.payload or body.metadata:
                self._check(tenant, cron)
            try:
                if self._write(tenant, before, cron, token):
                    return cron
            except InvalidRequest:
                self._restore(tenant, before.cron, cron)
                raise
            pause(attempt)
        raise _busy(cron_id)

    def _restore(self, tenant: str, was: Cron, refused: Cron) -> None:
        """Let a cron be as it was before the change that Scheduler refused, unless somebody has changed it since."""
        row = crons.get(self._table, tenant, was.cron_id)
        if row and row.cron == replace(refused, enabled=False, updated_at=row.cron.updated_at):
            self._write(tenant, row, replace(was, updated_at=iso(self._clock())), uuid4().hex)

    def disable(self, tenant: str, before: Row) -> bool:
        """Let a cron start no runs any more, unless somebody has changed it since it was read.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        cron = replace(before.cron, enabled=False, updated_at=iso(self._clock()))
        return self._write(tenant, before, cron, uuid4().hex)

    def delete(self, tenant: str, cron_id: str, *, sees: Filters = EVERYTHING) -> None:
        """Delete a cron: from now on it starts nothing, whatever its schedules do; its runs go on.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such cron.
            Unavailable: DynamoDB did not answer, or many others change it; it may be gone.
        """
        cron_id = parse_id(cron_id, "cron")
        for attempt in range(_TRIES):
            before = crons.get(self._table, tenant, cron_id)
            if attempt and (before is None or before.deleted):
                return  # another request has done it
            before = _there(before, cron_id, sees)
            cron = replace(before.cron, enabled=False, payload={}, metadata={})
            row = replace(before, cron=cron, token=uuid4().hex, deleted=True, unsettled=True)
            with suppress(Refused):  # changed meanwhile: what has become of it goes
                self._table.write(crons.put(tenant, row, before=before, now=self._clock()))
                self._try_to_bring_in_line(tenant, cron_id)
                return
            pause(attempt)
        raise _busy(cron_id)

    # ------------------------------------------------------------------ many

    def search(
        self, tenant: str, query: CronSearch, *, sees: Filters = EVERYTHING
    ) -> tuple[list[dict[str, Any]], bool]:
        """List crons; filters apply before paging.

        Returns:
            A page of crons as the API answers them, and whether there is more behind it.

        Raises:
            InvalidRequest: The assistant is unknown, or the tenant has too many crons to look at.
            Unavailable: DynamoDB did not answer.
        """
        now = self._clock()

        def place(cron: Cron) -> tuple[Any, str]:
            # Most of what a search costs is to reckon when a cron is due: done for those alone that are shown.
            by = (
                cron.wire(now)["next_run_date"]
                if query.sort_by == "next_run_date"
                else getattr(cron, query.sort_by)
            )
            return by or "", cron.cron_id

        found = sorted(self._matching(tenant, query, sees), key=place, reverse=query.sort_order != "asc")
        end = query.offset + query.limit
        return [dict(cron.wire(now)) for cron in found[query.offset : end]], len(found) > end

    def count(self, tenant: str, query: CronCount, *, sees: Filters = EVERYTHING) -> int:
        """Count crons: those that the caller may see.

        Raises:
            InvalidRequest: The assistant is unknown, or the tenant has too many crons to look at.
            Unavailable: DynamoDB did not answer.
        """
        return sum(1 for _ in self._matching(tenant, query, sees))

    def _matching(self, tenant: str, query: CronCount, sees: Filters) -> Iterator[Cron]:
        assistant_id = self._assistants.identify(query.assistant_id) if query.assistant_id else None
        for count, row in enumerate(crons.rows(self._table, tenant)):
            if count == LOOKS:
                raise InvalidRequest(
                    f"There are more than {LOOKS:,} crons, as many as a search looks at; delete those that nobody needs."
                )
            cron = row.cron
            if (
                assistant_id in (None, cron.assistant_id)
                and query.thread_id in (None, cron.thread_id)
                and query.enabled in (None, cron.enabled)
                and contains(cron.metadata, query.metadata or {})
                and sees.match(cron.metadata)
            ):
                yield cron

    # ------------------------------------------------------------------ schedules

    def bring_in_line(self, tenant: str, cron_id: str) -> None:
        """Make the schedules that a cron needs, and delete those that it does not; repeatable.

        See `store.crons` for who may die where.

        Raises:
            InvalidRequest: Scheduler does not take one of its schedules, and never will; the cron is disabled.
            Unavailable: DynamoDB or Scheduler did not answer; the sweeper tries again.
        """
        row = crons.get(self._table, tenant, cron_id)
        if row is None or not row.unsettled:
            return
        cron, now = row.cron, self._clock()
        wanted = {} if row.deleted or cron.next_due(now) is None else _expressions(cron, row.revision)
        end = datetime.fromtimestamp(cron.end_ms / 1000, UTC) if cron.end_ms is not None else None
        for part, (name, expression) in enumerate(wanted.items()):
            says = {"tenant": tenant, "cron_id": cron_id, "revision": row.revision, "part": part}
            try:
                self._schedules.create(name, expression, zone=cron.zone, end=end, says=says)
            except InvalidRequest:  # no sweep would change that
                self.disable(tenant, row)
                raise
        for name in row.placed:
            if name not in wanted:
                self._schedules.delete(name)
        change = crons.delete(tenant, row) if row.deleted else crons.settle(tenant, row, placed=tuple(wanted))
        with suppress(Refused):  # changed since, or done by another: the note is theirs
            self._table.write(change)

    def _try_to_bring_in_line(self, tenant: str, cron_id: str) -> None:
        try:
            self.bring_in_line(tenant, cron_id)
        except Unavailable as exc:
            self._logger.warning(
                "schedules not in line yet, the sweeper will see to it",
                tenant=tenant,
                cron_id=cron_id,
                reason=exc.message,
            )

    # ------------------------------------------------------------------ parts

    def _read(self, tenant: str, cron_id: str, sees: Filters = EVERYTHING) -> Row:
        return _there(crons.get(self._table, tenant, cron_id), cron_id, sees)

    def _write(self, tenant: str, before: Row, cron: Cron, token: str) -> bool:
        """Write a changed cron; False when somebody else has changed it since it was read."""
        now, was = self._clock(), before.cron
        row = replace(before, cron=cron, token=token)
        other_times = (cron.schedule, cron.zone, cron.enabled) != (was.schedule, was.zone, was.enabled)
        if other_times or cron.end_time != was.end_time:
            revision = before.revision + 1
            row = replace(
                row,
                revision=revision,
                since=now if other_times else before.since,
                placed=(*before.placed, *_expressions(cron, revision)),
                unsettled=True,
            )
        try:
            self._table.write(crons.put(tenant, row, before=before, now=now))
        except Refused as exc:
            if (exc.items.get(0) or {}).get("token") != token:  # else it landed, but the answer was lost
                return False
        self._try_to_bring_in_line(tenant, cron.cron_id)
        return True

    def _check(self, tenant: str, cron: Cron) -> None:
        check_size("what a cron asks for", dict(cron.payload))
        body = cron.run()
        body.kwargs()
        self._runs.check_stateless(tenant, [body])

    def _repeated(self, tenant: str, once: Once, made: Made) -> Cron:
        if made.digest != once.digest:
            raise KeyReused(
                f"Idempotency-Key {once.key[:100]!r} was used for cron {made.cron_id} with another body; send a new key."
            )
        return self._read(tenant, made.cron_id or "").cron


def _expressions(cron: Cron, revision: int) -> dict[str, str]:
    """Name the schedules of a cron: name → when it is due."""
    if not cron.enabled:
        return {}
    return {
        schedule_name(cron.cron_id, revision, part): expression
        for part, expression in enumerate(expressions(cron.schedule))
    }


def _patched(cron: Cron, body: CronPatch, *, now: str) -> Cron:
    sent = body.model_fields_set
    return replace(
        cron,
        schedule=body.schedule or cron.schedule,
        timezone=body.timezone if "timezone" in sent else cron.timezone,
        end_time=body.end_time if "end_time" in sent else cron.end_time,
        enabled=cron.enabled if body.enabled is None else body.enabled,
        on_run_completed=cron.on_run_completed and (body.on_run_completed or cron.on_run_completed),
        payload=_merged(cron.payload, body.payload),
        metadata={**cron.metadata, **body.metadata},
        updated_at=now,
    )


def _merged(was: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Put what was sent in the place of what was there; context and `config.configurable` exclude each other."""
    merged = {**was, **sent}
    if sent.get("context") and "config" not in sent and "config" in was:
        merged["config"] = {name: value for name, value in was["config"].items() if name != "configurable"}
    elif (sent.get("config") or {}).get("configurable") and "context" not in sent:
        merged.pop("context", None)
    return merged


def _there(row: Row | None, cron_id: str, sees: Filters) -> Row:
    """Give a row that is there, as far as the caller may see it."""
    if row is None or row.deleted or not sees.match(row.cron.metadata):
        raise NotFound(f"Cron with ID {cron_id} not found; POST /runs/crons/search lists them.")
    return row


def _busy(cron_id: str) -> Unavailable:
    return Unavailable(f"Cron {cron_id} is being changed by many others; try again in a moment.")
