"""Batches: each run on its own, all of them asked for by one id."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from crewline.errors import BadRequest, Conflict, InvalidRequest, NotFound, Unavailable
from crewline.models.clocks import new_id
from crewline.models.runs import Run, RunCreate
from crewline.services.endings import Outcome
from crewline.store.idempotency import Once
from tests.unit.store.worlds import TENANT, Calls, World

ONCE = Once(scope="POST /runs/batch", key="k", digest="d")
DAY_S = 86_400


def body(**fields: Any) -> RunCreate:
    return RunCreate.model_validate({"assistant_id": "echo", **fields})


def started(made: list[Any]) -> list[Run]:
    return [one for one in made if isinstance(one, Run)]


def test_each_run_has_a_thread_of_its_own_and_goes_through_the_run_queue(world: World) -> None:
    _, made = world.batches.create(TENANT, [body(input={"n": number}) for number in range(5)])
    runs = started(made)
    assert [run.kwargs["input"]["n"] for run in runs] == list(range(5))
    assert len({run.thread_id for run in runs}) == 5
    assert {message["run_id"] for message in world.messages()} == {run.run_id for run in runs}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"assistant_id": "nope"}, InvalidRequest),
        ({"command": {"resume": 1}}, BadRequest),
        ({"webhook": "http://10.0.0.1"}, InvalidRequest),
    ],
)
def test_a_batch_with_a_wrong_run_starts_none(world: World, wrong: dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        world.batches.create(TENANT, [body(), body(**wrong)])
    assert world.items() == {}
    assert world.messages() == []


def test_a_repeated_batch_gives_the_same_runs_under_the_same_id(world: World) -> None:
    bodies = [body(), body()]
    batch, made = world.batches.create(TENANT, bodies, once=ONCE)
    again, same = world.batches.create(TENANT, bodies, once=ONCE)
    assert [run.run_id for run in started(same)] == [run.run_id for run in started(made)]
    assert again.batch_id == batch.batch_id
    assert world.batches.get(TENANT, batch.batch_id)["total"] == 2
    assert len(world.messages()) == 2


def test_the_same_key_with_another_body_starts_nothing(world: World) -> None:
    world.batches.create(TENANT, [body()], once=ONCE)
    with pytest.raises(Conflict):
        world.batches.create(TENANT, [body(input=1)], once=Once(scope=ONCE.scope, key="k", digest="e"))


def test_a_run_that_cannot_be_started_stops_no_other_and_is_told_in_its_place(world: World) -> None:
    bodies = [body(input={"n": number}) for number in range(3)]
    broken = EndpointConnectionError(endpoint_url="http://db")
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [broken]
        batch, made = world.batches.create(TENANT, bodies, once=ONCE)
    [failed] = [one for one in made if not isinstance(one, Run)]
    assert (failed["error"], failed["retryable"]) == ("unavailable", True)
    assert len(started(made)) == 2
    told = world.batches.get(TENANT, batch.batch_id)
    assert (told["total"], told["failed"], told["counts"]) == (3, 1, {"pending": 2})
    _, again = world.batches.create(TENANT, bodies, once=ONCE)
    assert len(started(again)) == 3
    assert {run.run_id for run in started(made)} < {run.run_id for run in started(again)}
    assert world.batches.get(TENANT, batch.batch_id)["failed"] == 0


def test_a_batch_of_which_nothing_could_be_started_is_refused(world: World) -> None:
    broken = EndpointConnectionError(endpoint_url="http://db")
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [broken] * 2
        with pytest.raises(Unavailable):
            world.batches.create(TENANT, [body(), body()])


def test_a_batch_counts_its_runs_by_status(world: World) -> None:
    batch, made = world.batches.create(TENANT, [body() for _ in range(4)])
    ended, running, cancelled, _ = started(made)
    for run in (ended, running):
        claim: Any = world.leases.claim(TENANT, run.thread_id, run.run_id)
        world.runs.show_running(claim, run)
        if run is ended:
            world.endings.finish(claim, Outcome(status="success", thread_status="idle"), [])
    world.cancellations.cancel(TENANT, cancelled.thread_id, cancelled.run_id)
    told = world.batches.get(TENANT, batch.batch_id)
    assert told["counts"] == {"success": 1, "running": 1, "interrupted": 1, "pending": 1}
    assert (told["total"], told["removed"]) == (4, 0)


def test_runs_of_a_batch_stay_readable_for_a_day(world: World) -> None:
    _, made = world.batches.create(TENANT, [body()])
    [run] = started(made)
    assert world.lease(run.thread_id)["keep_s"] == DAY_S


def test_runs_that_are_gone_are_counted_as_such(world: World) -> None:
    batch, made = world.batches.create(TENANT, [body(), body()])
    gone, _ = started(made)
    world.cancellations.cancel(TENANT, gone.thread_id, gone.run_id, "rollback")
    assert world.batches.get(TENANT, batch.batch_id)["removed"] == 1


def test_a_thousand_runs_are_one_small_item(world: World) -> None:
    batch, _ = world.batches.create(TENANT, [body() for _ in range(3)])
    [item] = [item for (partition, _), item in world.items().items() if partition.startswith("B#")]
    assert len(item["members"]) == 3 * 32
    assert world.batches.get(TENANT, batch.batch_id)["total"] == 3


def test_a_batch_that_is_not_there_is_said_to_be(world: World) -> None:
    with pytest.raises(NotFound, match="two weeks"):
        world.batches.get(TENANT, new_id())
    with pytest.raises(InvalidRequest):
        world.batches.get(TENANT, "nope")


def test_another_tenant_finds_no_batch_of_ours(world: World) -> None:
    batch, _ = world.batches.create(TENANT, [body()])
    with pytest.raises(NotFound):
        world.batches.get("other", batch.batch_id)
