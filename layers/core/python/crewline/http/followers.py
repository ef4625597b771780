"""Following runs: frames as they come, from here or from the log, until the run has ended."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final

from crewline.errors import CrewlineError, NotFound
from crewline.http.sse import is_end
from crewline.models.events import ERROR, START, Frame, Position
from crewline.models.runs import Run
from crewline.models.users import EVERYTHING, Filters
from crewline.services.events import Events, ending
from crewline.services.runs import Runs
from crewline.services.threads import Threads

FIRST_POLL_S: Final = 0.05
LAST_POLL_S: Final = 0.5
_GROWTH: Final = 1.2
"""How often the log of a run is read: at once after something came, more rarely the longer nothing does.

So what comes after a silence comes later by a tenth of it at most, and by a quarter of a second, on average.
"""
MOST_BYTES: Final = 8_000_000
"""What may wait for a client that reads slowly; one that falls behind further is cut off, and resumes."""
_PAGE: Final = 100
"""Runs that are listed at once."""


class FellBehind(CrewlineError):
    """A client reads more slowly than its run speaks; the connection is broken, so that it resumes."""

    code = "fell_behind"


class Live:
    """The frames of a run that executes in this process, handed from its loop to that of the client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._closed = False
        self._behind = False
        self._wake: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def put(self, frame: Frame) -> None:
        """Take a frame; never blocks. For any thread."""
        with self._lock:
            if self._size + frame.size > MOST_BYTES:
                self._behind = True
                self._frames.clear()
                self._size = MOST_BYTES
            else:
                self._frames.append(frame)
                self._size += frame.size
        self._notify()

    def close(self) -> None:
        """Say that nothing more comes from here. For any thread."""
        with self._lock:
            self._closed = True
        self._notify()

    async def batches(self) -> AsyncIterator[list[Frame]]:
        """Give frames as they come, until they end or nothing more comes from here.

        Raises:
            FellBehind: They came faster than they were taken.
        """
        event = asyncio.Event()
        with self._lock:
            self._wake = (asyncio.get_running_loop(), event)
        while True:
            event.clear()
            with self._lock:
                if self._behind:
                    raise FellBehind("The client reads too slowly; it can resume with Last-Event-ID.")
                frames, closed = list(self._frames), self._closed
                self._frames.clear()
                self._size = 0
            if frames:
                yield frames
                if is_end(frames[-1]):
                    return
            elif closed:
                return
            else:
                await event.wait()

    def _notify(self) -> None:
        with self._lock:
            wake = self._wake
        if wake:
            loop, event = wake
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


class Arrivals:
    """The runs of a thread as they are accepted, for one connection; a thread at rest costs one small read.

    Args:
        runs: The runs.
        threads: The threads.
        tenant: Whose thread.
        thread_id: The thread; one that does not exist is one on which nothing happens yet.
        sees: Which threads whoever follows may see; another does not exist either.
    """

    def __init__(
        self, runs: Runs, threads: Threads, tenant: str, thread_id: str, sees: Filters = EVERYTHING
    ) -> None:
        self._runs = runs
        self._threads = threads
        self._tenant = tenant
        self._thread_id = thread_id
        self._sees = sees
        self._seen: set[str] = set()
        self._accepted = 0

    def fresh(self) -> Sequence[Run]:
        """List the runs that were accepted since the last time, in the order of their turns.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
        """
        with suppress(NotFound):
            thread, lease = self._threads.read(self._tenant, self._thread_id)
            if lease.seq == self._accepted or (self._sees and not self._sees.match(thread.metadata)):
                return ()
            found: list[Run] = []
            while True:
                page = self._runs.list(
                    self._tenant, self._thread_id, limit=_PAGE, offset=len(found), status=None
                )
                found += page
                if len(page) < _PAGE or any(run.run_id in self._seen for run in page):
                    break
            self._accepted = lease.seq
            fresh = [run for run in found if run.run_id not in self._seen]
            self._seen |= {run.run_id for run in fresh}
            return sorted(fresh, key=lambda run: (run.turn, run.run_id))
        return ()


async def live_frames(
    live: Live, events: Events, runs: Runs, tenant: str, run: Run
) -> AsyncIterator[list[Frame]]:
    """Give the frames of a run that executes here; if it is taken over elsewhere, go on from its log.

    Yields:
        What came since, never empty; last the end.

    Raises:
        FellBehind: They came faster than they were taken.
        NotFound: The run was rolled back or deleted.
        Unavailable: DynamoDB or S3 did not answer.
    """
    last, failed = START, False
    async for frames in live.batches():
        last, failed = frames[-1].position, failed or any(frame.mode == ERROR for frame in frames)
        yield frames
        if is_end(frames[-1]):
            return
    run = await asyncio.to_thread(runs.get, tenant, run.thread_id, run.run_id)
    async for frames in follow(events, runs, tenant, run, last, failed=failed):
        yield frames


async def follow(
    events: Events, runs: Runs, tenant: str, run: Run, after: Position, *, failed: bool = False
) -> AsyncIterator[list[Frame]]:
    """Give the frames of a run's log after a position, until its end.

    Args:
        events: The logs.
        runs: The runs.
        tenant: Whose run.
        run: The run, as it was read.
        after: The last frame that the client has.
        failed: It has the run's error already.

    Yields:
        What came since, never empty; last the end, made up if nobody wrote one. Nothing when the
        client has the end already.

    Raises:
        NotFound: The run was rolled back or deleted.
        Unavailable: DynamoDB or S3 did not answer.
    """
    pause = FIRST_POLL_S
    while True:
        ended = run.finished  # read before the log: then what is in the log now is all there is
        frames = await asyncio.to_thread(events.after, tenant, run.thread_id, run.run_id, after, ended=ended)
        if frames:
            failed = failed or any(frame.mode == ERROR for frame in frames)
            after = frames[-1].position
            yield frames
            if is_end(frames[-1]):
                return
            pause = FIRST_POLL_S
        elif ended:
            if not await asyncio.to_thread(events.ended, tenant, run.thread_id, run.run_id):
                yield ending(run, failed=failed)
            return
        else:
            await asyncio.sleep(pause)
            pause = min(pause * _GROWTH, LAST_POLL_S)
        if not run.finished:
            run = await asyncio.to_thread(runs.get, tenant, run.thread_id, run.run_id, whole=False)
