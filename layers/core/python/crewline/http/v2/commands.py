"""`/threads/{thread_id}/commands`: what a client tells a thread to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final, Literal

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from pydantic import ValidationError

from crewline.errors import Conflict, CrewlineError, NotFound
from crewline.http.apps import json_response
from crewline.http.errors import describe_validation
from crewline.http.resolvers import Router
from crewline.http.v2.events import first_seq
from crewline.models.clocks import parse_id
from crewline.models.leases import Lease
from crewline.models.runs import RunCreate
from crewline.models.threads import Thread, whole
from crewline.models.users import NOBODY, Sender
from crewline.services.runs import Runs
from crewline.services.threads import Threads
from crewline.store.idempotency import Once

Code = Literal[
    "unknown_command",
    "invalid_argument",
    "no_such_run",
    "no_such_interrupt",
    "no_such_subscription",
    "unsupported",
    "unknown_error",
]
MODES: Final = ("values", "updates", "messages-tuple", "tools", "custom", "tasks", "checkpoints")
"""What a run tells that is started here: everything that a connection may listen for."""

_PASSED: Final = frozenset(RunCreate.model_fields) - {
    "command",
    "stream_mode",
    "stream_subgraphs",
    "stream_resumable",
    "if_not_exists",
    "on_disconnect",
    "on_completion",
}
_STATES: Final = {"idle": "completed", "busy": "running", "interrupted": "interrupted", "error": "failed"}
_RUN_STATES: Final = {
    "pending": "started",
    "running": "running",
    "success": "completed",
    "error": "failed",
    "timeout": "failed",
    "interrupted": "interrupted",
}


class Refusal(Exception):
    """A command that is answered with an error.

    Args:
        code: Of the protocol.
        message: A sentence for the caller.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command has come to."""

    result: dict[str, Any]
    applied_through_seq: int = 0
    """The last event of the thread from before, for a client to go on behind it; 0 when that is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command to a thread."""

    tenant: str
    thread_id: str
    params: Mapping[str, Any]
    once: Once | None = None
    """Names the request, so that a repetition starts no second run."""
    sender: Sender = NOBODY
    """Whom a run of it executes for."""


def routes(runs: Runs, threads: Threads) -> Router:
    """Make the route that takes commands."""
    router = Router()
    commands = Commands(runs, threads)

    @router.post("/threads/<thread_id>/commands")
    def command(thread_id: str) -> Response[Any]:
        thread_id, body = parse_id(thread_id, "thread"), router.current_event.json_body or {}
        if problem := _malformed(body):
            return json_response(_refused(body, Refusal("invalid_argument", problem)), 400)
        key = router.once(f"POST /threads/{thread_id}/commands", body)
        given = Command(
            tenant=router.caller.tenant,
            thread_id=thread_id,
            params=body.get("params") or {},
            once=key,
            sender=router.caller.sender,
        )
        try:
            answer = commands.carry_out(body["method"], given)
        except Refusal as exc:
            return json_response(_refused(body, exc))
        return json_response(_done(body, answer))

    return router


class Commands:
    """Carries out commands."""

    def __init__(self, runs: Runs, threads: Threads) -> None:
        self._runs = runs
        self._threads = threads
        self._methods: Mapping[str, Callable[[Command], Answer]] = {
            "run.start": self._start,
            "input.respond": self._respond,
            "agent.getTree": self._tree,
        }

    def carry_out(self, method: str, command: Command) -> Answer:
        """Carry out one command.

        Raises:
            Refusal: It cannot be done, or never could.
            CrewlineError: It may succeed when it is sent again.
        """
        if method.startswith("subscription."):
            raise Refusal(
                "unsupported", f"{method} needs a WebSocket; here a connection's request says what it wants."
            )
        if method not in self._methods:
            raise Refusal("unknown_command", f"{method[:60]!r} is none of {', '.join(self._methods)}.")
        try:
            return self._methods[method](command)
        except ValidationError as exc:
            raise Refusal(
                "invalid_argument", describe_validation(RequestValidationError(exc.errors()))
            ) from exc
        except CrewlineError as exc:
            if exc.retryable:
                raise
            code: Code = "unknown_error" if isinstance(exc, Conflict) else "invalid_argument"
            raise Refusal(code, exc.message) from exc

    def _start(self, command: Command) -> Answer:
        """Start a run; an input for a thread that waits for an answer is that answer."""
        params = command.params
        thread, lease = self._read(command)
        given: dict[str, Any] = {name: params[name] for name in _PASSED if name in params}
        given["multitask_strategy"] = params.get("multitask_strategy") or params.get("multitaskStrategy")
        body = _body(given)
        if thread and body.input is not None and not body.fork and self._questions(command, thread, lease):
            body = _body({**given, "input": None, "command": {"resume": body.input}})
        return self._create(command, body, lease)

    def _respond(self, command: Command) -> Answer:
        """Answer some of the questions that the thread waits for."""
        params = command.params
        answers = _answers(params)
        thread, lease = self._read(command)
        asked = self._questions(command, thread, lease) if thread else ()
        if thread is None or (unknown := answers.keys() - asked):
            one = next(iter(unknown if thread else answers))
            raise Refusal("no_such_interrupt", f"Thread {command.thread_id} does not wait for {one[:60]!r}.")
        told = {name: params[name] for name in ("update", "goto") if params.get(name) is not None}
        given = {name: params[name] for name in ("config", "metadata") if name in params}
        assistant = params.get("assistant_id") or thread.metadata.get("assistant_id")
        body = _body({**given, "assistant_id": assistant, "command": {"resume": answers, **told}})
        return self._create(command, body, lease)

    def _tree(self, command: Command) -> Answer:
        """Tell of the thread's crew, or of one run's, how it is."""
        run_id = command.params.get("run_id")
        try:
            if isinstance(run_id, str):
                run = self._runs.get(command.tenant, command.thread_id, run_id, whole=False)
                state, name = _RUN_STATES[run.status], run.graph_id
            else:
                thread, _ = self._threads.read(command.tenant, command.thread_id)
                state, name = _STATES[thread.status], thread.metadata["graph_id"]
        except (NotFound, KeyError) as exc:
            raise Refusal("no_such_run", f"Thread {command.thread_id} has no such run.") from exc
        return Answer({"tree": {"namespace": [], "status": state, "graph_name": name, "children": []}})

    def _create(self, command: Command, body: RunCreate, lease: Lease) -> Answer:
        run = self._runs.create(
            command.tenant, command.thread_id, body, once=command.once, sender=command.sender
        )
        # Behind a run in flight a client goes on with that one's events.
        before = first_seq(run.turn if lease.free else lease.turn)
        return Answer({"run_id": run.run_id}, before)

    def _read(self, command: Command) -> tuple[Thread | None, Lease]:
        try:
            return self._threads.read(command.tenant, command.thread_id)
        except NotFound:
            return None, Lease()

    def _questions(self, command: Command, thread: Thread, lease: Lease) -> Collection[str]:
        """Find the ids of the questions that a thread at rest waits for."""
        if thread.status != "interrupted" or not lease.free:
            return ()
        return self._threads.questions(command.tenant, thread.thread_id, lease)


def _body(given: Mapping[str, Any]) -> RunCreate:
    return RunCreate.model_validate(
        {
            **given,
            "stream_mode": list(MODES),
            "stream_subgraphs": True,
            "stream_resumable": True,
            "if_not_exists": "create",
        }
    )


def _answers(params: Mapping[str, Any]) -> dict[str, Any]:
    """Read one answer, or several."""
    several = params.get("responses")
    answers = [params] if several is None else several
    if not isinstance(answers, list) or not answers:
        raise Refusal("invalid_argument", "responses: send a list of one answer or more.")
    for answer in answers:
        if not (
            isinstance(answer, dict) and isinstance(answer.get("interrupt_id"), str) and "response" in answer
        ):
            raise Refusal("invalid_argument", "An answer needs an interrupt_id, as text, and a response.")
    return {answer["interrupt_id"]: answer["response"] for answer in answers}


def _malformed(body: Mapping[str, Any]) -> str | None:
    ident = whole(body.get("id"))
    if not isinstance(ident, int) or isinstance(ident, bool) or ident < 0:
        return "id: send a whole number, 0 or more."
    if not isinstance(body.get("method"), str):
        return "method: send the name of a command."
    if not isinstance(body.get("params", {}), dict | NoneType):
        return "params: send an object."
    return None


def _done(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    meta = {"applied_through_seq": answer.applied_through_seq}
    return {"type": "success", "id": body["id"], "result": answer.result, "meta": meta}


def _refused(body: Mapping[str, Any], refusal: Refusal) -> dict[str, Any]:
    ident = body.get("id")
    known = ident if isinstance(ident, int) and not isinstance(ident, bool) else None
    return {"type": "error", "id": known, "error": refusal.code, "message": refusal.message}
