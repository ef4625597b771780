"""The product as one process of a torture has it: its real parts, on a skewed clock and a bad line."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from langgraph.checkpoint.base import id as langgraph_ids

from crewline.engine.crews import Crew, Crews
from crewline.engine.executor import Executor
from crewline.engine.loops import CrewLoop
from crewline.models.clocks import Clock
from crewline.models.leases import Claim
from crewline.models.manifests import CrewEntry, Manifest
from crewline.models.runs import Run
from crewline.observability import make_logger
from crewline.runtime import (
    Stores,
    compose,
    compose_crons,
    compose_dispatches,
    compose_engine,
    compose_jobs,
    compose_sweeper,
)
from crewline.services.cancellations import Cancellations
from crewline.services.endings import Endings
from crewline.services.jobs import Jobs
from crewline.services.leases import Leases
from crewline.services.runs import Runs
from crewline.services.sweeps import Sweeper
from crewline.services.threads import Threads
from crewline.store import leases
from crewline.store.blobs import Blobs
from crewline.store.clients import client
from crewline.store.queues import DeadLetters, RunQueue, WebhookQueue
from crewline.store.table import Table
from tests.faults.torture import graphs
from tests.faults.torture.faults import Faults
from tests.faults.torture.journals import OWNER, Journal
from tests.faults.torture.plans import CREW, SKEW_MS, SPEED, Place
from tests.schedules import Scheduler
from tests.workflows import Executions


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a process of a torture works with."""

    place: Place
    journal: Journal
    clock: Clock
    table: Table
    queue: RunQueue
    sqs: Any
    """A client of SQS on a good line: a worker receives with it."""
    leases: Leases
    endings: Endings
    threads: Threads
    runs: Runs
    cancellations: Cancellations
    executor: Observed
    jobs: Jobs
    sweeper: Sweeper


class Observed:
    """The executor, with a note of what it was given and how that went."""

    def __init__(self, executor: Executor, journal: Journal) -> None:
        self._executor = executor
        self._journal = journal

    def execute(self, run: Run, claim: Claim, *, ends: float | None = None) -> Future[Any]:
        lease = claim.lease
        self._journal.note(
            "executes",
            thread=claim.thread_id,
            run=claim.run_id,
            owner=claim.owner,
            epoch=lease.epoch,
            turn=lease.turn,
            fed=lease.fed,
            attempt=lease.attempt,
            head=lease.head,
            cancel=lease.cancel,
        )
        OWNER.set((claim.owner, lease.epoch))  # the crew loop copies this thread's context
        future = self._executor.execute(run, claim, ends=ends)
        future.add_done_callback(lambda done: self._note_end(claim, done))
        return future

    def _note_end(self, claim: Claim, done: Future[Any]) -> None:
        failure = done.exception()
        self._journal.note(
            "executed",
            thread=claim.thread_id,
            run=claim.run_id,
            owner=claim.owner,
            failure=type(failure).__name__ if failure else None,
        )


def make_world(place: Place, who: str) -> World:
    """Put the product together, as `crewline.runtime` does.

    Args:
        place: Where the torture happens.
        who: Name of the process, on which its skew and its faults depend.
    """
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    dice, journal = place.plan.dice(who), Journal(place.history, who)
    skew_ms = dice.randint(-SKEW_MS, SKEW_MS)
    journal.note("begins", skew_ms=skew_ms)
    clock = _clock(place.began_ns, skew_ms)
    _skew_ids(skew_ms)
    graphs.write_to(journal)
    if place.plan.broken == "fence":
        _break_fence()
    faults, logger = Faults(dice, journal), make_logger(who, "CRITICAL")
    sqs = faults.between(client("sqs"))
    _hurry(sqs)
    stores = Stores(
        table=Table(faults.between(client("dynamodb")), place.table),
        blobs=Blobs(faults.between(client("s3")), place.bucket),
        queue=RunQueue(sqs, place.queue_url),
        webhooks=WebhookQueue(sqs, place.queue_url),
    )
    core = compose(stores, _manifest(), clock, logger, check_webhook=str)
    crews = Crews({CREW: Crew(graph_id=CREW, target=graphs.make())})
    dispatches = compose_dispatches(core, Executions().workflow)  # no slice ends here
    engine = compose_engine(core, dispatches, crews, CrewLoop(), longest_s=3_600)
    executor = Observed(engine.executor, journal)
    return World(
        place=place,
        journal=journal,
        clock=clock,
        table=core.table,
        queue=core.queue,
        sqs=client("sqs"),
        leases=core.leases,
        endings=core.endings,
        threads=core.threads,
        runs=core.runs,
        cancellations=core.cancellations,
        executor=executor,
        jobs=compose_jobs(core, dispatches, executor, most_slices=3_000),
        sweeper=compose_sweeper(
            core,
            dispatches,
            DeadLetters(sqs, place.dead_letter_url),
            compose_crons(core, Scheduler().schedules),
        ),
    )


def _end_with_the_parent() -> None:
    """Leave no process behind when the one that started it all is killed."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _manifest() -> Manifest:
    path = Path(graphs.__file__)
    return Manifest(path=path, crews={CREW: CrewEntry(graph_id=CREW, path=path, attribute="make")})


def _clock(began_ns: int, skew_ms: int) -> Clock:
    def now() -> int:
        return (began_ns + (time.time_ns() - began_ns) * SPEED) // 1_000_000 + skew_ms

    return now


def _skew_ids(skew_ms: int) -> None:
    """Let the ids of checkpoints come from a skewed clock as well."""
    skewed = SimpleNamespace(time_ns=lambda: time.time_ns() + skew_ms * 1_000_000)
    vars(langgraph_ids)["time"] = skewed


def _hurry(sqs: Any) -> None:
    """Make delays of messages as short as the product's clock makes everything."""
    call = sqs._make_api_call

    def hurried(operation: str, arguments: dict[str, Any]) -> Any:
        if delay_s := arguments.get("DelaySeconds"):
            arguments["DelaySeconds"] = -(-delay_s // SPEED)
        return call(operation, arguments)

    sqs._make_api_call = hurried


def _break_fence() -> None:
    """Take out what the protocol stands on: whoever has once claimed a run may write."""
    leases._MINE = "(#owner = :owner OR attribute_exists(#run))"  # type: ignore[misc]
