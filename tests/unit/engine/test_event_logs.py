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
