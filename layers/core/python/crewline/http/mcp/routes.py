"""`/mcp`: the streamable HTTP transport of MCP, without sessions. Every request is a world of its own."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Literal

from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.errors import CrewFailedToLoad, NotFound
from crewline.http.agents import Agents, Asking
from crewline.http.apps import JSON, empty_response, json_response, to_json
from crewline.http.in_place import InPlace
from crewline.http.jsonrpc import (
    INTERNAL_ERROR,
    Call,
    answered,
    failed,
    repeatable,
    succeeded,
)
from crewline.http.mcp import tools
from crewline.http.mcp.protocol import Dialect, discovered, initialized, read_dialect
from crewline.http.resolvers import Router
from crewline.http.waits import keep_alive, last_moment
from crewline.models.api_keys import Caller
from crewline.models.runs import RunCreate


def routes(agents: Agents, in_place: InPlace) -> Router:
    """Make the routes of MCP."""
    router = Router()
    server = _Server(agents, in_place)

    @router.post("/mcp")
    def ask() -> Response[Any]:
        body = router.current_event.json_body
        headers = {name.lower(): value for name, value in router.current_event.headers.items()}
        asking = Asking(
            router.caller, headers, router.lambda_context, router.once("POST /mcp", repeatable(body))
        )

        def answer(call: Call) -> Response[Any]:
            dialect = read_dialect(call, headers)
            if call.notifies:
                return empty_response(202)  # there is no session that one could change
            dialect.check(call)
            return server.answer(call, dialect, asking)

        return answered(body, answer)

    @router.delete("/mcp")
    def end() -> Response[Any]:
        raise NotFound("There are no sessions here; every request stands for itself.")

    return router


@dataclass(frozen=True, slots=True)
class _Server:
    """Answers the methods of MCP."""

    agents: Agents
    in_place: InPlace

    def answer(self, call: Call, dialect: Dialect, asking: Asking) -> Response[Any]:
        """Answer a request that its version has."""
        match call.method:
            case "initialize":
                result = initialized(dialect)
            case "server/discover":
                result = discovered()
            case "ping":
                result = {}
            case "tools/list":
                result = {"tools": self._list(asking.caller)}
            case "tools/call":
                return self._call(call, dialect, asking)
            case _:
                raise dialect.unknown(call.method)
        return json_response(succeeded(call.call_id, dialect.spell(call.method, result)))

    def _list(self, caller: Caller) -> list[dict[str, Any]]:
        listed = []
        for name, assistant in tools.name_tools(self.agents.every(caller)).items():
            try:
                listed.append(tools.describe(name, assistant, self.agents.schemas(assistant)))
            except CrewFailedToLoad as exc:  # one factory that fails takes no other tool along
                assistant_id = assistant.assistant_id
                self.in_place.logger.warning("tool not listed", assistant_id=assistant_id, reason=exc.message)
        return listed

    def _call(self, call: Call, dialect: Dialect, asking: Asking) -> Response[Any]:
        name, arguments = call.params["name"], call.params.get("arguments") or {}
        assistant_id = name if name in self.agents.crews else self._find(name, dialect, asking.caller)
        # A client of the newer version cancels by leaving; with the older ones, leaving means nothing.
        on_disconnect: Literal["cancel", "continue"] = "cancel" if dialect.modern else "continue"
        body = RunCreate(assistant_id=assistant_id, input=arguments, on_disconnect=on_disconnect)
        admitted, tenant = self.agents.start(asking.caller, body, once=asking.once), asking.caller.tenant
        chunks = keep_alive(
            _told(self.in_place.outcome(tenant, admitted, asking.context), call, dialect),
            self.in_place.logger,
            until=last_moment(asking.context),
            left=self.in_place.leaving(tenant, admitted.run),
            failure=lambda _, message: to_json(failed(call.call_id, INTERNAL_ERROR, message)),
        )
        return Response(200, JSON, chunks)

    def _find(self, name: str, dialect: Dialect, caller: Caller) -> str:
        found = tools.name_tools(self.agents.every(caller)).get(name)
        if found is None:
            raise dialect.refusal(f"There is no tool {name[:128]!r}; tools/list names those there are.")
        return found.assistant_id


async def _told(outcome: Awaitable[Any], call: Call, dialect: Dialect) -> bytes:
    """Wait for what a run answers, and tell it as the answer of a call."""
    result = tools.answer(await outcome, objects=not dialect.modern)
    return to_json(succeeded(call.call_id, dialect.spell(call.method, result)))
