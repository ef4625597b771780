"""`/store`: memory that runs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, Protocol

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.errors import TooLarge
from crewline.http.apps import empty_response, json_response, to_json
from crewline.http.handovers import LARGEST_ANSWER, HandOver
from crewline.http.resolvers import Router
from crewline.models.store_items import (
    JOINED,
    ItemDelete,
    ItemPut,
    ItemSearch,
    ItemWrite,
    NamespaceSearch,
    split_namespace,
)
from crewline.services.store_items import StoreItems


class Found(Protocol):
    """An item as the engine gives it."""

    def dict(self) -> Mapping[str, Any]:
        """Spell it as a search answers it."""


class Embedded(Protocol):
    """The store of one tenant as these routes use the engine's."""

    def put(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Literal[False] | list[str] | None,
        *,
        ttl: float | None = ...,
    ) -> None:
        """Put an item that is found by its meaning."""

    def search(
        self,
        namespace_prefix: tuple[str, ...],
        /,
        *,
        query: str | None,
        filter: dict[str, Any] | None,  # noqa: A002 (as LangGraph calls it)
        limit: int,
        offset: int,
        refresh_ttl: bool | None,
    ) -> Sequence[Found]:
        """Find items by their meaning."""


def routes(items: StoreItems, crew: HandOver | None) -> Router:
    """Make the routes of the store.

    Args:
        items: The items of all tenants.
        crew: Who makes vectors of texts; None where the manifest does not say how.
    """
    router = Router()

    @router.put("/store/items")
    def put(body: Annotated[ItemPut, Body()]) -> Response[Any]:
        if crew and body.index is not False:
            return crew.answer(router.sent)
        ttl = body.ttl if "ttl" in body.model_fields_set else items.lifetime.default_ttl
        write = ItemWrite(namespace=tuple(body.namespace), key=body.key, value=body.value, ttl=ttl)
        items.put(router.caller.tenant, write)
        return empty_response()

    @router.get("/store/items")
    def get(
        key: Annotated[str, Query()],
        namespace: Annotated[str, Query(pattern=JOINED)] = "",
        refresh_ttl: Annotated[bool | None, Query()] = None,
    ) -> Response[Any]:
        labels = split_namespace(namespace)
        found = items.get(router.caller.tenant, labels, key, refresh=_refreshes(refresh_ttl))
        return json_response(found.wire() if found else None)

    @router.delete("/store/items")
    def delete(body: Annotated[ItemDelete, Body()]) -> Response[Any]:
        items.delete(router.caller.tenant, (tuple(body.namespace), body.key))
        return empty_response()

    @router.post("/store/items/search")
    def search(body: Annotated[ItemSearch, Body()]) -> Response[Any]:
        if crew and body.query:
            return crew.answer(router.sent)
        found = items.search(router.caller.tenant, body.wanted(), refresh=_refreshes(body.refresh_ttl))
        return json_response({"items": [item.wire_found() for item in found]})

    @router.post("/store/namespaces")
    def namespaces(body: Annotated[NamespaceSearch, Body()]) -> Response[Any]:
        return json_response({"namespaces": items.list_namespaces(router.caller.tenant, body.wanted())})

    def _refreshes(asked: bool | None) -> bool:
        return items.lifetime.refresh_on_read if asked is None else asked

    return router


def embedding_routes(stores: Callable[[str], Embedded]) -> Router:
    """Make those routes of the store that need the project's code: texts become vectors.

    Args:
        stores: Give the store of a tenant.
    """
    router = Router()

    @router.put("/store/items")
    def put(body: Annotated[ItemPut, Body()]) -> Response[Any]:
        ttl = {"ttl": body.ttl} if "ttl" in body.model_fields_set else {}
        store = stores(router.caller.tenant)
        store.put(tuple(body.namespace), body.key, body.value, body.index, **ttl)
        return empty_response()

    @router.post("/store/items/search")
    def search(body: Annotated[ItemSearch, Body()]) -> Response[Any]:
        found = stores(router.caller.tenant).search(
            tuple(body.namespace_prefix),
            filter=body.filter,
            limit=body.limit,
            offset=body.offset,
            query=body.query,
            refresh_ttl=body.refresh_ttl,
        )
        items = {"items": [item.dict() for item in found]}
        if len(to_json(items)) > LARGEST_ANSWER:
            raise TooLarge(
                f"The {len(found):,} items that were found are over {LARGEST_ANSWER // 1_000_000} MB; ask for fewer at a time."
            )
        return json_response(items)

    return router
