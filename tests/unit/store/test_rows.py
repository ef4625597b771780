"""Thread and run rows: merged without reading, never brought back, large arguments in S3."""

from __future__ import annotations

from typing import Any

import pytest

from crewline.models.runs import Run, RunError
from crewline.models.threads import Thread
from crewline.store import keys, runs, threads
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
        "kwargs": {"input": {"n": 1.5, "none": None}},
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
    for metadata in ({"b": 1}, {"c": 2}, {"a": None}, {"b": [3]}):
        world.table.write(threads.merge_metadata(TENANT, "t", metadata, "2026-01-02"))
    assert read(world).metadata == {"a": None, "é.#": "odd name", "b": [3], "c": 2}


def test_a_patch_moves_the_thread_in_the_list_by_time(world: World) -> None:
    world.table.write(threads.create(TENANT, THREAD, token="x"))
    item = world.table.write(threads.merge_metadata(TENANT, "t", {}, "2026-01-02"))
    assert item[keys.THREADS_BY_UPDATED.sort] == "2026-01-02#t"


@pytest.mark.parametrize(
    "change",
    [
        threads.merge_metadata(TENANT, "t", {"a": 1}, "now"),
        threads.set_busy(TENANT, "t", metadata={}, config={}, updated_at="now"),
        threads.set_outcome(TENANT, "t", status="idle", error=None, updated_at="now"),
        threads.delete(TENANT, "t"),
        runs.set_running(TENANT, "t", "r1", updated_at="now"),
        runs.set_ended(TENANT, "t", "r1", owner="w1", status="success", updated_at="now"),
    ],
)
def test_nothing_brings_a_row_back_that_is_gone(world: World, change: Any) -> None:
    with pytest.raises(Refused):
        world.table.write(change)
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


def test_large_arguments_of_a_run_are_in_s3_and_come_back(world: World) -> None:
    stored = run(kwargs={"input": "x" * 500_000})
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
    running = runs.set_running(TENANT, "t", "r1", updated_at="1")
    for _ in range(2):
        assert world.table.write(running)["status"] == "running"
    world.table.write(runs.set_ended(TENANT, "t", "r1", owner="w1", status="success", updated_at="2"))
    with pytest.raises(Refused):
        world.table.write(running)


def test_an_end_keeps_its_error_and_its_head(world: World) -> None:
    world.table.write(runs.put(TENANT, run(), world.blobs))
    error = RunError(error="E", message="m")
    world.table.write(
        runs.set_ended(TENANT, "t", "r1", owner="w1", status="error", updated_at="1", error=error, head="h")
    )
    found = runs.get(world.table, world.blobs, TENANT, "t", "r1")
    assert found is not None
    assert (found.status, found.error, found.head, found.updated_at) == ("error", error, "h", "1")
