"""`/assistants`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.http.apps import empty_response, json_response
from crewline.http.pages import page_response
from crewline.http.resolvers import Router
from crewline.models.assistants import (
    AssistantCount,
    AssistantCreate,
    AssistantPatch,
    AssistantSearch,
    LatestVersion,
    VersionSearch,
)
from crewline.services.assistants import Assistants

_ALL: Final = VersionSearch()
"""What a request without a body asks for."""


def routes(assistants: Assistants) -> Router:
    """Make the routes of assistants that need no crew's code."""
    router = Router()

    @router.post("/assistants")
    def create(body: Annotated[AssistantCreate, Body()]) -> Response[Any]:
        sees = router.caller.sender.sees
        key = router.once("POST /assistants", body.model_dump(exclude_unset=True))
        return json_response(assistants.create(router.caller.tenant, body, once=key, sees=sees).wire())

    @router.post("/assistants/search")
    def search(body: Annotated[AssistantSearch, Body()]) -> Response[Any]:
        found, more = assistants.search(router.caller.tenant, body, sees=router.caller.sender.sees)
        rows = [assistant.wire() for assistant in found]
        return page_response(rows, offset=body.offset, more=more, select=body.select)

    @router.post("/assistants/count")
    def count(body: Annotated[AssistantCount, Body()]) -> Response[Any]:
        return json_response(assistants.count(router.caller.tenant, body, sees=router.caller.sender.sees))

    @router.get("/assistants/<assistant_id>")
    def get(assistant_id: str) -> Response[Any]:
        return json_response(assistants.get(router.caller.tenant, assistant_id).wire())

    @router.patch("/assistants/<assistant_id>")
    def patch(assistant_id: str, body: Annotated[AssistantPatch, Body()]) -> Response[Any]:
        return json_response(assistants.patch(router.caller.tenant, assistant_id, body).wire())

    @router.delete("/assistants/<assistant_id>")
    def delete(assistant_id: str, delete_threads: Annotated[bool, Query()] = False) -> Response[Any]:
        caller = router.caller
        assistants.delete(caller.tenant, assistant_id, with_threads=delete_threads, sees=caller.sender.sees)
        return empty_response()

    @router.post("/assistants/<assistant_id>/versions")
    def versions(assistant_id: str, body: Annotated[VersionSearch, Body()] = _ALL) -> Response[Any]:
        found = assistants.versions(router.caller.tenant, assistant_id, body)
        return json_response([version.wire_version() for version in found])

    @router.post("/assistants/<assistant_id>/latest")
    def set_latest(assistant_id: str, body: Annotated[LatestVersion, Body()]) -> Response[Any]:
        return json_response(assistants.set_latest(router.caller.tenant, assistant_id, body.version).wire())

    return router
