"""Metadata entries: one for every scalar in the row, whoever changed it and whatever came in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pytest
from pydantic import ValidationError

from crewline.errors import Conflict, InvalidRequest, NotFound, TooLarge
from crewline.models.assistants import default_assistant_id
from crewline.models.runs import RunCreate
from crewline.models.threads import MOST_METADATA_KEYS, ThreadCreate, ThreadPatch
from crewline.services.endings import Outcome
from crewline.store import entries, keys, threads
from tests.unit.store.worlds import ECHO, TENANT, Calls, World, claimed

T1 = "0199c7a0-0000-7000-8000-00000000abcd"
IDS: Final = tuple(f"0199c7a0-0000-7000-8000-00000000000{number}" for number in range(3))
VALUES: Final[tuple[Any, ...]] = (
    "",
    "a",
    "b",
    0,
    1,
    1.0,
    -0.0,
    1.5,
    1e300,
    True,
    False,
    None,
    [],
    ["a"],
    {},
    {"a": 1},
    2**63,
)
SUCCESS = Outcome(status="success", thread_status="idle")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.threads.time.sleep", lambda _seconds: None)


def create(world: World, thread_id: str = T1, /, **metadata: Any) -> None:
    world.threads.create(TENANT, ThreadCreate(thread_id=thread_id, metadata=metadata))


def patch(world: World, thread_id: str = T1, /, **metadata: Any) -> None:
    world.threads.patch(TENANT, thread_id, ThreadPatch(metadata=metadata))


def run(world: World, thread_id: str = T1, crew: str = "echo") -> None:
    """Execute a run to its end, as if nobody waited."""
    started = world.runs.start(TENANT, thread_id, RunCreate(assistant_id=crew))
    world.endings.finish(claimed(started), SUCCESS, ())


def found(world: World, name: str, value: Any) -> list[str]:
    return list(entries.in_order(world.table, TENANT, name, value, page=10))


def exact(world: World) -> None:
    """The entries are those of the rows, no more and no less."""
    items = world.items()
    rows = [threads.from_item(item) for (_, sort), item in items.items() if sort == keys.THREAD_SORT]
    expected = {tuple(put.key) for row in rows for put in entries.of_new(TENANT, row)}
    assert {key for key in items if key[0].startswith("M#")} == expected


def metadata(world: World, thread_id: str = T1) -> Any:
    return world.threads.get(TENANT, thread_id)["metadata"]


# ------------------------------------------------------------------ what has an entry


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (1, 1.0),
        (0, -0.0),
        (2**53, float(2**53)),
        ("é\ud7ff", "é\ud7ff"),
        (None, None),
        (True, True),
        (1.5, 1.5),
    ],
    ids=repr,
)
def test_a_scalar_finds_its_thread_however_it_is_spelled(world: World, value: Any, same: Any) -> None:
    create(world, k=value)
    assert found(world, "k", same) == [T1]


@pytest.mark.parametrize(
    ("value", "other"), [(1, True), (0, False), (0, None), ("1", 1), ("null", None), ("", None)], ids=repr
)
def test_values_of_two_kinds_are_not_the_same(world: World, value: Any, other: Any) -> None:
    create(world, k=value)
    assert found(world, "k", other) == []


def test_objects_and_arrays_have_no_entry(world: World) -> None:
    create(world, a=[1], b={"c": 1})
    assert not [key for key in world.items() if key[0].startswith("M#")]


def test_a_key_and_a_value_are_not_mistaken_for_another_pair(world: World) -> None:
    world.threads.create(TENANT, ThreadCreate(thread_id=T1, metadata={'a\n"b"': "c"}))
    assert found(world, "a", 'b"\n"c') == []


def test_entries_list_the_newest_thread_first(world: World) -> None:
    for thread_id in IDS:
        create(world, thread_id, k=1)
        world.clock.pass_(1)
    patch(world, IDS[0], k=2)
    patch(world, IDS[0], k=1)
    assert found(world, "k", 1) == list(reversed(IDS))
    assert list(entries.in_order(world.table, TENANT, "k", 1, page=2, newest_first=False)) == list(IDS)


def test_entries_are_of_one_tenant(world: World) -> None:
    create(world, k=1)
    assert list(entries.in_order(world.table, "other", "k", 1, page=10)) == []


# ------------------------------------------------------------------ exact at all times


@pytest.mark.parametrize("seed", range(4))
def test_entries_are_exact_whatever_is_done(world: World, seed: int) -> None:
    dice = random.Random(seed)
    world.threads.create(TENANT, ThreadCreate(thread_id=IDS[0], graph_id="echo"))
    for _ in range(30):
        thread_id, one = dice.choice(IDS), dice.choice((world, world.again()))
        given = {dice.choice("abc"): dice.choice(VALUES) for _ in range(dice.randint(0, 3))}
        acts: list[Callable[[], object]] = [
            lambda: create(one, thread_id, **given),  # noqa: B023 (called in the same turn)
            lambda: patch(one, thread_id, **given),  # noqa: B023
            lambda: patch(one, thread_id, graph_id=dice.choice(VALUES)),  # noqa: B023
            lambda: run(one, thread_id, dice.choice(("echo", "steps"))),  # noqa: B023
            lambda: one.threads.delete(TENANT, thread_id),  # noqa: B023
            lambda: one.threads.purge(TENANT, thread_id),  # noqa: B023
            lambda: one.runs.start_stateless(TENANT, RunCreate(assistant_id="echo", on_completion="keep")),  # noqa: B023
        ]
        with suppress(Conflict, NotFound):  # what is refused must leave the entries as they are
            dice.choice(acts)()
        exact(world)
        world.clock.pass_(1)


def test_a_patch_of_the_same_key_in_between_loses_no_entry(world: World) -> None:
    create(world, k=1)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: patch(world, k=2)
        patch(world, k=3)
    assert len(calls.requests) == 3
    assert metadata(world) == {"k": 3}
    exact(world)


def test_a_patch_from_a_list_in_between_loses_no_entry(world: World) -> None:
    create(world, k=[1])
    with Calls(world.cloud.dynamodb, "UpdateItem") as calls:
        calls.before = lambda: patch(world, k=2)
        patch(world, k=[3])
    assert metadata(world) == {"k": [3]}
    exact(world)


def test_a_patch_of_another_key_in_between_stops_nobody(world: World) -> None:
    create(world)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: patch(world, a=1)
        patch(world, b=2)
    assert len(calls.requests) == 2
    assert metadata(world) == {"a": 1, "b": 2}
    exact(world)


def test_a_patch_of_a_thread_that_is_deleted_meanwhile_leaves_nothing(world: World) -> None:
    create(world, k=1)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: world.threads.delete(TENANT, T1)
        with pytest.raises(NotFound):
            patch(world, k=2)
    exact(world)


def test_a_deletion_takes_the_entries_that_are_there(world: World) -> None:
    create(world, k=1)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: patch(world, k=2, more="x")
        world.threads.delete(TENANT, T1)
    assert not [key for key in world.items() if key[0].startswith("M#")]


def test_a_start_beside_a_patch_of_the_crew_is_decided_again(world: World) -> None:
    create(world)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: patch(world, graph_id="steps")
        run(world)
    assert metadata(world) == {"graph_id": "echo", "assistant_id": ECHO}
    exact(world)


# ------------------------------------------------------------------ runs


def test_a_run_names_its_crew_once(world: World) -> None:
    create(world)
    run(world)
    assert (found(world, "graph_id", "echo"), found(world, "assistant_id", ECHO)) == ([T1], [T1])
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        run(world)
    assert not [change for change in calls.requests[0]["TransactItems"] if "M#" in str(change)]


def test_a_run_of_another_crew_moves_the_thread(world: World) -> None:
    create(world)
    run(world)
    run(world, crew="steps")
    assert (found(world, "graph_id", "echo"), found(world, "graph_id", "steps")) == ([], [T1])
    exact(world)


def test_a_queued_run_of_another_crew_moves_the_thread_when_it_is_accepted(world: World) -> None:
    create(world)
    first = claimed(world.runs.start(TENANT, T1, RunCreate(assistant_id="echo")))
    world.runs.create(TENANT, T1, RunCreate(assistant_id="steps"))
    moved = {"graph_id": "steps", "assistant_id": default_assistant_id("steps")}
    assert metadata(world) == moved
    exact(world)
    world.endings.finish(first, SUCCESS, ())
    assert metadata(world) == moved


def test_a_process_that_remembers_another_crew_reads_again(world: World) -> None:
    create(world)
    first = world.runs.start(TENANT, T1, RunCreate(assistant_id="echo"))
    ended = world.endings.finish(claimed(first), SUCCESS, ())
    world.recents.keep(TENANT, T1, ended.lease, ended.rest, None, crew=first.run.crew)
    run(world, crew="steps")
    assert metadata(world)["graph_id"] == "steps"
    exact(world)


def test_the_private_thread_of_a_stateless_run_is_in_no_list(world: World) -> None:
    started = world.runs.start_stateless(TENANT, RunCreate(assistant_id="echo"), readable=True)
    patch(world, started.run.thread_id, k=1)
    assert metadata(world, started.run.thread_id)["k"] == 1
    row = world.table.get(keys.thread(TENANT, started.run.thread_id)) or {}
    assert keys.THREADS_BY_UPDATED.partition not in row
    exact_keys = [key for key in world.items() if key[0].startswith("M#")]
    assert exact_keys == []


# ------------------------------------------------------------------ limits


def test_a_thread_has_a_limited_number_of_metadata_keys(world: World) -> None:
    full: dict[str, Any] = {f"k{number}": number for number in range(MOST_METADATA_KEYS)}
    for refused in (ThreadCreate, ThreadPatch):
        with pytest.raises(ValidationError):
            refused(metadata={**full, "more": 1})
    create(world, **full)
    run(world)
    patch(world, **dict.fromkeys(full, "new"))
    patch(world, graph_id="x", assistant_id=7)
    exact(world)
    with pytest.raises(InvalidRequest, match="48 metadata keys, not 49"):
        patch(world, more=1)
    world.threads.delete(TENANT, T1)
    exact(world)


def test_patches_beside_one_another_keep_to_the_limit(world: World) -> None:
    almost: dict[str, Any] = {f"k{number}": number for number in range(MOST_METADATA_KEYS - 2)}
    create(world, **almost)
    run(world)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: patch(world, a=1, b=2)
        with pytest.raises(InvalidRequest, match="not 49"):
            patch(world, c=3)
    exact(world)


def test_metadata_is_measured_as_it_becomes(world: World) -> None:
    create(world, a="x" * 40_000)
    with pytest.raises(TooLarge):
        patch(world, b="x" * 40_000)
