"""What each function is made of: `make_api` for the control plane, and one like it for every other.

Imported by the functions and by nothing else but tests. Each imports its own part alone, where it is
made: what a cold start reads is billed, and the engine is a second of LangGraph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from crewline.errors import BadManifest
from crewline.http.apps import App
from crewline.http.authentication import Authentication
from crewline.http.resolvers import Later, Router
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
from crewline.settings import VARIABLES, Settings, beside_local_cloud, read_settings
from crewline.store.blobs import Blobs
from crewline.store.buses import EventBus
from crewline.store.clients import client, deferred
from crewline.store.queues import DeadLetters, IntakeDeadLetters, RunQueue, WebhookQueue
from crewline.store.table import Table

if TYPE_CHECKING:
    from crewline.events.intake import Receiver
    from crewline.http.agents import Agents
    from crewline.http.authorization import Gate
    from crewline.http.handovers import HandOver
    from crewline.http.in_place import InPlace
    from crewline.services import jobs
    from crewline.services.dispatches import Dispatches
    from crewline.services.sweeps import Deliveries, Sweeper
    from crewline.store.schedules import Schedules


def make_api(environ: Mapping[str, str]) -> App:
    """Make the control plane.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    from crewline.http import assistants as assistant_routes
    from crewline.http import runs as run_routes
    from crewline.http import searches as search_routes
    from crewline.http import threads as thread_routes
    from crewline.http.handovers import HandOver
    from crewline.store.functions import Functions

    core, settings = _begin(environ, service="api")
    crew = HandOver(Functions(deferred("lambda")), settings.crew_function)
    return _make_app(
        core,
        settings,
        assistant_routes.routes(core.assistants),
        thread_routes.routes(core.threads, core.copies, core.prunings, crew),
        search_routes.routes(core.searches),
        run_routes.routes(core.runs, core.batches, core.cancellations, core.logger),
        Later("/(ok|info|metrics|openapi.json|docs)", partial(_system, core, settings)),
        Later("/threads/[^/]+/commands", partial(_commands, core)),
        Later("(/threads/[^/]+)?/runs/crons(/.*)?", partial(_crons, core, settings)),
        Later("/store/.*", partial(_store_items, core, crew)),
        Later("/(v1|webhooks)/.*", partial(_crewship, core, settings, crew)),
    )


def _system(core: Core, settings: Settings) -> Iterator[Router]:
    from crewline.http import metrics, system
    from crewline.services.vitals import Vitals

    vitals = Vitals(core.table, core.clock)
    security = core.manifest.auth.openapi if core.manifest.auth else None
    yield system.routes(vitals, langgraph=settings.langgraph, build=settings.build, security=security)
    yield metrics.routes(vitals)


def _commands(core: Core) -> Iterator[Router]:
    from crewline.http.v2 import commands

    yield commands.routes(core.runs, core.threads)


def _crons(core: Core, settings: Settings) -> Iterator[Router]:
    from crewline.http import crons

    yield crons.routes(compose_crons(core, _schedules(settings)), core.clock)


def _store_items(core: Core, crew: HandOver) -> Iterator[Router]:
    from crewline.http import store_items
    from crewline.services.store_items import StoreItems

    store = core.manifest.store
    yield store_items.routes(StoreItems(core.table, core.clock, store.ttl), crew if store.index else None)


def _crewship(core: Core, settings: Settings, crew: HandOver) -> Iterator[Router]:
    from crewline.http.v1 import runs, threads, webhooks
    from crewline.services.histories import Histories
    from crewline.services.run_lists import RunLists
    from crewline.services.webhook_tokens import WebhookTokens

    histories = Histories(core.records, core.threads)
    yield runs.routes(
        core.runs,
        RunLists(core.table, core.runs, core.threads),
        core.threads,
        core.assistants,
        core.cancellations,
        core.versions,
        stage=settings.stage,
    )
    yield webhooks.routes(WebhookTokens(core.table, core.clock), core.runs, core.versions)
    yield threads.routes(core.assistants, core.threads, core.searches, histories, core.copies, crew)


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
    from crewline.http.in_place import InPlace
    from crewline.http.v1 import creations as crewship_creation_routes
    from crewline.http.v1 import rollbacks as crewship_rollback_routes

    core, settings = _begin(environ, service="crew")
    engine = _load_engine(core, _dispatches(core, settings), settings)
    in_place = InPlace(core.runs, core.cancellations, core.events, engine.executor, core.logger)
    cards = r"/\.well-known/agent-card\.json"
    protocols = [
        *([Later("/mcp", partial(_mcp, core, engine, in_place))] if core.manifest.mcp else []),
        *(
            [Later(f"/a2a/.*|{cards}", partial(_a2a, core, settings, engine, in_place))]
            if core.manifest.a2a
            else []
        ),
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


def _mcp(core: Core, engine: Engine, in_place: InPlace) -> Iterator[Router]:
    from crewline.http.mcp import routes

    yield routes.routes(_agents(core, engine), in_place)


def _a2a(core: Core, settings: Settings, engine: Engine, in_place: InPlace) -> Iterator[Router]:
    from crewline.http.a2a import routes

    asks_for_key = settings.authentication != "open" and core.manifest.auth is None
    yield routes.routes(_agents(core, engine), in_place, asks_for_key=asks_for_key)


def _agents(core: Core, engine: Engine) -> Agents:
    from crewline.http.agents import Agents

    return Agents(
        core.assistants,
        core.threads,
        core.runs,
        core.cancellations,
        engine.executor,
        frozenset(core.manifest.crews),
    )


def make_tail(environ: Mapping[str, str]) -> App:
    """Make what follows runs that execute elsewhere.

    Raises:
        BadManifest: A setting is missing, or the manifest cannot be read.
    """
    from crewline.http import streams as stream_routes

    core, settings = _begin(environ, service="tail")
    seen = core.cancellations if settings.leaving_seen else None
    return _make_app(
        core,
        settings,
        stream_routes.routes(core.runs, core.threads, core.events, seen, logger=core.logger),
        Later("/threads/[^/]+/stream/events", partial(_thread_events, core)),
        Later("/v1/runs/[^/]+/events", partial(_crewship_events, core)),
    )


def _thread_events(core: Core) -> Iterator[Router]:
    from crewline.http.v2 import streams

    yield streams.routes(core.runs, core.threads, core.events, logger=core.logger)


def _crewship_events(core: Core) -> Iterator[Router]:
    from crewline.http.v1 import events

    yield events.routes(core.runs, core.events, logger=core.logger)


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


def _make_app(core: Core, settings: Settings, *routers: Router | Later) -> App:
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
    from crewline.store.workflows import Workflow

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
