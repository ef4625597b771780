"""`/v1/threads`: make, find, change, copy, roll back, and look at what they have been."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Final, cast

import orjson
from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.errors import BadRequest, NotFound
from crewline.http.apps import empty_response, json_response
from crewline.http.handovers import HandOver
from crewline.http.resolvers import Router
from crewline.http.v1.deployments import naming_deployment
from crewline.models.api_keys import Caller
from crewline.models.clocks import Id
from crewline.models.crewship_threads import (
    CrewshipThread,
    ThreadChange,
    ThreadRequest,
    show_checkpoint,
    show_thread,
)
from crewline.models.public_ids import parse_public_id
from crewline.models.searches import ThreadSearch
from crewline.models.threads import ThreadPatch, ThreadStatus, ThreadWire
from crewline.services.assistants import Assistants
from crewline.services.copies import Copies
from crewline.services.histories import Histories
from crewline.services.searches import Searches
from crewline.services.threads import Threads
from crewline.store.idempotency import Once

LARGEST_PAGE: Final = 100
MOST_BEFORE: Final = 10_000
"""How many threads a page may come after: as many as a search passes."""
_FILTER: Final = re.compile(r"metadata\[(.{1,255})\]")


def routes(
    assistants: Assistants,
    threads: Threads,
    searches: Searches,
    histories: Histories,
    copies: Copies,
    crew: HandOver,
) -> Router:
    """Make the routes of `/v1` for threads that the control plane serves."""
    router = Router()

    @router.post("/v1/threads")
    def create(body: Annotated[ThreadRequest, Body()]) -> Response[Any]:
        if body.values:
            return crew.answer(router.sent)
        with naming_deployment(body.deployment_id) as core_id:
            named = assistants.resolve(router.caller.tenant, core_id)
        key = once_created(router, body)
        made = threads.create(router.caller.tenant, body.core(named.crew), once=key)
        return json_response(show_thread(made), 201)

    @router.get("/v1/threads")
    def search(
        deployment_id: Annotated[str, Query()],
        status: Annotated[ThreadStatus | None, Query()] = None,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 20,
        offset: Annotated[int, Query(ge=0, le=MOST_BEFORE)] = 0,
    ) -> Response[Any]:
        with naming_deployment(deployment_id) as core_id:
            named = assistants.resolve(router.caller.tenant, core_id)
        wanted = _filters(router.current_event.multi_value_query_string_parameters)
        query = ThreadSearch(
            metadata={"assistant_id": named.assistant_id}, status=status, limit=limit, offset=offset
        )
        return json_response({"threads": _found(searches, router.caller, query, wanted)})

    @router.get("/v1/threads/<thread_id>")
    def get(thread_id: str) -> Response[Any]:
        return json_response(_shown(router.caller.tenant, thread_id))

    @router.patch("/v1/threads/<thread_id>")
    def patch(thread_id: str, body: Annotated[ThreadChange, Body()]) -> Response[Any]:
        with naming(thread_id) as core_id:
            threads.patch(router.caller.tenant, core_id, ThreadPatch(metadata=body.metadata))
        return json_response(_shown(router.caller.tenant, thread_id))

    @router.delete("/v1/threads/<thread_id>")
    def delete(thread_id: str) -> Response[Any]:
        with naming(thread_id) as core_id:
            threads.delete(router.caller.tenant, core_id)
        return empty_response()

    @router.get("/v1/threads/<thread_id>/history")
    def history(
        thread_id: str,
        limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 20,
        cursor: Annotated[Id | None, Query()] = None,
        all_: Annotated[bool, Query(alias="all")] = False,
    ) -> Response[Any]:
        with naming(thread_id) as core_id:
            page = histories.list(router.caller.tenant, core_id, limit=limit, cursor=cursor, supersteps=all_)
        checkpoints = [
            show_checkpoint(
                one.checkpoint_id, run_id=one.run_id, values=one.values, created_at=one.created_at
            )
            for one in page.states
        ]
        return json_response({"checkpoints": checkpoints, "next_cursor": page.cursor})

    @router.post("/v1/threads/<thread_id>/copy")
    def copy(thread_id: str) -> Response[Any]:
        tenant, sender = router.caller.tenant, router.caller.sender
        with naming(thread_id) as core_id:
            threads.read(tenant, core_id)  # the core answers 409 when there is nothing to copy
            key = router.once(f"POST /v1/threads/{core_id}/copy", None)
            made = copies.copy(tenant, core_id, once=key, stamps=sender.stamps)
        return json_response(show_thread(made), 201)

    def _shown(tenant: str, thread_id: str) -> CrewshipThread:
        with naming(thread_id) as core_id:
            return show_thread(threads.get(tenant, core_id))

    return router


@contextmanager
def naming(thread_id: str) -> Iterator[str]:
    """Give the core's id of a thread that a path names, and say as the path does when it is not there.

    Raises:
        BadRequest: It is no id of a thread.
        NotFound: There is no such thread.
    """
    try:
        yield parse_public_id("thread", thread_id)
    except NotFound as exc:
        raise NotFound(f"There is no thread {thread_id}; POST /v1/threads makes one.") from exc


def once_created(router: Router, body: ThreadRequest) -> Once | None:
    """Name the request that makes a thread, whichever function answers it."""
    return router.once("POST /v1/threads", body.model_dump(exclude_unset=True))


def _found(
    searches: Searches, caller: Caller, query: ThreadSearch, wanted: Mapping[str, str]
) -> list[CrewshipThread]:
    """Find threads whose metadata has some values: as text, or, when no thread has them so, as what they spell."""
    spelled = {name: _scalar(text) for name, text in wanted.items()}
    for values in (wanted, spelled) if spelled != wanted else (wanted,):
        metadata = caller.sender.sees.narrow({**values, **(query.metadata or {})})
        if metadata is None:
            continue
        found = searches.search(caller.tenant, query.model_copy(update={"metadata": metadata})).threads
        first = {"metadata": metadata, "offset": 0, "limit": 1, "select": ["thread_id"]}
        if found or (query.offset and searches.search(caller.tenant, query.model_copy(update=first)).threads):
            return [show_thread(cast("ThreadWire", one)) for one in found]
    return []


def _scalar(text: str) -> Any:
    """Read the number, true, false or null that a text spells; else it is the text."""
    with suppress(orjson.JSONDecodeError):
        if not isinstance(value := orjson.loads(text), dict | list):
            return value
    return text


def _filters(query: Mapping[str, list[str]]) -> dict[str, str]:
    """Read `metadata[key]=value`, of which there may be several.

    Raises:
        BadRequest: Two of them are about one key.
    """
    wanted: dict[str, str] = {}
    for name, texts in query.items():
        if found := _FILTER.fullmatch(name):
            if len(texts) > 1:
                raise BadRequest(f"{name} comes {len(texts)} times; a thread has one value of a key.")
            wanted[found[1]] = texts[0]
    return wanted
