"""A client of streams as tests need one: it sees every byte, and leaves where it is told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import httpx

START: Final = "-1"
_GAP: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as it came."""

    raw: bytes

    @property
    def name(self) -> str:
        return self._field("event")

    @property
    def id(self) -> str:
        return self._field("id")

    @property
    def data(self) -> Any:
        return json.loads(self._field("data"))

    @property
    def place(self) -> tuple[int, int, int]:
        """What its id says, so that ids can be compared."""
        position, _, part = self.id.partition(".")
        epoch, seq = position.split("-")
        return int(epoch), int(seq), int(part or 0)

    @property
    def heartbeat(self) -> bool:
        return self.raw.startswith(b":")

    def _field(self, name: str) -> str:
        [value] = [line for line in self.raw.decode().splitlines() if line.startswith(f"{name}: ")]
        return value.partition(": ")[2]


class Line:
    """A stream that is open: where it goes on, and its events."""

    def __init__(self, response: httpx.Response) -> None:
        self.location = response.headers.get("location", "")
        self.run = response.headers.get("content-location", "")
        self.events = self._events(response)

    async def take(self, count: int) -> list[Event]:
        """Read so many events, heartbeats not counted."""
        found: list[Event] = []
        while len(found) < count:
            found.append(await anext(self.events))
        return found

    async def rest(self) -> list[Event]:
        return [event async for event in self.events]

    @staticmethod
    async def _events(response: httpx.Response) -> AsyncIterator[Event]:
        buffer = b""
        async for chunk in response.aiter_raw():
            *whole, buffer = (buffer + chunk).split(_GAP)
            for raw in whole:
                if not (event := Event(raw)).heartbeat:
                    yield event
        assert not buffer, "the stream ended within an event"


def stream(client: httpx.AsyncClient, thread_id: str, crew: str, **body: Any) -> Any:
    """Open the stream of a new run in place."""
    body = {"assistant_id": crew, **body}
    return client.stream("POST", f"/threads/{thread_id}/runs/stream", json=body)


def follow(
    client: httpx.AsyncClient, path: str, after: str | None = None, params: Mapping[str, Any] | None = None
) -> Any:
    """Open a run's stream, after an event."""
    return client.stream("GET", path, headers={"last-event-id": after} if after else {}, params=params or {})


async def replay(
    client: httpx.AsyncClient, path: str, after: str = START, params: Mapping[str, Any] | None = None
) -> list[Event]:
    """Read a run's stream to its end."""
    async with follow(client, path, after, params) as response:
        assert response.status_code == 200
        return await Line(response).rest()


async def cut(client: httpx.AsyncClient, opened: Any, count: int) -> tuple[list[Event], str]:
    """Leave a stream after so many events, and go on where it says; all events, and where that was."""
    async with opened as response:
        assert response.status_code == 200, await response.aread()
        line = Line(response)
        first = await line.take(count)
    return first + await replay(client, line.location, first[-1].id), line.location


def in_order(events: Sequence[Event]) -> bool:
    places = [event.place for event in events]
    return all(before < after for before, after in pairwise(places))


def events_of(answer: bytes) -> list[Event]:
    """Take the whole events out of an answer in chunks, as HTTP/1.1 has it on the wire."""
    body = b""
    while answer:
        size, _, answer = answer.partition(b"\r\n")
        length = int(size, 16)
        body, answer = body + answer[:length], answer[length + 2 :]
    *whole, _ = body.split(_GAP)
    return [event for event in map(Event, whole) if not event.heartbeat]
