"""`/v1/runs` and `/v1/threads/{thread_id}/runs`: start, list, read, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.errors import BadRequest, Conflict, NotFound, RunEnded, ThreadBusy
from crewline.http.apps import json_response
from crewline.http.resolvers import Router
from crewline.http.v1.deployments import naming_deployment
from crewline.models.api_keys import Caller
from crewline.models.crewship import (
    CrewshipRun,
    CrewshipStatus,
    RunRequest,
    ThreadRunRequest,
    check_environment,
    core_statuses,
    show_run,
    started_run,
)
from crewline.models.public_ids import parse_deployment, parse_public_id, public_id
from crewline.models.runs import Run, RunCreate
from crewline.services.assistants import Assistants
from crewline.services.cancellations import Cancellations
from crewline.services.run_lists import RunLists, RunQuery
from crewline.services.runs import RETENTION_S, Runs
from crewline.services.threads import Threads
from crewline.services.versions import Versions
from crewline.settings import Stage
from crewline.store.idempotency import Once


def routes(
    runs: Runs,
    lists: RunLists,
    threads: Threads,
    assistants: Assistants,
    cancellations: Cancellations,
    versions: Versions,
    *,
    stage: Stage,
) -> Router:
    """Make the routes of `/v1` that start runs, show and stop them.

    Args:
        runs: The runs.
        lists: Lists them.
        threads: The threads that they are on.
        assistants: What they execute.
        cancellations: Stop them.
        versions: Numbers what is deployed.
        stage: What this deployment is for.
    """
    router = Router()

    @router.post("/v1/runs")
    def create(body: Annotated[RunRequest, Body()]) -> Response[Any]:
        check_environment(body.environment, stage)
        key = router.once("POST /v1/runs", body.model_dump(exclude_unset=True))
        versions.number(runs.build)  # known before the run is there, or its answer could still fail
        with naming_deployment(body.deployment_id):
            run = runs.create_stateless(
                router.caller.tenant,
                body.core,
                once=key,
                keep_s=RETENTION_S,
                sender=router.caller.sender,
            )
        return json_response(started_run(run, versions.number(run.build)), 202)

    @router.post("/v1/threads/<thread_id>/runs")
    def create_on_thread(thread_id: str, body: Annotated[ThreadRunRequest, Body()]) -> Response[Any]:
        check_environment(body.environment, stage)
        core_id, tenant = parse_public_id("thread", thread_id), router.caller.tenant
        path = f"POST /v1/threads/{core_id}/runs"
        key = router.once(path, body.model_dump(exclude_unset=True))
        versions.number(runs.build)
        asked = _asked(threads, tenant, core_id, body)
        run = _start_on(runs, router.caller, core_id, asked, key)
        started = started_run(run, versions.number(run.build))
        return json_response({**started, "thread_id": public_id("thread", core_id)}, 202)

    @router.get("/v1/runs")
    def list_(
        deployment_id: Annotated[str | None, Query()] = None,
        thread_id: Annotated[str | None, Query()] = None,
        status: Annotated[CrewshipStatus | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Query()] = None,
    ) -> Response[Any]:
        query = RunQuery(
            limit=limit,
            before=parse_public_id("run", cursor) if cursor else None,
            thread_id=parse_public_id("thread", thread_id) if thread_id else None,
            assistant_id=_identify(assistants, deployment_id) if deployment_id else None,
            statuses=core_statuses(status) if status else None,
            sees=router.caller.sender.sees,
        )
        try:
            page = lists.page(router.caller.tenant, query)
        except NotFound as exc:
            raise _no_thread(query.thread_id) from exc
        next_cursor = public_id("run", page.last) if page.last else None
        found = [show_run(run, output) for run, output in page.runs]
        return json_response({"runs": found, "next_cursor": next_cursor})

    @router.get("/v1/runs/<run_id>")
    def get(run_id: str) -> Response[Any]:
        return json_response(_show(runs, router.caller.tenant, find_run(runs, router.caller.tenant, run_id)))

    @router.post("/v1/runs/<run_id>/cancel")
    def cancel(run_id: str) -> Response[Any]:
        tenant = router.caller.tenant
        run = find_run(runs, tenant, run_id, whole=False)
        try:
            cancellations.cancel(tenant, run.thread_id, run.run_id)
        except RunEnded as exc:
            raise Conflict(f"Run {run_id} has ended; there is nothing to cancel.") from exc
        return json_response(_show(runs, tenant, find_run(runs, tenant, run_id)), 202)

    return router


def _asked(threads: Threads, tenant: str, thread_id: str, body: ThreadRunRequest) -> RunCreate:
    """Ask for a run on a thread: of what the request names, else of what the thread was made for."""
    try:
        thread, lease = threads.read(tenant, thread_id)
    except NotFound as exc:
        raise _no_thread(thread_id) from exc
    if not body.says_something and lease.free and lease.head is None:
        raise BadRequest(
            f"Thread {public_id('thread', thread_id)} has nothing to go on from: no run has left a state there. "
            "Send an input."
        )
    named = (
        parse_deployment(body.deployment_id) if body.deployment_id else thread.metadata.get("assistant_id")
    )
    if not isinstance(named, str):
        raise BadRequest(
            f"Thread {public_id('thread', thread_id)} was made for no deployment, so the run has to name one: "
            "send deployment_id."
        )
    return body.core(named)


def _start_on(runs: Runs, caller: Caller, thread_id: str, body: RunCreate, once: Once | None) -> Run:
    try:
        return runs.create(caller.tenant, thread_id, body, once=once, sender=caller.sender)
    except ThreadBusy as exc:
        run_id = public_id("run", exc.details["run_id"])
        raise ThreadBusy(
            f"Thread {public_id('thread', thread_id)} is busy with run {run_id}; send this when that has ended, "
            f"or cancel it with POST /v1/runs/{run_id}/cancel."
        ) from exc


def _identify(assistants: Assistants, text: str) -> str:
    """Give the core's id of a deployment that a query names."""
    with naming_deployment(text) as named:
        return assistants.identify(named)


def _no_thread(thread_id: str | None) -> NotFound:
    return NotFound(f"There is no thread {public_id('thread', thread_id or '')}; POST /v1/threads makes one.")


def find_run(runs: Runs, tenant: str, run_id: str, *, whole: bool = True) -> Run:
    """Read a run that a path names."""
    core_id = parse_public_id("run", run_id)
    try:
        return runs.find(tenant, core_id, whole=whole)
    except NotFound as exc:
        raise NotFound(f"There is no run {run_id}; GET /v1/runs lists those there are.") from exc


def _show(runs: Runs, tenant: str, run: Run) -> CrewshipRun:
    return show_run(run, runs.outcome(tenant, run) if run.status == "success" else None)
