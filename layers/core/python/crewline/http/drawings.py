"""`/assistants/{assistant_id}/graph`, `…/schemas` and `…/subgraphs`: what needs the crews themselves."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Protocol
from urllib.parse import unquote

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from crewline.errors import InvalidRequest
from crewline.http.apps import json_response
from crewline.http.resolvers import Router
from crewline.models.assistants import Assistant
from crewline.services.assistants import Assistants

_XRAY: Final = "(?:[Tt]rue|[Ff]alse|[1-9][0-9]{0,2})"


class Drawer(Protocol):
    """The engine as these routes use it."""

    def graph(self, assistant: Assistant, *, xray: int | bool) -> dict[str, Any]:
        """Draw a graph."""

    def schemas(self, assistant: Assistant) -> dict[str, Any]:
        """Give its schemas."""

    def subgraphs(self, assistant: Assistant, *, namespace: str | None, recurse: bool) -> dict[str, Any]:
        """Give the schemas of its subgraphs."""


def routes(assistants: Assistants, drawer: Drawer) -> Router:
    """Make the routes that show what an assistant's graph looks like; a crew's name will do for its id."""
    router = Router()

    @router.get("/assistants/<assistant_id>/graph")
    def graph(
        assistant_id: str, xray: Annotated[str, Query(json_schema_extra={"pattern": f"^{_XRAY}$"})] = "false"
    ) -> Response[Any]:
        levels = _levels(xray)
        return json_response(
            drawer.graph(assistants.resolve(router.caller.tenant, assistant_id), xray=levels)
        )

    @router.get("/assistants/<assistant_id>/schemas")
    def schemas(assistant_id: str) -> Response[Any]:
        return json_response(drawer.schemas(assistants.resolve(router.caller.tenant, assistant_id)))

    @router.get("/assistants/<assistant_id>/subgraphs")
    def subgraphs(assistant_id: str, recurse: Annotated[bool, Query()] = False) -> Response[Any]:
        assistant = assistants.resolve(router.caller.tenant, assistant_id)
        return json_response(drawer.subgraphs(assistant, namespace=None, recurse=recurse))

    @router.get("/assistants/<assistant_id>/subgraphs/<namespace>")
    def subgraph(
        assistant_id: str, namespace: str, recurse: Annotated[bool, Query()] = False
    ) -> Response[Any]:
        assistant = assistants.resolve(router.caller.tenant, assistant_id)
        return json_response(drawer.subgraphs(assistant, namespace=unquote(namespace), recurse=recurse))

    return router


def _levels(xray: str) -> int | bool:
    if not re.fullmatch(_XRAY, xray):
        raise InvalidRequest("xray: send true, false, or how many levels of subgraphs to draw (1 to 999).")
    return int(xray) if xray.isdigit() else xray.lower() == "true"
