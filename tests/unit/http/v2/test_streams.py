"""A thread as one tape: run after run, from the first, until nothing happens any more."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from crewline.errors import NotFound
from crewline.http import followers
from crewline.http.followers import Arrivals
from crewline.http.v2 import streams
from crewline.http.v2.events import Event
from crewline.http.v2.streams import Tape
from crewline.models.events import END, METADATA, Frame, Position
from crewline.models.leases import Lease
from crewline.models.runs import Run, RunStatus

Told = list[tuple[str, str]]


class World:
    """A thread, its runs and their logs, as the services show them."""

    def __init__(self) -> None:
        self.rows: dict[str, Run] = {}
        self.logs: dict[str, list[Frame]] = {}
        self.watched: list[str] = []
        self.lists = 0

    def add(self, name: str, *, turn: int, status: RunStatus = "success", ended: bool = True) -> None:
        self.rows[name] = Run(
            run_id=name,
            thread_id="t",
            assistant_id="a",
            graph_id="crew",
            status=status,
            created_at="2026-11-21T13:00:00.000000+00:00",
            updated_at="2026-11-21T13:00:00.000000+00:00",
            started_at="2026-11-21T13:00:00.000000+00:00",
            kwargs={"stream_mode": ["values"]},
            turn=turn,
        )
        words: list[tuple[str, Any]] = [(METADATA, {"attempt": 1}), ("values", {"by": name})]
        words += [(END, {"status": "success"})] if ended else []
        self.logs[name] = [
            Frame(position=Position(turn, seq), mode=mode, data=orjson.dumps(data))
            for seq, (mode, data) in enumerate(words, 1)
        ]

    def read(self, tenant: str, thread_id: str) -> tuple[None, Lease]:
        if not self.rows:
            raise NotFound("no thread")
        return None, Lease(seq=max(run.turn for run in self.rows.values()))

    def list(self, tenant: str, thread_id: str, *, limit: int, offset: int, status: None) -> list[Run]:
        self.lists += 1
        newest = sorted(self.rows.values(), key=lambda run: run.run_id, reverse=True)
        return newest[offset : offset + limit]

    def ended(self, tenant: str, thread_id: str, run_id: str) -> bool:
        return False  # asked only when a log gives nothing more

    def get(self, tenant: str, thread_id: str, run_id: str, *, whole: bool = True) -> Run:
        if run_id not in self.rows:
            raise NotFound("no run")
        return self.rows[run_id]

    def watch(self, tenant: str, run: Run) -> None:
        self.watched.append(run.run_id)

    def after(
        self, tenant: str, thread_id: str, run_id: str, position: Position, *, ended: bool = False
    ) -> Any:
        return [frame for frame in self.logs[run_id] if frame.position > position]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "POLL_S", 0.01)
    monkeypatch.setattr(streams, "IDLE_S", 0.05)


@pytest.fixture
def world() -> World:
    return World()


def _tape(world: Any) -> Tape:
    return Tape(world, world, "local", Arrivals(world, world, "local", "t"))


def _short(event: Event) -> str:
    return str(event.data.get("by") or event.data["event"])


async def test_runs_are_told_in_the_order_of_their_turns(world: World) -> None:
    world.add("z", turn=1)
    world.add("a", turn=2)

    told = [event async for events in _tape(world).play() for event in events]

    assert [_short(event) for event in told] == ["running", "z", "completed", "running", "a", "completed"]
    assert [event.seq for event in told] == sorted(event.seq for event in told)
    assert world.lists == 1  # a thread at rest costs no more than its lease


async def test_a_long_thread_is_told_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "_PAGE", 2)
    for turn in range(1, 6):
        world.add(f"r{turn}", turn=turn)

    told = [event async for events in _tape(world).play() for event in events if event.method == "values"]

    assert [_short(event) for event in told] == ["r1", "r2", "r3", "r4", "r5"]


async def test_a_thread_may_begin_later_and_go_on(world: World) -> None:
    told = []
    playing = _tape(world).play()
    world.add("r1", turn=1)
    async for events in playing:
        told += [_short(event) for event in events]
        if "r2" not in world.rows:
            world.add("r2", turn=2)

    assert told == ["running", "r1", "completed", "running", "r2", "completed"]
    assert world.watched == ["r1", "r2"]


async def test_a_thread_that_does_not_exist_ends_after_a_while(world: World) -> None:
    assert [events async for events in _tape(world).play()] == []


async def test_a_run_that_is_rolled_back_meanwhile_is_interrupted(world: World) -> None:
    world.add("r1", turn=1, status="running", ended=False)
    told = []
    async for events in _tape(world).play():
        told += [_short(event) for event in events]
        world.rows.pop("r1", None)

    assert told == ["running", "r1", "interrupted"]


async def test_a_run_whose_log_has_no_end_is_ended(world: World) -> None:
    world.add("r1", turn=1, ended=False)
    world.rows["r1"] = replace(world.rows["r1"], status="interrupted")

    told = [_short(event) async for events in _tape(world).play() for event in events]

    assert told == ["running", "r1", "interrupted"]
