"""Clients that know what their calls cost this process."""

from __future__ import annotations

import threading
import time
from typing import Any


class TimedClient:
    """A boto3 client that adds up the CPU of its calls; safe for many threads.

    Everything that boto3 does is in it: spelling, signing, sending and parsing.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.spent = 0.0
        """Milliseconds of CPU, on whatever threads called."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            before = time.thread_time_ns()
            try:
                return found(*arguments, **named)
            finally:
                spent = (time.thread_time_ns() - before) / 1e6
                with self._lock:
                    self.spent += spent

        return call
