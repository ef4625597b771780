"""The front door in a process that the benchmark can see into: `python -m benchmarks.runs.service`.

Says on standard output where it is, one line of JSON, and answers every line of standard input with
the CPU that boto3 has taken so far; ends when standard input does.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.runs.hooks import LOG_VARIABLE, WATCH_VARIABLE, WATCHES, Recorder, Timer, see_clients
from crewline import locations
from crewline.local.services import serve
from crewline.settings import read_settings

_WORKER: Final = Path(__file__).with_name("worker")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="benchmarks.runs.service")
    parser.add_argument("project", type=Path)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--watch", choices=WATCHES, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    # For the worker, which inherits the environment of the local cloud.
    os.environ.update({WATCH_VARIABLE: options.watch, LOG_VARIABLE: str(options.log)})
    paths = (str(locations.ROOT), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    timer = Timer()
    if options.watch == "cpu":
        see_clients(timer.adopt)
    else:
        see_clients(Recorder("front door", options.log, images=options.watch == "items").adopt)
    functions = _functions(options.state)
    with serve(options.project, state=options.state / "service", functions=functions) as service:
        settings = read_settings(os.environ)
        _say(
            url=service.url,
            cloud=service.cloud.url,
            cloud_pid=service.cloud.process.pid,
            table=settings.table,
        )
        for _ in sys.stdin:
            _say(boto3_ms=timer.spent_ms)
    sys.stdout.flush()
    os._exit(0)


def _functions(state: Path) -> Path:
    """Make a folder of functions in which the worker is the one that can be seen."""
    folder = state / "functions"
    folder.mkdir(parents=True, exist_ok=True)
    for function in locations.FUNCTIONS.iterdir():
        link = folder / function.name
        if not link.exists():
            link.symlink_to(_WORKER if function.name == "worker" else function)
    return folder


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
