"""Tables of the benchmark, for a terminal and for the README."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.measurements import Row
from benchmarks.reports import aligned
from benchmarks.timings import Comparison

_HEADINGS: Final = (
    "graph", "durability", "turn", "saver", "requests", "WCU", "RCU", "DynamoDB bytes", "S3 bytes", "all bytes",
    "S3 puts", "S3 gets", "newest state",
)  # fmt: skip
_TEXTS: Final = 4
"""Columns of text, and aligned to the left."""


def cost_table(rows: Sequence[Row]) -> list[str]:
    """Lay out every measured turn."""
    cells = [
        (
            row.kind,
            row.durability,
            str(row.turn),
            row.saver,
            str(row.requests),
            f"{row.wcu:g}",
            f"{row.rcu:g}",
            f"{row.stored.dynamodb:,}",
            f"{row.stored.s3:,}",
            f"{row.stored.total:,}",
            str(row.s3_puts),
            str(row.s3_gets),
            _newest(row),
        )
        for row in rows
    ]
    return aligned([_HEADINGS, *cells], texts=_TEXTS)


def cpu_table(comparisons: Sequence[Comparison]) -> list[str]:
    """Lay out the CPU of both savers."""
    headings = ("graph", "turn", "", "", "get ms", "put ms", "InMemorySaver get", "put", "ratio", "boto3 ms")
    cells = [
        (
            one.kind,
            str(one.turn),
            "",
            "",
            f"{one.ours.get:.3f}",
            f"{one.ours.put:.3f}",
            f"{one.memory.get:.3f}",
            f"{one.memory.put:.3f}",
            f"{one.ratio:.2f}",
            f"{one.ours.boto3:.2f}",
        )
        for one in comparisons
    ]
    return aligned([headings, *cells], texts=_TEXTS)


def markdown_table(rows: Sequence[Row]) -> list[str]:
    """Lay out the README's table: a line for each saver and graph, its turns side by side."""
    turns = sorted({row.turn for row in rows})
    shown = " / ".join(map(str, turns))
    lines = [
        f"At turn {shown}:",
        "",
        "| graph, durability | saver | requests | WCU | RCU | stored in DynamoDB | and in S3 |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.kind, row.durability, row.saver), []).append(row)
    for (kind, durability, saver), group in groups.items():
        cells = (
            f"{kind}, {durability}",
            saver,
            _across(group, lambda row: str(row.requests)),
            _across(group, lambda row: f"{row.wcu:g}"),
            _across(group, lambda row: f"{row.rcu:g}"),
            _across(group, lambda row: _bytes(row.stored.dynamodb)),
            _across(group, lambda row: _bytes(row.stored.s3)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _newest(row: Row) -> str:
    """Spell the requests for the newest state: query pages, other reads, S3 reads."""
    cost = row.newest
    if not cost.requests:
        return "-"
    others = cost.requests - cost.pages - cost.s3_gets
    parts = [
        f"{cost.pages} query",
        *([f"{others} get"] if others else []),
        *(["1 S3"] if cost.s3_gets else []),
    ]
    return " + ".join(parts)


def _across(rows: Sequence[Row], show: Callable[[Row], str]) -> str:
    return " / ".join(map(show, sorted(rows, key=lambda row: row.turn)))


def _bytes(size: int) -> str:
    for unit, name in ((1_000_000, "MB"), (1_000, "KB")):
        if size >= unit:
            return f"{size / unit:.{1 if size < 10 * unit else 0}f} {name}"
    return f"{size} B" if size else "0"
