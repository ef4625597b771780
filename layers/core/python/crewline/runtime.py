"""The composition root: what a process is made of, put together once.

Imported by the functions, the front door and the command line, and by nothing else. Each function
imports its own part alone: what a cold start reads is billed, and the engine is a second of LangGraph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from crewline.errors import BadManifest
from crewline.http.apps import App
from crewline.http.authentication import Authentication
from crewline.http.resolvers import Router
from crewline.models.clocks import Clock, reseed, system_clock
from crewline.models.cors import LOOPBACK, CorsPolicy
from crewline.models.manifests import Manifest, read_manifest
from crewline.models.webhooks import WebhookPolicy, check_url
from crewline.observability import make_logger
from crewline.services import jobs
from crewline.services.api_keys import ApiKeys
from crewline.services.assistants import Assistants
from crewline.services.batches import Batches
from crewline.services.cancellations import Cancellations
from crewline.services.checkpoints import Checkpoints
from crewline.services.copies import Copies
from crewline.services.creations import Creations
from crewline.services.dispatches import Dispatches
from crewline.services.dispatches import Workflow as WorkflowLike
from crewline.services.drafts import Drafts
from crewline.services.edits import Edits
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
from crewline.services.sweeps import Deliveries, Sweeper
from crewline.services.threads import Threads
from crewline.services.versions import Versions
from crewline.settings import UNDEPLOYED, VARIABLES, Settings, beside_local_cloud, read_settings
from crewline.store.blobs import Blobs
from crewline.store.buses import EventBus
from crewline.store.clients import client, deferred
from crewline.store.queues import DeadLetters, IntakeDeadLetters, RunQueue, WebhookQueue
from crewline.store.records import Records
from crewline.store.table import Table
from crewline.store.workflows import Workflow

if TYPE_CHECKING:
    from crewline.engine.crews import Crews
    from crewline.engine.executor import Executor
    from crewline.engine.loops import CrewLoop
    from crewline.events.intake import Receiver


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


def compose(
    stores: Stores,
    manifest: Manifest,
    clock: Clock,
    logger: Logger,
    *,
    check_webhook: Callable[[str], object],
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
    endings = Endings(table, blobs, records, queue, outbox, clock, leases=leases, logger=logger)
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
    from crewline.engine.executions import Surroundings
    from crewline.engine.executor import Executor
    from crewline.engine.heartbeats import Heartbeats

    table, records, clock, threads = core.table, core.records, core.clock, core.threads
    storage = Storage(records=records, checkpoints=core.checkpoints, leases=core.leases, clock=clock)
    around = Surroundings(
        crews=crews,
        storage=storage,
        endings=core.endings,
        dispatches=dispatches,
        recents=core.recents,
        heartbeats=Heartbeats(core.leases, clock, core.logger),
        events=core.events,
        logger=core.logger,
        longest_s=longest_s,
        guards=core.manifest.guards,
        clock=clock,
    )
    editor = Editor(crews, storage, loop)
    return Engine(
        executor=Executor(around, loop),
        edits=Edits(table, records, clock, threads=threads, editor=editor, recents=core.recents),
        creations=Creations(table, records, clock, threads=threads, drafts=core.drafts, editor=editor),
    )


def compose_jobs(
    core: Core, dispatches: Dispatches, executor: jobs.Executor, *, most_slices: int
) -> jobs.Jobs:
    """Put together what the worker does."""
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
    )


def compose_sweeper(core: Core, dispatches: Dispatches, dead_letters: DeadLetters) -> Sweeper:
    """Put together what sweeps."""
    return Sweeper(
        table=core.table,
        queue=core.queue,
        dispatches=dispatches,
        dead_letters=dead_letters,
        endings=core.endings,
        outbox=core.outbox,
        expiries=core.expiries,
        versions=core.versions,
        build=core.build,
        clock=core.clock,
        logger=core.logger,
    )


def make_api(environ: Mapping[str, str]) -> App:
    """Make the control plane.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    from crewline.http import assistants as assistant_routes
    from crewline.http import runs as run_routes
    from crewline.http import searches as search_routes
    from crewline.http import system as system_routes
    from crewline.http import threads as thread_routes
    from crewline.http.handovers import HandOver
    from crewline.http.v1 import runs as crewship_run_routes
    from crewline.http.v1 import threads as crewship_thread_routes
    from crewline.http.v1 import webhooks as crewship_webhook_routes
    from crewline.http.v2 import commands as command_routes
    from crewline.services.histories import Histories
    from crewline.services.run_lists import RunLists
    from crewline.services.webhook_tokens import WebhookTokens
    from crewline.store.functions import Functions

    core, settings = _begin(environ, service="api")
    histories = Histories(core.records, core.threads)
    crew = HandOver(Functions(deferred("lambda")), settings.crew_function)
    return _make_app(
        core,
        settings,
        system_routes.routes(),
        assistant_routes.routes(core.assistants),
        thread_routes.routes(core.threads, core.copies, core.prunings, crew),
        search_routes.routes(core.searches),
        run_routes.routes(core.runs, core.batches, core.cancellations, core.logger),
        command_routes.routes(core.runs, core.threads),
        crewship_run_routes.routes(
            core.runs,
            RunLists(core.table, core.runs, core.threads),
            core.threads,
            core.assistants,
            core.cancellations,
            core.versions,
            stage=settings.stage,
        ),
        crewship_webhook_routes.routes(WebhookTokens(core.table, core.clock), core.runs, core.versions),
        crewship_thread_routes.routes(
            core.assistants, core.threads, core.searches, histories, core.copies, crew
        ),
    )


def make_crew(environ: Mapping[str, str]) -> App:
    """Load the crews and make the function that executes runs in place.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
        CrewFailedToLoad: The code of a crew raised.
    """
    from crewline.http import creations as creation_routes
    from crewline.http import drawings as drawing_routes
    from crewline.http import executions as execution_routes
    from crewline.http import states as state_routes
    from crewline.http.v1 import creations as crewship_creation_routes
    from crewline.http.v1 import rollbacks as crewship_rollback_routes

    core, settings = _begin(environ, service="crew")
    engine = _load_engine(core, _dispatches(core, settings), settings)
    return _make_app(
        core,
        settings,
        execution_routes.routes(
            core.runs, core.cancellations, core.events, engine.executor, logger=core.logger
        ),
        state_routes.routes(core.threads, engine.executor, engine.edits),
        drawing_routes.routes(core.assistants, engine.executor),
        creation_routes.routes(engine.creations),
        crewship_creation_routes.routes(core.assistants, engine.creations),
        crewship_rollback_routes.routes(core.threads, engine.edits),
    )


def make_tail(environ: Mapping[str, str]) -> App:
    """Make what follows runs that execute elsewhere.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    from crewline.http import streams as stream_routes
    from crewline.http.v1 import events as crewship_event_routes
    from crewline.http.v2 import streams as event_routes

    core, settings = _begin(environ, service="tail")
    seen = core.cancellations if settings.leaving_seen else None
    return _make_app(
        core,
        settings,
        stream_routes.routes(core.runs, core.threads, core.events, seen, logger=core.logger),
        event_routes.routes(core.runs, core.threads, core.events, logger=core.logger),
        crewship_event_routes.routes(core.runs, core.events, logger=core.logger),
    )


def make_worker(environ: Mapping[str, str]) -> tuple[jobs.Jobs, Logger]:
    """Load the crews and make what does the jobs of the run queue.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
        CrewFailedToLoad: The code of a crew raised.
    """
    core, settings = _begin(environ, service="worker")
    dispatches = _dispatches(core, settings)
    engine = _load_engine(core, dispatches, settings)
    made = compose_jobs(core, dispatches, engine.executor, most_slices=settings.most_slices)
    return made, core.logger


def make_sweeper(environ: Mapping[str, str]) -> tuple[Sweeper, Deliveries, Logger]:
    """Make what sweeps and what delivers webhooks.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    from crewline.events.posts import Poster
    from crewline.services.webhooks import Webhooks

    core, settings = _begin(environ, service="sweeper")
    if not settings.dead_letter_url:
        raise BadManifest(f"The environment lacks {VARIABLES['dead_letter_url']}, which the sweeper needs.")
    sweeper = compose_sweeper(
        core, _dispatches(core, settings), DeadLetters(deferred("sqs"), settings.dead_letter_url)
    )
    policy = _policy(core.manifest, environ)
    webhooks = Webhooks(
        core.table,
        core.blobs,
        core.records,
        core.clock,
        policy=policy,
        headers=policy.resolve_headers(environ),
        sender=Poster(loopback=not policy.url.disable_loopback),
        logger=core.logger,
    )
    return sweeper, webhooks, core.logger


def make_intake(environ: Mapping[str, str]) -> tuple[Receiver, Logger]:
    """Make what takes in messages and events.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    from crewline.events.intake import Receiver
    from crewline.services.intake import Intake

    core, settings = _begin(environ, service="intake")
    needed = ("intake_dead_letter_url", "event_dead_letter_url")
    if missing := [VARIABLES[name] for name in needed if not getattr(settings, name)]:
        raise BadManifest(f"The environment lacks {', '.join(missing)}, which the intake needs.")
    sqs = client("sqs")
    receiver = Receiver(
        Intake(core.table, core.runs, core.clock, tenant=settings.tenant),
        core.manifest.events,
        messages=IntakeDeadLetters(sqs, settings.intake_dead_letter_url),
        events=IntakeDeadLetters(sqs, settings.event_dead_letter_url),
        logger=core.logger,
    )
    return receiver, core.logger


def _begin(environ: Mapping[str, str], *, service: str) -> tuple[Core, Settings]:
    """Read what a process is told, and put its services together."""
    _reseed_after_restore()
    settings = read_settings(environ)
    manifest = read_manifest(Path(settings.manifest))
    sqs = deferred("sqs")
    stores = Stores(
        table=Table(client("dynamodb"), settings.table),
        blobs=Blobs(deferred("s3"), settings.bucket),
        queue=RunQueue(sqs, settings.run_queue_url),
        webhooks=WebhookQueue(sqs, settings.webhook_queue_url),
        bus=EventBus(deferred("events"), settings.event_bus) if settings.event_bus else None,
    )
    core = compose(
        stores,
        manifest,
        system_clock,
        make_logger(service, settings.log_level),
        check_webhook=partial(check_url, policy=_policy(manifest, environ)),
        leaving_seen=settings.leaving_seen,
        build=settings.build,
    )
    return core, settings


def _make_app(core: Core, settings: Settings, *routers: Router) -> App:
    """Make what answers requests; where nobody is asked for a key, not every page of the world may send them."""
    is_open = settings.authentication == "open"
    cors = core.manifest.cors or (LOOPBACK if is_open else CorsPolicy())
    return App(
        *routers,
        authentication=Authentication(None if is_open else core.api_keys, settings.tenant, pages=cors),
        cors=cors,
        max_body_bytes=settings.max_body_bytes,
        logger=core.logger,
    )


def _dispatches(core: Core, settings: Settings) -> Dispatches:
    if not settings.workflow_arn:
        raise BadManifest(
            f"The environment lacks {VARIABLES['workflow_arn']}, which runs that outlive an invocation need."
        )
    return compose_dispatches(core, Workflow(deferred("stepfunctions"), settings.workflow_arn))


def _load_engine(core: Core, dispatches: Dispatches, settings: Settings) -> Engine:
    from crewline.engine.crews import load_crews
    from crewline.engine.loops import CrewLoop

    loop = CrewLoop()
    return compose_engine(core, dispatches, load_crews(core.manifest), loop, longest_s=settings.longest_run_s)


def _reseed_after_restore() -> None:
    """Register what a process does that Lambda restores from a snapshot; its runtimes have the registry, others need none."""
    with suppress(ImportError):
        from snapshot_restore_py import register_after_restore

        register_after_restore(reseed)


def _policy(manifest: Manifest, environ: Mapping[str, str]) -> WebhookPolicy:
    """Give where webhooks may go; only beside a local cloud may that be this machine."""
    return manifest.webhooks if beside_local_cloud(environ) else manifest.webhooks.deployed()
