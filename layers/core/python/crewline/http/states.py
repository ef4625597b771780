"""State and history: what the crews themselves must read."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from aws_lambda_powertools.event_handler.api_gateway import Response, Router
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.http.apps import json_response
from crewline.models.clocks import parse_id
from crewline.models.leases import Lease
from crewline.models.runs import CheckpointRef
from crewline.models.states import HistoryRequest
from crewline.models.threads import Thread
from crewline.services.threads import Threads


class Reader(Protocol):
    """The engine as these routes use it."""

    def state(
        self, tenant: str, thread: Thread, lease: Lease, at: CheckpointRef | None, *, subgraphs: bool
    ) -> Any:
        """Read a state."""

    def history(self, tenant: str, thread: Thread, lease: Lease, query: HistoryRequest) -> list[Any]:
        """Read states, the newest first."""


def routes(threads: Threads, executor: Reader, *, tenant: str) -> Router:
    """Make the routes that read state."""
    router = Router()  # type: ignore[no-untyped-call]

    @router.get("/threads/<thread_id>/state")
    def state(thread_id: str, subgraphs: Annotated[bool, Query()] = False) -> Response[Any]:
        thread, lease = threads.read(tenant, thread_id)
        return json_response(executor.state(tenant, thread, lease, None, subgraphs=subgraphs))

    @router.get("/threads/<thread_id>/state/<checkpoint_id>")
    def state_at(
        thread_id: str, checkpoint_id: str, subgraphs: Annotated[bool, Query()] = False
    ) -> Response[Any]:
        thread, lease = threads.read(tenant, thread_id)
        at = CheckpointRef(checkpoint_id=parse_id(checkpoint_id, "checkpoint"))
        return json_response(executor.state(tenant, thread, lease, at, subgraphs=subgraphs))

    @router.get("/threads/<thread_id>/history")
    def history(thread_id: str, limit: Annotated[int, Query(ge=1, le=1000)] = 10) -> Response[Any]:
        return _history(thread_id, HistoryRequest(limit=limit))

    @router.post("/threads/<thread_id>/history")
    def search_history(thread_id: str, body: Annotated[HistoryRequest, Body()]) -> Response[Any]:
        return _history(thread_id, body)

    def _history(thread_id: str, query: HistoryRequest) -> Response[Any]:
        thread, lease = threads.read(tenant, thread_id)
        return json_response(executor.history(tenant, thread, lease, query))

    return router
