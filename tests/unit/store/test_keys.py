"""Every key: tenants cannot meet, namespaces never list one another, order is what readers need."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crewline.errors import InvalidRequest
from crewline.store import keys
from crewline.store.keys import Index, Key

KINDS: dict[str, tuple[Any, ...]] = {
    "thread": ("t",),
    "lease": ("t",),
    "run": ("t", "r"),
    "marker": ("t", 1),
    "record": ("t", "ns", "c"),
    "late_writes": ("t", "ns", "c", "task#0"),
    "run_pointer": ("r",),
    "run_thread": ("r", "t"),
    "event": ("r", 1, 1),
    "idempotency": ("scope", "key"),
    "outbox": ("r", 1),
    "batch": ("b",),
    "metadata_entry": ("name", '"value"', "2026-01-01", "t"),
    "assistant": ("a",),
    "assistant_version": ("a", 1),
    "cron": ("k",),
    "store_root": ("a",),
    "store_item": (("a", "b"), "key"),
    "api_key": ("k",),
    "webhook_token": ("t",),
    "webhook_secret": (),
}
OF_THE_DEPLOYMENT = {"version"}
namespaces = st.text(alphabet="ab#%:|~25\n", max_size=12)


def make(kind: str, tenant: str) -> Key:
    key: Key = getattr(keys, kind)(tenant, *KINDS[kind])
    return key


def test_these_are_all_the_keys_there_are() -> None:
    made = {
        name
        for name, one in vars(keys).items()
        if inspect.isfunction(one) and one.__annotations__.get("return") == "Key"
    }
    assert made == set(KINDS) | OF_THE_DEPLOYMENT


@pytest.mark.parametrize("kind", KINDS)
def test_a_partition_begins_with_its_kind_and_its_tenant(kind: str) -> None:
    letter, tenant = make(kind, "acme").partition.split("#")[:2]
    assert len(letter) == 1
    assert letter.isupper()
    assert tenant == "acme"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tenant", ["", "Acme", "a#b", "a_b", "é", "a" * 37, "a\n", " a"])
def test_a_tenant_outside_its_alphabet_has_no_keys(kind: str, tenant: str) -> None:
    with pytest.raises(InvalidRequest, match=r"must match \[a-z0-9-\]"):
        make(kind, tenant)


@given(st.text(), st.text())
def test_what_follows_the_tenant_cannot_make_it_another_one(one: str, other: str) -> None:
    assert keys.thread_partition("a", one) != keys.thread_partition("b", other)
    assert keys.thread_partition("a", one).startswith("T#a#")


def test_kinds_that_hold_different_things_never_share_an_item() -> None:
    made = [*(make(kind, "acme") for kind in KINDS), keys.version(1)]
    assert len(set(made)) == len(made)


@given(namespaces, namespaces)
def test_a_namespace_never_lists_another_one(one: str, other: str) -> None:
    assume(one != other)
    record = keys.record("acme", "t", other, "1f0f0000-0000-6000-8000-000000000000").sort
    late = keys.late_writes("acme", "t", other, "1f0f0000-0000-6000-8000-000000000000", "task#0").sort
    assert not record.startswith(keys.namespace_prefix(one))
    assert not late.startswith(keys.namespace_prefix(one))


@pytest.mark.parametrize(
    "others", [("a", "a#b", "a%23b", "a%b", "a%25b", ""), ("x" * 900, "x" * 901, "x" * 799)]
)
def test_the_namespaces_that_look_alike_are_apart(others: tuple[str, ...]) -> None:
    prefixes = [keys.namespace_prefix(one) for one in others]
    assert not any(one.startswith(other) for one in prefixes for other in prefixes if one is not other)


@given(st.text(min_size=200, max_size=400, alphabet="#%é😀"))
def test_a_sort_key_never_outgrows_what_dynamodb_takes(namespace: str) -> None:
    place = "00000000-0000-0000-0000-000000000000#0"
    key = keys.late_writes("a" * 36, "t" * 36, namespace * 9, "c" * 36, place)
    assert len(key.sort.encode()) <= 1024
    assert len(key.partition.encode()) <= 2048


def test_markers_events_and_versions_sort_by_their_number() -> None:
    numbers = [0, 1, 9, 10, 99, 100, 123_456]
    for sorts in (
        [keys.marker("a", "t", number).sort for number in numbers],
        [keys.event("a", "r", number, 5).sort for number in numbers],
        [keys.event("a", "r", 1, number).sort for number in numbers],
        [keys.assistant_version("a", "x", number).sort for number in numbers],
        [keys.version(number).sort for number in numbers],
        [keys.in_flight("t", number)[keys.LEASES_IN_FLIGHT.sort] for number in numbers],
        [keys.expiring("t", number)[keys.THREADS_EXPIRING.sort] for number in numbers],
        [keys.outbox("a", "r", number).sort for number in numbers],
    ):
        assert sorts == sorted(sorts)
        assert len(set(sorts)) == len(numbers)


def test_every_event_of_a_later_epoch_sorts_after_those_of_an_earlier_one() -> None:
    assert keys.event("a", "r", 2, 0).sort > keys.event("a", "r", 1, 9_999_999).sort


def test_late_writes_sort_between_their_record_and_the_next() -> None:
    record = keys.record("a", "t", "", "1f0f0001").sort
    late = keys.late_writes("a", "t", "", "1f0f0001", "z#9").sort
    assert record < late < keys.record("a", "t", "", "1f0f0002").sort


def test_one_prefix_reads_lease_and_thread_and_nothing_else() -> None:
    sorts = [
        make(kind, "acme").sort for kind in ("thread", "lease", "run", "marker", "record", "late_writes")
    ]
    assert [sort.startswith(keys.HEAD_PREFIX) for sort in sorts] == [True, True, False, False, False, False]


def test_an_idempotency_key_is_apart_for_every_scope_and_never_spelled_out() -> None:
    assert keys.idempotency("a", "runs", "k") != keys.idempotency("a", "batches", "k")
    assert "secret" not in keys.idempotency("a", "runs", "secret").partition


labels = st.text(alphabet="ab\x01 \U0010ffff", min_size=1, max_size=3)
places = st.tuples(
    st.lists(labels, max_size=3).map(lambda rest: ("root", *rest)), st.text("ab\0\x01.", max_size=3)
)


@given(places, places)
def test_items_of_the_store_sort_by_namespace_and_key_and_say_where_they_are(one: Any, other: Any) -> None:
    sorts = [keys.store_item("a", *place).sort.encode() for place in (one, other)]
    assert (sorts[0] < sorts[1]) == (one < other)
    assert keys.store_place("root", sorts[0].decode()) == one


@given(places, st.lists(labels, max_size=3).map(lambda rest: ("root", *rest)))
def test_what_is_under_labels_of_the_store_is_one_range(place: Any, prefix: tuple[str, ...]) -> None:
    namespace, key = place
    sort, begins = keys.store_item("a", namespace, key).sort, keys.store_prefix(prefix)
    inside = namespace[: len(prefix)] == prefix
    assert sort.startswith(begins) is inside
    assert (begins <= sort <= keys.store_end(prefix)) is inside
    assert (begins <= sort < keys.store_inner(prefix)) is (namespace == prefix)


@pytest.mark.parametrize(
    "place", [(("é" * 513,), ""), (("a", "b" * 512, "c"), "k" * 511), (("a",), "\ud800")]
)
def test_what_no_sort_key_holds_has_no_place_in_the_store(place: Any) -> None:
    with pytest.raises(InvalidRequest):
        keys.store_item("a", *place)


def test_the_sweepers_index_is_not_by_tenant_and_spreads() -> None:
    shards = {keys.in_flight(f"t{number}", 1)[keys.LEASES_IN_FLIGHT.partition] for number in range(200)}
    assert len(shards) == keys.SHARDS


def test_the_sweeper_reads_every_shard_up_to_a_time() -> None:
    entries = [keys.in_flight(f"t{number}", 1_000) for number in range(200)]
    assert {entry[keys.LEASES_IN_FLIGHT.partition] for entry in entries} == set(keys.flight_shards())
    assert keys.flight_time(999) < entries[0][keys.LEASES_IN_FLIGHT.sort] == keys.flight_time(1_000)


@given(st.text())
def test_the_key_of_a_lease_says_whose_it_is(thread_id: str) -> None:
    assert keys.lease_of(keys.lease("acme", thread_id)) == ("acme", thread_id)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_sweeper_finds_is_told_apart(kind: str) -> None:
    key = make(kind, "acme")
    assert (keys.lease_of(key) is not None) == (kind == "lease")
    assert keys.is_outbox(key) == (kind == "outbox")


def test_an_index_entry_of_a_thread_lists_it_by_time() -> None:
    early = keys.by_status("acme", "t", "idle", "2026-01-01T00:00:00")
    late = keys.by_status("acme", "t", "idle", "2026-01-02T00:00:00")
    index = keys.THREADS_BY_STATUS
    assert early[index.partition] == late[index.partition]
    assert early[index.sort] < late[index.sort]
    assert keys.by_status("acme", "t", "busy", "2026")[index.partition] != early[index.partition]


def test_indexes_share_no_name_and_no_attribute() -> None:
    indexes: tuple[Index, ...] = keys.INDEXES
    attributes = [name for index in indexes for name in (index.partition, index.sort)]
    assert len({index.name for index in indexes}) == len(indexes)
    assert len(set(attributes)) == len(attributes)


def test_the_blobs_of_a_thread_are_in_a_folder_of_its_own() -> None:
    assert keys.blob("acme", "t", "d").startswith(keys.blob_prefix("acme", "t"))
    assert keys.blob_prefix("acme", "t").startswith("T/acme/")
    assert not keys.blob("acme", "tt", "d").startswith(keys.blob_prefix("acme", "t"))
    assert "/" not in keys.blob_prefix("acme", "../..").removeprefix("T/acme/").rstrip("/")
