"""The composition root: the services over their stores, put together once.

Imported by what makes the functions, by the front door and by the command line, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from crewline.models.clocks import Clock
from crewline.models.manifests import Manifest
from crewline.observability import UNMEASURED, Measures
from crewline.services.api_keys import ApiKeys
from crewline.services.assistants import Assistants
from crewline.services.batches import Batches
from crewline.services.cancellations import Cancellations
from crewline.services.checkpoints import Checkpoints
from crewline.services.copies import Copies
from crewline.services.drafts import Drafts
from crewline.services.endings import Endings
from crewline.services.events import Events
from crewline.services.expiries import Expiries
from crewline.services.leases import Leases
from crewline.services.outbox import Outbox
from crewline.services.places import Places
from crewline.services.prunings import Prunings
from crewline.services.recents import Recents
from crewline.services.runs import Runs
from crewline.services.searches import Searches
from crewline.services.threads import Threads
from crewline.services.versions import Versions
from crewline.settings import UNDEPLOYED
from crewline.store.blobs import Blobs
from crewline.store.buses import EventBus
from crewline.store.queues import DeadLetters, RunQueue, WebhookQueue
from crewline.store.records import Records
from crewline.store.table import Table

if TYPE_CHECKING:
    from crewline.engine.crews import Crews
    from crewline.engine.executor import Executor
    from crewline.engine.loops import CrewLoop
    from crewline.engine.stores import Stores as MemoryStores
    from crewline.services import jobs
    from crewline.services.creations import Creations
    from crewline.services.crons import Crons
    from crewline.services.dispatches import Dispatches
    from crewline.services.dispatches import Workflow as WorkflowLike
    from crewline.services.edits import Edits
    from crewline.services.sweeps import Sweeper
    from crewline.store.schedules import Schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where everything is kept, and who reaches it."""

    table: Table
    blobs: Blobs
    queue: RunQueue
    webhooks: WebhookQueue
    bus: EventBus | None = None
    """Who is told of every run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The services over their stores; free of LangGraph."""

    manifest: Manifest
    build: str
    """What this process runs, as a version names it."""
    clock: Clock
    logger: Logger
    measures: Measures
    versions: Versions
    api_keys: ApiKeys
    table: Table
    blobs: Blobs
    queue: RunQueue
    outbox: Outbox
    events: Events
    records: Records
    checkpoints: Checkpoints
    leases: Leases
    endings: Endings
    recents: Recents
    threads: Threads
    searches: Searches
    drafts: Drafts
    copies: Copies
    prunings: Prunings
    expiries: Expiries
    runs: Runs
    batches: Batches
    cancellations: Cancellations
    assistants: Assistants


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What executes the crews, and the services that need it."""

    executor: Executor
    edits: Edits
    creations: Creations
    stores: MemoryStores


def compose(
    stores: Stores,
    manifest: Manifest,
    clock: Clock,
    logger: Logger,
    *,
    check_webhook: Callable[[str], object],
    measures: Measures = UNMEASURED,
    leaving_seen: bool = True,
    build: str = UNDEPLOYED,
) -> Core:
    """Put the services together: for functions, and for whatever stands in for one.

    Args:
        stores: Where everything is kept.
        manifest: Which crews there are.
        clock: Tells the time.
        logger: The log of the process.
        check_webhook: Refuses an address that nothing will be posted to.
        measures: What the process measures.
        leaving_seen: Whether a client that leaves is seen.
        build: What the process runs, as a version names it.
    """
    table, blobs, queue = stores.table, stores.blobs, stores.queue
    records = Records(table, blobs, clock=clock)
    outbox = Outbox(table, stores.webhooks, stores.bus, clock, logger)
    leases = Leases(table, records, clock)
    recents = Recents()
    threads = Threads(table, blobs, records, queue, clock, expiry=manifest.expiry)
    assistants = Assistants(table, manifest, clock, threads=threads, check_webhook=check_webhook)
    drafts = Drafts(table, queue, clock)
    endings = Endings(
        table, blobs, records, queue, outbox, clock, leases=leases, logger=logger, measures=measures
    )
    places = Places(table, records, threads=threads, assistants=assistants, recents=recents, logger=logger)
    runs = Runs(
        table,
        blobs,
        records,
        queue,
        clock,
        threads=threads,
        assistants=assistants,
        endings=endings,
        places=places,
        recents=recents,
        check_webhook=check_webhook,
        outbox=outbox,
        logger=logger,
        long_crews=manifest.long_crews,
        leaving_seen=leaving_seen,
        build=build,
    )
    return Core(
        manifest=manifest,
        build=build,
        clock=clock,
        logger=logger,
        measures=measures,
        versions=Versions(table, clock),
        api_keys=ApiKeys(table, clock),
        table=table,
        blobs=blobs,
        queue=queue,
        outbox=outbox,
        events=Events(table, blobs, records, clock),
        records=records,
        checkpoints=Checkpoints(table, blobs, records),
        leases=leases,
        endings=endings,
        recents=recents,
        threads=threads,
        searches=Searches(table, threads),
        drafts=drafts,
        copies=Copies(table, records, clock, threads=threads, drafts=drafts),
        prunings=Prunings(table, blobs, records, threads),
        expiries=Expiries(table, queue, clock, threads=threads),
        runs=runs,
        batches=Batches(table, runs, clock, logger=logger),
        cancellations=Cancellations(table, clock, runs=runs, endings=endings, announcer=outbox),
        assistants=assistants,
    )


def compose_dispatches(core: Core, workflow: WorkflowLike) -> Dispatches:
    """Put together what sends runs to workers."""
    from crewline.services.dispatches import Dispatches

    return Dispatches(core.table, core.queue, workflow, core.clock)


def compose_engine(
    core: Core, dispatches: Dispatches, crews: Crews, loop: CrewLoop, *, longest_s: int
) -> Engine:
    """Put together what executes crews.

    Args:
        core: The services.
        dispatches: Sends runs on that outlive their invocation.
        crews: The crews of this process.
        loop: The loop on which they execute.
        longest_s: How long a run may take from its first claim on.
    """
    from crewline.engine.checkpointer import Storage
    from crewline.engine.edits import Editor
    from crewline.engine.embeddings import load_embedder
    from crewline.engine.executions import Surroundings
    from crewline.engine.executor import Executor
    from crewline.engine.heartbeats import Heartbeats
    from crewline.engine.stores import DynamoDBStore
    from crewline.services.creations import Creations
    from crewline.services.edits import Edits
    from crewline.services.store_items import StoreItems

    table, records, clock, threads = core.table, core.records, core.clock, core.threads
    storage = Storage(records=records, checkpoints=core.checkpoints, leases=core.leases, clock=clock)
    items = StoreItems(table, clock, core.manifest.store.ttl)
    embedder = load_embedder(core.manifest)
    stores = partial(DynamoDBStore, items, embedder=embedder, loop=loop)
    around = Surroundings(
        crews=crews,
        storage=storage,
        stores=stores,
        endings=core.endings,
        dispatches=dispatches,
        recents=core.recents,
        heartbeats=Heartbeats(core.leases, clock, core.logger),
        events=core.events,
        logger=core.logger,
        longest_s=longest_s,
        guards=core.manifest.guards,
        measures=core.measures,
        clock=clock,
    )
    editor = Editor(crews, storage, loop)
    return Engine(
        executor=Executor(around, loop),
        edits=Edits(table, records, clock, threads=threads, editor=editor, recents=core.recents),
        creations=Creations(table, records, clock, threads=threads, drafts=core.drafts, editor=editor),
        stores=stores,
    )


def compose_jobs(
    core: Core, dispatches: Dispatches, executor: jobs.Executor, *, most_slices: int
) -> jobs.Jobs:
    """Put together what the worker does."""
    from crewline.services import jobs

    return jobs.Jobs(
        leases=core.leases,
        endings=core.endings,
        runs=core.runs,
        threads=core.threads,
        prunings=core.prunings,
        queue=core.queue,
        dispatches=dispatches,
        executor=executor,
        clock=core.clock,
        logger=core.logger,
        most_slices=most_slices,
        measures=core.measures,
    )


def compose_crons(core: Core, schedules: Schedules) -> Crons:
    """Put together what makes crons and their schedules."""
    from crewline.services.crons import Crons

    return Crons(
        core.table,
        schedules,
        core.clock,
        runs=core.runs,
        threads=core.threads,
        assistants=core.assistants,
        logger=core.logger,
    )


def compose_sweeper(core: Core, dispatches: Dispatches, dead_letters: DeadLetters, crons: Crons) -> Sweeper:
    """Put together what sweeps."""
    from crewline.services.sweeps import Sweeper

    return Sweeper(
        table=core.table,
        queue=core.queue,
        dispatches=dispatches,
        dead_letters=dead_letters,
        endings=core.endings,
        outbox=core.outbox,
        crons=crons,
        expiries=core.expiries,
        versions=core.versions,
        build=core.build,
        clock=core.clock,
        logger=core.logger,
        measures=core.measures,
    )
