"""The composition root: what a process is made of, put together once.

Imported by the functions, the front door and the command line, and by nothing else. The control
plane is made without the engine, whose import is a second of LangGraph.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from crewline.errors import BadManifest
from crewline.events.posts import Poster
from crewline.http import assistants as assistant_routes
from crewline.http import creations as creation_routes
from crewline.http import drawings as drawing_routes
from crewline.http import executions as execution_routes
from crewline.http import runs as run_routes
from crewline.http import searches as search_routes
from crewline.http import states as state_routes
from crewline.http import streams as stream_routes
from crewline.http import system as system_routes
from crewline.http import threads as thread_routes
from crewline.http.apps import App
from crewline.http.handovers import HandOver
from crewline.http.v2 import commands as command_routes
from crewline.http.v2 import streams as event_routes
from crewline.models.clocks import reseed, system_clock
from crewline.models.cors import LOOPBACK, CorsPolicy
from crewline.models.manifests import Manifest, read_manifest
from crewline.models.webhooks import WebhookPolicy, check_url
from crewline.observability import make_logger
from crewline.services.assistants import Assistants
from crewline.services.cancellations import Cancellations
from crewline.services.checkpoints import Checkpoints
from crewline.services.copies import Copies
from crewline.services.creations import Creations
from crewline.services.drafts import Drafts
from crewline.services.edits import Edits
from crewline.services.endings import Endings
from crewline.services.events import Events
from crewline.services.expiries import Expiries
from crewline.services.jobs import Jobs
from crewline.services.leases import Leases
from crewline.services.outbox import Outbox
from crewline.services.prunings import Prunings
from crewline.services.recents import Recents
from crewline.services.runs import Runs
from crewline.services.searches import Searches
from crewline.services.sweeps import Deliveries, Sweeper
from crewline.services.threads import Threads
from crewline.services.webhooks import Webhooks
from crewline.settings import VARIABLES, Settings, read_settings
from crewline.store.blobs import Blobs
from crewline.store.clients import client
from crewline.store.functions import Functions
from crewline.store.queues import DeadLetters, RunQueue, WebhookQueue
from crewline.store.records import Records
from crewline.store.table import Table

if TYPE_CHECKING:
    from crewline.engine.edits import Editor
    from crewline.engine.executor import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The services over their stores; free of LangGraph."""

    settings: Settings
    manifest: Manifest
    logger: Logger
    table: Table
    blobs: Blobs
    outbox: Outbox
    events: Events
    queue: RunQueue
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
    runs: Runs
    cancellations: Cancellations
    assistants: Assistants


def make_core(environ: Mapping[str, str], *, service: str) -> Core:
    """Put the services together.

    Args:
        environ: The environment of the process.
        service: Name of the function, for its logs.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    _reseed_after_restore()
    settings = read_settings(environ)
    logger = make_logger(service, settings.log_level)
    manifest = read_manifest(Path(settings.manifest))
    table = Table(client("dynamodb"), settings.table)
    blobs = Blobs(client("s3"), settings.bucket)
    queue = RunQueue(client("sqs"), settings.run_queue_url)
    webhooks = WebhookQueue(client("sqs"), settings.webhook_queue_url)
    records = Records(table, blobs)
    leases = Leases(table, records, system_clock)
    outbox = Outbox(table, webhooks)
    recents = Recents()
    threads = Threads(table, blobs, records, queue, system_clock, expiry=manifest.expiry)
    assistants = Assistants(table, manifest, system_clock, threads=threads)
    drafts = Drafts(table, queue, system_clock)
    endings = Endings(table, blobs, records, queue, outbox, system_clock, leases=leases, logger=logger)
    runs = Runs(
        table,
        blobs,
        records,
        queue,
        system_clock,
        threads=threads,
        assistants=assistants,
        endings=endings,
        recents=recents,
        check_webhook=partial(check_url, policy=_policy(manifest, environ)),
        logger=logger,
        leaving_seen=settings.leaving_seen,
    )
    return Core(
        settings=settings,
        manifest=manifest,
        logger=logger,
        table=table,
        blobs=blobs,
        outbox=outbox,
        events=Events(table, blobs, records, system_clock),
        queue=queue,
        records=records,
        checkpoints=Checkpoints(table, blobs, records),
        leases=leases,
        endings=endings,
        recents=recents,
        threads=threads,
        searches=Searches(table, threads),
        drafts=drafts,
        prunings=Prunings(table, blobs, records, threads),
        copies=Copies(table, records, system_clock, threads=threads, drafts=drafts),
        runs=runs,
        cancellations=Cancellations(table, system_clock, runs=runs, endings=endings, announcer=outbox),
        assistants=assistants,
    )


def make_api(environ: Mapping[str, str]) -> App:
    """Make the control plane.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    core = make_core(environ, service="api")
    crew = HandOver(Functions(client("lambda")), core.settings.crew_function)
    tenant = core.settings.tenant
    return App(
        system_routes.routes(),
        assistant_routes.routes(core.assistants, tenant),
        thread_routes.routes(core.threads, core.copies, core.prunings, crew, tenant=tenant),
        search_routes.routes(core.searches, tenant=tenant),
        run_routes.routes(core.runs, core.cancellations, tenant, core.logger),
        command_routes.routes(core.runs, core.threads, tenant=tenant),
        cors=_cors(core.manifest, environ),
        max_body_bytes=core.settings.max_body_bytes,
        logger=core.logger,
    )


def make_crew(environ: Mapping[str, str]) -> App:
    """Load the crews and make the function that executes runs in place.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
        CrewFailedToLoad: The code of a crew raised.
    """
    core = make_core(environ, service="crew")
    (executor, editor), tenant = _make_engine(core), core.settings.tenant
    creations = Creations(
        core.table, core.records, system_clock, threads=core.threads, drafts=core.drafts, editor=editor
    )
    edits = Edits(
        core.table, core.records, system_clock, threads=core.threads, editor=editor, recents=core.recents
    )
    return App(
        execution_routes.routes(
            core.runs, core.cancellations, core.events, executor, tenant=tenant, logger=core.logger
        ),
        state_routes.routes(core.threads, executor, edits, tenant=tenant),
        drawing_routes.routes(core.assistants, executor, tenant=tenant),
        creation_routes.routes(creations, tenant=tenant),
        cors=_cors(core.manifest, environ),
        max_body_bytes=core.settings.max_body_bytes,
        logger=core.logger,
    )


def make_tail(environ: Mapping[str, str]) -> App:
    """Make what follows runs that execute elsewhere.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    core = make_core(environ, service="tail")
    return App(
        stream_routes.routes(
            core.runs,
            core.threads,
            core.events,
            core.cancellations if core.settings.leaving_seen else None,
            tenant=core.settings.tenant,
            logger=core.logger,
        ),
        event_routes.routes(
            core.runs, core.threads, core.events, tenant=core.settings.tenant, logger=core.logger
        ),
        cors=_cors(core.manifest, environ),
        max_body_bytes=core.settings.max_body_bytes,
        logger=core.logger,
    )


def make_worker(environ: Mapping[str, str]) -> tuple[Jobs, Logger]:
    """Load the crews and make what does the jobs of the run queue.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
        CrewFailedToLoad: The code of a crew raised.
    """
    core = make_core(environ, service="worker")
    jobs = Jobs(
        leases=core.leases,
        endings=core.endings,
        runs=core.runs,
        threads=core.threads,
        prunings=core.prunings,
        queue=core.queue,
        executor=_make_engine(core)[0],
        clock=system_clock,
        logger=core.logger,
    )
    return jobs, core.logger


def make_sweeper(environ: Mapping[str, str]) -> tuple[Sweeper, Deliveries, Logger]:
    """Make what sweeps and what delivers webhooks.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    core = make_core(environ, service="sweeper")
    if not core.settings.dead_letter_url:
        raise BadManifest(f"The environment lacks {VARIABLES['dead_letter_url']}, which the sweeper needs.")
    sweeper = Sweeper(
        table=core.table,
        queue=core.queue,
        dead_letters=DeadLetters(client("sqs"), core.settings.dead_letter_url),
        endings=core.endings,
        outbox=core.outbox,
        expiries=Expiries(core.table, core.queue, system_clock, threads=core.threads),
        clock=system_clock,
        logger=core.logger,
    )
    policy = _policy(core.manifest, environ)
    webhooks = Webhooks(
        core.table,
        core.blobs,
        core.records,
        system_clock,
        policy=policy,
        headers=policy.resolve_headers(environ),
        sender=Poster(loopback=not policy.url.disable_loopback),
        logger=core.logger,
    )
    return sweeper, webhooks, core.logger


def _reseed_after_restore() -> None:
    """Register what a process does that Lambda restores from a snapshot; its runtimes have the registry, others need none."""
    with suppress(ImportError):
        from snapshot_restore_py import register_after_restore

        register_after_restore(reseed)


def _policy(manifest: Manifest, environ: Mapping[str, str]) -> WebhookPolicy:
    """Give where webhooks may go; only beside a local cloud may that be this machine."""
    return manifest.webhooks if "AWS_ENDPOINT_URL" in environ else manifest.webhooks.deployed()


def _cors(manifest: Manifest, environ: Mapping[str, str]) -> CorsPolicy:
    """Give which web pages may call; on a laptop, where no key is asked for, not any page of the world."""
    return manifest.cors or (LOOPBACK if "AWS_ENDPOINT_URL" in environ else CorsPolicy())


def _make_engine(core: Core) -> tuple[Executor, Editor]:
    from crewline.engine.checkpointer import Storage
    from crewline.engine.crews import load_crews
    from crewline.engine.edits import Editor
    from crewline.engine.executions import Surroundings
    from crewline.engine.executor import Executor
    from crewline.engine.heartbeats import Heartbeats
    from crewline.engine.loops import CrewLoop

    loop = CrewLoop()
    around = Surroundings(
        crews=load_crews(core.manifest),
        storage=Storage(records=core.records, checkpoints=core.checkpoints, leases=core.leases),
        endings=core.endings,
        recents=core.recents,
        heartbeats=Heartbeats(core.leases, system_clock, core.logger),
        events=core.events,
        logger=core.logger,
        longest_s=core.settings.longest_run_s,
    )
    return Executor(around, loop), Editor(around.crews, around.storage, loop)
