"""Routes of the crew function: runs that execute in place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Any, Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.errors import StaleOwner
from crewline.http.apps import JSON, to_json
from crewline.http.followers import Live
from crewline.http.preferences import once
from crewline.http.resolvers import Router
from crewline.http.runs import canceller, followed, waiting_headers
from crewline.http.streams import followed_stream, guarded, live_stream, sse_response, stream_headers
from crewline.http.waits import keep_alive, last_moment
from crewline.models.clocks import ending
from crewline.models.events import START, Listener, Telling
from crewline.models.leases import Claim, Continues
from crewline.models.runs import Run, RunCreate
from crewline.services.cancellations import Cancellations
from crewline.services.events import Events
from crewline.services.runs import Admitted, Runs


class Executor(Protocol):
    """The engine as these routes use it."""

    def execute(self, run: Run, claim: Claim, telling: Telling, *, ends: float | None) -> Future[Any]:
        """Execute a claimed run; the future gives its answer, or how it continues."""

    def stop(self, run_id: str) -> None:
        """End a run that executes in this process, and that was cancelled."""


def routes(
    runs: Runs,
    cancellations: Cancellations,
    events: Events,
    executor: Executor,
    *,
    logger: Logger,
) -> Router:
    """Make the routes that need the crews themselves."""
    router = Router()

    @router.post("/threads/<thread_id>/runs/wait")
    def wait(thread_id: str, body: Annotated[RunCreate, Body()]) -> Response[Any]:
        key = once(
            router.current_event.headers,
            f"POST /threads/{thread_id}/runs/wait",
            body.model_dump(exclude_unset=True),
        )
        return _answered(runs.start(router.caller.tenant, thread_id, body, once=key))

    @router.post("/runs/wait")
    def wait_stateless(body: Annotated[RunCreate, Body()]) -> Response[Any]:
        key = once(router.current_event.headers, "POST /runs/wait", body.model_dump(exclude_unset=True))
        return _answered(runs.start_stateless(router.caller.tenant, body, once=key))

    def _answered(admitted: Admitted) -> Response[Any]:
        run = admitted.run
        if admitted.claim:
            ends = ending(router.lambda_context)
            future = executor.execute(run, admitted.claim, _telling(run, admitted.claim), ends=ends)
            work = _executed(future, partial(followed, runs, router.caller.tenant, run, runs.outcome))
        else:
            work = followed(runs, router.caller.tenant, run, runs.outcome)
        until = last_moment(router.lambda_context)
        chunks = keep_alive(work, logger, until=until, left=_leaving(run))
        return Response(200, JSON, chunks, waiting_headers(run))

    @router.post("/threads/<thread_id>/runs/stream")
    def stream(thread_id: str, body: Annotated[RunCreate, Body()]) -> Response[Any]:
        key = once(
            router.current_event.headers,
            f"POST /threads/{thread_id}/runs/stream",
            body.model_dump(exclude_unset=True),
        )
        return _streamed(runs.start(router.caller.tenant, thread_id, body, once=key))

    @router.post("/runs/stream")
    def stream_stateless(body: Annotated[RunCreate, Body()]) -> Response[Any]:
        key = once(router.current_event.headers, "POST /runs/stream", body.model_dump(exclude_unset=True))
        admitted = runs.start_stateless(router.caller.tenant, body, once=key, readable=body.stream_resumable)
        return _streamed(admitted, stateless=True)

    def _streamed(admitted: Admitted, *, stateless: bool = False) -> Response[Any]:
        run = admitted.run
        if admitted.claim:
            live = Live()
            telling = _telling(run, admitted.claim, live.put)
            future = executor.execute(run, admitted.claim, telling, ends=ending(router.lambda_context))
            future.add_done_callback(lambda _: live.close())
            chunks = live_stream(live, events, runs, router.caller.tenant, run)
        else:
            chunks = followed_stream(events, runs, router.caller.tenant, run, after=(START, 0))
        until = last_moment(router.lambda_context)
        chunks = guarded(chunks, logger, until=until, left=_leaving(run))
        return sse_response(chunks, stream_headers(run, stateless=stateless))

    def _leaving(run: Run) -> Callable[[], None] | None:
        """Make what stops a run whose client leaves, at once if it executes here."""
        if run.kwargs.get("on_disconnect") != "cancel":
            return None
        cancel = canceller(cancellations, router.caller.tenant, run, logger)

        def leave() -> None:
            cancel()
            executor.stop(run.run_id)

        return leave

    return router


def _telling(run: Run, claim: Claim, listener: Listener | None = None) -> Telling:
    """Decide to whom a run that executes in place tells what it does."""
    return Telling(
        listener=listener,
        logged=not claim.lease.private or claim.lease.keep_s > 0,
        tokens=bool(run.kwargs["resumable"]),
    )


async def _executed(future: Future[Any], elsewhere: Callable[[], Awaitable[bytes]]) -> bytes:
    """Wait for the answer of a run that executes here; and elsewhere, once it goes on or was taken over there."""
    try:
        answer = await asyncio.shield(asyncio.wrap_future(future))
    except StaleOwner:
        return await elsewhere()
    return await elsewhere() if isinstance(answer, Continues) else to_json(answer)
