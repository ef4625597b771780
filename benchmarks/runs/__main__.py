"""What a run costs: `make bench-runs`.

Runs one graph of one node behind Crewline's front door, skeino and `langgraph dev`, all on this
machine and at the same time, and drives them in turns with the same requests. Then traces what
Crewline asks of AWS for a `runs/wait`, and counts what a background run costs by AWS's sizing rules.
The peers are installed from the package index, once, into environments of their own; where one
cannot be, the table says why. Exit code 1: a budget is not kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.reports import aligned, exit_code, verdict_lines
from benchmarks.runs.judgements import judge_figures, judge_turns, judge_waits
from benchmarks.runs.latencies import Figures, Plan, latency_rows, measure
from benchmarks.runs.peers import LANGGRAPH_DEV, SKEINO, CannotInstall, Peer, running
from benchmarks.runs.servers import DidNotStart, our_service
from benchmarks.runs.traces import round_trips, trace_lines
from benchmarks.runs.turns import Wait, dearest, play_turns, request_rows, trace_waits, turn_rows

_PEERS: Final[Sequence[Peer]] = (SKEINO, LANGGRAPH_DEV)
_PLAN: Final = Plan(rounds=6, runs=10, paused=3)
_QUICK_PLAN: Final = Plan(rounds=2, runs=5, paused=1)
_TURNS: Final = (10, 50)
_QUICK_TURNS: Final = (10,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say with the exit code whether every budget is kept."""
    parser = argparse.ArgumentParser(prog="benchmarks.runs", description="Measure what a run costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and turns")
    options = parser.parse_args(arguments)
    if not sys.platform.startswith("linux"):
        print("The CPU of other processes is only known on Linux.", file=sys.stderr)
        return 2
    plan, turns = (_QUICK_PLAN, _QUICK_TURNS) if options.quick else (_PLAN, _TURNS)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crewline-bench-") as name:
        folder = Path(name)
        figures, missing = _measure(folder, plan)
        print(_heading(plan), *aligned(latency_rows(figures, missing), texts=1), sep="\n")
        for peer, reason in missing.items():
            print(f"{peer} was not measured: {reason}")
        _say("requests of runs/wait")
        warm, cold = trace_waits(folder / "traced")
        _print_trace("a process that has seen the thread", warm)
        _print_trace("a process that has not", cold)
        _say("background runs")
        played = play_turns(folder / "counted", turns)
        print("\nOne whole background run, front door and worker:")
        print(*aligned(turn_rows(played, turns), texts=2), sep="\n")
        for one in (next(turn for turn in played if turn.turn == turns[-1]), dearest(played, turns[-1])):
            print(f"\nThe requests of turn {one.turn}, {one.count} with {one.wcu} WCU:")
            print(*aligned(request_rows(one), texts=4), sep="\n")
    verdicts = [*judge_waits(warm, cold), *judge_turns(played, turns), *judge_figures(figures, missing)]
    print("", *verdict_lines(verdicts), f"\n{time.monotonic() - began:.0f} s", sep="\n")
    return exit_code(verdicts)


def _measure(folder: Path, plan: Plan) -> tuple[Mapping[str, Figures], Mapping[str, str]]:
    missing: dict[str, str] = {}
    with ExitStack() as stack:
        servers = [stack.enter_context(our_service(folder / "ours", watch="cpu"))]
        for peer in _PEERS:
            _say(f"starting {peer.name} {peer.version}")
            try:
                servers.append(stack.enter_context(running(peer, folder)))
            except (CannotInstall, DidNotStart) as exc:
                missing[peer.name] = str(exc)
        return measure(servers, plan, _say), missing


def _heading(plan: Plan) -> str:
    peers = ", ".join(f"{peer.name} ({peer.package} {peer.version})" for peer in _PEERS)
    return (
        f"POST /threads/{{id}}/runs/wait, one node, 200 B asked, 600 B answered; beside {peers}.\n"
        f"{plan.rounds} rounds of {plan.runs} runs one after the other and {plan.paused} after a random pause "
        "of up to 1 s, one client, a connection that stays for the round; CPU: median of the rounds.\n"
    )


def _print_trace(who: str, wait: Wait) -> None:
    trips = round_trips(wait.before_answer)
    print(f"\nruns/wait in {who}: {trips} sequential round trips; answered after {_took(wait)}")
    rows = trace_lines(wait.requests, began=wait.began, ended=wait.ended)
    print(*aligned(rows, texts=3), sep="\n")


def _took(wait: Wait) -> str:
    return f"{(wait.ended - wait.began) / 1e6:.1f} ms"


def _say(what: str) -> None:
    """Show what is being measured where somebody may watch."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what} …", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
