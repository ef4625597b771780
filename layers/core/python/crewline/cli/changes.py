"""What is different between two states, as people read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from rich.text import Text

from crewline.cli.screens import json_text, shortened

Kind = Literal["added", "removed", "changed"]
SIGNS: Final[Mapping[Kind, tuple[str, str]]] = {
    "added": ("+", "green"),
    "removed": ("-", "red"),
    "changed": ("~", "yellow"),
}
"""Kind → the sign before it, and its style."""
_MOST: Final = 60
"""Characters of a value."""


@dataclass(frozen=True, slots=True)
class Change:
    """One place at which two states differ."""

    kind: Kind
    place: str
    """Where: `topic`, `plan.budget`, `messages[2]`."""
    before: Any = None
    after: Any = None

    def json(self) -> dict[str, Any]:
        """Spell it for programs: `change`, `place`, and what was there `before` and is `after`."""
        spelled: dict[str, Any] = {"change": self.kind, "place": self.place}
        if self.kind != "added":
            spelled["before"] = self.before
        if self.kind != "removed":
            spelled["after"] = self.after
        return spelled

    def line(self, most: int = _MOST) -> Text:
        """Draw it on one line.

        Args:
            most: Characters that a value may take.
        """
        sign, style = SIGNS[self.kind]
        line = Text(f"{sign} {shortened(self.place, most)}: ", style=style)
        if self.kind == "changed":
            return (
                line.append(shown(self.before, most), "red")
                .append(" → ")
                .append(shown(self.after, most), "green")
            )
        return line.append(shown(self.after if self.kind == "added" else self.before, most))


def compare(before: Any, after: Any) -> list[Change]:
    """Find where two states differ.

    Args:
        before: The values of one checkpoint; None for those of none.
        after: Those of another.

    Returns:
        The differences, in the order of the later state's keys. Of a list: the elements that came and
        went between what is the same at its ends.
    """
    return list(_compare(before or {}, after or {}, ""))


def shown(value: Any, most: int = _MOST) -> str:
    """Spell a value on one line: a message as its author and text, anything else as JSON."""
    if isinstance(value, Mapping) and isinstance(value.get("type"), str) and "content" in value:
        content = value["content"]
        text = content if isinstance(content, str) else _texts(content)
        calls = ", ".join(str(call.get("name")) for call in value.get("tool_calls") or [])
        return shortened(f"{value['type']}: {text or (f'calls {calls}' if calls else '')}", most)
    return shortened(json_text(value), most)


def _compare(before: Any, after: Any, place: str) -> Iterator[Change]:
    if _same(before, after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping) and not _are_messages(before, after):
        yield from _compare_maps(before, after, place)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _compare_lists(before, after, place)
    else:
        yield Change("changed", place or "the state", before, after)


def _compare_maps(before: Mapping[str, Any], after: Mapping[str, Any], place: str) -> Iterator[Change]:
    for name, value in after.items():
        inner = f"{place}.{name}" if place else name
        if name in before:
            yield from _compare(before[name], value, inner)
        elif _are_all_messages(value):
            yield from _compare_lists([], value, inner)
        else:
            yield Change("added", inner, after=value)
    for name, value in before.items():
        if name not in after:
            yield Change("removed", f"{place}.{name}" if place else name, value)


def _compare_lists(before: Sequence[Any], after: Sequence[Any], place: str) -> Iterator[Change]:
    shorter = min(len(before), len(after))
    head = next((n for n in range(shorter) if not _same(before[n], after[n])), shorter)
    most = shorter - head
    tail = next((n for n in range(most) if not _same(before[-1 - n], after[-1 - n])), most)
    gone, come = before[head : len(before) - tail], after[head : len(after) - tail]
    if len(gone) == len(come):
        for number, (old, new) in enumerate(zip(gone, come, strict=True), head):
            yield from _compare(old, new, f"{place}[{number}]")
        return
    for number, old in enumerate(gone, head):
        yield Change("removed", f"{place}[{number}]", old)
    for number, new in enumerate(come, head):
        yield Change("added", f"{place}[{number}]", after=new)


def _same(before: Any, after: Any) -> bool:
    """Tell whether two values are the same JSON: to Python, 1 and true are equal."""
    return bool(before == after) and json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)


def _are_all_messages(value: Any) -> bool:
    """Tell whether a value is a conversation, which is read message by message."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, Mapping) for one in value)
        and _are_messages(*value)
    )


def _are_messages(*values: Mapping[str, Any]) -> bool:
    return all("content" in value and isinstance(value.get("type"), str) for value in values)


def _texts(content: Any) -> str:
    blocks = content if isinstance(content, list) else [content]
    return " ".join(
        str(block.get("text", f"[{block.get('type')}]")) if isinstance(block, Mapping) else str(block)
        for block in blocks
    )
