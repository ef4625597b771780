"""What a stream may cost, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.reports import Verdict
from benchmarks.streams.crowds import Crowd
from benchmarks.streams.units import LogCost

_BYTES_PER_UNIT: Final = 2_048
_MEGABYTES: Final = 64
"""How much the front door may grow while a hundred streams are open."""
_LEFT: Final = 16
"""How much of it may stay from one wave to the last, in megabytes."""


def judge_units(cost: LogCost) -> Verdict:
    """Hold the log against the budget of write units."""
    most = cost.size / _BYTES_PER_UNIT
    return Verdict(
        "log path: ≤ 1 WCU per 2 KB of frames",
        cost.units <= most,
        f"{cost.units} WCU for {cost.size / 1024:.0f} KB, {cost.size / 1024 / cost.units:.1f} KB each",
    )


def judge_crowds(found: Sequence[Crowd]) -> list[Verdict]:
    """Hold the memory of many streams against its bound."""
    verdicts = []
    for path in dict.fromkeys(one.path for one in found):
        waves = [one for one in found if one.path == path]
        growth, left = max(one.growth for one in waves), waves[-1].after - waves[0].after
        line = f"{waves[0].streams} streams {path}"
        verdicts += [
            Verdict(f"{line}: memory grows by ≤ {_MEGABYTES} MB", growth <= _MEGABYTES, f"{growth:.0f} MB"),
            Verdict(f"{line}: ≤ {_LEFT} MB more from wave to wave", left <= _LEFT, f"{left:.0f} MB"),
        ]
    return verdicts
