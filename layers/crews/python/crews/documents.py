"""Documents: the texts that ship with the crews, and how a markdown text falls into sections and sentences."""

import re
from pathlib import Path

from typing_extensions import TypedDict

TEXTS = Path(__file__).parent / "texts"

_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+\.)\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[\"“(]?[A-Z0-9])")


class Section(TypedDict):
    """A heading and the text below it, up to the next heading of any level."""

    title: str
    text: str


def names() -> list[str]:
    """List the names of the shipped texts, sorted."""
    return sorted(path.stem for path in TEXTS.glob("*.md"))


def load(name: str) -> str:
    """Read a shipped text.

    Raises:
        ValueError: No text of this name ships with the crews.
    """
    if name not in names():
        raise ValueError(f"There is no shipped text named {name!r}; choose one of: {', '.join(names())}.")
    return (TEXTS / f"{name}.md").read_text(encoding="utf-8")


def split(text: str) -> list[Section]:
    """Split a markdown text at its headings.

    Text above the first heading is a section titled "Untitled". A heading without text of its own is kept: the
    first section's title is the document's title.
    """
    sections: list[Section] = []
    fenced = False
    for line in text.strip().splitlines():
        fenced ^= line.lstrip().startswith("```")
        heading = None if fenced else _HEADING.match(line)
        if heading:
            sections.append({"title": heading[1], "text": ""})
        elif sections:
            sections[-1]["text"] += line + "\n"
        else:
            sections.append({"title": "Untitled", "text": line + "\n"})
    return sections


def items(text: str) -> list[str]:
    """List the bullet and numbered items of a section, without their markers."""
    return [block for block, is_item in _blocks(text) if is_item]


def sentences(text: str) -> list[str]:
    """List the sentences of a section in order; an item is at least one, tables and code are none."""
    return [sentence for block, _ in _blocks(text) for sentence in _SENTENCE_END.split(block)]


def _blocks(text: str) -> list[tuple[str, bool]]:
    """Join wrapped lines to paragraphs and items; say for each whether it is an item."""
    blocks: list[tuple[str, bool]] = []
    open_block = fenced = False
    for line in text.splitlines():
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        if fence or fenced or not line.strip() or line.lstrip().startswith("|"):
            open_block = False
        elif _ITEM.match(line):
            blocks.append((_ITEM.sub("", line).strip(), True))
            open_block = True
        elif open_block:
            blocks[-1] = (f"{blocks[-1][0]} {line.strip()}", blocks[-1][1])
        else:
            blocks.append((line.strip(), False))
            open_block = True
    return blocks
