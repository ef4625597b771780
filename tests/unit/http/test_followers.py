"""Following runs: frames from this process in order and within bounds, frames from a log to its end."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import orjson
import pytest

from crewline.errors import NotFound
from crewline.http import followers
from crewline.http.followers import FellBehind, Live, follow
from crewline.models.events import END, ERROR, LAST_EPOCH, METADATA, START, Frame, Position
from crewline.models.runs import Run, RunError
from crewline.services.events import Events
from crewline.services.runs import Runs

TENANT = "acme"


def frame(seq: int, mode: str = "values", data: bytes = b"{}") -> Frame:
    return Frame(position=Position(1, seq), mode=mode, data=data)


async def taken(live: Live) -> list[Frame]:
    return [one async for batch in live.batches() for one in batch]


# ------------------------------------------------------------------ from here


async def test_frames_come_in_order_up_to_the_end() -> None:
    live = Live()
    sent = [frame(1, METADATA), frame(2), frame(3, END)]
    for one in sent:
        live.put(one)
    assert await taken(live) == sent


async def test_frames_of_another_thread_wake_who_waits() -> None:
    live = Live()
    sent = [frame(seq) for seq in range(1, 200)] + [frame(200, END)]
    reading = asyncio.create_task(taken(live))
    await asyncio.sleep(0)
    speaker = threading.Thread(target=lambda: deque(map(live.put, sent), maxlen=0))
    speaker.start()
    assert await asyncio.wait_for(reading, 10) == sent
    speaker.join()


async def test_a_close_ends_what_has_no_end_and_loses_nothing() -> None:
    live = Live()
    live.put(frame(1))
    live.close()
    assert await taken(live) == [frame(1)]


async def test_a_close_wakes_who_waits() -> None:
    live = Live()
    reading = asyncio.create_task(taken(live))
    await asyncio.sleep(0)
    live.close()
    assert await asyncio.wait_for(reading, 10) == []


async def test_a_client_that_reads_too_slowly_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MOST_BYTES", 1_000)
    live = Live()
    for seq in range(1, 30):
        live.put(frame(seq, data=b"x" * 100))
    live.put(frame(30, END))
    with pytest.raises(FellBehind, match="Last-Event-ID"):
        await taken(live)


async def test_what_was_taken_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "MOST_BYTES", 1_000)
    live, got = Live(), 0
    batches = live.batches()
    for seq in range(1, 30):
        live.put(frame(seq, data=b"x" * 100))
        got += len(await anext(batches))
    assert got == 29


def test_frames_for_a_loop_that_is_closed_are_no_failure() -> None:
    live = Live()

    async def leave() -> None:
        reading = asyncio.create_task(taken(live))
        await asyncio.sleep(0)
        reading.cancel()

    asyncio.run(leave())
    live.put(frame(1))
    live.close()


# ------------------------------------------------------------------ from the log


def run(status: str, error: RunError | None = None) -> Run:
    return cast("Run", _Row(status, error))


class _Row:
    """As much of a run as a follower asks for."""

    thread_id, run_id, usage = "t", "r", None

    def __init__(self, status: str, error: RunError | None) -> None:
        self.status = status
        self.error = error

    @property
    def finished(self) -> bool:
        return self.status not in ("pending", "running")


class Log:
    """A log and a row that change with every look."""

    def __init__(self, batches: Sequence[Sequence[Frame]], rows: Sequence[Run | NotFound] = ()) -> None:
        self.batches = list(batches)
        self.rows = list(rows)
        self.asked: list[Position] = []

    def after(
        self, tenant: str, thread_id: str, run_id: str, position: Position, *, ended: bool = False
    ) -> list[Frame]:
        self.asked.append(position)
        return list(self.batches.pop(0)) if self.batches else []

    def ended(self, tenant: str, thread_id: str, run_id: str) -> bool:
        return False  # asked only when nothing came: these logs have no end then

    def get(self, tenant: str, thread_id: str, run_id: str, *, whole: bool = True) -> Run:
        row = self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]
        if isinstance(row, NotFound):
            raise row
        return row


async def followed(log: Log, row: Run, after: Position = START, **more: Any) -> list[list[Frame]]:
    both = (cast("Events", log), cast("Runs", log))
    return [frames async for frames in follow(*both, TENANT, row, after, **more)]


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "FIRST_POLL_S", 0.0)
    monkeypatch.setattr(followers, "LAST_POLL_S", 0.001)


async def test_a_log_is_followed_from_where_it_was_left_to_its_end() -> None:
    first, second = [frame(1, METADATA), frame(2)], [frame(3), frame(4, END)]
    log = Log([first, [], [], second], [run("running")])
    assert await followed(log, run("pending")) == [first, second]
    assert log.asked == [START, Position(1, 2), Position(1, 2), Position(1, 2)]


async def test_the_log_of_a_run_that_ended_is_read_once_more() -> None:
    """What landed between the last look at the log and the look at the row is not missed."""
    last = [frame(2), frame(3, END)]
    log = Log([[frame(1)], last], [run("success")])
    assert await followed(log, run("running")) == [[frame(1)], last]


async def test_an_end_that_nobody_wrote_is_made_up() -> None:
    log = Log([[frame(1)], []], [run("error", RunError(error="Lost", message="gone"))])
    (_, made_up) = await followed(log, run("running"))
    assert [one.mode for one in made_up] == [ERROR, END]
    assert made_up[0].data == orjson.dumps({"error": "Lost", "message": "gone"})
    assert orjson.loads(made_up[1].data or b"") == {"run_id": "r", "status": "error", "usage": None}
    assert [one.position for one in made_up] == [Position(LAST_EPOCH, 1), Position(LAST_EPOCH, 2)]


@pytest.mark.parametrize("before", [True, False])
async def test_an_error_is_told_once(*, before: bool) -> None:
    told = [] if before else [[frame(1, ERROR)]]
    log = Log([*told, []], [run("error", RunError(error="E", message="m"))])
    shown = await followed(log, run("running"), failed=before)
    assert [one.mode for one in shown[-1]] == [END]


async def test_a_run_that_goes_away_is_told() -> None:
    log = Log([[frame(1)]], [run("running"), NotFound("Run r not found")])
    with pytest.raises(NotFound):
        await followed(log, run("running"))
