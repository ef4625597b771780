"""What a run may cost, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.reports import Verdict
from benchmarks.runs.latencies import Figures
from benchmarks.runs.servers import BOTO3
from benchmarks.runs.traces import round_trips
from benchmarks.runs.turns import WINDOW, Turn, Wait, window

_WARM: Final = 2
_COLD: Final = 3
_CPU_RATIO: Final = 2
_FASTER: Final = 50
_WCU: Final = 40
_REQUESTS: Final = 12

OURS: Final = "crewline"


def judge_waits(warm: Wait, cold: Wait) -> list[Verdict]:
    """Hold the traces against the budget of round trips."""
    found = (
        ("has seen the thread", _WARM, round_trips(warm.before_answer)),
        ("has not", _COLD, round_trips(cold.before_answer)),
    )
    return [
        Verdict(
            f"runs/wait, a process that {who}: sequential DynamoDB round trips ≤ {most}",
            trips <= most,
            str(trips),
        )
        for who, most, trips in found
    ]


def judge_turns(turns: Sequence[Turn], shown: Sequence[int]) -> list[Verdict]:
    """Hold background runs against their budgets, the dearest of each window."""
    verdicts = []
    for last in shown:
        recent = window(turns, last)
        wcu, requests = max(turn.wcu for turn in recent), max(turn.count for turn in recent)
        line = f"background run, turn {last} and the {WINDOW - 1} before"
        verdicts += [
            Verdict(f"{line}: WCU ≤ {_WCU}", wcu <= _WCU, f"at most {wcu}"),
            Verdict(f"{line}: requests ≤ {_REQUESTS}", requests <= _REQUESTS, f"at most {requests}"),
        ]
    return verdicts


def judge_figures(figures: Mapping[str, Figures], missing: Mapping[str, str]) -> list[Verdict]:
    """Hold our figures against those of the peers of the same run."""
    return [_judge_cpu(figures, missing), _judge_latency(figures, missing)]


def _judge_cpu(figures: Mapping[str, Figures], missing: Mapping[str, str]) -> Verdict:
    line = f"CPU per runs/wait ≤ {_CPU_RATIO} times skeino's"
    if "skeino" not in figures:
        return Verdict(line, None, missing["skeino"])
    ours, theirs = (figures[name].cpu_per_run() or 0.0 for name in (OURS, "skeino"))
    boto3 = figures[OURS].cpu_per_run(BOTO3) or 0.0
    return Verdict(
        line,
        ours <= _CPU_RATIO * theirs,
        f"{ours / theirs:.2f} = {ours:.2f} ms / {theirs:.2f} ms "
        f"({(ours - boto3) / theirs:.2f} without boto3's {boto3:.2f} ms)",
    )


def _judge_latency(figures: Mapping[str, Figures], missing: Mapping[str, str]) -> Verdict:
    line = f"p50 of runs/wait at least {_FASTER} times under that of langgraph dev"
    if "langgraph dev" not in figures:
        return Verdict(line, None, missing["langgraph dev"])
    ours, theirs = (figures[name].p50 for name in (OURS, "langgraph dev"))
    return Verdict(line, _FASTER * ours <= theirs, f"{theirs / ours:.0f} = {theirs:.0f} ms / {ours:.1f} ms")
