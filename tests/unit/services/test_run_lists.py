"""Lists of runs: the newest first, over threads and without, page by page and in bounded work."""

from __future__ import annotations

from typing import Any

import pytest

from crewline.errors import NotFound
from crewline.models.runs import Run, RunCreate, RunError
from crewline.models.threads import ThreadCreate
from crewline.services import run_lists
from crewline.services.endings import Outcome
from crewline.services.run_lists import RunQuery
from crewline.settings import UNDEPLOYED
from crewline.store import keys
from crewline.store.changes import Update
from crewline.store.runs import LARGEST_INLINE
from tests.unit.store.worlds import ECHO, TENANT, Calls, World, claimed, sealed

SUCCESS = Outcome(status="success", thread_status="idle")
FAILED = Outcome(status="error", thread_status="error", error=RunError(error="ValueError", message="no"))


def body(assistant: str = "echo", **fields: Any) -> RunCreate:
    return RunCreate.model_validate({"assistant_id": assistant, **fields})


def new_thread(world: World) -> str:
    thread_id: str = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    return thread_id


def run_on(world: World, thread: str, outcome: Outcome = SUCCESS, *entries: Any) -> Run:
    started = world.runs.start(TENANT, thread, body())
    world.endings.finish(claimed(started), outcome, entries)
    return world.runs.get(TENANT, thread, started.run.run_id)


def pages(world: World, **query: Any) -> list[list[str]]:
    """The ids of the runs of every page."""
    found, before = [], None
    while True:
        page = world.run_lists.page(TENANT, RunQuery(**{"limit": 100, **query}, before=before))
        found.append([run.run_id for run, _ in page.runs])
        if (before := page.last) is None:
            return found


def test_runs_of_all_threads_and_of_none_are_listed_the_newest_first(world: World) -> None:
    made = [run_on(world, new_thread(world)).run_id for _ in range(12)]
    made += [world.runs.create_stateless(TENANT, body()).run_id for _ in range(12)]
    assert pages(world) == [made[::-1]]


@pytest.mark.parametrize("on_one_thread", [True, False])
def test_pages_follow_one_another_without_a_gap(world: World, on_one_thread: bool) -> None:
    thread = new_thread(world)
    made = [run_on(world, thread).run_id for _ in range(7)][::-1]
    only: Any = {"thread_id": thread} if on_one_thread else {}
    assert pages(world, limit=3, **only) == [made[:3], made[3:6], made[6:]]
    assert pages(world, limit=7, **only) == [made]
    first = world.run_lists.page(TENANT, RunQuery(limit=3, **only))
    newer = run_on(world, thread).run_id
    second = world.run_lists.page(TENANT, RunQuery(limit=3, before=first.last, **only))
    assert [run.run_id for run, _ in second.runs] == made[3:6]
    assert pages(world, limit=1, **only)[0] == [newer]


def test_a_run_has_the_values_that_it_left(world: World) -> None:
    thread = new_thread(world)
    run_on(world, thread, SUCCESS, sealed(1))
    run_on(world, thread, FAILED, sealed(2))
    page = world.run_lists.page(TENANT, RunQuery(limit=10))
    assert [(run.status, values) for run, values in page.runs] == [
        ("error", None),
        ("success", world.runs.outcome(TENANT, page.runs[1][0])),
    ]
    assert page.runs[1][1] != {}


def test_runs_are_filtered_by_thread_assistant_and_status(world: World) -> None:
    one, other = new_thread(world), new_thread(world)
    good, bad = run_on(world, one).run_id, run_on(world, one, FAILED).run_id
    there = run_on(world, other).run_id
    steps = world.runs.create_stateless(TENANT, body("steps")).run_id
    assert pages(world, thread_id=one) == [[bad, good]]
    assert pages(world, assistant_id=ECHO) == [[there, bad, good]]
    assert pages(world, thread_id=other, assistant_id=world.assistants.identify("steps")) == [[]]
    assert pages(world, statuses=frozenset({"error", "timeout"})) == [[bad]]
    assert pages(world, statuses=frozenset({"success"}), thread_id=one) == [[good]]
    assert pages(world, statuses=frozenset({"pending"})) == [[steps]]


def test_a_thread_that_is_not_there_has_no_list(world: World) -> None:
    with pytest.raises(NotFound):
        pages(world, thread_id="0199c7a0-0000-4000-8000-00000000dead")


def test_a_run_whose_row_is_gone_is_passed_over(world: World) -> None:
    thread = new_thread(world)
    made = [run_on(world, thread).run_id for _ in range(3)]
    item = keys.run(TENANT, thread, made[1])
    world.cloud.dynamodb.delete_item(
        TableName=world.name, Key={keys.PARTITION: {"S": item.partition}, keys.SORT: {"S": item.sort}}
    )
    assert pages(world, limit=2) == [[made[2], made[0]]]


def test_runs_of_another_tenant_are_not_listed(world: World) -> None:
    run_on(world, new_thread(world))
    assert world.run_lists.page("globex", RunQuery(limit=10)).runs == []


def test_a_page_is_bounded_work_whatever_it_is_filtered_by(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lists, "MOST_LOOKED_AT", 4)
    thread = new_thread(world)
    failed = run_on(world, thread, FAILED).run_id
    for _ in range(9):
        run_on(world, thread)
    assert pages(world, limit=2, statuses=frozenset({"error"})) == [[], [], [failed]]


def test_a_page_is_short_when_its_runs_have_much_to_show(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"text": "x" * LARGEST_INLINE}
    made = [world.runs.create_stateless(TENANT, body(input=asked)).run_id for _ in range(12)][::-1]
    monkeypatch.setattr(run_lists, "MOST_BYTES", 2 * LARGEST_INLINE)
    with Calls(world.cloud.s3, "GetObject") as reads:
        page = world.run_lists.page(TENANT, RunQuery(limit=12))
    assert ([run.run_id for run, _ in page.runs], page.last) == (made[:2], made[1])
    assert page.runs[0][0].kwargs["input"] == asked
    assert len(reads.requests) < len(made)
    assert pages(world, limit=12) == [made[place : place + 2] for place in range(0, 12, 2)]


def test_a_run_that_is_removed_while_it_is_listed_is_passed_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = (
        world.runs.create_stateless(TENANT, body(input={"text": "x" * LARGEST_INLINE})) for _ in range(2)
    )
    get = world.runs.get

    def get_or_miss(tenant: str, thread_id: str, run_id: str) -> Run:
        if run_id == gone.run_id:
            raise NotFound("gone")
        return get(tenant, thread_id, run_id)

    monkeypatch.setattr(world.runs, "get", get_or_miss)
    assert pages(world) == [[kept.run_id]]


def test_a_page_costs_a_query_for_each_shard_and_one_read_of_the_rows(world: World) -> None:
    thread = new_thread(world)
    for _ in range(5):
        run_on(world, thread)
    with (
        Calls(world.cloud.dynamodb, "Query") as queries,
        Calls(world.cloud.dynamodb, "BatchGetItem") as reads,
    ):
        page = world.run_lists.page(TENANT, RunQuery(limit=3))
    assert (len(page.runs), page.last is None) == (3, False)
    assert (len(queries.requests), len(reads.requests)) == (keys.SHARDS, 1)
    assert len(reads.requests[0]["RequestItems"][world.name]["Keys"]) == 4


def test_a_run_that_was_started_before_builds_were_kept_is_claimed_and_read(world: World) -> None:
    thread = new_thread(world)
    run = world.runs.create(TENANT, thread, body())
    world.table.write(Update(key=keys.run(TENANT, thread, run.run_id), remove=("build",)))
    assert world.runs.get(TENANT, thread, run.run_id).build == UNDEPLOYED
    assert pages(world, limit=10) == [[run.run_id]]
