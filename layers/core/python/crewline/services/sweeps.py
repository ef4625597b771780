"""The sweep: what nobody does any more is found, and done or sent again.

Everything that must not be lost is in the index of leases in flight: runs, tombstones of threads
whose purge is not over, items of the outbox, crons whose schedules are not in line. Another one has what may have expired: threads, and
tombstones of runs without one, which can be read until then. A sweep reads both and decides nothing
by what they say; an item that was found is read again, and what follows is a message or a
conditional write. So two sweeps at once, or one that ends half-way, do no harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

from aws_lambda_powertools import Logger
from pydantic import ValidationError

from crewline.errors import CrewlineError
from crewline.models.clocks import Clock
from crewline.models.leases import GRACE_MS, MOST_ATTEMPTS, Lease
from crewline.observability import UNMEASURED, Measures
from crewline.services.dispatches import Dispatches
from crewline.services.jobs import NO_PROGRESS
from crewline.store import keys, leases
from crewline.store.keys import Key
from crewline.store.queues import (
    RECEIVES,
    DeadLetter,
    DeadLetters,
    PruneJob,
    PurgeJob,
    RunJob,
    RunQueue,
    parse_job,
)
from crewline.store.table import Table

MAX_DEAD_LETTERS: Final = 100
"""Dead letters that one sweep takes; more wait for the next, so that they never keep it from the leases."""
SET_ASIDE_S: Final = 3_600
"""How long a dead letter that could not be used is hidden: whoever looks for it has found its log line."""

_MARGIN_MS: Final = 10_000
"""Time left in the invocation under which nothing more is begun."""
_PERIOD_MS: Final = 60_000
"""Time between two sweeps."""
_RARELY: Final = 15
"""Minutes between two messages of a run that has waited long for its first claim."""

_DEAD_LETTER: Final = (
    f"its message came to nothing {RECEIVES} times: the worker failed or was ended before it could say why; "
    "its logs may."
)

_Did = Literal[
    "redispatched",
    "given_up",
    "purges",
    "published",
    "scheduled",
    "expired",
    "dead_letters",
    "failed",
    "nothing",
]
_T = TypeVar("_T")


class Endings(Protocol):
    """Ends runs that nobody executes."""

    def give_up(self, tenant: str, thread_id: str, run_id: str, reason: str) -> bool:
        """Claim a run and finish it as an error; False when there was nothing to end."""


class Outbox(Protocol):
    """Publishes what the transaction that ended a run has noted."""

    def publish(self, key: Key) -> None:
        """Publish an item and remove it; does nothing when somebody else has."""


class Crons(Protocol):
    """Brings schedules in line with crons."""

    def bring_in_line(self, tenant: str, cron_id: str) -> None:
        """Make and delete schedules; does nothing when somebody else has."""


class Expiries(Protocol):
    """Ends threads whose time is over."""

    def expire(self, key: Key) -> bool:
        """Look at a thread that may have expired; True when it had."""


class Versions(Protocol):
    """Numbers what is deployed."""

    def number(self, build: str) -> int:
        """Tell the number of a build; a new one gets the next."""


class Deliveries(Protocol):
    """Delivers webhooks."""

    def deliver(self, body: str) -> None:
        """Deliver what a message of the webhook queue says; raises when it must come again."""


class SweepFailed(CrewlineError):
    """A part of a sweep failed; each is in the log, and the next sweep tries it again."""

    code = "sweep_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did."""

    redispatched: int = 0
    """Runs whose message was sent again."""
    given_up: int = 0
    """Runs that were ended after too many claims without progress."""
    purges: int = 0
    """Deleted threads whose purge was sent again."""
    published: int = 0
    """Items of the outbox."""
    scheduled: int = 0
    """Crons whose schedules were brought in line."""
    expired: int = 0
    """Threads whose time was over."""
    dead_letters: int = 0
    """Dead letters that were settled."""
    failed: int = 0
    """Items and shards that could not be swept; each is in the log."""
    complete: bool = True
    """Whether the time sufficed; else the next sweep goes on."""


class Sweeper:
    """Looks for what was left lying, once a minute."""

    def __init__(
        self,
        *,
        table: Table,
        queue: RunQueue,
        dispatches: Dispatches,
        dead_letters: DeadLetters,
        endings: Endings,
        outbox: Outbox,
        crons: Crons,
        expiries: Expiries,
        versions: Versions,
        build: str,
        clock: Clock,
        logger: Logger,
        measures: Measures = UNMEASURED,
    ) -> None:
        self._table = table
        self._queue = queue
        self._dispatches = dispatches
        self._dead_letters = dead_letters
        self._endings = endings
        self._outbox = outbox
        self._crons = crons
        self._expiries = expiries
        self._versions = versions
        self._build = build
        self._clock = clock
        self._logger = logger
        self._measures = measures

    def sweep(self, remaining_ms: Callable[[], int]) -> Swept:
        """Sweep once, for as long as there is time; a failure concerns its own item and no other.

        Args:
            remaining_ms: Tells how long the invocation may still take.

        Returns:
            What was done. Whoever asked for the sweep looks at `failed`.
        """
        done: Counter[str] = Counter()
        complete = (
            # A deploy has its number within a minute, also when nobody uses it.
            self._each(iter((self._build,)), self._number, done, remaining_ms)
            and self._sweep_dead_letters(done, remaining_ms)
            # By turns: with one kind after the other, the second would starve behind a first that never ends in time.
            and all(
                self._sweep_shard(flying, done, remaining_ms)
                and self._sweep_expiring(expiring, done, remaining_ms)
                for flying, expiring in zip(
                    self._turned(keys.flight_shards()), self._turned(keys.expiry_shards()), strict=True
                )
            )
        )
        del done["nothing"]
        self._measures.swept(done)
        return Swept(**done, complete=complete)

    def _number(self, build: str) -> _Did:
        self._versions.number(build)
        return "nothing"

    def _sweep_dead_letters(self, done: Counter[str], remaining_ms: Callable[[], int]) -> bool:
        return self._each(self._letters(), self._settle, done, remaining_ms)

    def _sweep_shard(self, shard: str, done: Counter[str], remaining_ms: Callable[[], int]) -> bool:
        latest = keys.flight_time(self._clock() - GRACE_MS)
        found = self._table.query_index(keys.LEASES_IN_FLIGHT, shard, at_most=latest)
        return self._each(found, self._take_up, done, remaining_ms)

    def _sweep_expiring(self, shard: str, done: Counter[str], remaining_ms: Callable[[], int]) -> bool:
        latest = keys.flight_time(self._clock())
        found = self._table.query_index(keys.THREADS_EXPIRING, shard, at_most=latest)
        return self._each(found, self._expire, done, remaining_ms)

    def _expire(self, key: Key) -> _Did:
        if place := keys.lease_of(key):
            return self._sweep_lease(*place)
        return "expired" if self._expiries.expire(key) else "nothing"

    def _each(
        self,
        found: Iterator[_T],
        act: Callable[[_T], _Did],
        done: Counter[str],
        remaining_ms: Callable[[], int],
    ) -> bool:
        """Act on what is found until there is nothing more (True) or no time (False)."""
        try:
            for item in found:
                if remaining_ms() < _MARGIN_MS:
                    return False
                done[self._try(act, item)] += 1
        except Exception:
            self._logger.exception("sweep could not read on")
            done["failed"] += 1
        return True

    def _try(self, act: Callable[[_T], _Did], item: _T) -> _Did:
        try:
            return act(item)
        except Exception:
            self._logger.exception("item not swept", item=item)
            return "failed"

    def _turned(self, shards: tuple[str, ...]) -> tuple[str, ...]:
        """Begin with another shard each minute: one that takes all the time must not hide the others."""
        first = self._clock() // _PERIOD_MS % len(shards)
        return shards[first:] + shards[:first]

    def _take_up(self, key: Key) -> _Did:
        if keys.is_outbox(key):
            self._outbox.publish(key)
            return "published"
        if cron := keys.cron_of(key):
            self._crons.bring_in_line(*cron)
            return "scheduled"
        place = keys.lease_of(key)
        if place is None:
            raise ValueError(f"{key} is neither a lease nor a cron, and not in the outbox.")
        return self._sweep_lease(*place)

    def _sweep_lease(self, tenant: str, thread_id: str) -> _Did:
        item, now = self._table.get(keys.lease(tenant, thread_id)), self._clock()
        lease = leases.from_item(item)
        if lease.deleted and not lease.purged:
            # An index was read a while ago: a run without a thread that has ended since stays readable.
            if item and item.get(keys.THREADS_EXPIRING.sort, "") > keys.flight_time(now):
                return "nothing"
            self._queue.send(PurgeJob(tenant=tenant, thread_id=thread_id))
            return "purges"
        if lease.run is None or not _left_lying(lease, now):
            return "nothing"
        if lease.attempt >= MOST_ATTEMPTS:
            given_up = self._endings.give_up(tenant, thread_id, lease.run, NO_PROGRESS)
            return "given_up" if given_up else "nothing"
        if not self._dispatches.again(tenant, thread_id, lease):
            return "nothing"
        self._logger.info(
            "run sent again",
            tenant=tenant,
            thread_id=thread_id,
            run_id=lease.run,
            attempt=lease.attempt,
            channel=lease.channel,
        )
        return "redispatched"

    def _letters(self) -> Iterator[DeadLetter]:
        taken = 0
        while taken < MAX_DEAD_LETTERS and (letters := self._dead_letters.receive(hidden_s=SET_ASIDE_S)):
            taken += len(letters)
            yield from letters

    def _settle(self, letter: DeadLetter) -> _Did:
        match _job_in(letter):
            case RunJob() as job:
                lease = leases.from_item(self._table.get(keys.lease(job.tenant, job.thread_id)))
                if lease.run == job.run_id and lease.fed and not lease.attempt:
                    self._queue.send(job)  # it makes progress, however often its workers have ended
                else:
                    self._endings.give_up(job.tenant, job.thread_id, job.run_id, _DEAD_LETTER)
            case PurgeJob() as job:
                # Its tombstone is in the index until the purge is over, and is found there.
                self._logger.error("purge came to nothing", **job.model_dump())
            case PruneJob() as job:
                # Its thread is in the index as long as it lives, and expires again.
                self._logger.error("pruning came to nothing", **job.model_dump())
            case None:
                self._logger.error("dead letter is no job; it stays", message_id=letter.message_id)
                return "nothing"
        self._dead_letters.delete(letter)
        return "dead_letters"


def _left_lying(lease: Lease, now: int) -> bool:
    """Tell whether nobody does what is to be done for a run: execute it, or end it when it was cancelled."""
    if lease.cancel and lease.owner is None:
        return True  # due or not
    if lease.until >= now or lease.due > now:
        return False
    if lease.owner:
        return True
    # A run that nobody has claimed yet most likely waits its turn in the queue: the longer it does,
    # the rarer is another message, or a backlog would feed itself.
    minutes = (now - lease.until) // _PERIOD_MS
    return minutes & (minutes - 1) == 0 or minutes % _RARELY == 0


def _job_in(letter: DeadLetter) -> RunJob | PurgeJob | PruneJob | None:
    try:
        return parse_job(letter.body)
    except ValidationError:
        return None
