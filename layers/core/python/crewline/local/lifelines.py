"""Processes that end with the one that started them, even if that one was killed.

A pipe is the only notice that survives a SIGKILL on every POSIX system: the kernel closes its ends
with the process, and the other side sees it at once. (Linux's parent-death signal follows the
*thread* that forked, and the emulator forks its workers from threads that end with the call.)
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Final

_STDIN: Final = 0
_STDOUT: Final = 1


def when_input_ends(action: Callable[[], object], *, fd: int = _STDIN) -> None:
    """Act when the process that holds the other end of our standard input has gone.

    Args:
        action: Called once, on a thread of its own.
        fd: The reading end of a pipe into which nobody writes anything of interest.
    """

    def wait() -> None:
        while os.read(fd, 4096):
            pass
        action()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def when_output_closes(action: Callable[[], object], *, fd: int = _STDOUT) -> None:
    """Act when the process that reads our standard output has gone.

    Args:
        action: Called once, on a thread of its own.
        fd: The writing end of a pipe.
    """
    poll = select.poll()
    poll.register(fd, 0)  # errors and hang-ups are reported without being asked for

    def wait() -> None:
        poll.poll()
        action()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
