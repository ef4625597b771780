"""`/runs/crons` and `/threads/{thread_id}/runs/crons`."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.http.apps import empty_response, json_response
from crewline.http.pages import page_response
from crewline.http.resolvers import Router
from crewline.models.clocks import Clock
from crewline.models.crons import CronCount, CronCreate, CronPatch, CronSearch
from crewline.services.crons import Crons


def routes(crons: Crons, clock: Clock) -> Router:
    """Make the routes of crons."""
    router = Router()

    @router.post("/runs/crons")
    def create(body: Annotated[CronCreate, Body()]) -> Response[Any]:
        key = router.once("POST /runs/crons", body.model_dump(exclude_unset=True))
        return json_response(
            crons.create(router.caller.tenant, body, once=key, sender=router.caller.sender).wire(clock())
        )

    @router.post("/threads/<thread_id>/runs/crons")
    def create_for_thread(thread_id: str, body: Annotated[CronCreate, Body()]) -> Response[Any]:
        route = f"POST /threads/{thread_id}/runs/crons"
        key = router.once(route, body.model_dump(exclude_unset=True))
        made = crons.create(
            router.caller.tenant, body, thread_id=thread_id, once=key, sender=router.caller.sender
        )
        return json_response(made.wire(clock()))

    @router.post("/runs/crons/search")
    def search(body: Annotated[CronSearch, Body()]) -> Response[Any]:
        found, more = crons.search(router.caller.tenant, body, sees=router.caller.sender.sees)
        return page_response(found, offset=body.offset, more=more, select=body.select)

    @router.post("/runs/crons/count")
    def count(body: Annotated[CronCount, Body()]) -> Response[Any]:
        return json_response(crons.count(router.caller.tenant, body, sees=router.caller.sender.sees))

    @router.get("/runs/crons/<cron_id>")
    def get(cron_id: str) -> Response[Any]:
        return json_response(
            crons.get(router.caller.tenant, cron_id, sees=router.caller.sender.sees).wire(clock())
        )

    @router.patch("/runs/crons/<cron_id>")
    def patch(cron_id: str, body: Annotated[CronPatch, Body()]) -> Response[Any]:
        return json_response(
            crons.patch(router.caller.tenant, cron_id, body, sees=router.caller.sender.sees).wire(clock())
        )

    @router.delete("/runs/crons/<cron_id>")
    def delete(cron_id: str) -> Response[Any]:
        crons.delete(router.caller.tenant, cron_id, sees=router.caller.sender.sees)
        return empty_response()

    return router
