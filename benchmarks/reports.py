"""How a benchmark reports: tables whose columns align, and a line for every budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """One budget line and what was measured."""

    line: str
    kept: bool | None
    """None when it could not be measured."""
    measured: str


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Say of each budget whether it is kept."""
    names = {True: "PASS", False: "FAIL", None: "OPEN"}
    return [f"{names[one.kept]}  {one.line}: {one.measured}" for one in verdicts]


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Give 1 when a budget was missed."""
    return 1 if any(verdict.kept is False for verdict in verdicts) else 0


def aligned(lines: Sequence[Sequence[str]], *, texts: int) -> list[str]:
    """Lay out cells in columns: the first so many hold text and align to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
