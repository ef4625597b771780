"""What the checker finds."""

from __future__ import annotations

from typing import NamedTuple


class Violation(NamedTuple):
    """Something that must not be."""

    rule: str
    thread: str
    text: str
