"""Many streams at once on one front door, and what memory they take."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from benchmarks.runs.latencies import WrongAnswer
from benchmarks.runs.servers import our_service
from benchmarks.streams.paths import IN_PLACE, LOG, Speech

_TIMEOUT: Final = 120.0
_LOOK_S: Final = 0.05
_REST_S: Final = 1.0
_MEGABYTE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Crowd:
    """Streams that were open at the same time, and the megabytes that the front door had resident."""

    path: str
    streams: int
    before: float
    peak: float
    after: float

    @property
    def growth(self) -> float:
        """Megabytes at most beyond those before."""
        return self.peak - self.before


def crowds(folder: Path, streams: int, speech: Speech, waves: int) -> list[Crowd]:
    """Open so many streams at once, on one front door: runs in place, then followers of one run; in waves.

    A wave that does not count comes first.

    Raises:
        WrongAnswer: A stream lost a token.
    """
    with our_service(folder, watch="requests") as service:
        return asyncio.run(_crowds(service.url, service.process.pid, streams, speech, waves))


async def _crowds(url: str, pid: int, streams: int, speech: Speech, waves: int) -> list[Crowd]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=streams)
    async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, limits=limits, trust_env=False) as client:
        found = []
        for wave in range(waves + 1):
            for path, play in ((IN_PLACE, _play_in_place), (LOG, _play_log)):
                crowd = await _watched(pid, path, streams, play(client, streams, speech))
                found += [crowd] if wave else []
        return found


async def _watched(pid: int, path: str, streams: int, play: Awaitable[None]) -> Crowd:
    sizes = [before := resident(pid)]
    watching = asyncio.create_task(_note(pid, sizes))
    await play
    watching.cancel()
    await asyncio.sleep(_REST_S)
    return Crowd(path, streams, before, max(sizes), resident(pid))


async def _note(pid: int, sizes: list[float]) -> None:
    while True:
        sizes.append(resident(pid))
        await asyncio.sleep(_LOOK_S)


async def _play_in_place(client: httpx.AsyncClient, streams: int, speech: Speech) -> None:
    async def one() -> None:
        path = f"/threads/{await _thread(client)}/runs/stream"
        async with client.stream("POST", path, json=speech.body()) as response:
            await _count(response, speech)

    await asyncio.gather(*(one() for _ in range(streams)))


async def _play_log(client: httpx.AsyncClient, streams: int, speech: Speech) -> None:
    path = f"/threads/{await _thread(client)}/runs"
    run = (await client.post(path, json=speech.body(stream_resumable=True))).raise_for_status().json()

    async def one() -> None:
        since = {"last-event-id": "-1"}
        async with client.stream("GET", f"{path}/{run['run_id']}/stream", headers=since) as response:
            await _count(response, speech)

    await asyncio.gather(*(one() for _ in range(streams)))


async def _thread(client: httpx.AsyncClient) -> str:
    return str((await client.post("/threads", json={})).raise_for_status().json()["thread_id"])


async def _count(response: httpx.Response, speech: Speech) -> None:
    tail, tokens = b"", 0
    mark = b"AIMessageChunk"
    async for chunk in response.aiter_raw():
        tokens += (tail + chunk).count(mark)
        tail = chunk[1 - len(mark) :]
    if tokens < speech.tokens:
        raise WrongAnswer(f"{response.url}: {tokens} tokens of {speech.tokens}")


def resident(pid: int) -> float:
    """Give the megabytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MEGABYTE


def crowd_rows(found: list[Crowd]) -> list[tuple[str, ...]]:
    """Spell what was measured as rows of a table."""
    rows: list[tuple[str, ...]] = [("streams", "path", "MB before", "peak", "after", "peak growth")]
    for one in found:
        figures = (one.before, one.peak, one.after, one.growth)
        rows.append((str(one.streams), one.path, *(f"{figure:.0f}" for figure in figures)))
    return rows
