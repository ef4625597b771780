"""`/v1/threads/{thread_id}/rollback`: a thread goes on from where it has been."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.errors import NotFound, ThreadBusy
from crewline.http.apps import json_response
from crewline.http.resolvers import Router
from crewline.http.v1.threads import naming
from crewline.models.crewship_threads import RollbackRequest, show_thread
from crewline.models.public_ids import public_id
from crewline.services.threads import Threads


class Rollbacks(Protocol):
    """What rolls threads back, as this route uses it."""

    def rollback(self, tenant: str, thread_id: str, checkpoint_id: str) -> None:
        """Let a thread go on from a checkpoint."""


def routes(threads: Threads, rollbacks: Rollbacks) -> Router:
    """Make the route that rolls threads back."""
    router = Router()

    @router.post("/v1/threads/<thread_id>/rollback")
    def rollback(thread_id: str, body: Annotated[RollbackRequest, Body()]) -> Response[Any]:
        tenant = router.caller.tenant
        with naming(thread_id) as core_id:
            threads.read(tenant, core_id)
        try:
            rollbacks.rollback(tenant, core_id, body.checkpoint_id)
        except NotFound as exc:
            raise NotFound(
                f"Thread {thread_id} has no checkpoint {body.checkpoint_id}; "
                f"GET /v1/threads/{thread_id}/history?all=true lists those it has."
            ) from exc
        except ThreadBusy as exc:
            run_id = public_id("run", exc.details["run_id"])
            raise ThreadBusy(
                f"Thread {thread_id} is busy with run {run_id}; wait for it, or cancel it with "
                f"POST /v1/runs/{run_id}/cancel, then roll the thread back."
            ) from exc
        return json_response(show_thread(threads.get(tenant, core_id)))

    return router
