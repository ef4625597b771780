"""`/threads/{thread_id}/runs` and `/runs`: start in the background, read, join, cancel, delete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.errors import CrewlineError, NotFound
from crewline.http.apps import JSON, empty_response, json_response
from crewline.http.pages import select_fields
from crewline.http.preferences import wait_s
from crewline.http.resolvers import Router
from crewline.http.waits import keep_alive, last_moment
from crewline.models.leases import Cancel
from crewline.models.runs import Run, RunBatch, RunCreate, RunField, RunsCancel, RunStatus
from crewline.services.batches import Batches
from crewline.services.cancellations import Cancellations
from crewline.services.runs import Runs

MOST_BEFORE: Final = 2**31 - 1
"""How many runs a page may come after; no thread has as many."""
_FIRST_POLL_S: Final = 0.05
_LAST_POLL_S: Final = 1.0


def routes(runs: Runs, batches: Batches, cancellations: Cancellations, logger: Logger) -> Router:
    """Make the routes of runs that the control plane serves."""
    router = Router()

    @router.post("/threads/<thread_id>/runs")
    def create(thread_id: str, body: Annotated[RunCreate, Body()]) -> Response[Any]:
        headers = router.current_event.headers
        key = router.once(f"POST /threads/{thread_id}/runs", body.model_dump(exclude_unset=True))
        run = runs.create(router.caller.tenant, thread_id, body, once=key, sender=router.caller.sender)
        return _created(runs, router.caller.tenant, run, wait_s(headers, router.lambda_context))

    @router.post("/runs")
    def create_stateless(body: Annotated[RunCreate, Body()]) -> Response[Any]:
        headers = router.current_event.headers
        run = runs.create_stateless(
            router.caller.tenant,
            body,
            once=router.once("POST /runs", body.model_dump(exclude_unset=True)),
            sender=router.caller.sender,
        )
        return _created(runs, router.caller.tenant, run, wait_s(headers, router.lambda_context))

    @router.post("/runs/batch")
    def create_batch(body: Annotated[RunBatch, Body()]) -> Response[Any]:
        key = router.once("POST /runs/batch", body.model_dump(exclude_unset=True))
        batch, made = batches.create(router.caller.tenant, body.root, once=key, senders=router.caller.senders)
        wires = [one.wire() if isinstance(one, Run) else one for one in made]
        return json_response(wires, headers={"content-location": f"/runs/batch/{batch.batch_id}"})

    @router.get("/runs/batch/<batch_id>")
    def get_batch(batch_id: str) -> Response[Any]:
        return json_response(batches.get(router.caller.tenant, batch_id, sees=router.caller.sender.sees))

    @router.post("/runs/cancel")
    def cancel_many(
        body: Annotated[RunsCancel, Body()], action: Annotated[Cancel, Query()] = "interrupt"
    ) -> Response[Any]:
        if body.status:
            sees = router.caller.sender.sees
            cancellations.cancel_all(router.caller.tenant, body.status, action, sees=sees)
        else:
            cancellations.cancel_many(router.caller.tenant, body.thread_id or "", body.run_ids or [], action)
        return empty_response()

    @router.get("/threads/<thread_id>/runs")
    def list_(
        thread_id: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 10,
        offset: Annotated[int, Query(ge=0, le=MOST_BEFORE)] = 0,
        status: Annotated[RunStatus | None, Query()] = None,
        select: Annotated[list[RunField] | None, Query()] = None,
    ) -> Response[Any]:
        found = [
            run.wire()
            for run in runs.list(router.caller.tenant, thread_id, limit=limit, offset=offset, status=status)
        ]
        return json_response([select_fields(row, select) for row in found])

    @router.get("/threads/<thread_id>/runs/<run_id>")
    def get(thread_id: str, run_id: str) -> Response[Any]:
        return json_response(runs.get(router.caller.tenant, thread_id, run_id).wire())

    @router.delete("/threads/<thread_id>/runs/<run_id>")
    def delete(thread_id: str, run_id: str) -> Response[Any]:
        cancellations.delete(router.caller.tenant, thread_id, run_id)
        return empty_response()

    @router.post("/threads/<thread_id>/runs/<run_id>/cancel")
    def cancel(
        thread_id: str,
        run_id: str,
        wait: Annotated[bool, Query()] = False,
        action: Annotated[Cancel, Query()] = "interrupt",
    ) -> Response[Any]:
        cancellations.cancel(router.caller.tenant, thread_id, run_id, action)
        if not wait:
            return empty_response(202)
        work = _ended(runs, router.caller.tenant, thread_id, run_id)
        return Response(200, JSON, keep_alive(work, logger, until=last_moment(router.lambda_context)))

    return router


def location(run: Run) -> str:
    """Name a run's path; the SDKs read its id from the header that carries it."""
    return f"/threads/{run.thread_id}/runs/{run.run_id}"


def waiting_headers(run: Run) -> dict[str, str]:
    """Name a run, and where to go on waiting for it when the line drops."""
    return {"content-location": location(run), "location": f"{location(run)}/join"}


async def followed(runs: Runs, tenant: str, run: Run, answer: Callable[[str, Run], Any]) -> Any:
    """Wait until a run that executes elsewhere has ended, and give its answer.

    Raises:
        NotFound: It was rolled back or deleted meanwhile.
    """
    run = await _finished(runs, tenant, run)
    return await asyncio.to_thread(answer, tenant, run)


def canceller(cancellations: Cancellations, tenant: str, run: Run, logger: Logger) -> Callable[[], None]:
    """Make what interrupts a run whose client has left."""

    def cancel() -> None:
        try:
            cancellations.cancel(tenant, run.thread_id, run.run_id)
        except NotFound:
            return  # it has ended meanwhile
        except CrewlineError as exc:
            logger.warning("run of a client that left not cancelled", run_id=run.run_id, reason=exc.message)

    return cancel


async def _finished(runs: Runs, tenant: str, run: Run) -> Run:
    pause = _FIRST_POLL_S
    while not run.finished:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LAST_POLL_S)
        run = await asyncio.to_thread(runs.get, tenant, run.thread_id, run.run_id, whole=False)
    return run


async def _ended(runs: Runs, tenant: str, thread_id: str, run_id: str) -> bytes:
    """Wait until a cancelled run has ended; one that is rolled back is gone then."""
    try:
        run = await asyncio.to_thread(runs.get, tenant, thread_id, run_id, whole=False)
        await _finished(runs, tenant, run)
    except NotFound:
        return b"{}"
    return b"{}"


def _created(runs: Runs, tenant: str, run: Run, wait: float | None) -> Response[Any]:
    """Answer a new run: at once, or when it has ended, if that is soon enough for the caller."""
    headers = {"content-location": location(run)}
    if wait is None:
        return json_response(run.wire(), headers=headers)
    headers["preference-applied"] = "wait"
    deadline, pause = time.monotonic() + wait, _FIRST_POLL_S
    while not run.finished and time.monotonic() < deadline:
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(pause * 1.5, _LAST_POLL_S)
        run = runs.get(tenant, run.thread_id, run.run_id)
    if not run.finished:
        return json_response(run.wire(), 202, headers)
    used = run.usage.total_tokens if run.usage else 0
    return json_response(run.wire(), headers={**headers, "x-tokens-used": str(used)})
