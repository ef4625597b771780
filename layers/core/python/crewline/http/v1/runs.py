"""`/v1/runs` and `/v1/threads/{thread_id}/runs`: start, read, cancel."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.errors import NotFound
from crewline.http.apps import json_response
from crewline.http.preferences import once
from crewline.http.resolvers import Router
from crewline.models.crewship import CrewshipRun, RunRequest, check_environment, show_run, started_run
from crewline.models.public_ids import parse_public_id
from crewline.models.runs import Run
from crewline.services.runs import RETENTION_S, Runs
from crewline.services.versions import Versions
from crewline.settings import Stage


def routes(runs: Runs, versions: Versions, *, stage: Stage) -> Router:
    """Make the routes of `/v1` that start runs, show and stop them.

    Args:
        runs: The runs.
        versions: Numbers what is deployed.
        stage: What this deployment is for.
    """
    router = Router()

    @router.post("/v1/runs")
    def create(body: Annotated[RunRequest, Body()]) -> Response[Any]:
        check_environment(body.environment, stage)
        key = once(router.current_event.headers, "POST /v1/runs", body.model_dump(exclude_unset=True))
        run = runs.create_stateless(router.caller.tenant, body.core, once=key, keep_s=RETENTION_S)
        return json_response(started_run(run, versions.number(run.build)), 202)

    @router.get("/v1/runs/<run_id>")
    def get(run_id: str) -> Response[Any]:
        return json_response(_show(runs, router.caller.tenant, find_run(runs, router.caller.tenant, run_id)))

    return router


def find_run(runs: Runs, tenant: str, run_id: str, *, whole: bool = True) -> Run:
    """Read a run that a path names."""
    core_id = parse_public_id("run", run_id)
    try:
        return runs.find(tenant, core_id, whole=whole)
    except NotFound as exc:
        raise NotFound(f"There is no run {run_id}; GET /v1/runs lists those there are.") from exc


def _show(runs: Runs, tenant: str, run: Run) -> CrewshipRun:
    return show_run(run, runs.outcome(tenant, run) if run.status == "success" else None)
