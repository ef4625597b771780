"""How a deployment is doing, by what its rows say: whether they can be read, and what waits.

A function forgets what it counted when its environment goes, and no other one ever knew. So what is
told here is counted when it is asked for, from two indexes and the leases that they show, and never
by a process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final, Literal

from crewline.errors import Unavailable, Unhealthy
from crewline.models.clocks import Clock
from crewline.models.leases import Lease
from crewline.models.vitals import CronCounts, OutboxCounts, RunCounts, ThreadCounts, VitalsWire
from crewline.store import crons, keys, leases, listings
from crewline.store.keys import Key
from crewline.store.table import Table

MOST_IN_FLIGHT: Final = 2_000
"""Entries of the index of what is in flight that one request looks at, the oldest of every shard; each lease
among them is a read unit."""
MOST_THREADS: Final = 1_000
"""How far threads of one status are counted: about 20 read units."""
MOST_CRONS: Final = 1_000
"""How far crons are counted; each is read whole, so most take a quarter of a read unit."""

_POOL: Final = 8
_EVER: Final = 10**15 - 1  # the latest time that sorts

_Phase = Literal["pending", "delayed", "running", "expired"]


class Vitals:
    """Looks how a deployment is doing; safe for many threads."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._pool = ThreadPoolExecutor(_POOL, thread_name_prefix="vitals")

    def check(self) -> None:
        """See that the table answers: one strongly consistent read, of an item that is not there.

        Raises:
            Unhealthy: It does not.
        """
        try:
            self._table.get(keys.version(0))
        except Unavailable as exc:
            raise Unhealthy(f"The service answers, and its table does not: {exc.message}") from exc

    def count(self, tenant: str) -> VitalsWire:
        """Count what a tenant has that has not come to its end.

        The indexes are a moment behind, and what is counted goes on meanwhile: a run may be missed
        or told as what it was. Of very many the count stops at a bound, and says so.

        Args:
            tenant: Whose runs and threads.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        shards = self._pool.map(self._in_flight, keys.flight_shards())
        found, more = [], False
        for entries in shards:
            found += entries[: _share()]
            more |= len(entries) > _share()
        own = [key for key in found if keys.tenant_of(key) == tenant]
        threads, capped = self._threads(tenant)
        scheduled, more_crons = self._crons(tenant, own)
        held = leases.read_many(
            self._table, tenant, [place[1] for key in own if (place := keys.lease_of(key))]
        )
        now = self._clock()
        return VitalsWire(
            runs=_runs(held, now),
            threads=threads,
            outbox=_outbox([key for key in own if keys.is_outbox(key)], now),
            crons=scheduled,
            purges=sum(_to_be_purged(lease) for lease in held),
            at_least=[
                *(["runs", "outbox", "crons.unsettled", "purges"] if more else []),
                *capped,
                *(["crons.enabled"] if more_crons else []),
            ],
        )

    def _in_flight(self, shard: str) -> list[Key]:
        """Read the oldest entries of a shard, one more than are looked at."""
        found: Iterator[Key] = self._table.query_index(
            keys.LEASES_IN_FLIGHT, shard, at_most=keys.flight_time(_EVER)
        )
        return list(islice(found, _share() + 1))

    def _threads(self, tenant: str) -> tuple[ThreadCounts, list[str]]:
        """Count threads by status; name those that are more than are counted."""
        counts, capped = ThreadCounts(busy=0, interrupted=0, error=0), []
        for status in ("busy", "interrupted", "error"):
            counted = listings.count(
                self._table, tenant, keys.THREADS_BY_STATUS, most=MOST_THREADS, pool=self._pool, status=status
            )
            counts[status] = min(counted, MOST_THREADS)
            if counted > MOST_THREADS:
                capped.append(f"threads.{status}")
        return counts, capped

    def _crons(self, tenant: str, own: Sequence[Key]) -> tuple[CronCounts, bool]:
        """Count crons that start runs; tell whether there are more than are counted."""
        found = [row.cron for row in islice(crons.rows(self._table, tenant), MOST_CRONS + 1)]
        now = self._clock()
        counts = CronCounts(
            enabled=sum(
                cron.enabled and (cron.end_ms is None or cron.end_ms > now) for cron in found[:MOST_CRONS]
            ),
            unsettled=sum(keys.cron_of(key) is not None for key in own),
        )
        return counts, len(found) > MOST_CRONS


def _share() -> int:
    return MOST_IN_FLIGHT // keys.SHARDS


def _runs(held: Sequence[Lease], now: int) -> RunCounts:
    phases = Counter(_phase(lease, now) for lease in held if lease.run)
    pending = [lease.ready for lease in held if lease.run and _phase(lease, now) == "pending"]
    return RunCounts(
        pending=phases["pending"],
        queued=sum(lease.waiting for lease in held if lease.run),
        delayed=phases["delayed"],
        running=phases["running"],
        expired=phases["expired"],
        oldest_pending_s=_age_s(min(pending, default=now), now),
    )


def _phase(lease: Lease, now: int) -> _Phase:
    if lease.owner:
        return "running" if lease.until >= now else "expired"
    return "delayed" if lease.due > now else "pending"


def _outbox(waiting: Sequence[Key], now: int) -> OutboxCounts:
    oldest = min((keys.noted_ms(key) for key in waiting), default=now)
    return OutboxCounts(waiting=len(waiting), oldest_s=_age_s(oldest, now))


def _to_be_purged(lease: Lease) -> bool:
    return lease.deleted is not None and lease.draft is None and not lease.purged


def _age_s(since: int, now: int) -> float:
    return max(0, now - since) / 1000
