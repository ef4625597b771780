"""`/threads/{thread_id}/runs`: start in the background, read, join."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response, Router
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.http.apps import JSON, json_response, to_json
from crewline.http.waits import keep_alive
from crewline.models.runs import Run, RunCreate, RunStatus
from crewline.services.runs import Runs

_FIRST_POLL_S: Final = 0.05
_LAST_POLL_S: Final = 1.0


def routes(runs: Runs, tenant: str, logger: Logger) -> Router:
    """Make the routes of runs that the control plane serves."""
    router = Router()  # type: ignore[no-untyped-call]

    @router.post("/threads/<thread_id>/runs")
    def create(thread_id: str, body: Annotated[RunCreate, Body()]) -> Response[Any]:
        run = runs.create(tenant, thread_id, body)
        return json_response(run.wire(), headers={"content-location": location(run)})

    @router.get("/threads/<thread_id>/runs")
    def list_(
        thread_id: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 10,
        offset: Annotated[int, Query(ge=0)] = 0,
        status: Annotated[RunStatus | None, Query()] = None,
        select: Annotated[list[str] | None, Query()] = None,
    ) -> Response[Any]:
        found = [
            run.wire() for run in runs.list(tenant, thread_id, limit=limit, offset=offset, status=status)
        ]
        return json_response([_select(row, select) for row in found])

    @router.get("/threads/<thread_id>/runs/<run_id>")
    def get(thread_id: str, run_id: str) -> Response[Any]:
        return json_response(runs.get(tenant, thread_id, run_id).wire())

    @router.get("/threads/<thread_id>/runs/<run_id>/join")
    def join(thread_id: str, run_id: str) -> Response[Any]:
        run = runs.get(tenant, thread_id, run_id)
        headers = {"content-location": location(run), "location": f"{location(run)}/join"}
        return Response(200, JSON, keep_alive(_joined(runs, tenant, run), logger), headers)

    return router


def location(run: Run) -> str:
    """Name a run's path; the SDKs read its id from the header that carries it."""
    return f"/threads/{run.thread_id}/runs/{run.run_id}"


async def _joined(runs: Runs, tenant: str, run: Run) -> bytes:
    pause = _FIRST_POLL_S
    while not run.finished:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL_S)
        run = await asyncio.to_thread(runs.get, tenant, run.thread_id, run.run_id)
    return to_json(await asyncio.to_thread(runs.result, tenant, run))


def _select(row: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    return {name: row[name] for name in names if name in row} if names else row
