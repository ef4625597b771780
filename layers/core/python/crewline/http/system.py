"""`/ok` and `/info`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from aws_lambda_powertools.event_handler.api_gateway import Response, Router

from crewline.http.apps import json_response


def routes() -> Router:
    """Make the routes that tell whether and what the service is."""
    router = Router()  # type: ignore[no-untyped-call]

    @router.get("/ok")
    def ok() -> Response[Any]:
        return json_response({"ok": True})

    @router.get("/info")
    def info() -> Response[Any]:
        flags = {"assistants": True, "crons": False, "langsmith": False}
        return json_response({"version": _version(), "flags": flags, "metadata": {}})

    return router


def _version() -> str:
    try:
        return version("crewline")
    except PackageNotFoundError:  # a function's layer holds the package without its metadata
        return "0"
