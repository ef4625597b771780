"""Streams of events: kept open, ended by a failure of ours, and broken off when they are not whole."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator

import pytest
from aws_lambda_powertools import Logger

from crewline.errors import NotFound
from crewline.http import streams, waits
from crewline.http.followers import FellBehind
from crewline.http.sse import HEARTBEAT
from crewline.http.streams import Manner, guarded
from crewline.http.waits import OutOfTime

LOGGER = Logger(service="streams", level="CRITICAL")


class Producer:
    """Chunks, and then whatever comes."""

    def __init__(self, *parts: bytes, then: BaseException | None = None) -> None:
        self.parts = parts
        self.then = then
        self.left = threading.Event()
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for part in self.parts:
                yield part
            if self.then:
                raise self.then
            await asyncio.Event().wait()
        finally:
            self.closed = True

    def guarded(self, until: float = math.inf) -> AsyncIterator[bytes]:
        return guarded(self.chunks(), LOGGER, until=until, left=self.left.set)


async def taken(chunks: AsyncIterator[bytes]) -> list[bytes]:
    received: list[bytes] = []
    try:
        async for chunk in chunks:
            received.append(chunk)  # noqa: PERF401 (what came before it broke is kept)
    except (OutOfTime, FellBehind):
        return received
    raise AssertionError("it ended, and was not broken off")


class FakeTime:
    """The monotonic clock of waits, which moves only when a test moves it."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(waits, "time", fake)
    return fake


async def test_a_stream_is_broken_off_when_the_functions_time_is_up(clock: FakeTime) -> None:
    producer = Producer(b"a", b"b")
    chunks = producer.guarded(until=1.0)
    assert [await anext(chunks), await anext(chunks)] == [b"a", b"b"]
    clock.now = 1.0
    assert await taken(chunks) == []
    assert producer.closed
    assert not producer.left.is_set(), "the client has not left"


async def test_a_stream_that_is_never_silent_is_broken_off_too(clock: FakeTime) -> None:
    async def flood() -> AsyncIterator[bytes]:
        while True:
            clock.now += 0.1
            yield b"x"

    received = await taken(guarded(flood(), LOGGER, until=1.0))
    assert 0 < len(received) < 20
    assert set(received) == {b"x"}


async def test_a_stream_that_fell_behind_is_broken_off() -> None:
    producer = Producer(b"a", then=FellBehind("too slow"))
    assert await taken(producer.guarded()) == [b"a"]
    assert not producer.left.is_set()


async def test_a_silent_stream_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.001)
    chunks = Producer(b"a").guarded()
    assert [await anext(chunks) for _ in range(3)] == [b"a", HEARTBEAT, HEARTBEAT]
    await chunks.aclose()  # type: ignore[attr-defined]


async def test_a_stream_says_so_and_what_failed_in_a_manner_of_its_own() -> None:
    manner = Manner(
        silence_s=0.001,
        heartbeat=lambda: b"still here",
        failure=lambda kind, text: f"{kind}: {text}".encode(),
    )
    chunks = guarded(Producer(b"a").chunks(), LOGGER, until=math.inf, manner=manner)
    assert [await anext(chunks) for _ in range(2)] == [b"a", b"still here"]
    await chunks.aclose()  # type: ignore[attr-defined]
    failing = guarded(Producer(then=NotFound("gone")).chunks(), LOGGER, until=math.inf, manner=manner)
    assert [chunk async for chunk in failing] == [b"NotFound: gone"]


async def test_a_client_that_leaves_is_told_of_and_the_producer_closed() -> None:
    producer = Producer(b"a")
    chunks = producer.guarded()
    assert await anext(chunks) == b"a"
    await chunks.aclose()  # type: ignore[attr-defined]
    assert producer.closed
    assert await asyncio.to_thread(producer.left.wait, 5)


@pytest.mark.parametrize(
    ("failure", "told"),
    [(NotFound("gone"), b'"message":"gone"'), (RuntimeError("hunter2"), b"InternalError")],
)
async def test_a_failure_is_the_last_event_and_ours_without_its_text(failure: Exception, told: bytes) -> None:
    producer = Producer(b"a", then=failure)
    first, last = [chunk async for chunk in producer.guarded()]
    assert first == b"a"
    assert last.startswith(b"event: error")
    assert told in last
    assert b"hunter2" not in last
    assert not producer.left.is_set()
