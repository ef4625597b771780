"""Histories of threads as the control plane lists them: one checkpoint a run, page by page, with bounded work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from crewline.errors import CorruptRecord, NotFound
from crewline.models.runs import RunCreate
from crewline.models.states import STATE_NODE
from crewline.services import histories
from crewline.services.histories import Histories, Page, Past
from crewline.store.records import Records
from tests.unit.engine.places import Counting, Place, chain, step
from tests.unit.store.worlds import TENANT


def page(place: Place, *, limit: int = 20, cursor: str | None = None, supersteps: bool = False) -> Page:
    listing = Histories(place.world.records, place.world.threads)
    return listing.list(TENANT, place.thread, limit=limit, cursor=cursor, supersteps=supersteps)


def pages(place: Place, **query: Any) -> list[list[Past]]:
    found = [page(place, **query)]
    while found[-1].cursor:
        assert len(found) < 100
        found.append(page(place, cursor=found[-1].cursor, **query))
    return [list(one.states) for one in found]


def run(place: Place, n: int) -> str:
    started = place.start({"n": n}, crew="steps")
    place.execute(started)
    return started.run.run_id


def test_each_run_has_its_last_checkpoint_and_what_no_run_made_is_between_them(place: Place) -> None:
    first = run(place, 0)
    left = place.history()[0]
    second = run(place, 10)
    place.edit({"n": 50}, as_node=STATE_NODE)
    edited = place.history()[0]
    place.edits().rollback(TENANT, place.thread, left["checkpoint_id"])

    turns = page(place).states
    assert [one.run_id for one in turns] == [None, None, second, first]
    assert [one.values["n"] for one in turns] == [3, 50, 13, 3]
    assert turns[1].checkpoint_id == edited["checkpoint_id"]
    assert (turns[3].checkpoint_id, turns[3].created_at) == (left["checkpoint_id"], left["created_at"])
    assert page(place).cursor is None


def test_the_state_as_of_the_fourth_turn_can_be_seen_when_the_fifth_went_wrong(place: Place) -> None:
    for n in range(4):
        run(place, n)
    place.run({"x": "wrong"}, crew="failing")
    assert place.thread_row()["status"] == "error"
    fifth, fourth, *_ = page(place).states
    assert (fifth.run_id, fourth.values["n"]) == (place.last().run_id, 6)


def test_every_superstep_is_listed_when_it_is_asked_for(place: Place) -> None:
    first = run(place, 0)
    every = page(place, supersteps=True).states
    assert [one.checkpoint_id for one in every] == [one["checkpoint_id"] for one in place.history()]
    assert {one.run_id for one in every} == {first}


def test_a_run_in_flight_has_left_nothing_yet(place: Place) -> None:
    seen: list[list[str | None]] = []

    def look(state: Counting) -> dict[str, Any]:
        seen.append([one.run_id for one in page(place).states])
        seen.append([one.run_id for one in page(place, supersteps=True).states])
        return {"n": 1}

    place.serve(chain(a=step("a"), look=look))
    first = place.start({"n": 0}, durability="sync")
    place.execute(first)
    second = place.start({"n": 0}, durability="sync")
    place.execute(second)
    one, two = first.run.run_id, second.run.run_id
    assert seen[0] == []
    assert set(seen[1]) == {one}
    assert seen[2] == [one]
    assert set(seen[3]) == {one, two}
    assert [turn.run_id for turn in page(place).states] == [two, one]


@pytest.mark.parametrize("limit", [1, 2, 3, 20])
@pytest.mark.parametrize("supersteps", [True, False])
def test_pages_have_everything_once(place: Place, *, limit: int, supersteps: bool) -> None:
    for n in range(4):
        run(place, n)
    place.edit({"n": 1}, as_node=STATE_NODE)
    whole = list(page(place, limit=100, supersteps=supersteps).states)
    assert len(whole) == (4 * 5 + 1 if supersteps else 5)
    found = pages(place, limit=limit, supersteps=supersteps)
    assert [one for part in found for one in part] == whole
    assert len(found) == -(-len(whole) // limit), "nobody is sent for a page that has nothing"


def test_a_request_looks_at_so_many_checkpoints_and_says_where_to_go_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [run(place, n) for n in range(3)]
    monkeypatch.setattr(histories, "MOST_LOOKED", 2)
    found = pages(place)
    assert [one.run_id for part in found for one in part] == ids[::-1]
    assert [] in found


def test_large_states_make_short_pages(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [run(place, n) for n in range(3)]
    monkeypatch.setattr(histories, "MOST_BYTES", 1)
    assert [[one.run_id for one in part] for part in pages(place)] == [[one] for one in ids[::-1]]


def test_a_place_that_was_pruned_since_is_no_end(place: Place) -> None:
    ids = [run(place, n) for n in range(3)]
    cursor = page(place, limit=2).cursor
    assert cursor
    gone = cursor[:-1] + ("0" if cursor[-1] != "0" else "1")
    rest = [one.run_id for one in page(place, cursor=gone).states]
    assert rest[-1] == ids[0]


def test_a_thread_that_nothing_has_written_has_no_history(place: Place) -> None:
    assert page(place) == Page([], None)
    body = RunCreate.model_validate({"assistant_id": "steps", "input": {"n": 0}})
    place.world.runs.create(TENANT, place.thread, body)
    assert page(place) == Page([], None)


def test_a_thread_that_is_not_there_has_no_history(place: Place) -> None:
    place.thread = str(uuid4())
    with pytest.raises(NotFound):
        page(place)


def losing(place: Place, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Let something happen while the next history is read, which misses a record then."""
    read = Records.newest_first

    def newest_first(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(Records, "newest_first", read)
        happens()
        raise CorruptRecord("A difference lacks its parent.")

    monkeypatch.setattr(Records, "newest_first", newest_first)


def test_a_thread_that_is_deleted_while_its_history_is_read_is_not_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(place, 0)
    losing(place, monkeypatch, lambda: place.world.threads.delete(TENANT, place.thread))
    with pytest.raises(NotFound):
        page(place)


def test_a_history_that_is_pruned_while_it_is_read_is_read_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(place, 0)
    run(place, 1)
    losing(place, monkeypatch, lambda: place.world.prunings.keep_latest(TENANT, place.thread))
    (left,) = page(place).states
    assert left.checkpoint_id == place.history()[0]["checkpoint_id"]


def test_a_history_that_has_lost_a_record_for_no_reason_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(place, 0)
    losing(place, monkeypatch, lambda: None)
    with pytest.raises(CorruptRecord):
        page(place)
