"""State and history: what the crews themselves must read."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.http.apps import json_response
from crewline.http.resolvers import Router
from crewline.models.clocks import Id, parse_id
from crewline.models.leases import Lease
from crewline.models.runs import CheckpointRef
from crewline.models.states import Before, HistoryRequest, Select, StateEdit, StateRequest
from crewline.models.threads import Thread
from crewline.services.edits import Edits
from crewline.services.threads import Threads


class Reader(Protocol):
    """The engine as these routes use it."""

    def state(
        self, tenant: str, thread: Thread, lease: Lease, at: CheckpointRef | None, *, subgraphs: bool
    ) -> Any:
        """Read a state."""

    def history(self, tenant: str, thread: Thread, lease: Lease, query: HistoryRequest) -> list[Any]:
        """Read states, the newest first."""


def routes(threads: Threads, executor: Reader, edits: Edits) -> Router:
    """Make the routes that read and change state."""
    router = Router()

    @router.get("/threads/<thread_id>/state")
    def state(
        thread_id: str,
        subgraphs: Annotated[bool, Query()] = False,
        select: Annotated[Select | None, Query()] = None,
    ) -> Response[Any]:
        return _state(thread_id, None, subgraphs=subgraphs, select=select)

    @router.get("/threads/<thread_id>/state/<checkpoint_id>")
    def state_at(
        thread_id: str,
        checkpoint_id: str,
        subgraphs: Annotated[bool, Query()] = False,
        select: Annotated[Select | None, Query()] = None,
    ) -> Response[Any]:
        at = CheckpointRef(checkpoint_id=parse_id(checkpoint_id, "checkpoint"))
        return _state(thread_id, at, subgraphs=subgraphs, select=select)

    @router.post("/threads/<thread_id>/state/checkpoint")
    def state_of(thread_id: str, body: Annotated[StateRequest, Body()]) -> Response[Any]:
        return _state(thread_id, body.checkpoint, subgraphs=body.subgraphs, select=body.select)

    def _state(
        thread_id: str, at: CheckpointRef | None, *, subgraphs: bool, select: Select | None
    ) -> Response[Any]:
        thread, lease = threads.read(router.caller.tenant, thread_id)
        return json_response(
            _selected(executor.state(router.caller.tenant, thread, lease, at, subgraphs=subgraphs), select)
        )

    @router.post("/threads/<thread_id>/state")
    def edit(thread_id: str, body: Annotated[StateEdit, Body()]) -> Response[Any]:
        return json_response(edits.edit(router.caller.tenant, thread_id, body))

    @router.get("/threads/<thread_id>/history")
    def history(
        thread_id: str,
        limit: Annotated[int, Query(ge=1, le=1000)] = 10,
        before: Annotated[Id | None, Query()] = None,
    ) -> Response[Any]:
        bound = Before(checkpoint_id=before) if before else None
        return _history(thread_id, HistoryRequest(limit=limit, before=bound))

    @router.post("/threads/<thread_id>/history")
    def search_history(thread_id: str, body: Annotated[HistoryRequest, Body()]) -> Response[Any]:
        return _history(thread_id, body)

    def _history(thread_id: str, query: HistoryRequest) -> Response[Any]:
        thread, lease = threads.read(router.caller.tenant, thread_id)
        found = executor.history(router.caller.tenant, thread, lease, query)
        return json_response([_selected(one, query.select) for one in found])

    return router


def _selected(state: dict[str, Any], select: Select | None) -> dict[str, Any]:
    """Leave out of a state what was not asked for."""
    if select is None:
        return state
    wanted = {name.removeprefix("values.") for name in select if name.startswith("values.")}
    chosen = {name: value for name, value in state.items() if name in select}
    if wanted and "values" not in chosen:
        values = state["values"] if isinstance(state["values"], dict) else {}
        chosen["values"] = {name: value for name, value in values.items() if name in wanted}
    return chosen
