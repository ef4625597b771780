"""What checkpoints cost: `make bench-checkpoints`.

Plays threads of three graphs on a local cloud of its own, under each durability, with Crewline's
checkpointer (by itself, and fenced by a lease as in an execution), with `DynamoDBSaver` of
langgraph-checkpoint-aws, and works out the floor. Every turn has a new saver, as on a cold
function, and every measured turn's state is read back and compared. Figures follow AWS's sizing
rules and come from the requests themselves. Exit code 1: a budget is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from typing import Final, TextIO

# Before anything imports LangGraph, which reads it then.
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

from benchmarks.budgets import judge
from benchmarks.clouds import local_cloud
from benchmarks.graphs import KINDS, Kind
from benchmarks.measurements import DURABILITIES, SUBJECTS, Durability, Row, play, play_floor
from benchmarks.meters import Meter
from benchmarks.reports import exit_code, verdict_lines
from benchmarks.savers import Place
from benchmarks.tables import cost_table, cpu_table, markdown_table
from benchmarks.timings import Comparison, compare
from crewline.store.clients import client

_TURNS: Final = (1, 10, 50, 200)
_QUICK_TURNS: Final = (1, 10)
_CPU_KIND: Final[Kind] = "chat1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say with the exit code whether every budget is kept."""
    options = _parse(arguments)
    turns = _QUICK_TURNS if options.quick else _TURNS
    durabilities: Sequence[Durability] = ("async",) if options.quick else DURABILITIES
    began = time.monotonic()
    with local_cloud() as url:
        meter = Meter(client("dynamodb", endpoint_url=url))
        # First, while the emulator is small and nothing else runs.
        comparisons = _compare(url, meter, turns)
        rows = [
            row
            for kind in KINDS
            for durability in durabilities
            for row in _measure(url, meter, kind, durability, turns)
        ]
    _print(rows, comparisons, markdown=options.markdown)
    if options.quick:
        return 0  # the budgets are about a long thread
    verdicts = judge(rows, comparisons)
    print("", *verdict_lines(verdicts), sep="\n", file=_beside(options))
    print(f"\n{time.monotonic() - began:.0f} s", file=_beside(options))
    return exit_code(verdicts)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.checkpoints", description="Measure what checkpoints cost."
    )
    parser.add_argument("--quick", action="store_true", help="ten turns under one durability, and no budgets")
    parser.add_argument("--markdown", action="store_true", help="print the README's table instead")
    return parser.parse_args(arguments)


def _beside(options: argparse.Namespace) -> TextIO:
    return sys.stderr if options.markdown else sys.stdout


def _compare(url: str, meter: Meter, turns: Sequence[int]) -> list[Comparison]:
    _say(f"CPU, {_CPU_KIND}")
    place = Place.make(url, meter)
    try:
        return compare(place, _CPU_KIND, turns)
    finally:
        place.remove()


def _measure(url: str, meter: Meter, kind: Kind, durability: Durability, turns: Sequence[int]) -> list[Row]:
    """Play one thread with every saver; the rows of a turn are together."""
    rows = []
    for name in SUBJECTS:
        _say(f"{kind}, {durability}, {name}")
        place = Place.make(url, meter)
        try:
            rows += asyncio.run(play(place, name, kind, durability, turns))
        finally:
            place.remove()
    rows += asyncio.run(play_floor(kind, durability, turns))
    return sorted(rows, key=lambda row: row.turn)


def _print(rows: Sequence[Row], comparisons: Sequence[Comparison], *, markdown: bool) -> None:
    if markdown:
        print(*markdown_table(rows), sep="\n")
        return
    print(*cost_table(rows), sep="\n")
    print("\nCPU per superstep, beside InMemorySaver's serialisation of the same values:")
    print(*cpu_table(comparisons), sep="\n")


def _say(what: str) -> None:
    """Show what is being measured where somebody may watch."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what} …", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
