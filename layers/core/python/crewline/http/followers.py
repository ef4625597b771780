"""Following runs: frames as they come, from here or from the log, until the run has ended."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from crewline.errors import CrewlineError
from crewline.http.sse import is_end
from crewline.models.events import Frame, Position
from crewline.models.runs import Run
from crewline.services.events import Events, ending
from crewline.services.runs import Runs

FIRST_POLL_S: Final = 0.05
LAST_POLL_S: Final = 1.0
"""How often the log of a run is read: at once after something came, more rarely the longer nothing does."""
MOST_BYTES: Final = 8_000_000
"""What may wait for a client that reads slowly; one that falls behind further is cut off, and resumes."""


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
        frames = await asyncio.to_thread(events.after, tenant, run.thread_id, run.run_id, after)
        if frames:
            failed = failed or any(frame.mode == "error" for frame in frames)
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
            pause = min(pause * 1.5, LAST_POLL_S)
        if not run.finished:
            run = await asyncio.to_thread(runs.get, tenant, run.thread_id, run.run_id, whole=False)
