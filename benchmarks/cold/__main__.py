"""What a cold start costs: `make bench-cold`.

The example crews are synthesised as a deploy does it, for this machine's processor; every function is
started in fresh processes from its unpacked zips, in turns with a peer that imports what no function of
the kind can do without. Exit code 1: a budget is not kept. Needs Node and a Python of the functions' version.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.cold.layouts import Layout, synthesise
from benchmarks.cold.starts import PEER, PEER_CODE, Starts, importers, install_client, start
from benchmarks.reports import Verdict, aligned, exit_code, verdict_lines
from crewline import locations
from crewline_cdk.bundles import Target
from crewline_cdk.interpreters import find_interpreter

_ROUNDS: Final = 15
_QUICK_ROUNDS: Final = 3
_RATIO: Final = 1.15
_LIGHT: Final = ("api", "tail")
_ENGINE: Final = ("langgraph", "langchain")
_LARGEST: Final = 5
_DEVELOP_LOCK: Final = locations.CONTROL_LOCK.with_name("develop.txt")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say with the exit code whether every budget is kept."""
    parser = argparse.ArgumentParser(prog="benchmarks.cold", description="Measure what a cold start costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = _QUICK_ROUNDS if parser.parse_args(arguments).quick else _ROUNDS
    interpreter = find_interpreter(Target().python)
    if interpreter is None or shutil.which("node") is None:
        print(f"This needs Node, and Python {Target().python} to run what the layers hold.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="crewline-bench-") as name:
        folder = Path(name)
        deployment = synthesise(sys.executable, locations.EXAMPLES, folder / "cdk.out")
        client = install_client(_DEVELOP_LOCK, folder)
        layouts = {one: deployment.unpack(one, folder) for one in deployment.functions()}
        found = _measure(interpreter.path, layouts, client, rounds)
        print(f"{rounds} fresh processes each, in turns; medians. CPU is what ratios are of.\n")
        print(*aligned(_rows(found, layouts), texts=1), sep="\n")
        print("\nWhose modules take longest to import, in ms, their dependencies apart:")
        for one, layout in layouts.items():
            most = importers(interpreter.path, layout, client).most_common(_LARGEST)
            print(f"  {one}: {', '.join(f'{package} {spent:.0f}' for package, spent in most)}")
    verdicts = judge(found)
    print("", *verdict_lines(verdicts), sep="\n")
    return exit_code(verdicts)


def judge(found: Mapping[str, Starts]) -> list[Verdict]:
    """Hold the functions that are to be light against their budgets."""
    verdicts = []
    for name in _LIGHT:
        heavy = [module for module in found[name].modules if module.startswith(_ENGINE)]
        ratio = found[name].cpu_ms / found[PEER].cpu_ms
        verdicts += [
            Verdict(f"{name}: nothing of LangGraph or LangChain", not heavy, f"{len(heavy)} modules"),
            Verdict(f"{name}: init ≤ {_RATIO} times the peer's", ratio <= _RATIO, f"{ratio:.2f}"),
        ]
    return verdicts


def _measure(
    interpreter: Path, layouts: Mapping[str, Layout], client: Path, rounds: int
) -> dict[str, Starts]:
    found = {name: Starts(name) for name in (PEER, *layouts)}
    for _ in range(rounds):
        # The layers of crews have boto3; both have the rest.
        found[PEER].all.append(start(interpreter, layouts["crew"], client, code=PEER_CODE))
        for name, layout in layouts.items():
            found[name].all.append(start(interpreter, layout, client))
    return found


def _rows(found: Mapping[str, Starts], layouts: Mapping[str, Layout]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("function", "init CPU ms", "to peer", "init ms", "modules", "unpacked MB")]
    for name, starts in found.items():
        size = f"{layouts[name].size / 1_048_576:.0f}" if name in layouts else ""
        ratio = starts.cpu_ms / found[PEER].cpu_ms
        modules = str(len(starts.modules))
        rows.append((name, f"{starts.cpu_ms:.0f}", f"{ratio:.2f}", f"{starts.wall_ms:.0f}", modules, size))
    return rows


if __name__ == "__main__":
    sys.exit(main())
