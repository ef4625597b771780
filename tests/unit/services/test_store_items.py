"""The store: a put is one write, what has expired is not shown, and no request does more than it may."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from crewline.errors import InvalidRequest, Unavailable
from crewline.models.store_items import ItemWrite
from crewline.models.store_policies import Lifetime
from crewline.models.store_queries import ItemQuery, NamespaceQuery, matches
from crewline.services import store_items
from crewline.services.store_items import StoreItems
from crewline.store import keys
from tests.unit.store.worlds import NOW, TENANT, Calls, World

MINUTE = 60_000
PLACE = (("users", "ada"), "likes")


@pytest.fixture
def items(world: World) -> StoreItems:
    return StoreItems(world.table, world.clock, Lifetime())


def write(n: Any = 1, *, at: tuple[tuple[str, ...], str] = PLACE, ttl: float | None = None) -> ItemWrite:
    return ItemWrite(namespace=at[0], key=at[1], value={"n": n}, ttl=ttl)


def values(items: StoreItems, prefix: tuple[str, ...] = ("users",), **query: Any) -> list[Any]:
    return [item.value["n"] for item in items.search(TENANT, ItemQuery(prefix=prefix, **query))]


def test_a_put_is_one_write_but_for_the_first_of_a_process_under_a_label(
    world: World, items: StoreItems
) -> None:
    with (
        Calls(world.cloud.dynamodb, "UpdateItem") as updates,
        Calls(world.cloud.dynamodb, "PutItem") as notes,
    ):
        for n in range(3):
            items.put(TENANT, write(n))
    assert (len(updates.requests), len(notes.requests)) == (3, 1)
    assert set(world.items()) == {
        keys.store_root(TENANT, "users"), keys.store_item(TENANT, *PLACE),
    }  # fmt: skip


def test_an_item_keeps_the_time_at_which_it_was_made(world: World, items: StoreItems) -> None:
    items.put(TENANT, write(1))
    world.clock.pass_(MINUTE)
    items.put(TENANT, write(2))
    found = items.get(TENANT, *PLACE)
    assert found
    assert (found.created_at, found.updated_at) == (
        "2025-10-09T08:53:20.000000+00:00", "2025-10-09T08:54:20.000000+00:00",
    )  # fmt: skip
    assert found.value == {"n": 2}


def test_a_worker_that_dies_after_the_note_leaves_nothing_that_is_shown(
    world: World, items: StoreItems
) -> None:
    with Calls(world.cloud.dynamodb, "UpdateItem") as updates:
        updates.failures = [RuntimeError("dies")]
        with pytest.raises(RuntimeError):
            items.put(TENANT, write())
    assert values(items, ()) == []
    assert items.list_namespaces(TENANT, NamespaceQuery()) == []
    items.put(TENANT, write())
    assert values(items, ()) == [1]


def test_nothing_of_several_puts_lands_after_they_have_failed(
    world: World, items: StoreItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    items.put(TENANT, write(0, at=(("a",), "noted")))
    slow, landed, carried_out = threading.Event(), [], world.table.write

    def carry_out(change: Any) -> Any:
        if change.key.sort.endswith("fails"):
            threading.Timer(0.2, slow.set).start()
            raise Unavailable("No.")
        slow.wait(10)
        landed.append(change.key.sort)
        return carried_out(change)

    monkeypatch.setattr(world.table, "write", carry_out)
    with pytest.raises(Unavailable):
        items.put(TENANT, write(1, at=(("a",), "fails")), write(1, at=(("a",), "slow")))
    assert len(landed) == 1


def test_what_was_put_last_comes_first_on_pages_that_do_not_overlap(world: World, items: StoreItems) -> None:
    for n in range(5):
        world.clock.pass_(1)
        items.put(TENANT, write(n, at=(("users", f"u{n % 2}"), f"k{n}")))
    world.clock.pass_(1)
    items.put(TENANT, write(9, at=(("users", "u0"), "k0")))
    assert values(items, limit=4) == [9, 4, 3, 2]
    assert values(items, limit=4, offset=4) == [1]
    assert values(items, ("users", "u")) == []
    assert values(items, ("users", "u0")) == [9, 4, 2]


def test_what_has_expired_is_not_shown_though_it_is_still_there(world: World, items: StoreItems) -> None:
    items.put(TENANT, write(1, ttl=1), write(2, at=(("users", "bob"), "likes")))
    assert world.items()[keys.store_item(TENANT, *PLACE)][keys.TTL] == (NOW + MINUTE) // 1000
    world.clock.pass_(MINUTE - 1)
    assert items.get(TENANT, *PLACE, refresh=False)
    world.clock.pass_(1)
    assert keys.store_item(TENANT, *PLACE) in world.items()
    assert items.get(TENANT, *PLACE) is None
    assert values(items) == [2]
    assert items.list_namespaces(TENANT, NamespaceQuery()) == [("users", "bob")]


def test_what_is_put_in_the_place_of_something_that_has_expired_is_new(
    world: World, items: StoreItems
) -> None:
    items.put(TENANT, write(1, ttl=1))
    world.clock.pass_(MINUTE)
    items.put(TENANT, write(2))
    found = items.get(TENANT, *PLACE)
    assert found
    assert found.created_at == found.updated_at == "2025-10-09T08:54:20.000000+00:00"
    assert keys.TTL not in world.items()[keys.store_item(TENANT, *PLACE)]


def test_of_two_who_put_in_the_place_of_something_that_has_expired_the_last_one_wins(
    world: World, items: StoreItems
) -> None:
    items.put(TENANT, write(1, ttl=1))
    world.clock.pass_(MINUTE)
    other = StoreItems(world.table, world.clock, Lifetime())
    with Calls(world.cloud.dynamodb, "PutItem") as replacing:
        replacing.before = lambda: other.put(TENANT, write(2))
        items.put(TENANT, write(3))
    assert values(items) == [3]


def test_an_item_that_is_used_lives_on_and_costs_a_write_when_a_tenth_of_its_time_has_passed(
    world: World, items: StoreItems
) -> None:
    items.put(TENANT, write(ttl=10))
    with Calls(world.cloud.dynamodb, "UpdateItem") as refreshed:
        world.clock.pass_(MINUTE - 1)
        items.get(TENANT, *PLACE)
        assert refreshed.requests == []
        world.clock.pass_(1)
        items.get(TENANT, *PLACE, refresh=False)
        assert refreshed.requests == []
        for _ in range(5):
            items.search(TENANT, ItemQuery(prefix=("users",)))
            items.get(TENANT, *PLACE)
        assert len(refreshed.requests) == 1
    world.clock.pass_(10 * MINUTE - 1)
    assert values(items) == [1]
    world.clock.pass_(10 * MINUTE)
    assert values(items) == []


@pytest.mark.parametrize("meanwhile", ["removed", "put"])
def test_whoever_removes_or_puts_an_item_while_it_is_read_has_the_last_word(
    world: World, items: StoreItems, meanwhile: str
) -> None:
    items.put(TENANT, write(ttl=10))
    world.clock.pass_(5 * MINUTE)

    def interfere() -> None:
        if meanwhile == "removed":
            items.delete(TENANT, PLACE)
        else:
            items.put(TENANT, write(2))

    with Calls(world.cloud.dynamodb, "UpdateItem") as refreshing:
        refreshing.before = interfere
        items.get(TENANT, *PLACE)
    assert values(items) == ([] if meanwhile == "removed" else [2])
    assert not any("expires_ms" in item for item in world.items().values())


def test_namespaces_are_walked_without_reading_what_is_in_them(world: World, items: StoreItems) -> None:
    for namespace in (("a",), ("a", "b", "c"), ("a", "b", "d"), ("b",)):
        items.put(TENANT, *(write(n, at=(namespace, f"k{n}")) for n in range(5)))
    with Calls(world.cloud.dynamodb, "Query") as queries:
        found = items.list_namespaces(TENANT, NamespaceQuery(max_depth=2))
    assert found == [("a",), ("a", "b"), ("b",)]
    # The first labels, then one for each namespace and one behind the last of each label.
    assert len(queries.requests) == 1 + 3 + 2


def test_more_namespaces_than_a_request_may_look_at_are_refused(
    items: StoreItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_items, "MOST_NAMESPACES", 4)
    items.put(TENANT, *(write(at=(("a", str(n)), "k")) for n in range(6)))
    assert len(items.list_namespaces(TENANT, NamespaceQuery(limit=3))) == 3
    assert items.list_namespaces(TENANT, NamespaceQuery(max_depth=1)) == [("a",)]
    with pytest.raises(InvalidRequest, match="longer prefix"):
        items.list_namespaces(TENANT, NamespaceQuery(conditions=(("suffix", ("none",)),)))


def test_more_items_than_a_search_reads_are_refused(
    items: StoreItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_items, "MOST_READ", 3)
    items.put(TENANT, *(write(n, at=(("a", str(n % 2)), f"k{n}")) for n in range(4)))
    assert len(values(items, ("a", "0"))) == 2
    with pytest.raises(InvalidRequest, match="a longer one"):
        items.search(TENANT, ItemQuery(prefix=("a",), limit=1))


def test_a_search_reads_so_many_bytes_and_first_labels_and_no_more(
    world: World, items: StoreItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    items.put(TENANT, *(write("ä" * 100, at=((root,), "k")) for root in "abc"))
    assert len(values(items, ())) == 3
    monkeypatch.setattr(store_items, "MOST_BYTES", 500)
    assert len(values(items, ("a",))) == 1
    with pytest.raises(InvalidRequest, match="are under this prefix"):
        items.search(TENANT, ItemQuery(prefix=(), limit=1))
    monkeypatch.setattr(store_items, "MOST_BYTES", 5_000)
    monkeypatch.setattr(store_items, "MOST_ROOTS", 2)
    with Calls(world.cloud.dynamodb, "Query") as queries:
        with pytest.raises(InvalidRequest, match="2 first labels are under this prefix"):
            items.search(TENANT, ItemQuery(prefix=(), limit=1))
        assert len(queries.requests) == 3  # the labels, and what is under two of them


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"n": {"$gt": 1}}, True),
        ({"n": {"$gt": 2}}, False),
        ({"n": {"$gte": "2", "$lt": 3}}, True),
        ({"t": {"$gt": "2025"}}, True),
        ({"t": {"$lt": "2025"}}, False),
        ({"t": {"$gt": 1}}, False),
        ({"missing": {"$gt": 1}}, False),
        ({"missing": None}, True),
        ({"o": {"$ne": {}}}, True),
        ({"o": {"x": {"$eq": 1}}}, True),
        ({"o": {"y": 1}}, False),
        ({"l": [{"a": 1}, {"$gt": 0}]}, True),
        ({"l": [{"a": 1}]}, False),
    ],
)
def test_a_filter_passes_over_what_it_cannot_compare(wanted: Any, found: bool) -> None:
    value = {"n": 2, "t": "2026-01-01", "o": {"x": 1}, "l": [{"a": 1, "b": 2}, 5]}
    assert matches(value, wanted) is found


@pytest.mark.parametrize(
    "wanted", [{"n": {"$in": [1]}}, {"n": {"$gt": 1, "x": 2}}, {"o": {"x": [{"$no": 1}]}}]
)
def test_an_operator_that_there_is_not_is_refused_before_anything_is_read(
    world: World, items: StoreItems, wanted: Any
) -> None:
    with Calls(world.cloud.dynamodb, "Query") as queries, pytest.raises(InvalidRequest, match=r"\$eq"):
        items.search(TENANT, ItemQuery(prefix=("a",), filter=wanted))
    assert queries.requests == []


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), 1e300])
def test_a_time_to_live_that_is_none_is_refused(items: StoreItems, ttl: float) -> None:
    with pytest.raises(InvalidRequest, match="time to live"):
        items.put(TENANT, write(ttl=ttl))
