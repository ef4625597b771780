"""`/ok`, `/info`, and what the API is: `/openapi.json`, `/docs`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from crewline.http.apps import JSON, json_response
from crewline.http.resolvers import Router
from crewline.services.vitals import Vitals
from crewline.settings import UNDEPLOYED

DOCUMENT: Final = Path(__file__).with_name("openapi.json")
"""The OpenAPI document, as it is packaged."""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Crewline API</title><style>%(style)s</style></head>
<body><div id="api"></div><script>%(script)s</script>
<script>SwaggerUIBundle({dom_id: "#api", url: "openapi.json", deepLinking: true, filter: true})</script>
</body>
</html>
"""


def routes(
    vitals: Vitals, *, langgraph: str, build: str, security: Mapping[str, Any] | None = None
) -> Router:
    """Make the routes that tell whether and what the service is.

    Args:
        vitals: Looks whether the table answers.
        langgraph: The version of LangGraph that the crews have; empty when nobody knows.
        build: What is deployed.
        security: How callers authenticate, as the project's own authentication has it; None where they have API keys.
    """
    router = Router()

    @router.get("/ok")
    def ok(check_db: Annotated[bool, Query()] = False) -> Response[Any]:
        if check_db:
            vitals.check()
        return json_response({"ok": True})

    @router.get("/info")
    def info() -> Response[Any]:
        flags = {"assistants": True, "crons": True, "langsmith": False}
        host = {
            "kind": "self-hosted",
            "project_id": None,
            "revision_id": None if build == UNDEPLOYED else build,
            "tenant_id": None,
        }
        told = {"version": version_text(), "langgraph_py_version": langgraph or None}
        return json_response({**told, "flags": flags, "host": host, "metadata": {}})

    @router.get("/openapi.json", include_in_schema=False)
    def openapi() -> Response[Any]:
        document = DOCUMENT.read_bytes()
        return Response(200, JSON, document if security is None else _secured(document, security))

    @router.get("/docs", include_in_schema=False)
    def docs() -> Response[Any]:
        return Response(200, "text/html; charset=utf-8", _page())

    return router


def version_text() -> str:
    """Tell which version of the package this is."""
    try:
        return version("crewline")
    except PackageNotFoundError:  # a function's layer holds the package without its metadata
        return "0"


def _secured(document: bytes, security: Mapping[str, Any]) -> bytes:
    """Say in the document how callers authenticate, of each operation for which they have to."""
    told: dict[str, Any] = orjson.loads(document)
    told["components"]["securitySchemes"] = security.get("securitySchemes", {})
    for methods in told["paths"].values():
        for operation in methods.values():
            operation["security"] = security.get("security", []) if operation["security"] else []
    return orjson.dumps(told)


@functools.cache
def _page() -> bytes:
    """Make the page of one piece: it needs nothing from another host."""
    files = resources.files("aws_lambda_powertools.event_handler.openapi.swagger_ui")
    script, style = (
        files.joinpath(f"swagger-ui{end}").read_text("utf-8") for end in ("-bundle.min.js", ".min.css")
    )
    return (_PAGE % {"script": script, "style": style}).encode()
