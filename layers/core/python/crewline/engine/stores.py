"""The store as graphs see it: LangGraph's `BaseStore` over the items of one tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
)

from crewline.engine.embeddings import Embedder, Vectors, Wanted
from crewline.engine.loops import CrewLoop
from crewline.errors import BadManifest, InvalidRequest
from crewline.models.store_items import ItemWrite, StoreItem, check_labels, check_written
from crewline.models.store_queries import ItemQuery, Namespace, NamespaceQuery, pack
from crewline.services.store_items import StoreItems

Stores = Callable[[str], BaseStore]
"""Gives the store of a tenant."""


class DynamoDBStore(BaseStore):
    """The items of one tenant, as LangGraph's nodes and tools read and write them.

    Several operations at once are carried out as `InMemoryStore` does: what is read is what was there before, then
    everything is put, and of several puts in one place the last one counts.

    Args:
        items: The items of all tenants.
        tenant: Whose they are.
        embedder: What makes vectors of texts; without it, queries rank nothing.
        loop: The loop that must not wait for DynamoDB.
    """

    supports_ttl = True

    def __init__(self, items: StoreItems, tenant: str, *, embedder: Embedder | None, loop: CrewLoop) -> None:
        self._items = items
        self._tenant = tenant
        self._embedder = embedder
        self._loop = loop
        self.ttl_config = TTLConfig(
            default_ttl=items.lifetime.default_ttl,
            refresh_on_read=items.lifetime.refresh_on_read,
            omit_expired=True,
        )

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry operations out, in a thread that may wait.

        Raises:
            RuntimeError: Called where it would hold every crew of the process up.
            InvalidRequest: A namespace, key, value or filter is none.
            TooLarge: A value is over the limit.
            Unavailable: DynamoDB did not answer.
        """
        if _running_loop() is self._loop.loop:
            raise RuntimeError(
                "A coroutine has to await the store: use aget, aput, asearch, adelete and alist_namespaces; "
                "the others wait, and every crew of this process with them."
            )
        work = _Work(ops, self._embedder)
        vectors = self._embedder.embed(work.wanted, self._loop) if self._embedder and work.embeds else None
        return self._carry_out(work, vectors)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry operations out without holding up the loop.

        Raises:
            InvalidRequest: A namespace, key, value or filter is none.
            TooLarge: A value is over the limit.
            Unavailable: DynamoDB did not answer.
        """
        work = _Work(ops, self._embedder)
        vectors = await self._embedder.aembed(work.wanted) if self._embedder and work.embeds else None
        return await asyncio.to_thread(self._carry_out, work, vectors)

    def _carry_out(self, work: _Work, vectors: Vectors | None) -> list[Result]:
        results: list[Result] = [None] * len(work.ops)
        gets = [(at, op) for at, op in enumerate(work.ops) if isinstance(op, GetOp)]
        if gets:
            wanted = [(op.namespace, op.key, op.refresh_ttl) for _, op in gets]
            for (at, _), item in zip(gets, self._items.get_many(self._tenant, wanted), strict=True):
                results[at] = _item(item) if item else None
        for at, op in enumerate(work.ops):
            if isinstance(op, SearchOp):
                near = vectors.queries.get(op.query) if vectors and op.query else None
                results[at] = self._search(op, near)
            elif isinstance(op, ListNamespacesOp):
                results[at] = self._items.list_namespaces(self._tenant, _namespace_query(op))
        writes = [self._write(put, vectors) for put in work.puts if put.op.value is not None]
        if writes:
            self._items.put(self._tenant, *writes)
        if removed := [(put.op.namespace, put.op.key) for put in work.puts if put.op.value is None]:
            self._items.delete(self._tenant, *removed)
        return results

    def _search(self, op: SearchOp, near: Sequence[float] | None) -> list[SearchItem]:
        query = ItemQuery(
            prefix=op.namespace_prefix, filter=op.filter, limit=op.limit, offset=op.offset, near=near
        )
        found = self._items.search(self._tenant, query, refresh=op.refresh_ttl)
        return [SearchItem(**_parts(item), score=item.score) for item in found]

    def _write(self, put: _Put, vectors: Vectors | None) -> ItemWrite:
        packed = b""
        if vectors and put.texts:
            try:
                packed = pack(vectors.documents[text] for text in put.texts)
            except (ValueError, TypeError) as exc:
                raise BadManifest(f"store.index.embed: {exc}.") from exc
        op = put.op
        return ItemWrite(
            namespace=op.namespace,
            key=op.key,
            value=cast("Mapping[str, Any]", op.value),
            ttl=op.ttl,
            vectors=packed,
            dims=self._embedder.dims if self._embedder and packed else 0,
        )


@dataclass(frozen=True, slots=True)
class _Put:
    """What is put or removed, and the texts of it that are embedded."""

    op: PutOp
    texts: list[str]


class _Work:
    """Operations, checked, and what has to be embedded for them."""

    def __init__(self, ops: Iterable[Op], embedder: Embedder | None) -> None:
        self.ops = [_checked(op) for op in ops]
        places = {(op.namespace, op.key): op for op in self.ops if isinstance(op, PutOp)}
        self.puts = [_Put(op, _texts(op, embedder)) for op in places.values()]
        searches = (op.query for op in self.ops if isinstance(op, SearchOp) and op.query)
        self.wanted = Wanted(
            list(dict.fromkeys(text for put in self.puts for text in put.texts)),
            list(dict.fromkeys(searches)),
        )
        self.embeds = bool(self.wanted.documents or self.wanted.queries)


def _texts(op: PutOp, embedder: Embedder | None) -> list[str]:
    if embedder is None or op.value is None or op.index is False:
        return []
    return embedder.texts(op.value, op.index)


def _checked(op: Op) -> Op:
    """Check an operation that comes to `batch` directly; the methods of `BaseStore` have checked theirs.

    A namespace may be a list: LangGraph's types say otherwise, and its stores on databases take it.
    """
    try:
        if isinstance(op, PutOp) and op.value is not None:
            check_written(op.namespace)
            return op._replace(namespace=tuple(op.namespace))
        if isinstance(op, GetOp | PutOp):
            check_labels(op.namespace)
            return op._replace(namespace=tuple(op.namespace))
        if isinstance(op, SearchOp):
            check_labels(op.namespace_prefix)
            return op._replace(namespace_prefix=tuple(op.namespace_prefix))
        for condition in op.match_conditions or ():
            check_labels(condition.path)
    except ValueError as exc:
        raise InvalidRequest(f"namespace: {exc}.") from exc
    return op


def _namespace_query(op: ListNamespacesOp) -> NamespaceQuery:
    conditions = tuple(
        (condition.match_type, cast("Namespace", tuple(condition.path)))
        for condition in op.match_conditions or ()
    )
    return NamespaceQuery(conditions=conditions, max_depth=op.max_depth, limit=op.limit, offset=op.offset)


def _item(item: StoreItem) -> Item:
    return Item(**_parts(item))


def _parts(item: StoreItem) -> dict[str, Any]:
    return {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
