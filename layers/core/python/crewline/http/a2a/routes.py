"""`/a2a/{assistant_id}` and the agent cards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import orjson
from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import ValidationError

from crewline.errors import InvalidRequest, NotFound, RunEnded
from crewline.http.a2a.cards import WELL_KNOWN, card, root_of
from crewline.http.a2a.dialects import Dialect, error, read_method
from crewline.http.a2a.messages import (
    TASK_NOT_CANCELABLE,
    TASK_NOT_FOUND,
    Named,
    Send,
    given,
    replied,
)
from crewline.http.a2a.tasks import Result, narrated
from crewline.http.agents import Agents, Asking
from crewline.http.apps import JSON, json_response, to_json
from crewline.http.followers import follow
from crewline.http.in_place import InPlace
from crewline.http.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    Call,
    CallId,
    RpcError,
    answered,
    failed,
    repeatable,
    succeeded,
)
from crewline.http.resolvers import Router
from crewline.http.runs import followed
from crewline.http.sse import HEARTBEAT, spell
from crewline.http.streams import HEARTBEAT_S, Manner, guarded, sse_response
from crewline.http.waits import keep_alive, last_moment
from crewline.models.assistants import Assistant
from crewline.models.clocks import new_id, parse_id
from crewline.models.events import START, Frame
from crewline.models.manifests import describe
from crewline.models.runs import Command, Run, RunCreate
from crewline.models.threads import Wire

Params = TypeVar("Params", bound=Wire)


def routes(agents: Agents, in_place: InPlace, *, asks_for_key: bool) -> Router:
    """Make the routes of A2A.

    Args:
        agents: The assistants.
        in_place: Executes their runs.
        asks_for_key: Whether a caller needs an API key.
    """
    router = Router()
    server = _Server(agents, in_place)

    def headers() -> dict[str, str]:
        return {name.lower(): value for name, value in router.current_event.headers.items()}

    def described(assistant: Assistant) -> Response[Any]:
        root = root_of(router.current_event.raw_event, headers())
        return json_response(card(assistant, agents.schemas(assistant), root=root, asks_for_key=asks_for_key))

    @router.get(WELL_KNOWN)
    def show(assistant_id: Annotated[str | None, Query()] = None) -> Response[Any]:
        named = assistant_id or _only(agents.crews)
        return described(agents.one(router.caller, named))

    @router.get(f"/a2a/<assistant_id>{WELL_KNOWN}")
    def show_one(assistant_id: str) -> Response[Any]:
        return described(agents.one(router.caller, assistant_id))

    @router.post("/a2a/<assistant_id>")
    def ask(assistant_id: str) -> Response[Any]:
        body = router.current_event.json_body
        key = router.once(f"POST /a2a/{assistant_id}", repeatable(body))
        assistant = agents.one(router.caller, assistant_id)
        asking = Asking(router.caller, headers(), router.lambda_context, key)
        return answered(body, lambda call: server.answer(call, assistant, asking))

    return router


@dataclass(frozen=True, slots=True)
class _Server:
    """Answers the methods of A2A."""

    agents: Agents
    in_place: InPlace

    def answer(self, call: Call, assistant: Assistant, asking: Asking) -> Response[Any]:
        """Answer a call to an assistant."""
        operation, dialect = read_method(call.method, asking.headers.get("a2a-version"))
        match operation:
            case "send":
                return self._send(call, assistant, asking, dialect)
            case "stream":
                return self._stream(call, assistant, asking, dialect)
            case "get":
                run = self._find(_read(Named, call).id, assistant, asking)
                result = self._result(asking.caller.tenant, run)
                return json_response(succeeded(call.call_id, result.task(dialect)))
            case "cancel":
                return self._cancel(call, assistant, asking, dialect)
            case "subscribe":
                run, tenant = self._find(_read(Named, call).id, assistant, asking), asking.caller.tenant
                self.in_place.runs.watch(tenant, run)
                told = follow(self.in_place.events, self.in_place.runs, tenant, run, START)
                return self._streamed(call, told, run, asking, dialect)

    def _send(self, call: Call, assistant: Assistant, asking: Asking, dialect: Dialect) -> Response[Any]:
        sent = _read(Send, call)
        body, thread_id = self._begin(sent, assistant, asking)
        if sent.at_once:
            run = self.agents.create(asking.caller, body, thread_id, once=asking.once)
            return json_response(succeeded(call.call_id, dialect.sent(Result(run).task(dialect))))
        admitted = self.agents.start(asking.caller, body, thread_id=thread_id, once=asking.once)
        work = self.in_place.outcome(asking.caller.tenant, admitted, asking.context)
        return self._waited(
            call, work, admitted.run, asking, lambda result: dialect.sent(result.task(dialect))
        )

    def _stream(self, call: Call, assistant: Assistant, asking: Asking, dialect: Dialect) -> Response[Any]:
        body, thread_id = self._begin(_read(Send, call), assistant, asking)
        body = body.model_copy(update={"stream_mode": ["values", "messages-tuple"]})
        admitted = self.agents.start(asking.caller, body, thread_id=thread_id, once=asking.once)
        told = self.in_place.frames(asking.caller.tenant, admitted, asking.context)
        return self._streamed(call, told, admitted.run, asking, dialect)

    def _cancel(self, call: Call, assistant: Assistant, asking: Asking, dialect: Dialect) -> Response[Any]:
        run = self._find(_read(Named, call).id, assistant, asking)
        try:
            self.agents.cancel(asking.caller, run)
        except RunEnded as exc:
            raise error(TASK_NOT_CANCELABLE, exc.message, "TASK_NOT_CANCELABLE") from None
        runs = self.in_place.runs
        work = followed(runs, asking.caller.tenant, run, runs.outcome)
        return self._waited(call, work, run, asking, lambda result: result.task(dialect))

    def _begin(self, sent: Send, assistant: Assistant, asking: Asking) -> tuple[RunCreate, str]:
        """Make of a message what its run is asked for, and on which thread."""
        message = sent.message
        body = RunCreate(
            assistant_id=assistant.assistant_id, metadata=sent.metadata or {}, if_not_exists="create"
        )
        asked = self._find(message.task_id, assistant, asking) if message.task_id else None
        thread_id = parse_id(message.context_id, "context") if message.context_id else None
        if asked and thread_id not in (None, asked.thread_id):
            raise RpcError(INVALID_PARAMS, f"Task {asked.run_id} belongs to another context.")
        if asked and self.agents.asks(asking.caller, asked):
            asks_for: dict[str, Any] = {"command": Command(resume=replied(message))}
        else:
            asks_for = {"input": given(message, self.agents.schemas(assistant)["input_schema"])}
        body = body.model_copy(update=asks_for)
        return body, asked.thread_id if asked else thread_id or new_id()

    def _find(self, task_id: str, assistant: Assistant, asking: Asking) -> Run:
        try:
            return self.agents.find(asking.caller, assistant, task_id)
        except (NotFound, InvalidRequest) as exc:
            raise error(TASK_NOT_FOUND, exc.message, "TASK_NOT_FOUND") from None

    def _result(self, tenant: str, run: Run) -> Result:
        return Result(run, self.in_place.runs.outcome(tenant, run) if run.finished else None)

    def _read_result(self, tenant: str, run: Run) -> Result:
        run = self.in_place.runs.get(tenant, run.thread_id, run.run_id, whole=False)
        return self._result(tenant, run)

    def _waited(
        self,
        call: Call,
        work: Awaitable[Any],
        run: Run,
        asking: Asking,
        spelled: Callable[[Result], dict[str, Any]],
    ) -> Response[Any]:
        """Answer when a run has ended, with what it has come to."""
        tenant = asking.caller.tenant

        async def whole() -> bytes:
            await work
            result = await asyncio.to_thread(self._read_result, tenant, run)
            return to_json(succeeded(call.call_id, spelled(result)))

        chunks = keep_alive(
            whole(),
            self.in_place.logger,
            until=last_moment(asking.context),
            failure=partial(_failure, call.call_id),
        )
        return Response(200, JSON, chunks)

    def _streamed(
        self, call: Call, told: AsyncIterator[list[Frame]], run: Run, asking: Asking, dialect: Dialect
    ) -> Response[Any]:
        """Answer with what a run says, to its end."""

        def result() -> Awaitable[Result]:
            return asyncio.to_thread(self._read_result, asking.caller.tenant, run)

        async def spelled() -> AsyncIterator[bytes]:
            async for event in narrated(told, run, dialect, result):
                yield spell(None, to_json(succeeded(call.call_id, event)))

        manner = Manner(
            silence_s=HEARTBEAT_S,
            heartbeat=lambda: HEARTBEAT,
            failure=lambda kind, message: spell(None, _failure(call.call_id, kind, message)),
        )
        until = last_moment(asking.context)
        return sse_response(guarded(spelled(), self.in_place.logger, until=until, manner=manner), {})


def _failure(call_id: CallId, _kind: str, message: str) -> bytes:
    return to_json(failed(call_id, INTERNAL_ERROR, message))


def _read(kind: type[Params], call: Call) -> Params:
    """Read the parameters of a call."""
    try:
        return kind.model_validate_json(orjson.dumps(call.params))
    except ValidationError as exc:
        raise RpcError(INVALID_PARAMS, f"{describe(exc)}.") from None


def _only(crews: frozenset[str]) -> str:
    """Name the crew of a deployment that has one."""
    if len(crews) > 1:
        raise InvalidRequest("There are several assistants; name one with ?assistant_id=….")
    return next(iter(crews))
