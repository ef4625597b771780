"""`/threads`: the rows, and searches for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.http.apps import empty_response, json_response
from crewline.http.handovers import HandOver
from crewline.http.preferences import minimal
from crewline.http.resolvers import Router
from crewline.models.states import ThreadBegin
from crewline.models.threads import ThreadPatch, ThreadPrune
from crewline.services.copies import Copies
from crewline.services.prunings import Prunings
from crewline.services.threads import Threads


def routes(threads: Threads, copies: Copies, prunings: Prunings, crew: HandOver) -> Router:
    """Make the routes of threads."""
    router = Router()

    @router.post("/threads")
    def create(body: Annotated[ThreadBegin, Body()]) -> Response[Any]:
        if body.supersteps:
            return crew.answer(router.sent)
        key = router.once("POST /threads", body.model_dump(exclude_unset=True))
        return json_response(
            threads.create(router.caller.tenant, body, once=key, sees=router.caller.sender.sees)
        )

    @router.post("/threads/prune")
    def prune(body: Annotated[ThreadPrune, Body()]) -> Response[Any]:
        return json_response({"pruned_count": prunings.prune(router.caller.tenant, body)})

    @router.get("/threads/<thread_id>")
    def get(thread_id: str, include: Annotated[list[Literal["ttl"]] | None, Query()] = None) -> Response[Any]:
        return json_response(threads.get(router.caller.tenant, thread_id, ttl=bool(include)))

    @router.patch("/threads/<thread_id>")
    def patch(thread_id: str, body: Annotated[ThreadPatch, Body()]) -> Response[Any]:
        threads.patch(router.caller.tenant, thread_id, body)
        if minimal(router.current_event.headers):
            return empty_response()
        return json_response(threads.get(router.caller.tenant, thread_id))

    @router.delete("/threads/<thread_id>")
    def delete(thread_id: str) -> Response[Any]:
        threads.delete(router.caller.tenant, thread_id)
        return empty_response()

    @router.get("/threads/<thread_id>/storage")
    def storage(thread_id: str) -> Response[Any]:
        return json_response(threads.storage(router.caller.tenant, thread_id))

    @router.post("/threads/<thread_id>/copy")
    def copy(thread_id: str) -> Response[Any]:
        key = router.once(f"POST /threads/{thread_id}/copy", None)
        return json_response(
            copies.copy(router.caller.tenant, thread_id, once=key, stamps=router.caller.sender.stamps)
        )

    return router
