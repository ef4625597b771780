"""The OpenAPI document: made of the routes, their models, and what is written here of each.

It is made when the project is built (`make openapi`) and served as a file: describing an API costs
imports and time that no request should pay for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import GenericAlias
from typing import Any, Final, Literal, cast, get_type_hints

import orjson
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from crewline.http import assistants, drawings, executions, runs, searches, states, streams, system, threads
from crewline.http.authentication import API_KEY, NEEDED
from crewline.http.errors import speaks_crewship
from crewline.http.preferences import LONGEST_KEY
from crewline.http.resolvers import Resolver, Router
from crewline.http.v1 import events as crewship_events
from crewline.http.v1 import rollbacks as crewship_rollbacks
from crewline.http.v1 import runs as crewship_runs
from crewline.http.v1 import threads as crewship_threads
from crewline.http.v1 import webhooks as crewship_webhooks
from crewline.http.v2 import commands
from crewline.http.v2 import streams as events
from crewline.models.answers import (
    CommandAnswer,
    CommandRefused,
    CommandRequest,
    ErrorAnswer,
    EventAnswer,
    EventsRequest,
    Information,
    Okay,
)
from crewline.models.assistants import AssistantVersionWire, AssistantWire, Drawing, Schemas
from crewline.models.batches import BatchWire, FailedItem
from crewline.models.crewship import CrewshipError, CrewshipRun, CrewshipRuns, StartedRun, StartedThreadRun
from crewline.models.crewship_events import RunEvent, ToldEvent
from crewline.models.crewship_threads import CrewshipHistory, CrewshipThread, CrewshipThreads
from crewline.models.public_ids import PREFIXES
from crewline.models.runs import RunWire
from crewline.models.searches import FoundThread
from crewline.models.states import EditWire, StateWire
from crewline.models.threads import PruneWire, StorageWire, ThreadWire

_JSON: Final = "application/json"
_SSE: Final = "text/event-stream"
_REF: Final = "#/components/schemas/{model}"
_ERRORS: Final = {
    400: "The request contradicts itself.",
    401: "The request comes without an API key, or with one that is not good.",
    403: "The API key lacks the scope that this needs.",
    404: "What the request names does not exist.",
    409: "The state of what the request names does not allow it now.",
    413: "The body is too large.",
    422: "A field has a wrong type, form or value.",
    429: "Too much waits already.",
    503: "The service cannot answer now; try again.",
}
_CREWSHIP_BAD: Final = "The request contradicts itself, or a field has a wrong type, form or value."
"""What 400 says where there is no 422."""
_DESCRIPTION: Final = (
    "Threads are durable conversations, runs are executions on them. "
    "The API is that of the LangGraph Server; its SDKs speak it unchanged."
)
_SECURITY: Final = {
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": API_KEY,
        "description": "`crewline keys create` makes one. A service on a laptop (`crewline dev`) needs none.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same key."},
}
"""The ways in which a key can be sent; one is enough."""
_POWERTOOLS_OWN: Final = ("HTTPValidationError", "ValidationError", "ResponseValidationError")
"""Powertools' own spelling of errors, which is not ours."""
_UUIDS: Final = frozenset({"thread_id", "run_id", "checkpoint_id", "assistant_id", "batch_id"})
"""Path parameters that are UUIDs."""
_NAMED: Final = re.compile("/assistants/{assistant_id}/(graph|schemas|subgraphs)")
"""Paths of assistants that take a crew's name, too."""
_PUBLIC_IDS: Final = {
    f"{kind}_id": {"pattern": f"^{prefix}[0-9a-f]{{32}}$"} for kind, prefix in PREFIXES.items()
}
"""Path parameters of `/v1` that are ids, and how they are spelled."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does and answers.

    Args:
        summary: A sentence for the caller.
        answers: Status → type of the body, None when that is empty; nothing when it answers with events.
        errors: Statuses with which it refuses, beside 422 and 503, and those about keys.
        body: Type of its body, where the route reads that itself.
        headers: Those of the request that it minds.
        queries: Parameters of its query that no signature can have, as the document has them.
    """

    summary: str
    answers: Mapping[int, Any] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    body: Any = None
    headers: tuple[str, ...] = ()
    queries: tuple[Mapping[str, Any], ...] = ()


_HEADERS: Final = {
    "Idempotency-Key": "Names the request: when it is sent again, it has no second effect.",
    "Prefer": "`wait=N`: answer when the run has ended, or after so many seconds. `return=minimal`: without a body.",
    "Last-Event-ID": "The last event that the client has; -1 for all of them.",
}
_LIMITS: Final = {"Idempotency-Key": {"minLength": 1, "maxLength": LONGEST_KEY}}
_KEY: Final = ("Idempotency-Key",)
_KEY_AND_WAIT: Final = ("Idempotency-Key", "Prefer")
_RESUMED: Final = ("Last-Event-ID",)
_METADATA: Final = (
    {
        "name": "metadata",
        "in": "query",
        "description": "`metadata[key]=value`, repeatable: only threads whose metadata has all of these.",
        "style": "deepObject",
        "explode": True,
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    },
)
_A_RUN: Final = (400, 404, 409, 413, 429)
_A_STATELESS_RUN: Final = (400, 404, 409, 413)


def _parts(wire: Any, name: str, description: str) -> Any:
    """Make the type of a list of rows of which only some fields are answered."""
    part = cast("Any", TypedDict)(name, get_type_hints(wire, include_extras=True), total=False)
    part.__doc__ = description
    return GenericAlias(list, (part,))


OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "/ok"): Operation("Tell that the service is there.", {200: Okay}),
    ("GET", "/info"): Operation("Tell which service this is.", {200: Information}),
    # ---- assistants
    ("POST", "/assistants"): Operation(
        "Make an assistant.", {200: AssistantWire}, errors=(400, 404, 409, 413), headers=_KEY
    ),
    ("POST", "/assistants/search"): Operation(
        "List assistants.",
        {200: _parts(AssistantWire, "AssistantPart", "The selected fields of an assistant.")},
        errors=(413,),
    ),
    ("POST", "/assistants/count"): Operation("Count assistants.", {200: int}, errors=(413,)),
    ("GET", "/assistants/{assistant_id}"): Operation(
        "Get an assistant.", {200: AssistantWire}, errors=(404,)
    ),
    ("PATCH", "/assistants/{assistant_id}"): Operation(
        "Change an assistant, which makes a version of it.", {200: AssistantWire}, errors=(400, 404, 409, 413)
    ),
    ("DELETE", "/assistants/{assistant_id}"): Operation(
        "Delete an assistant with its versions.", {204: None}, errors=(404, 409)
    ),
    ("POST", "/assistants/{assistant_id}/versions"): Operation(
        "List the versions of an assistant, the newest first.",
        {200: list[AssistantVersionWire]},
        errors=(404, 413),
    ),
    ("POST", "/assistants/{assistant_id}/latest"): Operation(
        "Make a version the one that the assistant is.", {200: AssistantWire}, errors=(404, 413)
    ),
    ("GET", "/assistants/{assistant_id}/graph"): Operation(
        "Draw an assistant's graph.", {200: Drawing}, errors=(404,)
    ),
    ("GET", "/assistants/{assistant_id}/schemas"): Operation(
        "Get the JSON schemas of an assistant's graph.", {200: Schemas}, errors=(404,)
    ),
    ("GET", "/assistants/{assistant_id}/subgraphs"): Operation(
        "Get the JSON schemas of the subgraphs by namespace.", {200: dict[str, Schemas]}, errors=(404,)
    ),
    ("GET", "/assistants/{assistant_id}/subgraphs/{namespace}"): Operation(
        "Get the JSON schemas of one subgraph.", {200: dict[str, Schemas]}, errors=(404,)
    ),
    # ---- threads
    ("POST", "/threads"): Operation(
        "Make a thread.", {200: ThreadWire}, errors=(400, 404, 409, 413), headers=_KEY
    ),
    ("POST", "/threads/prune"): Operation(
        "Remove threads, or all of them but their newest state.", {200: PruneWire}, errors=(413,)
    ),
    ("POST", "/threads/search"): Operation(
        "Search for threads, or list them.", {200: list[FoundThread]}, errors=(413,)
    ),
    ("POST", "/threads/count"): Operation("Count threads.", {200: int}, errors=(413,)),
    ("GET", "/threads/{thread_id}"): Operation(
        "Get a thread with its values and open questions.", {200: ThreadWire}, errors=(404,)
    ),
    ("PATCH", "/threads/{thread_id}"): Operation(
        "Merge metadata into a thread's.",
        {200: ThreadWire, 204: None},
        errors=(404, 413),
        headers=("Prefer",),
    ),
    ("DELETE", "/threads/{thread_id}"): Operation("Delete a thread.", {204: None}, errors=(404,)),
    ("GET", "/threads/{thread_id}/storage"): Operation(
        "Tell how many bytes a thread's checkpoints take.", {200: StorageWire}, errors=(404,)
    ),
    ("POST", "/threads/{thread_id}/copy"): Operation(
        "Copy a thread: its state, history and open questions.",
        {200: ThreadWire},
        errors=(404, 409),
        headers=_KEY,
    ),
    # ---- state
    ("GET", "/threads/{thread_id}/state"): Operation(
        "Get the newest state.", {200: StateWire}, errors=(404,)
    ),
    ("GET", "/threads/{thread_id}/state/{checkpoint_id}"): Operation(
        "Get the state at a checkpoint.", {200: StateWire}, errors=(404,)
    ),
    ("POST", "/threads/{thread_id}/state/checkpoint"): Operation(
        "Get the state at a checkpoint.", {200: StateWire}, errors=(404, 413)
    ),
    ("POST", "/threads/{thread_id}/state"): Operation(
        "Change the state as if a node had written it.", {200: EditWire}, errors=(400, 404, 409, 413)
    ),
    ("GET", "/threads/{thread_id}/history"): Operation(
        "List states, the newest first.", {200: list[StateWire]}, errors=(404,)
    ),
    ("POST", "/threads/{thread_id}/history"): Operation(
        "List states, the newest first.", {200: list[StateWire]}, errors=(404, 413)
    ),
    # ---- runs
    ("POST", "/threads/{thread_id}/runs"): Operation(
        "Start a run in the background.", {200: RunWire, 202: RunWire}, errors=_A_RUN, headers=_KEY_AND_WAIT
    ),
    ("GET", "/threads/{thread_id}/runs"): Operation(
        "List a thread's runs, the newest first.",
        {200: _parts(RunWire, "RunPart", "The selected fields of a run.")},
        errors=(404,),
    ),
    ("POST", "/threads/{thread_id}/runs/wait"): Operation(
        "Start a run and wait for its values.", {200: Any}, errors=_A_RUN, headers=_KEY
    ),
    ("POST", "/threads/{thread_id}/runs/stream"): Operation(
        "Start a run and stream it.", errors=_A_RUN, headers=_KEY
    ),
    ("GET", "/threads/{thread_id}/runs/{run_id}"): Operation("Get a run.", {200: RunWire}, errors=(404,)),
    ("DELETE", "/threads/{thread_id}/runs/{run_id}"): Operation(
        "Delete a run.", {204: None}, errors=(404, 409)
    ),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): Operation(
        "Cancel a run.", {200: dict[str, Any], 202: None}, errors=(404,)
    ),
    ("GET", "/threads/{thread_id}/runs/{run_id}/join"): Operation("Wait for a run's values.", {200: Any}),
    ("GET", "/threads/{thread_id}/runs/{run_id}/stream"): Operation("Stream a run.", headers=_RESUMED),
    ("GET", "/threads/{thread_id}/stream"): Operation(
        "Stream all runs of a thread.", errors=(404,), headers=_RESUMED
    ),
    ("POST", "/runs"): Operation(
        "Start a run without a thread in the background.",
        {200: RunWire, 202: RunWire},
        errors=_A_STATELESS_RUN,
        headers=_KEY_AND_WAIT,
    ),
    ("POST", "/runs/batch"): Operation(
        "Start many runs without threads.",
        {200: list[RunWire | FailedItem]},
        errors=_A_STATELESS_RUN,
        headers=_KEY,
    ),
    ("GET", "/runs/batch/{batch_id}"): Operation(
        "Count the runs of a batch by status.", {200: BatchWire}, errors=(404,)
    ),
    ("POST", "/runs/cancel"): Operation("Cancel many runs.", {204: None}, errors=(404, 413)),
    ("POST", "/runs/wait"): Operation(
        "Start a run without a thread and wait for its values.",
        {200: Any},
        errors=_A_STATELESS_RUN,
        headers=_KEY,
    ),
    ("POST", "/runs/stream"): Operation(
        "Start a run without a thread and stream it.", errors=_A_STATELESS_RUN, headers=_KEY
    ),
    # ---- protocol v2
    ("POST", "/threads/{thread_id}/commands"): Operation(
        "Tell a thread to do something.",
        {200: CommandAnswer, 400: CommandRefused},
        errors=(409, 413),
        headers=_KEY,
        body=CommandRequest,
    ),
    ("POST", "/threads/{thread_id}/stream/events"): Operation(
        "Stream what happens on a thread.", errors=(400, 413), body=EventsRequest
    ),
    # ---- the API of Crewship
    ("POST", "/v1/runs"): Operation("Start a run.", {202: StartedRun}, errors=(404, 409, 413), headers=_KEY),
    ("GET", "/v1/runs"): Operation("List runs, the newest first.", {200: CrewshipRuns}, errors=(404,)),
    ("GET", "/v1/runs/{run_id}"): Operation("Get a run.", {200: CrewshipRun}, errors=(404,)),
    ("GET", "/v1/runs/{run_id}/events"): Operation(
        "Tell what a run does, to its end.", errors=(404,), headers=_RESUMED
    ),
    ("POST", "/v1/runs/{run_id}/cancel"): Operation("Cancel a run.", {202: CrewshipRun}, errors=(404, 409)),
    ("POST", "/v1/threads/{thread_id}/runs"): Operation(
        "Start a run on a thread.", {202: StartedThreadRun}, errors=(404, 409, 413), headers=_KEY
    ),
    ("POST", "/webhooks/runs/{token}"): Operation(
        "Start a run of a webhook's deployment; the body is its input, and the token needs no key beside it.",
        {202: StartedRun},
        errors=(404, 409, 413),
        body=dict[str, Any],
        headers=_KEY,
    ),
    ("POST", "/v1/threads"): Operation(
        "Make a thread.", {201: CrewshipThread}, errors=(404, 409, 413), headers=_KEY
    ),
    ("GET", "/v1/threads"): Operation(
        "List the threads of a deployment, or some of them by their metadata.",
        {200: CrewshipThreads},
        errors=(404,),
        queries=_METADATA,
    ),
    ("GET", "/v1/threads/{thread_id}"): Operation(
        "Get a thread with its values.", {200: CrewshipThread}, errors=(404,)
    ),
    ("PATCH", "/v1/threads/{thread_id}"): Operation(
        "Merge metadata into a thread's.", {200: CrewshipThread}, errors=(404, 413)
    ),
    ("DELETE", "/v1/threads/{thread_id}"): Operation("Delete a thread.", {204: None}, errors=(404,)),
    ("GET", "/v1/threads/{thread_id}/history"): Operation(
        "List what a thread's state has been, a checkpoint for each run, the newest first.",
        {200: CrewshipHistory},
        errors=(404,),
    ),
    ("POST", "/v1/threads/{thread_id}/copy"): Operation(
        "Copy a thread with its history.", {201: CrewshipThread}, errors=(404, 409), headers=_KEY
    ),
    ("POST", "/v1/threads/{thread_id}/rollback"): Operation(
        "Let a thread go on from a checkpoint of its history.",
        {200: CrewshipThread},
        errors=(404, 409, 413),
    ),
}
"""Method and path of every route → what it does."""


def document() -> dict[str, Any]:
    """Describe the API.

    Returns:
        An OpenAPI 3.1 document.

    Raises:
        KeyError: A route is not in `OPERATIONS`, or not in `NEEDED`, or one there is no route.
    """
    routes = Resolver()
    for router in _routers():
        routes.include_router(router)
    made: dict[str, Any] = orjson.loads(
        routes.get_openapi_json_schema(
            title="Crewline", version=system.version_text(), description=_DESCRIPTION, openapi_version="3.1.0"
        )
    )
    left = dict(OPERATIONS)
    schemas, definitions = _schemas()
    for path, methods in made["paths"].items():
        for method, described in methods.items():
            place = (method.upper(), path)
            operation = left.pop(place)
            _describe(described, path, operation)
            scope = NEEDED[place]
            described["security"] = [{name: [scope]} for name in _SECURITY] if scope else []
            described["responses"] = _responses(place, operation, schemas)
            if operation.body:
                content = {_JSON: {"schema": schemas[place, "body"]}}
                described["requestBody"] = {"content": content, "required": True}
    if left:
        raise KeyError(f"{sorted(left)} are described, but no route answers them.")
    models = {**made["components"]["schemas"], **definitions}
    for name in _POWERTOOLS_OWN:
        models.pop(name, None)
    made["paths"] = dict(sorted(made["paths"].items()))
    made["components"]["schemas"] = dict(sorted(models.items()))
    made["components"]["securitySchemes"] = _SECURITY
    return made


def write() -> None:
    """Write the document to where it is packaged."""
    system.DOCUMENT.write_bytes(spelled())


def spelled() -> bytes:
    """Spell the document as it is packaged."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2) + b"\n"


def _routers() -> Iterator[Router]:
    """Make every route; nothing is called, so that nothing has to be there to be called."""
    nothing = cast("Any", None)
    yield system.routes()
    yield assistants.routes(nothing)
    yield drawings.routes(nothing, nothing)
    yield threads.routes(nothing, nothing, nothing, nothing)
    yield searches.routes(nothing)
    yield runs.routes(nothing, nothing, nothing, nothing)
    yield commands.routes(nothing, nothing)
    yield executions.routes(nothing, nothing, nothing, nothing, logger=nothing)
    yield states.routes(nothing, nothing, nothing)
    yield streams.routes(nothing, nothing, nothing, nothing, logger=nothing)
    yield events.routes(nothing, nothing, nothing, logger=nothing)
    yield crewship_events.routes(nothing, nothing, logger=nothing)
    yield crewship_webhooks.routes(nothing, nothing, nothing)
    yield crewship_runs.routes(nothing, nothing, nothing, nothing, nothing, nothing, stage=nothing)
    yield crewship_threads.routes(nothing, nothing, nothing, nothing, nothing, nothing)
    yield crewship_rollbacks.routes(nothing, nothing)


def _schemas() -> tuple[dict[Any, Any], dict[str, Any]]:
    """Give the schema of each route's answer, and of the body it reads itself, and what they refer to."""
    typed: list[tuple[Any, Literal["serialization", "validation"], TypeAdapter[Any]]] = [
        ("error", "serialization", TypeAdapter(ErrorAnswer)),
        ("crewship error", "serialization", TypeAdapter(CrewshipError)),
        ("event", "serialization", TypeAdapter(EventAnswer)),
        ("crewship event", "serialization", TypeAdapter(ToldEvent)),
        ("event of a run", "serialization", TypeAdapter(RunEvent)),
    ]
    for place, operation in OPERATIONS.items():
        for status, answer in operation.answers.items():
            if answer is not None:
                typed.append(((place, status), "serialization", TypeAdapter(answer)))
        if operation.body is not None:
            typed.append(((place, "body"), "validation", TypeAdapter(operation.body)))
    schemas, shared = TypeAdapter.json_schemas(typed, ref_template=_REF)
    return {key: schema for (key, _), schema in schemas.items()}, shared["$defs"]


def _describe(described: dict[str, Any], path: str, operation: Operation) -> None:
    described["summary"] = operation.summary
    described["tags"] = [path.split("/")[1]]
    parameters = described.setdefault("parameters", [])
    for parameter in parameters:
        if parameter["in"] == "path" and speaks_crewship(path):
            parameter["schema"] |= _PUBLIC_IDS.get(parameter["name"], {})
        elif parameter["in"] == "path" and parameter["name"] in _UUIDS and not _NAMED.match(path):
            parameter["schema"]["format"] = "uuid"
    parameters += operation.queries
    for name in operation.headers:
        parameters.append(
            {
                "name": name,
                "in": "header",
                "description": _HEADERS[name],
                "schema": {"type": "string", **_LIMITS.get(name, {})},
            }
        )


def _responses(place: tuple[str, str], operation: Operation, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    crewship = speaks_crewship(place[1])
    if not operation.answers:
        model = "ToldEvent" if crewship else "EventAnswer"
        content = {_SSE: {"schema": {"$ref": _REF.format(model=model)}}}
        responses["200"] = {"description": "Events, each of this form.", "content": content}
    keys = (401, 403) if NEEDED[place] else ()
    for status in sorted({*operation.errors, *keys, 400 if crewship else 422, 503}):
        said = _CREWSHIP_BAD if crewship and status == 400 else _ERRORS[status]  # noqa: PLR2004 (bad request)
        responses[str(status)] = _error(said, crewship=crewship)
    for status, answer in operation.answers.items():
        body = {} if answer is None else {"content": {_JSON: {"schema": schemas[place, status]}}}
        responses[str(status)] = {"description": "Done." if status < 300 else "Refused.", **body}  # noqa: PLR2004
    return {
        **dict(sorted(responses.items())),
        "default": _error("Something else is wrong.", crewship=crewship),
    }


def _error(description: str, *, crewship: bool) -> dict[str, Any]:
    model = "CrewshipError" if crewship else "ErrorAnswer"
    return {
        "description": description,
        "content": {_JSON: {"schema": {"$ref": _REF.format(model=model)}}},
    }


if __name__ == "__main__":
    write()
