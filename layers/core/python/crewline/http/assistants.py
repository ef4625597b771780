"""`/assistants`."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Response, Router
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.http.apps import json_response
from crewline.models.assistants import AssistantSearch
from crewline.services.assistants import Assistants


def routes(assistants: Assistants) -> Router:
    """Make the routes of assistants."""
    router = Router()  # type: ignore[no-untyped-call]

    @router.post("/assistants/search")
    def search(body: Annotated[AssistantSearch, Body()]) -> Response[Any]:
        return json_response([assistant.wire() for assistant in assistants.search(body)])

    @router.get("/assistants/<assistant_id>")
    def get(assistant_id: str) -> Response[Any]:
        return json_response(assistants.get(assistant_id).wire())

    return router
