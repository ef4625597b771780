"""How long tokens take to a client: in place, and through the log of a run in the background."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson

from benchmarks.runs.latencies import WrongAnswer, connect, quantile
from benchmarks.runs.servers import Server

IN_PLACE: Final = "in place"
LOG: Final = "through the log"
PATHS: Final = (IN_PLACE, LOG)

_GAPS: Final = (b"\r\n\r\n", b"\n\n")
_MEDIAN: Final = 0.5
_TAIL: Final = 0.95


@dataclass(frozen=True, slots=True)
class Speech:
    """What is said."""

    tokens: int
    pause: float
    """Seconds before each token."""

    def body(self, **more: Any) -> dict[str, Any]:
        """Give the body of a run."""
        given = {
            "messages": [{"role": "user", "content": "go on"}],
            "tokens": self.tokens,
            "pause": self.pause,
        }
        return {"assistant_id": "speech", "input": given, "stream_mode": "messages-tuple", **more}


@dataclass(slots=True)
class Delays:
    """Milliseconds that were measured of one path of one server."""

    first: list[float] = field(default_factory=list)
    """From the request to the first byte of the stream, of each run."""
    tokens: list[float] = field(default_factory=list)
    """From the moment at which it was said to its arrival, of each token."""

    @property
    def p50(self) -> float:
        """The median delay of a token."""
        return quantile(self.tokens, _MEDIAN)

    @property
    def p95(self) -> float:
        """The delay that one token in twenty exceeds."""
        return quantile(self.tokens, _TAIL)

    @property
    def first_p50(self) -> float:
        """The median time to the first byte."""
        return quantile(self.first, _MEDIAN)

    @property
    def first_p95(self) -> float:
        """The time to the first byte that one run in twenty exceeds."""
        return quantile(self.first, _TAIL)


Measured = Mapping[tuple[str, str], Delays]
"""By server and path."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One stream as it came."""

    first: int
    """When its first byte came, by the machine's monotonic clock."""
    size: int
    """Its bytes."""
    delays: Sequence[float]
    """Milliseconds of each token."""


def measure(
    servers: Sequence[Server], speech: Speech, rounds: int, say: Callable[[str], None]
) -> dict[tuple[str, str], Delays]:
    """Measure every path of every server: a round that does not count, and then the others, in turns.

    Raises:
        WrongAnswer: A server lost a token.
    """
    found: dict[tuple[str, str], Delays] = {}
    for count in range(rounds + 1):
        for server in servers:
            for path in PATHS:
                say(f"round {count} of {rounds}, {server.name} {path}")
                with connect(server) as client:
                    began, heard = (
                        in_place(client, speech) if path == IN_PLACE else through_log(client, speech)
                    )
                if count:
                    delays = found.setdefault((server.name, path), Delays())
                    delays.first.append((heard.first - began) / 1e6)
                    delays.tokens += heard.delays
    return found


def in_place(client: httpx.Client, speech: Speech) -> tuple[int, Heard]:
    """Stream a run that executes in place; when it was asked for, and what came."""
    path = f"/threads/{_thread(client)}/runs/stream"
    began = time.monotonic_ns()
    with client.stream("POST", path, json=speech.body()) as response:
        return began, hear(response, speech)


def through_log(client: httpx.Client, speech: Speech) -> tuple[int, Heard]:
    """Start a run in the background and follow it; when it was asked for, and what came."""
    path = f"/threads/{_thread(client)}/runs"
    began = time.monotonic_ns()
    run = client.post(path, json=speech.body(stream_resumable=True)).raise_for_status().json()
    # From the beginning: what is said before the follower is there counts as well.
    since = {"last-event-id": "-1"}
    with client.stream("GET", f"{path}/{run['run_id']}/stream", headers=since) as response:
        return began, hear(response, speech)


def hear(response: httpx.Response, speech: Speech) -> Heard:
    """Take the times out of a stream.

    Raises:
        WrongAnswer: It was refused, or a token is missing or came twice.
    """
    if not response.is_success:
        raise WrongAnswer(f"{response.url}: {response.read()[:300]!r}")
    first = size = 0
    said: list[int] = []
    delays: list[float] = []
    for now, raw in _arrivals(response.iter_raw()):
        first, size = first or now, size + len(raw)
        for token in _tokens(raw):
            said.append(token)
            delays.append((now - token) / 1e6)
    if len(said) != speech.tokens or len(set(said)) != len(said):
        raise WrongAnswer(
            f"{response.url}: {len(said)} tokens of {speech.tokens}, {len(set(said))} of them different"
        )
    return Heard(first, size, delays)


def _thread(client: httpx.Client) -> str:
    return str(client.post("/threads", json={}).raise_for_status().json()["thread_id"])


def _arrivals(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Split a stream into events, each with the time at which it was there."""
    buffer = b""
    for chunk in chunks:
        now = time.monotonic_ns()
        buffer += chunk
        gap = next((gap for gap in _GAPS if gap in buffer), None)
        if gap:
            *whole, buffer = buffer.split(gap)
            yield from ((now, raw + gap) for raw in whole)


def _tokens(raw: bytes) -> list[int]:
    """Read the tokens of an event: the times that it says; the whole message comes without any of its own."""
    lines = dict(line.split(b": ", 1) for line in raw.splitlines() if b": " in line)
    if lines.get(b"event") != b"messages":
        return []
    message, _ = orjson.loads(lines[b"data"])
    return [int(word) for word in message["content"].split()] if message["type"] == "AIMessageChunk" else []


def delay_rows(measured: Measured, missing: Iterable[str]) -> list[Sequence[str]]:
    """Spell what was measured as rows of a table."""
    rows: list[Sequence[str]] = [
        ("server", "path", "first byte p50 ms", "p95 ms", "token delay p50 ms", "p95 ms")
    ]
    for (server, path), found in measured.items():
        figures = (found.first_p50, found.first_p95, found.p50, found.p95)
        rows.append((server, path, *(f"{figure:.1f}" for figure in figures)))
    return [*rows, *((name, path, *["-"] * 4) for name in missing for path in PATHS)]


def ratio_rows(measured: Measured, ours: str) -> list[Sequence[str]]:
    """Spell how many times as long another server takes."""
    rows: list[Sequence[str]] = [("server", "path", "first byte p50", "p95", "token delay p50", "p95")]
    for (server, path), theirs in measured.items():
        if server == ours:
            continue
        own = measured[(ours, path)]
        pairs = (
            (theirs.first_p50, own.first_p50),
            (theirs.first_p95, own.first_p95),
            (theirs.p50, own.p50),
            (theirs.p95, own.p95),
        )
        rows.append((f"{server} / {ours}", path, *(f"{one / other:.2f}" for one, other in pairs)))
    return rows
