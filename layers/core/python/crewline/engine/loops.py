"""The one event loop on which a process executes crews, for ever.

Users' module-level async clients bind to the loop that first used them; so every invocation of a
warm process, and every request of the front door, runs crews on this one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

_THREADS: Final = 64


class _Threads(ThreadPoolExecutor):
    """Threads, as many as there are to be that work."""

    def wait(self, done: Future[T]) -> T:
        """Wait for something in one of them; another works in its place meanwhile."""
        with self._shutdown_lock:
            self._max_workers += 1
            self._adjust_thread_count()
        try:
            return done.result()
        finally:
            with self._shutdown_lock:
                self._max_workers -= 1


class CrewLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        # Nodes that are plain functions run in these threads, and so do our writes: asyncio's own
        # few would let slow nodes keep checkpoints from being written.
        self._threads = _Threads(_THREADS, thread_name_prefix="crew")
        self.loop.set_default_executor(self._threads)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="crews", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop.

        Args:
            work: The coroutine.

        Returns:
            A future that any thread can wait for, and any other loop through `asyncio.wrap_future`.
        """
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it, in any thread but the loop's.

        What it awaits may need one of the crews' threads, as the name of a host is looked up in one. So those
        that wait here do not count: else nodes that all waited would have taken every thread, for ever.

        Args:
            work: The coroutine.

        Raises:
            Exception: Whatever it raised.
        """
        return self._threads.wait(self.submit(work))

    def close(self) -> None:
        """Cancel what still runs, stop the loop and wait for its thread."""
        if self.loop.is_closed():
            return
        self.submit(_cancel_all()).result()
        self._closing = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._closing:
            # A node that calls sys.exit() ends its run with an error; asyncio would also end the loop.
            with suppress(SystemExit):
                self.loop.run_forever()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
    await asyncio.get_running_loop().shutdown_default_executor()
