"""The pages of docs/ as tests read them: their fenced blocks, and what each is said to print."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs"
ADDRESS = "http://127.0.0.1:2024"
"""Where the pages say that a service is."""

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block, with the `text` block that follows it."""

    page: str
    line: int
    language: str
    code: str
    printed: str | None = None
    """What it prints, `…` standing for anything."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """List the blocks of a page; a `text` block belongs to the one before it."""
    text = (PAGES / page).read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        language, code = match[1], match[2]
        if language == "text" and found and found[-1].printed is None:
            last = found.pop()
            found.append(Block(last.page, last.line, last.language, last.code, code))
        else:
            found.append(Block(page, text.count("\n", 0, match.start()) + 1, language, code))
    return found


def fits(printed: str, said: str) -> bool:
    """Tell whether something printed is what a page says."""
    pattern = ".*".join(re.escape(part) for part in said.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
