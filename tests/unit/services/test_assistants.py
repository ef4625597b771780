"""Every crew has a default assistant; clients make more, whose versions are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from crewline.errors import BadRequest, Conflict, InvalidRequest, NotFound, TooLarge
from crewline.models.assistants import (
    Assistant,
    AssistantCount,
    AssistantCreate,
    AssistantPatch,
    AssistantSearch,
    VersionSearch,
)
from crewline.models.threads import ThreadCreate
from crewline.services import assistants as services
from crewline.services.assistants import Assistants
from crewline.store import assistants as rows
from crewline.store import keys
from crewline.store.idempotency import Once
from tests.unit.store.worlds import ECHO, NOW, TENANT, Calls, World

CREWS = [
    "approval",
    "chat",
    "echo",
    "failing",
    "flood",
    "interview",
    "large",
    "metered",
    "slow",
    "steps",
    "story",
    "tooled",
    "typed",
]
ONCE = Once(scope="POST /assistants", key="k", digest="d")


@pytest.fixture
def assistants(world: World) -> Assistants:
    return world.assistants


def names(assistants: Assistants, **query: Any) -> list[str]:
    found, _ = assistants.search(TENANT, AssistantSearch(**{"limit": 100, **query}))
    return [one.name for one in found]


def make(assistants: Assistants, **fields: Any) -> Assistant:
    return assistants.create(TENANT, AssistantCreate(**{"graph_id": "echo", **fields}))


def patch(assistants: Assistants, assistant: Assistant, **fields: Any) -> Assistant:
    return assistants.patch(TENANT, assistant.assistant_id, AssistantPatch(**fields))


def versions(assistants: Assistants, assistant_id: str, **query: Any) -> list[int]:
    return [one.version for one in assistants.versions(TENANT, assistant_id, VersionSearch(**query))]


# ------------------------------------------------------------------ the default ones


def test_an_assistant_has_the_names_of_the_wire(assistants: Assistants) -> None:
    row = assistants.get(TENANT, ECHO).wire()
    assert row["created_at"] == row["updated_at"]
    assert {name: value for name, value in row.items() if not name.endswith("_at")} == {
        "assistant_id": ECHO,
        "graph_id": "echo",
        "name": "echo",
        "description": "Answers with what was said",
        "config": {},
        "context": {},
        "metadata": {"created_by": "system"},
        "version": 1,
    }


def test_an_assistant_is_got_by_its_id_alone(assistants: Assistants) -> None:
    assert assistants.get(TENANT, ECHO.upper()).graph_id == "echo"
    with pytest.raises(InvalidRequest, match="Invalid assistant ID: must be a UUID"):
        assistants.get(TENANT, "echo")
    with pytest.raises(NotFound):
        assistants.get(TENANT, str(uuid4()))


def test_a_run_may_name_a_crew_or_an_assistant(assistants: Assistants) -> None:
    echo = assistants.get(TENANT, ECHO)
    assert assistants.resolve(TENANT, "echo") == assistants.resolve(TENANT, ECHO) == echo
    assert assistants.assume(TENANT, "echo") == assistants.assume(TENANT, ECHO) == echo


def test_an_unknown_crew_is_told_which_ones_there_are(assistants: Assistants) -> None:
    with pytest.raises(InvalidRequest, match="it has approval, chat, echo, failing"):
        assistants.resolve(TENANT, "x" * 10_000)
    with pytest.raises(NotFound):
        assistants.resolve(TENANT, str(uuid4()))


def test_a_default_assistant_can_be_changed_and_returned_to_what_it_was(world: World) -> None:
    was = world.assistants.get(TENANT, ECHO)
    assert versions(world.assistants, ECHO) == [1]
    assert world.assistants.set_latest(TENANT, ECHO, 1) == was

    changed = patch(world.assistants, was, name="mine", config={"tags": ["t"]})

    assert (changed.version, changed.name, changed.created_at) == (2, "mine", was.created_at)
    assert changed.metadata == {"created_by": "system"}
    for one in (world, world.again()):
        assert one.assistants.get(TENANT, ECHO) == changed
        assert one.assistants.assume(TENANT, "echo") is None  # it was seen changed
    assert versions(world.assistants, ECHO) == [2, 1]
    assert sorted(names(world.assistants, graph_id="echo")) == ["mine"]
    again = world.assistants.set_latest(TENANT, ECHO, 1)
    assert replace(again, updated_at=was.updated_at) == was


def test_another_tenant_has_default_assistants_of_its_own(assistants: Assistants) -> None:
    patch(assistants, assistants.get(TENANT, ECHO), name="mine")
    assert assistants.get("other", ECHO).name == "echo"
    assert assistants.assume("other", ECHO) is not None


def test_a_default_assistant_is_neither_deleted_nor_made_again(assistants: Assistants) -> None:
    with pytest.raises(Conflict, match="the default one of crew 'echo'"):
        assistants.delete(TENANT, ECHO)
    with pytest.raises(Conflict, match="exists already"):
        make(assistants, assistant_id=ECHO)
    with pytest.raises(Conflict, match="stays with it"):
        patch(assistants, assistants.get(TENANT, ECHO), graph_id="steps")
    assert patch(assistants, assistants.get(TENANT, ECHO), graph_id="echo").version == 2
    assert make(assistants, assistant_id=ECHO, if_exists="do_nothing").name == "echo"


# ------------------------------------------------------------------ making


def test_an_assistant_is_made_with_defaults(assistants: Assistants) -> None:
    made = make(assistants)
    assert (made.name, made.version, made.description) == ("Untitled", 1, None)
    assert (made.config, made.context, made.metadata) == ({}, {}, {})
    assert assistants.get(TENANT, made.assistant_id) == made
    assert versions(assistants, made.assistant_id) == [1]


def test_config_and_context_have_the_same_values(assistants: Assistants) -> None:
    by_config = make(assistants, config={"configurable": {"a": 1, "thread_id": "t"}, "tags": ["t"]})
    assert by_config.config == {"configurable": {"a": 1, "thread_id": "t"}, "tags": ["t"]}
    assert by_config.context == {"a": 1}
    by_context = make(assistants, context={"a": 1}, config={"tags": ["t"]})
    assert (by_context.config, by_context.context) == ({"configurable": {"a": 1}, "tags": ["t"]}, {"a": 1})
    with pytest.raises(BadRequest, match="not both"):
        make(assistants, context={"a": 1}, config={"configurable": {"b": 1}})


def test_an_id_that_is_taken_is_refused_or_used_as_it_is(assistants: Assistants) -> None:
    made = make(assistants, name="first", assistant_id=str(uuid4()))
    with pytest.raises(Conflict, match="exists already"):
        make(assistants, name="second", assistant_id=made.assistant_id)
    assert make(assistants, assistant_id=made.assistant_id, if_exists="do_nothing") == made


def test_a_crew_that_is_not_there_has_no_assistants(assistants: Assistants) -> None:
    with pytest.raises(InvalidRequest, match="is no crew of this deployment"):
        make(assistants, graph_id="gone")
    with pytest.raises(InvalidRequest, match="is no crew of this deployment"):
        patch(assistants, make(assistants), graph_id="gone")


def test_what_would_fill_a_row_is_refused(assistants: Assistants) -> None:
    for field in ("context", "metadata"):
        with pytest.raises(TooLarge, match="bytes"):
            make(assistants, **{field: {"x": "x" * 70_000}})


def test_a_repeated_request_makes_one_assistant(assistants: Assistants) -> None:
    body = AssistantCreate(graph_id="echo", name="once")
    made = assistants.create(TENANT, body, once=ONCE)
    assert assistants.create(TENANT, body, once=ONCE) == made
    assert names(assistants, name="once") == ["once"]
    with pytest.raises(Conflict, match="send a new key"):
        assistants.create(TENANT, body, once=replace(ONCE, digest="other"))
    assistants.delete(TENANT, made.assistant_id)
    with pytest.raises(NotFound):
        assistants.create(TENANT, body, once=ONCE)


# ------------------------------------------------------------------ changing


def test_a_change_is_a_version_and_leaves_what_it_does_not_name(assistants: Assistants) -> None:
    made = make(assistants, name="one", metadata={"z": 1}, context={"m": "a"}, description="d")

    changed = patch(assistants, made, name="two", metadata={"y": 2})

    assert (changed.version, changed.name, changed.description) == (2, "two", "d")
    assert changed.metadata == {"z": 1, "y": 2}
    assert (changed.context, changed.config) == (made.context, made.config)
    assert assistants.get(TENANT, made.assistant_id) == changed


@pytest.mark.parametrize(
    ("fields", "config", "context"),
    [
        ({"context": {"n": 1}}, {"configurable": {"n": 1}, "tags": ["t"]}, {"n": 1}),
        ({"config": {"configurable": {"n": 1}}}, {"configurable": {"n": 1}}, {"n": 1}),
        ({"config": {"tags": ["u"]}}, {"configurable": {"m": "a"}, "tags": ["u"]}, {"m": "a"}),
        ({"config": {"configurable": {}}}, {"configurable": {}}, {}),
        ({"context": {}}, {"configurable": {}, "tags": ["t"]}, {}),
    ],
)
def test_config_and_context_are_replaced_together(
    assistants: Assistants, fields: dict[str, Any], config: dict[str, Any], context: dict[str, Any]
) -> None:
    made = make(assistants, config={"tags": ["t"]}, context={"m": "a"})
    changed = patch(assistants, made, **fields)
    assert (changed.config, changed.context) == (config, context)


def test_a_kept_version_is_made_the_latest_and_changed_from_there(world: World) -> None:
    made = make(world.assistants, name="one")
    world.clock.pass_(1000)
    patch(world.assistants, made, name="two")

    back = world.assistants.set_latest(TENANT, made.assistant_id, 1)

    assert (back.version, back.name, back.created_at) == (1, "one", made.created_at)
    assert back.updated_at > made.updated_at
    assert patch(world.assistants, back, description="d").version == 3
    assert versions(world.assistants, made.assistant_id) == [3, 2, 1]
    for number in (4, 10_000_000):
        with pytest.raises(NotFound, match=f"has no version {number}"):
            world.assistants.set_latest(TENANT, made.assistant_id, number)
    with pytest.raises(NotFound, match="has no version 2"):
        world.assistants.set_latest(TENANT, ECHO, 2)


def test_versions_are_filtered_and_then_paged(assistants: Assistants) -> None:
    made = make(assistants, metadata={"even": False})
    for number in range(2, 6):
        patch(assistants, made, metadata={"even": number % 2 == 0})
    assert versions(assistants, made.assistant_id, limit=2, offset=1) == [4, 3]
    assert versions(assistants, made.assistant_id, metadata={"even": True}) == [4, 2]
    assert versions(assistants, made.assistant_id, offset=9) == []
    with pytest.raises(NotFound):
        versions(assistants, str(uuid4()))


def test_two_changes_at_once_lose_nothing(world: World) -> None:
    made = make(world.assistants)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: void(patch(world.again().assistants, made, metadata={"theirs": 1}))
        mine = patch(world.assistants, made, metadata={"mine": 1})
    assert (mine.version, mine.metadata) == (3, {"theirs": 1, "mine": 1})
    assert versions(world.assistants, made.assistant_id) == [3, 2, 1]


def test_a_change_of_what_is_deleted_meanwhile_brings_nothing_back(world: World) -> None:
    made = make(world.assistants)
    change: Callable[[], Any]
    for change in (
        lambda: patch(world.assistants, made, name="two"),
        lambda: world.assistants.set_latest(TENANT, made.assistant_id, 1),
    ):
        world.assistants.create(
            TENANT,
            AssistantCreate(graph_id="echo", assistant_id=made.assistant_id, if_exists="do_nothing"),
        )
        with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
            calls.before = lambda: world.again().assistants.delete(TENANT, made.assistant_id)
            with pytest.raises(NotFound):
                change()
        assert not [key for key in world.items() if key[0].startswith("A#")]


# ------------------------------------------------------------------ deleting


def test_a_deleted_assistant_leaves_nothing(world: World) -> None:
    made = make(world.assistants)
    patch(world.assistants, made, name="two")
    world.assistants.delete(TENANT, made.assistant_id)
    assert not [key for key in world.items() if key[0].startswith("A#")]
    for again in (world.assistants.get, world.assistants.delete, world.assistants.resolve):
        with pytest.raises(NotFound):
            again(TENANT, made.assistant_id)


def test_more_versions_than_one_transaction_holds_go_with_the_assistant(world: World) -> None:
    made = make(world.assistants)
    for number in range(2, 96):
        world.table.write(rows.put_version(TENANT, replace(made, version=number)))

    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        # A change in the middle: what has become of the assistant goes.
        calls.before = lambda: void(world.again().assistants.set_latest(TENANT, made.assistant_id, 95))
        world.assistants.delete(TENANT, made.assistant_id)

    assert not [key for key in world.items() if key[0].startswith("A#")]


def test_the_threads_of_an_assistant_go_with_it_when_asked(world: World) -> None:
    made = make(world.assistants)
    create = world.threads.create
    gone = create(TENANT, ThreadCreate(metadata={"assistant_id": made.assistant_id}))["thread_id"]
    stays = create(TENANT, ThreadCreate(metadata={"assistant_id": ECHO}))["thread_id"]

    world.assistants.delete(TENANT, made.assistant_id, with_threads=True)

    with pytest.raises(NotFound):
        world.threads.get(TENANT, gone)
    assert world.threads.get(TENANT, stays)["thread_id"] == stays


# ------------------------------------------------------------------ searching


def test_search_filters_by_crew_name_and_metadata(assistants: Assistants) -> None:
    assert sorted(names(assistants)) == CREWS
    assert names(assistants, graph_id="echo") == ["echo"]
    assert sorted(names(assistants, name="L")) == ["approval", "failing", "flood", "large", "slow", "tooled"]
    assert sorted(names(assistants, metadata={"created_by": "system"})) == CREWS
    assert names(assistants, metadata={"created_by": "me"}) == []
    assert names(assistants, graph_id="gone") == []
    make(assistants, name="nested", metadata={"team": {"name": "a", "size": 2}, "tags": ["x", "y"]})
    assert names(assistants, metadata={"team": {"size": 2}, "tags": ["y"]}) == ["nested"]
    assert names(assistants, metadata={"team": {"size": 3}}) == []
    assert assistants.count(TENANT, AssistantCount(graph_id="echo")) == 2
    assert assistants.count(TENANT, AssistantCount()) == len(CREWS) + 1


def test_search_sorts_and_then_pages(assistants: Assistants) -> None:
    assert names(assistants, sort_by="name", sort_order="asc") == CREWS
    assert names(assistants, sort_by="name", sort_order="asc", limit=2, offset=1) == CREWS[1:3]
    assert names(assistants, sort_by="graph_id", sort_order="desc", limit=1) == ["typed"]
    assert names(assistants, offset=100) == []


def test_search_lists_the_newest_first_and_says_whether_there_is_more(world: World) -> None:
    for name in ("one", "two"):
        world.clock.now = max(world.clock.now, NOW * 2) + 1000
        make(world.assistants, name=name)
    assert names(world.assistants, limit=2) == ["two", "one"]
    for limit, more in ((len(CREWS) + 1, True), (len(CREWS) + 2, False)):
        assert world.assistants.search(TENANT, AssistantSearch(limit=limit))[1] is more


def test_a_search_is_one_query_and_has_an_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make(world.assistants)
    with Calls(world.cloud.dynamodb, "Query") as calls:
        assert world.assistants.count(TENANT, AssistantCount()) == len(CREWS) + 3
    [request] = calls.requests
    assert request["ExpressionAttributeValues"][":pk"]["S"] == keys.assistants_partition(TENANT)
    monkeypatch.setattr(services, "LOOKS", 2)
    with pytest.raises(InvalidRequest, match="more than 2 assistants"):
        names(world.assistants)


def void(_: object) -> None:
    """Drop a result."""


# ------------------------------------------------------------------ webhooks


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/hook", "ftp://example.com", "hook", 7, ["https://example.com"]]
)
def test_a_webhook_that_nothing_would_be_posted_to_is_refused(world: World, url: Any) -> None:
    metadata = {"crewline_webhook": url}
    with pytest.raises(InvalidRequest):
        world.assistants.create(TENANT, AssistantCreate(graph_id="echo", metadata=metadata))
    with pytest.raises(InvalidRequest):
        world.assistants.patch(TENANT, ECHO, AssistantPatch(metadata=metadata))
    assert world.items() == {}
