"""What each function is made of: `make_api` for the control plane, and one like it for every other.

Imported by the functions and by nothing else but tests. Each imports its own part alone, where it is
made: what a cold start reads is billed, and the engine is a second of LangGraph.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from crewline.errors import BadManifest
from crewline.http.apps import App
from crewline.http.authentication import Authentication
from crewline.http.resolvers import Router
from crewline.models.clocks import reseed, system_clock
from crewline.models.cors import LOOPBACK, CorsPolicy
from crewline.models.manifests import AuthEntry, Manifest, read_manifest
from crewline.models.webhooks import WebhookPolicy, check_url
from crewline.observability import UNMEASURED, Measures, make_logger, print_line
from crewline.runtime import (
    Core,
    Engine,
    Stores,
    compose,
    compose_crons,
    compose_dispatches,
    compose_engine,
    compose_jobs,
    compose_sweeper,
)
from crewline.services import jobs
from crewline.services.dispatches import Dispatches
from crewline.services.sweeps import Deliveries, Sweeper
from crewline.settings import VARIABLES, Settings, beside_local_cloud, read_settings
from crewline.store.blobs import Blobs
from crewline.store.buses import EventBus
from crewline.store.clients import client, deferred
from crewline.store.queues import DeadLetters, IntakeDeadLetters, RunQueue, WebhookQueue
from crewline.store.table import Table
from crewline.store.workflows import Workflow

if TYPE_CHECKING:
    from crewline.events.intake import Receiver
    from crewline.http.authorization import Gate
    from crewline.store.schedules import Schedules


def make_api(environ: Mapping[str, str]) -> App:
    """Make the control plane.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    from crewline.http import assistants as assistant_routes
    from crewline.http import crons as cron_routes
    from crewline.http import metrics as metric_routes
    from crewline.http import runs as run_routes
    from crewline.http import searches as search_routes
    from crewline.http import store_items as store_item_routes
    from crewline.http import system as system_routes
    from crewline.http import threads as thread_routes
    from crewline.http.handovers import HandOver
    from crewline.http.v1 import runs as crewship_run_routes
    from crewline.http.v1 import threads as crewship_thread_routes
    from crewline.http.v1 import webhooks as crewship_webhook_routes
    from crewline.http.v2 import commands as command_routes
    from crewline.services.histories import Histories
    from crewline.services.run_lists import RunLists
    from crewline.services.store_items import StoreItems
    from crewline.services.vitals import Vitals
    from crewline.services.webhook_tokens import WebhookTokens
    from crewline.store.functions import Functions

    core, settings = _begin(environ, service="api")
    histories = Histories(core.records, core.threads)
    crew = HandOver(Functions(deferred("lambda")), settings.crew_function)
    vitals = Vitals(core.table, core.clock)
    return _make_app(
        core,
        settings,
        system_routes.routes(vitals, langgraph=settings.langgraph, build=settings.build),
        metric_routes.routes(vitals),
        assistant_routes.routes(core.assistants),
        thread_routes.routes(core.threads, core.copies, core.prunings, crew),
        search_routes.routes(core.searches),
        store_item_routes.routes(
            StoreItems(core.table, core.clock, core.manifest.store.ttl),
            crew if core.manifest.store.index else None,
        ),
        run_routes.routes(core.runs, core.batches, core.cancellations, core.logger),
        cron_routes.routes(compose_crons(core, _schedules(settings)), core.clock),
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
    from crewline.http import store_items as store_item_routes
    from crewline.http.a2a import routes as a2a_routes
    from crewline.http.agents import Agents
    from crewline.http.in_place import InPlace
    from crewline.http.mcp import routes as mcp_routes
    from crewline.http.v1 import creations as crewship_creation_routes
    from crewline.http.v1 import rollbacks as crewship_rollback_routes

    core, settings = _begin(environ, service="crew")
    engine = _load_engine(core, _dispatches(core, settings), settings)
    in_place = InPlace(core.runs, core.cancellations, core.events, engine.executor, core.logger)
    agents = Agents(
        core.assistants,
        core.threads,
        core.runs,
        core.cancellations,
        engine.executor,
        frozenset(core.manifest.crews),
    )
    asks_for_key = settings.authentication != "open"
    protocols = [
        *([mcp_routes.routes(agents, in_place)] if core.manifest.mcp else []),
        *([a2a_routes.routes(agents, in_place, asks_for_key=asks_for_key)] if core.manifest.a2a else []),
    ]
    return _make_app(
        core,
        settings,
        execution_routes.routes(core.runs, in_place),
        state_routes.routes(core.threads, engine.executor, engine.edits),
        drawing_routes.routes(core.assistants, engine.executor),
        creation_routes.routes(engine.creations),
        store_item_routes.embedding_routes(engine.stores),
        crewship_creation_routes.routes(core.assistants, engine.creations),
        crewship_rollback_routes.routes(core.threads, engine.edits),
        *protocols,
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
        core,
        _dispatches(core, settings),
        DeadLetters(deferred("sqs"), settings.dead_letter_url),
        compose_crons(core, _schedules(settings)),
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
        measures=core.measures,
    )
    return sweeper, webhooks, core.logger


def make_intake(environ: Mapping[str, str]) -> tuple[Receiver, Logger]:
    """Make what takes in messages and events.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    from crewline.events.intake import Receiver
    from crewline.services.firings import Firings
    from crewline.services.intake import Intake

    core, settings = _begin(environ, service="intake")
    needed = ("intake_dead_letter_url", "event_dead_letter_url")
    if missing := [VARIABLES[name] for name in needed if not getattr(settings, name)]:
        raise BadManifest(f"The environment lacks {', '.join(missing)}, which the intake needs.")
    sqs, schedules = client("sqs"), _schedules(settings)
    receiver = Receiver(
        Intake(core.table, core.runs, core.clock, tenant=settings.tenant),
        core.manifest.events,
        Firings(
            core.table,
            core.runs,
            compose_crons(core, schedules),
            schedules,
            core.clock,
            logger=core.logger,
        ),
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
        measures=Measures(settings.deployment, print_line) if settings.measures else UNMEASURED,
        leaving_seen=settings.leaving_seen,
        build=settings.build,
    )
    return core, settings


def _make_app(core: Core, settings: Settings, *routers: Router) -> App:
    """Make what answers requests; where nobody is asked for a key, not every page of the world may send them."""
    is_open = settings.authentication == "open"
    gate = _make_gate(core, settings, core.manifest.auth) if core.manifest.auth else None
    cors = core.manifest.cors or (LOOPBACK if is_open else CorsPolicy())
    return App(
        *routers,
        authentication=Authentication(None if is_open else core.api_keys, settings.tenant, pages=cors),
        cors=cors,
        max_body_bytes=settings.max_body_bytes,
        logger=core.logger,
        gate=gate,
    )


def _make_gate(core: Core, settings: Settings, entry: AuthEntry) -> Gate:
    """Load the project's own authentication, and make the gate that asks it."""
    from crewline.http.authorities import load_authority
    from crewline.http.authorization import Gate

    authority = load_authority(entry, core.manifest)
    return Gate(authority, settings.tenant, threads=core.threads, runs=core.runs, assistants=core.assistants)


def _dispatches(core: Core, settings: Settings) -> Dispatches:
    if not settings.workflow_arn:
        raise BadManifest(
            f"The environment lacks {VARIABLES['workflow_arn']}, which runs that outlive an invocation need."
        )
    return compose_dispatches(core, Workflow(deferred("stepfunctions"), settings.workflow_arn))


def _schedules(settings: Settings) -> Schedules:
    from crewline.store.schedules import Schedules, Targets

    targets = Targets(
        group=settings.schedule_group,
        role=settings.schedule_role,
        function=settings.schedule_function,
        dead_letters=settings.schedule_dead_letters,
    )
    return Schedules(deferred("scheduler"), targets)


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
