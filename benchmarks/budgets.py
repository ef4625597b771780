"""What the checkpoints may cost, and whether they do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.measurements import FLOOR, RECENT, Row
from benchmarks.reports import Verdict
from benchmarks.timings import Comparison

_WCU_FENCED: Final = 8
_REQUESTS_FENCED: Final = 3
_WCU_ALONE: Final = 3
_STORED_RATIO: Final = 2.5
_CPU_RATIO: Final = 2

OURS: Final = ("crewline", "crewline, fenced")


def judge(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> list[Verdict]:
    """Hold the last measured turn of `chat1` under durability `async` against every budget."""
    last = max(row.turn for row in rows)
    found = {
        row.saver: row
        for row in rows
        if (row.kind, row.turn) == ("chat1", last) and row.durability == "async"
    }
    alone, fenced, floor = found[OURS[0]], found[OURS[1]], found[FLOOR]
    verdicts = [
        Verdict(f"fenced: WCU ≤ {_WCU_FENCED}", fenced.wcu <= _WCU_FENCED, _recently(fenced, "wcu")),
        Verdict(
            f"fenced: requests ≤ {_REQUESTS_FENCED}",
            fenced.requests <= _REQUESTS_FENCED,
            _recently(fenced, "requests"),
        ),
        Verdict(f"unfenced: WCU ≤ {_WCU_ALONE}", alone.wcu <= _WCU_ALONE, _recently(alone, "wcu")),
    ]
    for row in (alone, fenced):
        verdicts += _storage(row, floor.stored.total)
    verdicts += [_newest(row) for row in rows if row.saver in OURS and row.turn == last]
    verdicts += [
        Verdict(
            f"CPU of put and get ≤ {_CPU_RATIO} times InMemorySaver's", one.ratio <= _CPU_RATIO, _cpu(one)
        )
        for one in comparisons
        if one.turn == last
    ]
    return verdicts


def _recently(row: Row, what: str) -> str:
    if what == "wcu":
        return f"{row.wcu:g} (mean of the last {RECENT} turns {row.recent_wcu:.1f})"
    return f"{row.requests} (mean of the last {RECENT} turns {row.recent_requests:.1f}, most {row.most_requests})"


def _storage(row: Row, payload: int) -> list[Verdict]:
    """Judge what is stored in DynamoDB, and together with the roots in S3; the second is the budget.

    Longer chains store less in S3 and read more in every turn.
    """
    stored = row.stored
    amounts = {"in DynamoDB": stored.dynamodb, "in DynamoDB and S3": stored.total}
    return [
        Verdict(
            f"{row.saver}: bytes stored {where} ≤ {_STORED_RATIO:g} times floor",
            size <= _STORED_RATIO * payload,
            f"{size:,} = {size / payload:.2f} times {payload:,}",
        )
        for where, size in amounts.items()
    ]


def _newest(row: Row) -> Verdict:
    cost = row.newest
    return Verdict(
        f"{row.saver}, {row.kind}, {row.durability}: newest state is 1 query page and ≤ 1 S3 GET",
        cost.pages == 1 and cost.s3_gets <= 1 and cost.requests == cost.pages + cost.s3_gets,
        f"{cost.pages} + {cost.s3_gets}",
    )


def _cpu(one: Comparison) -> str:
    return (
        f"{one.ratio:.2f} = {one.ours.total:.2f} ms / {one.memory.total:.2f} ms per superstep "
        f"(boto3 apart: {one.ours.boto3:.2f} ms)"
    )
