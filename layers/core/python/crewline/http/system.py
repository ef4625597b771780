"""`/ok`, `/info`, and what the API is: `/openapi.json`, `/docs`."""

from __future__ import annotations

import functools
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.http.apps import JSON, json_response
from crewline.http.resolvers import Router

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


def routes() -> Router:
    """Make the routes that tell whether and what the service is."""
    router = Router()

    @router.get("/ok")
    def ok() -> Response[Any]:
        return json_response({"ok": True})

    @router.get("/info")
    def info() -> Response[Any]:
        flags = {"assistants": True, "crons": False, "langsmith": False}
        return json_response({"version": version_text(), "flags": flags, "metadata": {}})

    @router.get("/openapi.json", include_in_schema=False)
    def openapi() -> Response[Any]:
        return Response(200, JSON, DOCUMENT.read_bytes())

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


@functools.cache
def _page() -> bytes:
    """Make the page of one piece: it needs nothing from another host."""
    files = resources.files("aws_lambda_powertools.event_handler.openapi.swagger_ui")
    script, style = (
        files.joinpath(f"swagger-ui{end}").read_text("utf-8") for end in ("-bundle.min.js", ".min.css")
    )
    return (_PAGE % {"script": script, "style": style}).encode()
