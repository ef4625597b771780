"""The event log of runs whose worker dies at any request, stalls, or says what no checkpoint has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Annotated, Any

import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from crewline.engine.crews import Graph
from crewline.errors import StaleOwner
from crewline.models.events import START as BEGINNING
from crewline.models.events import Batch, Frame, Position, Telling
from crewline.services import events as reading
from crewline.services.events import Events
from crewline.services.runs import Admitted
from crewline.store import leases
from tests.unit.engine.places import PATIENCE_S, Place, chain, step
from tests.unit.services.crashes import Stopped, stopping_at
from tests.unit.store.worlds import TENANT, claimed

MODES = ["values", "updates", "custom", "tasks", "checkpoints", "debug"]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.endings.time.sleep", lambda _seconds: None)
    monkeypatch.setattr("crewline.engine.emitters.FLUSH_S", 0.005)


def log_of(place: Place, admitted: Admitted, after: Position = BEGINNING) -> list[Frame]:
    world = place.world
    events = Events(world.table, world.blobs, world.records, place.clock)
    frames: list[Frame] = []
    while more := events.after(TENANT, admitted.run.thread_id, admitted.run.run_id, after):
        frames += more
        after = more[-1].position
    return frames


def heard(place: Place, admitted: Admitted) -> list[Frame]:
    """Execute a run; the frames that a client in place is told."""
    told: list[Frame] = []
    telling = Telling(listener=told.append)
    place.executor.execute(admitted.run, claimed(admitted), telling).result(PATIENCE_S)
    return told


def talking(name: str) -> Any:
    def node(state: Any) -> dict[str, Any]:
        get_stream_writer()({"node": name})
        return {"n": state.get("n", 0) + 1, "log": [name]}

    return node


def modes(frames: Sequence[Frame], mode: str) -> list[Frame]:
    return [frame for frame in frames if frame.mode == mode]


# ------------------------------------------------------------------ dying anywhere


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_log_has_each_event_once_wherever_the_worker_of_its_run_dies(place: Place, durability: str) -> None:
    place.serve(chain(a=talking("a"), b=talking("b"), c=talking("c")))
    attempts: set[int] = set()
    for after in (False, True):
        for number in count():
            place.thread = place.new_thread()
            admitted = place.start({"n": 0}, durability=durability, stream_mode=MODES)
            died = False
            with stopping_at(place.world, number, after=after):
                try:
                    place.execute(admitted)
                except Stopped:
                    died = True
            other = place.again()
            followed = log_of(other, admitted)
            if not leases.from_item(other.world.lease(place.thread)).free:
                other.execute(other.take_over(admitted))
            whole = log_of(other, admitted)

            assert whole[: len(followed)] == followed, "what a follower was told stays told"
            assert [frame.position for frame in whole] == sorted({frame.position for frame in whole})
            assert [frame.mode for frame in whole].count("end") == 1
            assert whole[-1].mode == "end"
            begun = [frame.data for frame in modes(whole, "metadata")]
            assert begun == [
                b'{"run_id":"%s","attempt":%d}' % (admitted.run.run_id.encode(), attempt)
                for attempt in range(1, len(begun) + 1)
            ]
            attempts.add(len(begun))
            for cut in {1, len(followed), len(followed) + 1, len(whole) - 1} & set(range(1, len(whole))):
                assert log_of(other, admitted, whole[cut - 1].position) == whole[cut:]
            if not died:
                break
    assert attempts == {1, 2}


def test_what_a_worker_says_after_another_has_taken_its_run_over_is_never_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.serve(chain(a=step("a")))
    admitted = place.start({"n": 0}, durability="sync")
    world = place.world
    events = Events(world.table, world.blobs, world.records, place.clock)
    epoch = claimed(admitted).lease.epoch
    said = [Frame(position=Position(epoch, seq), mode="custom", data=b"%d" % seq) for seq in range(1, 7)]
    run = (TENANT, admitted.run.thread_id, admitted.run.run_id)
    events.write(*run, Batch(frames=tuple(said[:2])))
    other = place.again()
    other.execute(other.take_over(admitted))
    events.write(*run, Batch(frames=tuple(said[2:4])))
    events.write(*run, Batch(frames=tuple(said[4:])))

    whole = log_of(other, admitted)
    assert [frame.data for frame in modes(whole, "custom")] == [b"1", b"2"]
    assert whole[-1].mode == "end"
    monkeypatch.setattr(reading, "MOST_BYTES", 1)
    assert log_of(other, admitted) == whole, "also when it is read piece by piece"
    assert log_of(other, admitted, said[3].position) == whole[2:]


@pytest.mark.parametrize("piece", [1, 1_000_000], ids=["piece by piece", "at once"])
def test_what_a_worker_says_too_late_is_told_to_nobody_also_before_it_is_said_how_far_it_counts(
    place: Place, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", piece)
    admitted = place.start({"n": 0})
    world = place.world
    events = Events(world.table, world.blobs, world.records, place.clock)
    epoch = claimed(admitted).lease.epoch
    said = [Frame(position=Position(epoch, seq), mode="custom", data=b"%d" % seq) for seq in range(1, 7)]
    run = (TENANT, admitted.run.thread_id, admitted.run.run_id)
    events.write(*run, Batch(frames=tuple(said[:2])))
    assert log_of(place, admitted) == said[:2]
    second = claimed(place.take_over(admitted))
    events.write(*run, Batch(frames=tuple(said[2:4])))
    followed = log_of(place, admitted)
    assert followed == said[:4], "nobody has looked yet: it counts"
    before = events.take_over(second)
    assert before is not None
    assert before.frames[-1] == said[3]
    events.write(*run, Batch(frames=tuple(said[4:])))
    assert log_of(place, admitted, followed[-1].position) == []
    assert log_of(place, admitted) == [], "who has seen nothing waits for the decision too"

    begun = Frame(position=Position(second.lease.epoch, 1), mode="metadata", data=b"{}")
    events.cut(second, Batch(frames=(begun,), attempt=2, upto=before.position))
    assert log_of(place, admitted, followed[-1].position) == [begun]
    assert log_of(place, admitted) == [*said[:4], begun]


def test_who_was_overtaken_before_it_said_how_far_the_log_counts_says_nothing(place: Place) -> None:
    admitted = place.start({"n": 0})
    world = place.world
    events = Events(world.table, world.blobs, world.records, place.clock)
    first = claimed(admitted).lease.epoch
    said = [Frame(position=Position(first, seq), mode="custom", data=b"1") for seq in (1, 2)]
    run = (TENANT, admitted.run.thread_id, admitted.run.run_id)
    events.write(*run, Batch(frames=(said[0],)))
    second = claimed(place.take_over(admitted))
    assert events.take_over(second) is not None
    events.write(*run, Batch(frames=(said[1],)))
    third = claimed(place.take_over(admitted))
    before = events.take_over(third)
    assert before is not None
    assert before.position == said[1].position
    late = Frame(position=Position(second.lease.epoch, 1), mode="metadata", data=b"{}")
    with pytest.raises(StaleOwner):
        events.cut(second, Batch(frames=(late,), attempt=2, upto=said[0].position))
    begun = Frame(position=Position(third.lease.epoch, 1), mode="metadata", data=b"{}")
    for _ in range(2):  # its answer was lost
        events.cut(third, Batch(frames=(begun,), attempt=2, upto=before.position))
    assert log_of(place, admitted) == [*said, begun]


def test_a_run_that_ended_without_a_decision_is_told_as_it_is(place: Place) -> None:
    admitted = place.start({"n": 0})
    world = place.world
    events = Events(world.table, world.blobs, world.records, place.clock)
    one = Frame(position=Position(claimed(admitted).lease.epoch, 1), mode="custom", data=b"1")
    run = (TENANT, admitted.run.thread_id, admitted.run.run_id)
    events.write(*run, Batch(frames=(one,)))
    events.take_over(claimed(place.take_over(admitted)))
    assert events.after(*run, BEGINNING) == []
    assert events.after(*run, BEGINNING, ended=True) == [one]


def test_a_worker_that_has_lost_its_run_waits_no_longer_to_log_what_it_said(place: Place) -> None:
    place.serve(chain(a=talking("a"), b=talking("b")))
    admitted = place.start({"n": 0}, durability="sync", stream_mode=MODES)
    other = place.again()
    other.take_over(admitted)
    with pytest.raises(StaleOwner):
        place.execute(admitted)

    async def left() -> list[str]:
        await asyncio.sleep(0.05)
        return [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]

    assert "Emitter._flush_soon" not in place.loop.submit(left()).result(PATIENCE_S)


# ------------------------------------------------------------------ frames that a checkpoint has only in part


class Untouched(TypedDict, total=False):
    n: int
    log: Annotated[list[str], lambda old, new: [*old, *new]]
    never: Annotated[dict[str, int], lambda old, new: {**old, **new}]


def parent_and_child() -> Graph:
    child = StateGraph(Untouched).add_node("inner", talking("inner")).add_edge(START, "inner").compile()

    async def outer(state: Untouched) -> Any:
        return await child.ainvoke({"n": 5})

    return StateGraph(Untouched).add_node("outer", outer).add_edge(START, "outer").compile()


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_log_says_what_was_said_also_of_channels_that_a_checkpoint_does_not_have(
    place: Place, durability: str
) -> None:
    place.serve(parent_and_child())
    admitted = place.start({"n": 0}, durability=durability, stream_mode=MODES, stream_subgraphs=True)
    told = heard(place, admitted)
    assert any(frame.namespace and b'"never":{}' in (frame.data or b"") for frame in told)
    assert log_of(place, admitted) == told
