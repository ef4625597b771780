"""`POST /threads` with supersteps: `api` hands it over, and the crew function, which has the graph, answers it."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.http.apps import json_response
from crewline.http.resolvers import Router
from crewline.models.states import ThreadBegin
from crewline.models.threads import ThreadWire
from crewline.models.users import EVERYTHING, Filters
from crewline.store.idempotency import Once


class Creations(Protocol):
    """What makes threads that begin with a state, as this route uses it."""

    def create(
        self, tenant: str, body: ThreadBegin, *, once: Once | None = None, sees: Filters = EVERYTHING
    ) -> ThreadWire:
        """Make a thread."""


def routes(creations: Creations) -> Router:
    """Make the route of the crew function that makes threads."""
    router = Router()

    @router.post("/threads")
    def create(body: Annotated[ThreadBegin, Body()]) -> Response[Any]:
        key = router.once("POST /threads", body.model_dump(exclude_unset=True))
        return json_response(
            creations.create(router.caller.tenant, body, once=key, sees=router.caller.sender.sees)
        )

    return router
