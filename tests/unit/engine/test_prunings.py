"""Pruning: threads go, or keep their newest state alone and go on from it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ReadTimeoutError
from pydantic import ValidationError

from crewline.errors import NotFound, ThreadBusy, Unavailable
from crewline.models.events import END, START
from crewline.models.threads import LARGEST_PRUNE, ThreadPrune
from crewline.services.events import Events
from crewline.store import keys, leases
from tests.unit.engine.places import Place
from tests.unit.engine.test_edits import deltas, outer_and_inner
from tests.unit.engine.test_event_logs import log_of
from tests.unit.store.worlds import TENANT, Calls


def prune(place: Place, *thread_ids: str, **body: Any) -> int:
    return place.world.prunings.prune(TENANT, ThreadPrune(thread_ids=list(thread_ids), **body))


def keep_latest(place: Place) -> None:
    place.world.prunings.keep_latest(TENANT, place.thread)


def records(place: Place) -> list[str]:
    return [key.sort for key in place.world.records.keys_of(TENANT, place.thread)]


# ------------------------------------------------------------------ delete


def test_pruned_threads_are_gone_and_counted_once(place: Place) -> None:
    one, two = place.new_thread(), place.new_thread()

    assert prune(place, one, two, one, str(uuid4())) == 2

    for thread_id in (one, two):
        with pytest.raises(NotFound):
            place.world.threads.get(TENANT, thread_id)
    assert place.thread_row()


def test_nothing_is_pruned_when_an_id_is_no_id(place: Place) -> None:
    with pytest.raises(ValidationError):
        prune(place, place.thread, "nope")
    assert place.thread_row()


def test_a_request_prunes_a_stated_number_of_threads() -> None:
    with pytest.raises(ValidationError):
        ThreadPrune(thread_ids=[str(uuid4())] * (LARGEST_PRUNE + 1))


# ------------------------------------------------------------------ keep_latest


def test_the_newest_state_stays_and_the_thread_goes_on_from_it(place: Place) -> None:
    for turn in range(3):
        place.run({"n": turn}, crew="steps")
    before = place.history()[0]

    assert prune(place, place.thread, strategy="keep_latest") == 1

    assert place.history() == place.again().history() == [before]
    assert len(records(place)) == 1
    assert place.thread_row()["values"] == before["values"]
    assert place.run({"n": 9}, crew="steps")["n"] == 12
    assert len(place.again().history()) == 6


def test_pruning_twice_changes_nothing(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    keep_latest(place)
    before = place.world.items()
    keep_latest(place)
    assert place.world.items() == before


def test_a_thread_without_a_state_has_nothing_to_lose(place: Place) -> None:
    assert prune(place, place.thread, strategy="keep_latest") == 1


@pytest.mark.parametrize("ask", ["approval", "subgraph"])
def test_an_open_question_stays_open(place: Place, ask: str) -> None:
    if ask == "subgraph":
        place.serve(outer_and_inner())
        place.run({"n": 0})
    else:
        place.run({"topic": "x"}, crew="approval")
    before = place.state(subgraphs=True)

    keep_latest(place)

    assert place.state(subgraphs=True) == before
    crew = "echo" if ask == "subgraph" else "approval"
    assert "yes" in str(place.again().run(crew=crew, command={"resume": "yes"}))


def test_what_a_delta_channel_lives_in_stays(place: Place) -> None:
    place.serve(deltas())
    for text in ("one", "two"):
        place.run({"log": [text]})

    keep_latest(place)

    assert place.again().state()["values"]["log"] == ["one", "a", "two", "a"]


def test_large_values_of_what_is_pruned_go_too(place: Place) -> None:
    for _ in range(3):
        place.run({"size": 200_000}, crew="large")
    text = place.state()["values"]["text"]

    keep_latest(place)

    kept = {blob for _, blob in place.world.records.places_of(TENANT, place.thread) if blob}
    assert {name.rsplit("/", 1)[1] for name in place.world.objects()} >= kept
    assert len(place.world.objects()) <= 2
    assert place.again().state()["values"]["text"] == text


def test_a_large_difference_that_becomes_whole_leaves_nothing_in_the_bucket(place: Place) -> None:
    place.run({"size": 1_000_000}, crew="large")
    place.run({"size": 200_000}, crew="large")
    keep_latest(place)

    kept = {blob for _, blob in place.world.records.places_of(TENANT, place.thread) if blob}

    assert {name.rsplit("/", 1)[1] for name in place.world.objects()} == kept
    assert len(place.again().state()["values"]["text"]) == 200_000


def test_a_run_whose_checkpoints_were_pruned_is_still_told_to_its_end(place: Place) -> None:
    started = place.start({"n": 0}, crew="steps", stream_mode=["values", "updates"])
    place.execute(started)
    told = [one.mode for one in log_of(place, started)]

    keep_latest(place)
    run = place.row(started.run)
    events = Events(place.world.table, place.world.blobs, place.world.records, place.clock)
    left = events.after(TENANT, place.thread, run.run_id, START, ended=run.finished)

    assert told.count("values") == 4
    last = len(told) - 1 - told[::-1].index("values")
    assert [one.mode for one in left] == [
        mode for place_, mode in enumerate(told) if mode != "values" or place_ == last
    ]
    assert left[-1].mode == END


def test_a_fork_that_is_the_newest_is_what_stays(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    place.edit({"n": 100}, as_node="a", checkpoint_id=place.history()[2]["checkpoint_id"])

    keep_latest(place)

    assert place.state()["values"]["n"] == 100
    assert place.run(None, crew="steps")["n"] == 102


# ------------------------------------------------------------------ at the same time


def test_a_thread_with_a_run_in_flight_is_passed_over(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    started = place.start({"n": 1}, crew="steps")
    before = place.world.items()

    assert prune(place, place.thread, strategy="keep_latest") == 0
    with pytest.raises(ThreadBusy):
        keep_latest(place)

    assert place.world.items() == before
    assert place.execute(started)["n"] == 4


def test_a_run_that_starts_meanwhile_stops_the_pruning_and_loses_nothing(place: Place) -> None:
    for turn in range(25):
        place.run({"n": turn}, crew="steps")
    other = place.again()
    batches: list[int] = []
    remove = place.world.prunings._remove

    def remove_beside_a_run(*args: Any) -> None:
        batches.append(len(records(place)))
        other.run({"n": 7}, crew="steps")
        remove(*args)

    place.world.prunings._remove = remove_beside_a_run  # type: ignore[method-assign, assignment]
    with pytest.raises(ThreadBusy):
        keep_latest(place)

    assert batches
    assert len(place.again().history(limit=1000)) == 130
    assert place.again().state()["values"]["n"] == 10


@pytest.mark.parametrize("lands", [1, 2])
def test_a_pruning_that_dies_leaves_a_thread_that_can_be_read_and_pruned(place: Place, lands: int) -> None:
    for turn in range(40):
        place.run({"n": turn}, crew="steps")
    state = place.state()
    dead = [ReadTimeoutError(endpoint_url="http://db")] * 8
    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [*[None] * lands, *dead]
        with pytest.raises(Unavailable):
            keep_latest(place)

    cold = place.again()
    assert cold.state() == state
    assert cold.history()[0] == state
    keep_latest(cold)
    assert cold.history(limit=1000) == [state]
    assert leases.from_item(place.world.lease(place.thread)).pruned == 2
    assert records(place)[0].startswith(keys.RECORD_PREFIX)
