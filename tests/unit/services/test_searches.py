"""Thread search: what fits and nothing else, in order, page by page, and never a part for the whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import ValidationError

from crewline.errors import InvalidRequest
from crewline.models.containment import contains
from crewline.models.runs import RunCreate
from crewline.models.searches import ThreadCount, ThreadSearch
from crewline.models.threads import ThreadCreate, ThreadPatch
from crewline.services import searches
from crewline.services.endings import Outcome
from crewline.services.searches import Page
from crewline.store import keys
from tests.unit.store.worlds import TENANT, Calls, World, claimed, sealed

UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"
FEW: Final = 12
SERIALIZER = JsonPlusSerializer(allowed_msgpack_modules=None)


def make(world: World, **metadata: Any) -> str:
    """Make a thread, a millisecond after the one before."""
    world.clock.pass_(1)
    return str(world.threads.create(TENANT, ThreadCreate(metadata=metadata))["thread_id"])


def many(world: World, count: int, **metadata: Any) -> list[str]:
    return [make(world, **metadata, i=number) for number in range(count)]


def end(world: World, thread_id: str, status: Any = "idle", **values: Any) -> None:
    """Let a run leave a thread with a status and values."""
    world.clock.pass_(1)
    started = world.runs.start(TENANT, thread_id, RunCreate(assistant_id="echo"))
    channels = {name: SERIALIZER.dumps_typed(value) for name, value in values.items()}
    world.endings.finish(
        claimed(started), Outcome(status="success", thread_status=status), [sealed(1, channels=channels)]
    )


Query = dict[str, Any]


def search(world: World, **query: Any) -> Page:
    return world.searches.search(TENANT, ThreadSearch(**query))


def ids(world: World, **query: Any) -> list[str]:
    return [one["thread_id"] for one in search(world, select=["thread_id"], **query).threads]


def count(world: World, **query: Any) -> int:
    return world.searches.count(TENANT, ThreadCount(**query))


def paged(world: World, limit: int, **query: Any) -> list[str]:
    """Everything that a search finds, a page at a time, as the pages lead to one another."""
    found: list[str] = []
    while True:
        page = search(world, limit=limit, offset=len(found), **query)
        found += [one["thread_id"] for one in page.threads]
        if not page.more:
            return found


# ------------------------------------------------------------------ lists


def test_nothing_is_found_where_nothing_is(world: World) -> None:
    page = search(world)
    assert (page.threads, page.more) == ([], False)
    assert count(world) == count(world, status="idle") == count(world, metadata={"a": 1}) == 0


def test_threads_are_listed_the_newest_first(world: World) -> None:
    made = many(world, 15)
    assert ids(world) == made[:4:-1]
    assert ids(world, limit=3, offset=13) == [made[1], made[0]]
    assert ids(world, sort_order="asc", limit=3) == made[:3]
    assert paged(world, 4) == made[::-1]
    assert count(world) == 15


def test_updates_move_a_thread_only_in_the_order_of_updates(world: World) -> None:
    made = many(world, FEW)
    end(world, made[3])
    world.clock.pass_(1)
    world.threads.patch(TENANT, made[5], ThreadPatch(metadata={"new": 1}))
    assert ids(world, sort_by="updated_at", limit=3) == [made[5], made[3], made[-1]]
    assert ids(world, limit=2) == [made[-1], made[-2]]
    assert paged(world, 5, sort_by="updated_at", sort_order="asc")[-2:] == [made[3], made[5]]


def test_threads_of_a_status_are_listed(world: World) -> None:
    made = many(world, FEW)
    for one in made[2], made[7]:
        end(world, one, "interrupted")
    assert ids(world, status="interrupted", sort_by="updated_at") == [made[7], made[2]]
    assert ids(world, status="interrupted", sort_order="asc") == [made[2], made[7]]
    assert made[2] not in ids(world, status="idle", limit=FEW)
    assert (count(world, status="interrupted"), count(world, status="busy")) == (2, 0)


@pytest.mark.parametrize("sort_by", ["thread_id", "status", "created_at", "updated_at", "state_updated_at"])
@pytest.mark.parametrize("sort_order", ["asc", "desc"])
def test_every_order_is_that_of_the_rows(world: World, sort_by: Any, sort_order: Any) -> None:
    made = many(world, FEW)
    for place, status in ((9, "error"), (1, "interrupted"), (4, "idle")):
        end(world, made[place], status)
    found: Any = search(world, sort_by=sort_by, sort_order=sort_order, limit=FEW).threads
    values = [(one[sort_by], one["thread_id"]) for one in found]
    assert len(values) == FEW
    assert values == sorted(values, reverse=sort_order == "desc")


def test_a_search_by_ids_finds_those_that_are_there(world: World) -> None:
    made = many(world, FEW)
    asked = [made[1], UNKNOWN, made[4].upper(), made[1]]
    assert ids(world, ids=asked) == [made[4], made[1]]
    assert ids(world, ids=asked, metadata={"i": 4}) == [made[4]]
    assert ids(world, ids=[]) == []
    assert count(world, ids=asked) == 2
    with pytest.raises(ValidationError, match="UUID"):
        ids(world, ids=["nope"])


def test_only_the_tenants_own_threads_are_found(world: World) -> None:
    make(world, k=1)
    queries: tuple[Query, ...] = ({}, {"metadata": {"k": 1}}, {"status": "idle"})
    for query in queries:
        assert world.searches.search("other", ThreadSearch(**query)).threads == []


def test_private_and_deleted_threads_are_not_found(world: World) -> None:
    kept, gone = make(world, k=1), make(world, k=1)
    world.runs.start_stateless(TENANT, RunCreate(assistant_id="echo"), readable=True)
    world.threads.delete(TENANT, gone)
    queries: tuple[Query, ...] = ({}, {"metadata": {"k": 1}}, {"status": "idle"}, {"sort_by": "updated_at"})
    for query in queries:
        assert ids(world, **query) == [kept]
    assert (count(world), count(world, status="busy"), count(world, metadata={"k": 1})) == (1, 0, 1)


# ------------------------------------------------------------------ filters


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": None}, {"a": None}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1}}}),
        ({"a": [1, 2, {"b": 3, "c": 4}]}, {"a": [{"b": 3}, 1, 1]}),
        ({"a": [1]}, {"a": []}),
        ({"a": {"b": 1}}, {"a": {}}),
        ({}, {}),
    ],
)
def test_a_value_contains_its_parts(value: Any, wanted: Any) -> None:
    assert contains(value, wanted)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({}, {"a": None}),
        ({"a": 1}, {"a": True}),
        ({"a": False}, {"a": 0}),
        ({"a": "1"}, {"a": 1}),
        ({"a": [1]}, {"a": 1}),
        ({"a": 1}, {"a": [1]}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
        ({"a": []}, {"a": {}}),
        ({"a": [[1], [2]]}, {"a": [[1, 2]]}),
    ],
)
def test_a_value_does_not_contain_others(value: Any, wanted: Any) -> None:
    assert not contains(value, wanted)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_found_is_what_fits(world: World, seed: int) -> None:
    dice = random.Random(seed)
    values: list[Any] = [0, 1, True, None, "x", [1, 2], {"b": 1}]
    for _ in range(30):
        make(world, **{name: dice.choice(values) for name in "ab" if dice.random() < 0.8})
    for thread_id in ids(world, limit=8):
        end(world, thread_id, dice.choice(("idle", "interrupted")), n=dice.choice((1, 2)))
    everything: Any = search(world, limit=100).threads
    for _ in range(25):
        query: dict[str, Any] = {
            "metadata": {name: dice.choice(values) for name in "ab" if dice.random() < 0.5},
            "status": dice.choice((None, "idle", "interrupted")),
            "values": dice.choice((None, None, {"n": 1})),
        }
        order = {
            "sort_by": dice.choice(("created_at", "updated_at")),
            "sort_order": dice.choice(("asc", "desc")),
        }
        fitting = [
            (one[order["sort_by"]], one["thread_id"])
            for one in everything
            if query["status"] in (None, one["status"])
            and contains(one["metadata"], query["metadata"])
            and (query["values"] is None or contains(one["values"], query["values"]))
        ]
        expected = [one for _, one in sorted(fitting, reverse=order["sort_order"] == "desc")]
        assert paged(world, dice.randint(1, 9), **query, **order) == expected
        assert count(world, **query) == len(expected)


def test_a_page_by_one_metadata_value_reads_its_entries_and_rows_only(world: World) -> None:
    made = many(world, FEW, k="v")
    many(world, 5, k="other")
    with Calls(world.cloud.dynamodb, "Query") as queries, Calls(world.cloud.dynamodb, "BatchGetItem") as rows:
        assert ids(world, metadata={"k": "v"}, limit=4) == made[:-5:-1]
    assert len(queries.requests) == len(rows.requests) == 1
    assert len(rows.requests[0]["RequestItems"][world.name]["Keys"]) == 5


def test_an_index_that_lags_behind_shows_nothing_that_does_not_fit(world: World) -> None:
    made = many(world, 6)
    with Calls(world.cloud.dynamodb, "BatchGetItem") as calls:

        def meanwhile() -> None:
            world.threads.delete(TENANT, made[5])
            end(world, made[4], "error")

        calls.before = meanwhile
        found = ids(world, status="idle", sort_by="updated_at", limit=2)
    assert found == [made[3], made[2]]


def test_a_list_that_a_thread_leaves_in_between_is_filled_up(world: World) -> None:
    made = many(world, 6, k=1)
    with Calls(world.cloud.dynamodb, "BatchGetItem") as calls:
        calls.before = lambda: world.threads.patch(TENANT, made[4], ThreadPatch(metadata={"k": 2}))
        assert ids(world, metadata={"k": 1}, limit=3) == [made[5], made[3], made[2]]


def test_rows_that_dynamodb_leaves_out_are_asked_for_again(world: World) -> None:
    made = many(world, 3)
    call = world.cloud.dynamodb.batch_get_item
    asked: list[int] = []

    def half(**arguments: Any) -> Any:
        wanted = arguments["RequestItems"][world.name]["Keys"]
        asked.append(len(wanted))
        arguments["RequestItems"][world.name]["Keys"] = wanted[:1]
        answer = call(**arguments)
        if wanted[1:]:
            answer["UnprocessedKeys"] = {world.name: {"Keys": wanted[1:], "ConsistentRead": True}}
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.cloud.dynamodb, "batch_get_item", half)
        patch.setattr("crewline.store.table.time.sleep", lambda _seconds: None)
        assert ids(world) == made[::-1]
    assert asked == [3, 2, 1]


# ------------------------------------------------------------------ what is shown


def test_a_found_thread_is_shown_as_it_is_when_it_is_read(world: World) -> None:
    made = many(world, 2)
    end(world, made[0], "interrupted", n=1)
    assert search(world).threads == [world.threads.get(TENANT, one) for one in reversed(made)]


def test_only_what_is_selected_is_shown_and_state_is_read_only_for_it(world: World) -> None:
    end(world, make(world), n=1)
    with Calls(world.cloud.dynamodb, "Query") as queries:
        assert [set(one) for one in search(world, select=["status", "config"]).threads] == [
            {"status", "config"}
        ]
    assert len(queries.requests) == keys.SHARDS
    assert search(world, select=["values"]).threads == [{"values": {"n": 1}}]


def test_parts_of_a_thread_are_extracted(world: World) -> None:
    end(world, make(world, user={"name": "ada"}), messages=[{"content": "hi"}, {"content": "bye"}])
    paths = {
        "last": "values.messages[-1].content",
        "first": "values.messages[0]",
        "name": "metadata.user.name",
        "none": "values.messages[7].content",
        "wrong": "values.messages.content",
    }
    assert search(world, select=["status"], extract=paths).threads == [
        {
            "status": "idle",
            "extracted": {
                "last": "bye",
                "first": {"content": "hi"},
                "name": "ada",
                "none": None,
                "wrong": None,
            },
        }
    ]


def test_extracting_from_metadata_reads_no_state(world: World) -> None:
    end(world, make(world, a=1), n=1)
    with Calls(world.cloud.dynamodb, "Query") as queries:
        assert search(world, select=[], extract={"a": "metadata.a"}).threads == [{"extracted": {"a": 1}}]
    assert len(queries.requests) == keys.SHARDS


# ------------------------------------------------------------------ limits


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make limits small."""

    def change(**limits: int) -> None:
        for name, value in limits.items():
            monkeypatch.setattr(searches, name, value)

    return change


def test_a_list_that_is_not_short_is_walked_in_order(world: World, narrow: Callable[..., None]) -> None:
    made = many(world, FEW, k=1)
    narrow(SHORT=3)
    for sort_by in ("created_at", "updated_at"):
        assert ids(world, metadata={"k": 1, "i": []}, sort_by=sort_by) == []
        assert paged(world, 5, metadata={"k": 1}, status="idle", sort_by=sort_by) == made[::-1]
    assert count(world, metadata={"k": 1}, status="idle") == FEW


def test_a_walk_that_finds_too_little_is_given_up_for_a_list_that_is_whole(
    world: World, narrow: Callable[..., None]
) -> None:
    made = many(world, 3, k=1)
    many(world, FEW)
    narrow(SHORT=2, MOST_ROWS=4, _GROUP=2)
    assert ids(world, metadata={"k": 1}, sort_by="updated_at") == made[::-1]


def test_a_search_that_looks_at_too_many_threads_is_refused(
    world: World, narrow: Callable[..., None]
) -> None:
    many(world, FEW, tags=["a"])
    narrow(SHORT=3, MOST_ROWS=4, _GROUP=2)
    for query in (
        {"metadata": {"tags": ["b"]}},
        {"metadata": {"tags": ["b"]}, "sort_by": "updated_at"},
        {"sort_by": "thread_id"},
        {"sort_by": "state_updated_at", "status": "idle"},
        {"metadata": {"tags": ["a"]}, "offset": 6, "limit": 1},
    ):
        with pytest.raises(InvalidRequest, match=r"looked at \d+ threads, of which \d+ fit.*Narrow it"):
            search(world, **query)
    with pytest.raises(InvalidRequest, match="Narrow it"):
        count(world, metadata={"tags": ["a"]})


def test_a_whole_page_is_answered_although_nobody_knows_what_follows(
    world: World, narrow: Callable[..., None]
) -> None:
    made = many(world, 3)
    make(world, tags=["a"])
    many(world, 2)
    narrow(SHORT=1, MOST_ROWS=3, _GROUP=2)
    page = search(world, metadata={"tags": ["a"]}, limit=1)
    assert (len(page.threads), page.more) == (1, True)
    assert page.threads[0]["thread_id"] not in made
    with pytest.raises(InvalidRequest, match="Narrow it"):
        search(world, metadata={"tags": ["a"]}, limit=1, offset=1)


def test_a_search_by_values_reads_a_limited_number_of_states(
    world: World, narrow: Callable[..., None]
) -> None:
    for thread_id in many(world, 5, k=1):
        end(world, thread_id, n=1)
    assert len(ids(world, values={"n": 1})) == count(world, values={"n": 1}) == 5
    narrow(MOST_STATES=2, _STATES_GROUP=2)
    with pytest.raises(InvalidRequest, match="looked at the state of 2 threads, of which 0 fit"):
        search(world, values={"n": 2}, metadata={"k": 1})


def test_a_deep_page_and_a_long_count_are_refused(world: World, narrow: Callable[..., None]) -> None:
    made = many(world, FEW, k=1)
    narrow(MOST_KEYS=5)
    assert ids(world, offset=5, limit=2) == [made[6], made[5]]
    pages: tuple[Query, ...] = ({}, {"metadata": {"k": 1}}, {"status": "idle", "sort_by": "updated_at"})
    for query in pages:
        with pytest.raises(InvalidRequest, match="skipped 5 threads"):
            search(world, **query, offset=6)
    counts: tuple[Query, ...] = ({}, {"metadata": {"k": 1}}, {"status": "idle"})
    for query in counts:
        with pytest.raises(InvalidRequest, match="counted 5 threads"):
            count(world, **query)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"offset": -1},
        {"sort_by": "bogus"},
        {"sort_order": "up"},
        {"status": "bogus"},
        {"select": ["bogus"]},
        {"ids": [UNKNOWN] * 1001},
        {"extract": {f"a{number}": "values.a" for number in range(11)}},
        {"extract": {"a": "bogus.a"}},
        {"extract": {"a": "values..a"}},
        {"extract": {"a": "values[x]"}},
        {"extract": {"a": ""}},
    ],
    ids=str,
)
def test_a_search_that_makes_no_sense_is_refused(query: Any) -> None:
    with pytest.raises(ValueError, match="1 validation error"):
        ThreadSearch(**query)


def test_null_means_the_default(world: World) -> None:
    nothing: dict[str, Any] = dict.fromkeys(ThreadSearch.model_fields)
    assert ThreadSearch(**nothing) == ThreadSearch()
