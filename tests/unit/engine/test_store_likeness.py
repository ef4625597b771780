"""The store answers as LangGraph's `InMemoryStore` does, whatever is asked of both: the same random calls, equal answers.

Some things are the store's own. What was put last comes first, where `InMemoryStore` keeps the order in which places
were first put. Items without vectors follow the others through all pages, where it shows them on each. Vectors of a value
go with the value, where it keeps those of fields that the next value lacks. A namespace is there while it has items. An item
keeps the time at which it was made, and a filter passes over what it cannot compare, where it raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from hashlib import sha256
from math import isclose
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    ensure_embeddings,
)
from langgraph.store.memory import InMemoryStore

from crewline.engine.embeddings import Embedder
from crewline.engine.stores import DynamoDBStore
from crewline.services.store_items import StoreItems
from tests.unit.engine.places import Place

DIMS = 6
FIELDS = ["text"]
INDEX: dict[str, Any] = {"": False, "k": None, "x.y\0": ["o.text", "text"]}
"""Key → by what its values are found: always the same, so that no vectors of a former value are left."""
ALL = 1_000_000

labels = st.sampled_from(["a", "ab", "a\x01", "*"])
namespaces = st.lists(labels, min_size=1, max_size=2).map(tuple)
prefixes = st.lists(labels, max_size=2).map(tuple)
keys = st.sampled_from(sorted(INDEX))
numbers = st.integers(-2, 2) | st.sampled_from([0.5, 1e30])
plain = st.none() | st.booleans() | numbers | st.sampled_from(["", "1", "b"])
members = st.dictionaries(st.sampled_from(["n", "m"]), plain, max_size=2)
values = st.fixed_dictionaries(
    {"n": numbers, "text": st.sampled_from(["zero", "one", "two"]), "o": members},
    optional={"p": plain, "l": st.lists(plain | members, max_size=2)},
)
operators = st.dictionaries(
    st.sampled_from(["$gt", "$gte", "$lt", "$lte", "$eq", "$ne"]), numbers, max_size=2
)
filters = st.fixed_dictionaries(
    {},
    optional={
        "n": operators | plain,
        "p": plain | st.dictionaries(st.sampled_from(["$eq", "$ne"]), plain, max_size=2),
        "o": members | plain,
        "l": st.lists(plain | members, max_size=2),
        "missing": plain,
    },
)
pages = {"limit": st.integers(0, 4), "offset": st.integers(0, 3)}
gets = st.builds(GetOp, namespaces, keys, refresh_ttl=st.booleans())
puts = st.builds(PutOp, namespaces, keys, values, index=st.none(), ttl=st.none())
removals = st.builds(PutOp, namespaces, keys, st.none(), index=st.none(), ttl=st.none())
searches = st.builds(
    SearchOp,
    prefixes,
    filter=st.none() | filters,
    query=st.sampled_from([None, "", "one", "zero"]),
    refresh_ttl=st.booleans(),
    **pages,
)
conditions = st.builds(MatchCondition, st.sampled_from(["prefix", "suffix"]), prefixes)
listings = st.builds(
    ListNamespacesOp,
    match_conditions=st.none() | st.lists(conditions, max_size=2).map(tuple),
    max_depth=st.none() | st.integers(0, 3),
    **pages,
)
batches = st.lists(puts | puts | gets | searches | removals, min_size=1, max_size=5) | listings.map(
    lambda op: [op]
)


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Give every text a vector that 32 bits hold; those of zero have no length."""
    return [
        [0.0] * DIMS
        if text.startswith("zero")
        else [byte - 127.5 for byte in sha256(text.encode()).digest()[:DIMS]]
        for text in texts
    ]


class Oracle:
    """`InMemoryStore`, and when each place was last put."""

    def __init__(self) -> None:
        self.store = InMemoryStore(index={"dims": DIMS, "embed": embed, "fields": FIELDS})
        self._changed: dict[tuple[Any, str], int] = {}
        self._batches = 0

    def answer(self, ops: Sequence[Op]) -> list[Result]:
        self._batches += 1
        whole = [op._replace(limit=ALL, offset=0) if isinstance(op, SearchOp) else op for op in ops]
        found = self.store.batch(whole)
        results = [
            self._sorted(op, one) if isinstance(op, SearchOp) else one
            for op, one in zip(ops, found, strict=True)
        ]
        for op in ops:
            if isinstance(op, PutOp):
                self._changed[op.namespace, op.key] = self._batches
        for namespace in [name for name, items in self.store._data.items() if not items]:
            del self.store._data[namespace]  # which a read makes, and a removal leaves
        return results

    def _sorted(self, op: SearchOp, found: Any) -> Any:
        items = sorted(found, key=lambda item: (item.namespace, item.key))
        items.sort(key=lambda item: self._changed[item.namespace, item.key], reverse=True)
        items.sort(key=lambda item: (item.score is not None, item.score or 0.0), reverse=True)
        return items[op.offset : op.offset + op.limit]


def told_apart(ops: Iterable[Op], count: int) -> list[Op]:
    """Give every value texts of its own: `InMemoryStore` fails on two that are equal."""
    told: list[Op] = []
    for op in ops:
        if isinstance(op, PutOp) and op.value is not None:
            count += 1
            text = f"{op.value['text']} {count}"
            value = {**op.value, "text": text, "o": {**op.value["o"], "text": f"{text}, inside"}}
            told.append(op._replace(value=value, index=INDEX[op.key]))
        else:
            told.append(op)
    return told


def check(ours: Result, theirs: Result) -> None:
    if not isinstance(ours, list) or not ours or not isinstance(ours[0], SearchItem):
        assert spelled(ours) == spelled(theirs)
        return
    assert isinstance(theirs, list)
    assert [spelled(one) for one in ours] == [spelled(one) for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert isinstance(one, SearchItem)
        assert isinstance(other, SearchItem)
        assert (one.score is None) is (other.score is None)
        assert isclose(one.score or 0.0, other.score or 0.0, abs_tol=1e-12)


def spelled(result: Any) -> Any:
    return (result.namespace, result.key, result.value) if isinstance(result, Item) else result


def drive(place: Place, asked: Sequence[Sequence[Op]]) -> None:
    oracle, ours = Oracle(), make(place)
    count = 0
    for ops in asked:
        told = told_apart(ops, count)
        count += len(told)
        place.clock.pass_(1)
        for one, other in zip(ours.batch(told), oracle.answer(told), strict=True):
            check(one, other)


def make(place: Place) -> BaseStore:
    embedder = Embedder(ensure_embeddings(embed), DIMS, FIELDS)
    items = StoreItems(place.world.table, place.clock, place.world.manifest.store.ttl)
    return DynamoDBStore(items, f"t-{uuid4().hex[:30]}", embedder=embedder, loop=place.loop)


alike = partial(
    settings,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@alike(max_examples=15)
@given(asked=st.lists(batches, min_size=12, max_size=24))
def test_the_same_calls_are_answered_as_langgraphs_own_store_does(
    place: Place, asked: list[list[Op]]
) -> None:
    drive(place, asked)


@pytest.mark.thorough
@alike(max_examples=300)
@given(asked=st.lists(batches, min_size=12, max_size=40))
def test_many_more_calls_are_answered_as_langgraphs_own_store_does(
    place: Place, asked: list[list[Op]]
) -> None:
    drive(place, asked)
