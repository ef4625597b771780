"""The OpenAPI document: made of the routes, their models, and what is written here of each.

It is made when the project is built (`make openapi`) and served as a file: describing an API costs
imports and time that no request should pay for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, cast

import orjson
from pydantic import TypeAdapter

from crewline.http import (
    assistants,
    crons,
    drawings,
    executions,
    metrics,
    runs,
    searches,
    states,
    store_items,
    streams,
    system,
    threads,
)
from crewline.http.a2a import routes as a2a
from crewline.http.authentication import API_KEY, NEEDED
from crewline.http.errors import speaks_crewship, speaks_rpc
from crewline.http.mcp import routes as mcp
from crewline.http.operations import OPERATIONS, Operation
from crewline.http.preferences import LONGEST_KEY
from crewline.http.resolvers import Resolver, Router
from crewline.http.v1 import events as crewship_events
from crewline.http.v1 import rollbacks as crewship_rollbacks
from crewline.http.v1 import runs as crewship_runs
from crewline.http.v1 import threads as crewship_threads
from crewline.http.v1 import webhooks as crewship_webhooks
from crewline.http.v2 import commands
from crewline.http.v2 import streams as events
from crewline.models.answers import ErrorAnswer, EventAnswer
from crewline.models.crewship import CrewshipError
from crewline.models.crewship_events import RunEvent, ToldEvent
from crewline.models.public_ids import PREFIXES

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
    500: "Something that the service needs is not there.",
    503: "The service cannot answer now; try again.",
}
_BAD: Final = "The request contradicts itself, or a field has a wrong type, form or value."
"""What 400 says where there is no 422."""
_DESCRIPTION: Final = (
    "Threads are durable conversations, runs are executions on them. "
    "The API is that of the LangGraph Server; its SDKs speak it unchanged. "
    "Under `/v1` the same is said in the words of Crewship."
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
_UUIDS: Final = frozenset({"thread_id", "run_id", "checkpoint_id", "assistant_id", "batch_id", "cron_id"})
"""Path parameters that are UUIDs."""
_NAMED: Final = re.compile("/assistants/{assistant_id}/(graph|schemas|subgraphs)|/a2a/{assistant_id}")
"""Paths of assistants that take a crew's name, too."""
_PUBLIC_IDS: Final = {
    f"{kind}_id": {"pattern": f"^{prefix}[0-9a-f]{{32}}$"} for kind, prefix in PREFIXES.items()
}
"""Path parameters of `/v1` that are ids, and how they are spelled."""
_HEADERS: Final = {
    "Idempotency-Key": "Names the request: when it is sent again, it has no second effect.",
    "Prefer": "`wait=N`: answer when the run has ended, or after so many seconds. `return=minimal`: without a body.",
    "Last-Event-ID": "The last event that the client has; -1 for all of them.",
}
_LIMITS: Final = {"Idempotency-Key": {"minLength": 1, "maxLength": LONGEST_KEY}}


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
    yield system.routes(nothing, langgraph=nothing, build=nothing)
    yield metrics.routes(nothing)
    yield assistants.routes(nothing)
    yield drawings.routes(nothing, nothing)
    yield threads.routes(nothing, nothing, nothing, nothing)
    yield searches.routes(nothing)
    yield store_items.routes(nothing, nothing)
    yield runs.routes(nothing, nothing, nothing, nothing)
    yield crons.routes(nothing, nothing)
    yield commands.routes(nothing, nothing)
    yield executions.routes(nothing, nothing)
    yield states.routes(nothing, nothing, nothing)
    yield streams.routes(nothing, nothing, nothing, nothing, logger=nothing)
    yield events.routes(nothing, nothing, nothing, logger=nothing)
    yield mcp.routes(nothing, nothing)
    yield a2a.routes(nothing, nothing, asks_for_key=nothing)
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
    path = place[1]
    crewship, strict = speaks_crewship(path), speaks_crewship(path) or speaks_rpc(path)
    if not operation.answers:
        model = "ToldEvent" if crewship else "EventAnswer"
        content = {_SSE: {"schema": {"$ref": _REF.format(model=model)}}}
        responses["200"] = {"description": "Events, each of this form.", "content": content}
    keys = (401, 403) if NEEDED[place] else ()
    for status in sorted({*operation.errors, *keys, 400 if strict else 422, 503}):
        said = _BAD if strict and status == 400 else _ERRORS[status]  # noqa: PLR2004 (bad request)
        responses[str(status)] = _error(said, path)
    for status, answer in operation.answers.items():
        body = {} if answer is None else {"content": {_JSON: {"schema": schemas[place, status]}}}
        if operation.text:
            body["content"][operation.text] = {"schema": {"type": "string"}}
        responses[str(status)] = {"description": "Done." if status < 300 else "Refused.", **body}  # noqa: PLR2004
    return {
        **dict(sorted(responses.items())),
        "default": _error("Something else is wrong.", path),
    }


def _error(description: str, path: str) -> dict[str, Any]:
    model = "CrewshipError" if speaks_crewship(path) else "RpcAnswer" if speaks_rpc(path) else "ErrorAnswer"
    return {
        "description": description,
        "content": {_JSON: {"schema": {"$ref": _REF.format(model=model)}}},
    }


if __name__ == "__main__":
    write()
