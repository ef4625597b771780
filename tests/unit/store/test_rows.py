"""Thread and run rows: merged without reading, never brought back, large arguments in S3."""

from __future__ import annotations

from typing import Any

import pytest

from crewline.models.runs import Run, RunCreate, RunError, Usage
from crewline.models.threads import Thread
from crewline.store import keys, outbox, runs, threads
from crewline.store.changes import Write
from crewline.store.table import Refused
from tests.unit.store.worlds import TENANT, World

THREAD = Thread(
    thread_id="t",
    created_at="2026-01-01",
    updated_at="2026-01-01",
    state_updated_at="2026-01-01",
    status="idle",
    metadata={"a": {"deep": [1, None]}, "é.#": "odd name"},
)


def run(number: int = 1, **fields: Any) -> Run:
    given: dict[str, Any] = {
        "run_id": f"r{number}",
        "thread_id": "t",
        "assistant_id": "a",
        "graph_id": "g",
        "status": "pending",
        "created_at": "c",
        "updated_at": "u",
        "kwargs": RunCreate(assistant_id="a", input={"n": 1.5, "none": None}).kwargs(),
    }
    return Run(**{**given, **fields})


def read(world: World) -> Thread:
    thread, _ = threads.read(world.table, TENANT, "t")
    assert thread is not None
    return thread


def test_a_thread_row_survives(world: World) -> None:
    world.table.write(threads.create(TENANT, THREAD, token="x"))
    assert read(world) == THREAD


def test_a_thread_is_made_once(world: World) -> None:
    world.table.write(threads.create(TENANT, THREAD, token="x"))
    with pytest.raises(Refused):
        world.table.write(threads.create(TENANT, THREAD, token="x"))


def test_two_patches_of_different_keys_never_lose_one_another(world: World) -> None:
    world.table.write(threads.create(TENANT, THREAD, token="x"))
    for metadata in ({"b": 1}, {"c": 2}, {"a": None}):
        world.table.transact(threads.merge_metadata(TENANT, THREAD, metadata, updated_at="2026-01-02"))
    world.table.transact(threads.merge_metadata(TENANT, read(world), {"b": [3]}, updated_at="2026-01-03"))
    assert read(world).metadata == {"a": None, "é.#": "odd name", "b": [3], "c": 2}


def test_a_patch_moves_the_thread_in_the_list_by_time(world: World) -> None:
    world.table.write(threads.create(TENANT, THREAD, token="x"))
    world.table.transact(threads.merge_metadata(TENANT, THREAD, {}, updated_at="2026-01-02"))
    item = world.table.get(keys.thread(TENANT, "t")) or {}
    assert item[keys.THREADS_BY_UPDATED.sort] == "2026-01-02#t"


@pytest.mark.parametrize(
    "changes",
    [
        threads.merge_metadata(TENANT, THREAD, {"b": 1}, updated_at="now"),
        threads.set_busy(TENANT, "t", config={}, updated_at="now"),
        threads.set_busy(TENANT, "t", config={}, updated_at="now", thread=THREAD, metadata={"b": 1}),
        [threads.set_outcome(TENANT, "t", status="idle", error=None, updated_at="now")],
        [threads.set_status(TENANT, "t", status="idle", updated_at="now")],
        threads.delete(TENANT, THREAD),
        [threads.delete_private(TENANT, "t")],
        [runs.set_running(TENANT, "t", "r1", updated_at="now", started_at="now")],
        [runs.set_ended(TENANT, "t", "r1", owner="w1", status="success", ended_at="now")],
    ],
)
def test_nothing_brings_a_row_back_that_is_gone(world: World, changes: list[Write]) -> None:
    with pytest.raises(Refused):
        world.table.transact(changes)
    assert world.items() == {}


def test_an_outcome_replaces_the_error_of_the_run_before(world: World) -> None:
    world.table.write(threads.create(TENANT, THREAD, token="x"))
    for error in ({"error": "ValueError", "message": "boom"}, None):
        world.table.write(
            threads.set_outcome(
                TENANT, "t", status="error" if error else "idle", error=error, updated_at="now"
            )
        )
        assert read(world).error == error


def test_a_run_row_survives(world: World) -> None:
    stored = run(error=RunError(error="E", message="m"), head="h", metadata={"m": 1})
    world.table.write(runs.put(TENANT, stored, world.blobs))
    assert runs.get(world.table, world.blobs, TENANT, "t", "r1") == stored
    assert (
        "webhook" not in world.items()[keys.run(TENANT, "t", "r1")]["kwargs"]
    )  # what was not said takes no room


def test_large_arguments_of_a_run_are_in_s3_and_come_back(world: World) -> None:
    stored = run(kwargs=RunCreate(assistant_id="a", input="x" * 500_000).kwargs())
    world.table.write(runs.put(TENANT, stored, world.blobs))
    assert len(world.objects()) == 1
    assert runs.get(world.table, world.blobs, TENANT, "t", "r1") == stored


def test_a_run_row_is_made_once(world: World) -> None:
    world.table.write(runs.put(TENANT, run(), world.blobs))
    with pytest.raises(Refused):
        world.table.write(runs.put(TENANT, run(), world.blobs))


def test_the_runs_of_a_thread_are_read_newest_first(world: World) -> None:
    for number in (1, 3, 2):
        world.table.write(runs.put(TENANT, run(number), world.blobs))
    found = runs.newest_first(world.table, world.blobs, TENANT, "t")
    assert [one.run_id for one in found] == ["r3", "r2", "r1"]


def test_a_run_that_has_ended_is_never_shown_as_running_again(world: World) -> None:
    world.table.write(runs.put(TENANT, run(), world.blobs))
    running = runs.set_running(TENANT, "t", "r1", updated_at="1", started_at="1")
    for _ in range(2):
        assert world.table.write(running)["status"] == "running"
    world.table.write(runs.set_ended(TENANT, "t", "r1", owner="w1", status="success", ended_at="2"))
    with pytest.raises(Refused):
        world.table.write(running)


def test_an_end_keeps_its_error_and_its_head(world: World) -> None:
    world.table.write(runs.put(TENANT, run(), world.blobs))
    error = RunError(error="E", message="m")
    world.table.write(
        runs.set_ended(TENANT, "t", "r1", owner="w1", status="error", ended_at="1", error=error, head="h")
    )
    found = runs.get(world.table, world.blobs, TENANT, "t", "r1")
    assert found is not None
    assert (found.status, found.error, found.head, found.updated_at) == ("error", error, "h", "1")


def test_an_end_keeps_who_ended_it_when_it_began_and_what_it_used(world: World) -> None:
    world.table.write(runs.put(TENANT, run(turn=7, started_at="0"), world.blobs))
    used = Usage(input_tokens=3, output_tokens=4)
    item = world.table.write(
        runs.set_ended(
            TENANT, "t", "r1", owner="w1", status="success", ended_at="2", started_at="1", usage=used
        )
    )
    assert item["ended_by"] == "w1"
    found = runs.get(world.table, world.blobs, TENANT, "t", "r1")
    assert found is not None
    assert (found.turn, found.started_at, found.ended_at, found.usage) == (7, "1", "2", used)


def test_an_end_without_a_beginning_keeps_the_one_that_is_there(world: World) -> None:
    world.table.write(runs.put(TENANT, run(started_at="0"), world.blobs))
    item = world.table.write(runs.set_ended(TENANT, "t", "r1", owner="w1", status="success", ended_at="2"))
    assert item["started_at"] == "0"


def test_only_a_run_that_waits_is_superseded(world: World) -> None:
    superseded = runs.set_superseded(TENANT, "t", "r1", ended_at="2", owner="w1")
    with pytest.raises(Refused):
        world.table.write(superseded)
    world.table.write(runs.put(TENANT, run(), world.blobs))
    item = world.table.write(superseded)
    assert (item["status"], item["ended_at"], item["ended_by"]) == ("interrupted", "2", "w1")
    with pytest.raises(Refused):
        world.table.write(superseded)
    world.table.write(runs.put(TENANT, run(2), world.blobs))
    world.table.write(runs.set_running(TENANT, "t", "r2", updated_at="1", started_at="1"))
    with pytest.raises(Refused):
        world.table.write(runs.set_superseded(TENANT, "t", "r2", ended_at="2"))


def test_a_run_row_is_deleted_once_unless_it_need_not_exist(world: World) -> None:
    world.table.write(runs.put(TENANT, run(), world.blobs))
    world.table.write(runs.delete(TENANT, "t", "r1"))
    with pytest.raises(Refused):
        world.table.write(runs.delete(TENANT, "t", "r1"))
    world.table.write(runs.delete(TENANT, "t", "r1", must_exist=False))
    assert world.items() == {}


def test_the_status_that_a_rolled_back_run_leaves_keeps_error_and_state(world: World) -> None:
    world.table.write(threads.create(TENANT, THREAD, token="x"))
    error = {"error": "ValueError", "message": "boom"}
    world.table.write(threads.set_outcome(TENANT, "t", status="error", error=error, updated_at="2026-02-01"))
    world.table.write(threads.set_status(TENANT, "t", status="interrupted", updated_at="2026-02-02"))
    found = read(world)
    assert (found.status, found.error, found.updated_at) == ("interrupted", error, "2026-02-02")
    assert found.state_updated_at == "2026-02-01"


def test_an_outbox_item_is_read_as_it_was_written_and_removed(world: World) -> None:
    put = outbox.put(TENANT, run(status="success"), webhook=True, event="{}", now_ms=5)
    world.table.write(put)
    assert outbox.get(world.table, put.key) == outbox.Item(
        tenant=TENANT, thread_id="t", run_id="r1", status="success", webhook=True, event="{}"
    )
    assert world.items()[put.key][keys.LEASES_IN_FLIGHT.sort] == f"{5:015d}"
    for _ in range(2):
        world.table.write(outbox.delete(put.key))
    assert outbox.get(world.table, put.key) is None
