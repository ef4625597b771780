"""`/threads/search` and `/threads/count`."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.http.apps import json_response
from crewline.http.pages import page_response
from crewline.http.resolvers import Router
from crewline.models.searches import ThreadCount, ThreadSearch
from crewline.services.searches import Searches


def routes(searches: Searches) -> Router:
    """Make the routes that find threads."""
    router = Router()

    @router.post("/threads/search")
    def search(body: Annotated[ThreadSearch, Body()]) -> Response[Any]:
        page = searches.search(router.caller.tenant, body)
        return page_response(page.threads, offset=body.offset, more=page.more)

    @router.post("/threads/count")
    def count(body: Annotated[ThreadCount, Body()]) -> Response[Any]:
        return json_response(searches.count(router.caller.tenant, body))

    return router
