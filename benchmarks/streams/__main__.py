"""What a stream costs and how fast it is: `make bench-stream`.

A graph whose model says tokens at a pace, each of them the time at which it was said, is streamed by
Crewline and by `langgraph dev`, both on this machine and at the same time, in turns: in place, and
through the log of a run in the background. Then the write units of the log are counted from the
requests, and a hundred streams are opened at once. Exit code 1: a budget is not kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.reports import aligned, exit_code, verdict_lines
from benchmarks.runs.judgements import OURS
from benchmarks.runs.peers import LANGGRAPH_DEV, CannotInstall, running
from benchmarks.runs.servers import DidNotStart, our_service
from benchmarks.streams.crowds import crowd_rows, crowds
from benchmarks.streams.judgements import judge_crowds, judge_units
from benchmarks.streams.paths import Measured, Speech, delay_rows, measure, ratio_rows
from benchmarks.streams.units import LogCost, count_units

_ROUNDS: Final = 10
_QUICK_ROUNDS: Final = 2
_SPEECH: Final = Speech(tokens=100, pause=0.01)
_LONG_SPEECH: Final = Speech(tokens=1_000, pause=0.01)
_CROWD: Final = 100
_CROWD_SPEECH: Final = Speech(tokens=40, pause=0.15)
_WAVES: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say with the exit code whether every budget is kept."""
    parser = argparse.ArgumentParser(prog="benchmarks.streams", description="Measure what a stream costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args(arguments)
    if not sys.platform.startswith("linux"):
        print("The memory of other processes is only known on Linux.", file=sys.stderr)
        return 2
    rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crewline-bench-") as name:
        folder = Path(name)
        measured, missing = _measure(folder, rounds)
        print(_heading(rounds), *aligned(delay_rows(measured, missing), texts=2), sep="\n")
        for peer, reason in missing.items():
            print(f"{peer} was not measured: {reason}")
        if not missing:
            print("", *aligned(ratio_rows(measured, OURS), texts=2), sep="\n")
        _say("write units")
        cost = count_units(folder / "counted", _LONG_SPEECH)
        print(f"\n{_spelled(cost)}")
        _say(f"{_CROWD} streams")
        found = crowds(folder / "crowd", _CROWD, _CROWD_SPEECH, _WAVES)
        print("\nThe front door's memory, in waves:", *aligned(crowd_rows(found), texts=2), sep="\n")
    verdicts = [judge_units(cost), *judge_crowds(found)]
    print("", *verdict_lines(verdicts), f"\n{time.monotonic() - began:.0f} s", sep="\n")
    return exit_code(verdicts)


def _measure(folder: Path, rounds: int) -> tuple[Measured, dict[str, str]]:
    missing: dict[str, str] = {}
    peer = LANGGRAPH_DEV
    with ExitStack() as stack:
        servers = [stack.enter_context(our_service(folder / "ours", watch="cpu"))]
        _say(f"starting {peer.name} {peer.version}")
        try:
            servers.append(stack.enter_context(running(peer, folder)))
        except (CannotInstall, DidNotStart) as exc:
            missing[peer.name] = str(exc)
        return measure(servers, _SPEECH, rounds, _say), missing


def _heading(rounds: int) -> str:
    peer = LANGGRAPH_DEV
    return (
        f"{_SPEECH.tokens} tokens, one every {_SPEECH.pause * 1000:.0f} ms and what the server needs; beside "
        f"{peer.name} ({peer.package} {peer.version}).\n"
        f"{rounds} rounds; the first byte since the run was asked for, a token since the model has said it.\n"
    )


def _spelled(cost: LogCost) -> str:
    return (
        f"The log of {cost.tokens} tokens: {cost.size / 1024:.0f} KB of frames in {cost.batches} batches, "
        f"{cost.units} WCU: {cost.per_thousand:.0f} for a thousand tokens."
    )


def _say(what: str) -> None:
    """Show what is being measured where somebody may watch."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what} …", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
