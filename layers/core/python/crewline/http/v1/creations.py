"""`POST /v1/threads` with values: `api` hands it over, and the crew function, which has the graph, answers it."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.http.apps import json_response
from crewline.http.creations import Creations
from crewline.http.resolvers import Router
from crewline.http.v1.deployments import naming_deployment
from crewline.http.v1.threads import once_created
from crewline.models.crewship_threads import ThreadRequest, show_thread
from crewline.services.assistants import Assistants


def routes(assistants: Assistants, creations: Creations) -> Router:
    """Make the route of the crew function that makes threads with a state to begin with."""
    router = Router()

    @router.post("/v1/threads")
    def create(body: Annotated[ThreadRequest, Body()]) -> Response[Any]:
        with naming_deployment(body.deployment_id) as core_id:
            named = assistants.resolve(router.caller.tenant, core_id)
        key = once_created(router, body)
        made = creations.create(router.caller.tenant, body.core(named.crew), once=key)
        return json_response(show_thread(made), 201)

    return router
