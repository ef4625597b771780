"""Routes of the crew function: runs that execute in place."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.http.apps import JSON
from crewline.http.in_place import InPlace
from crewline.http.resolvers import Router
from crewline.http.runs import waiting_headers
from crewline.http.streams import guarded, rendered, sse_response, stream_headers
from crewline.http.waits import keep_alive, last_moment, spelled
from crewline.models.runs import RunCreate
from crewline.services.runs import Admitted, Runs


def routes(runs: Runs, in_place: InPlace) -> Router:
    """Make the routes that need the crews themselves."""
    router = Router()

    @router.post("/threads/<thread_id>/runs/wait")
    def wait(thread_id: str, body: Annotated[RunCreate, Body()]) -> Response[Any]:
        key = router.once(
            f"POST /threads/{thread_id}/runs/wait",
            body.model_dump(exclude_unset=True),
        )
        return _answered(
            runs.start(router.caller.tenant, thread_id, body, once=key, sender=router.caller.sender)
        )

    @router.post("/runs/wait")
    def wait_stateless(body: Annotated[RunCreate, Body()]) -> Response[Any]:
        key = router.once("POST /runs/wait", body.model_dump(exclude_unset=True))
        return _answered(
            runs.start_stateless(router.caller.tenant, body, once=key, sender=router.caller.sender)
        )

    def _answered(admitted: Admitted) -> Response[Any]:
        run, tenant = admitted.run, router.caller.tenant
        work = spelled(in_place.outcome(tenant, admitted, router.lambda_context))
        until = last_moment(router.lambda_context)
        chunks = keep_alive(work, in_place.logger, until=until, left=in_place.leaving(tenant, run))
        return Response(200, JSON, chunks, waiting_headers(run))

    @router.post("/threads/<thread_id>/runs/stream")
    def stream(thread_id: str, body: Annotated[RunCreate, Body()]) -> Response[Any]:
        key = router.once(
            f"POST /threads/{thread_id}/runs/stream",
            body.model_dump(exclude_unset=True),
        )
        return _streamed(
            runs.start(router.caller.tenant, thread_id, body, once=key, sender=router.caller.sender)
        )

    @router.post("/runs/stream")
    def stream_stateless(body: Annotated[RunCreate, Body()]) -> Response[Any]:
        key = router.once("POST /runs/stream", body.model_dump(exclude_unset=True))
        admitted = runs.start_stateless(
            router.caller.tenant,
            body,
            once=key,
            readable=body.stream_resumable,
            sender=router.caller.sender,
        )
        return _streamed(admitted, stateless=True)

    def _streamed(admitted: Admitted, *, stateless: bool = False) -> Response[Any]:
        run, tenant = admitted.run, router.caller.tenant
        chunks = rendered(in_place.frames(tenant, admitted, router.lambda_context), run)
        until = last_moment(router.lambda_context)
        chunks = guarded(chunks, in_place.logger, until=until, left=in_place.leaving(tenant, run))
        return sse_response(chunks, stream_headers(run, stateless=stateless))

    return router
