"""The local cloud's process: ministack, checked, patched and served on a socket it is given.

`python -m crewline.local.emulator FD LOG [RUNTIMES]`: FD is a listening socket on loopback, LOG the file for
what functions print, RUNTIMES what stands for `/var/runtime` (see `crewline.local.sandboxes`). Standard input is the lifeline: the process ends when it closes.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from crewline.local import lifelines, patches
from crewline.local.failures import LocalServiceError

_LONGEST_STOP: Final = 20.0
"""Seconds after which a stop that hangs is cut short, with every worker."""


def main() -> None:
    """Serve the local cloud until SIGTERM comes or the starting process has gone."""
    fd, function_log = int(sys.argv[1]), Path(sys.argv[2])
    runtimes = Path(sys.argv[3]) if sys.argv[3:] else None
    try:
        patches.check_names()
    except LocalServiceError as error:
        sys.exit(f"Error: {error}")
    patches.apply(function_log, runtimes)
    # Every worker and client holds connections; the usual soft limit is 256 or 1,024.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_serve(fd))


async def _serve(fd: int) -> None:
    from hypercorn.asyncio import serve  # noqa: PLC0415  after ministack: it patches hypercorn on import
    from hypercorn.config import Config  # noqa: PLC0415

    app = importlib.import_module("ministack.app").app
    workers = importlib.import_module("ministack.core.lambda_runtime")
    config = Config()
    config.bind = [f"fd://{fd}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1.0
    config.accesslog = None
    stop = _stop_event()

    async def stopped() -> None:
        await stop.wait()
        # Workers first: what they wrote after the state is saved would be lost unnoticed.
        await asyncio.to_thread(workers.reset)

    await serve(app, config, shutdown_trigger=stopped)
    workers.reset()
    # The state is on disk. Pool threads that still wait for a queue would hold the exit up.
    sys.stderr.flush()
    os._exit(0)


def _stop_event() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def begin() -> None:
        if not stop.is_set():
            stop.set()
            cut = threading.Timer(_LONGEST_STOP, lambda: os.killpg(0, signal.SIGKILL))
            cut.daemon = True
            cut.start()

    loop.add_signal_handler(signal.SIGTERM, begin)
    lifelines.when_input_ends(lambda: loop.call_soon_threadsafe(begin))
    return stop


if __name__ == "__main__":
    main()
