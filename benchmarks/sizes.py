"""What DynamoDB charges for, by the sizing rules of its documentation.

Items are taken as they are on the wire: attribute values by type, binary as base64. An item's size
is that of its attribute names and values; a written kilobyte is a write unit, four kilobytes that
are read strongly consistently are a read unit, and half of one otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

ITEM_OVERHEAD: Final = 100
"""Bytes that storage is billed for each item beside its content."""

_WRITE_UNIT: Final = 1024
_READ_UNIT: Final = 4096
_CONTAINER: Final = 3

Wire = Mapping[str, Any]
"""An item or a key: attribute name → typed value."""


def item_size(item: Wire | None) -> int:
    """Give the bytes of an item; 0 for one that is not there."""
    return sum(len(name.encode()) + _value_size(value) for name, value in (item or {}).items())


def write_units(size: int) -> int:
    """Give the units of writing an item; the larger of its sizes before and after counts."""
    return max(1, math.ceil(size / _WRITE_UNIT))


def read_units(size: int, *, consistent: bool) -> float:
    """Give the units of a read that evaluates so many bytes."""
    return max(1, math.ceil(size / _READ_UNIT)) * (1.0 if consistent else 0.5)


def index_units(before: Wire | None, after: Wire | None, keys: Sequence[str], own: Sequence[str]) -> int:
    """Give the units of an index that projects keys only, for one written item of its table.

    An entry that moves is removed and written; one that stays as it is costs nothing. A transaction
    does not double them: an index follows later, by itself (measured: github.com/nubo-db/dynoxide/pull/188).

    Args:
        before: The item as it was; None if it was not there.
        after: The item as it is.
        keys: The table's key attributes.
        own: The index's key attributes; an item that lacks one is not in the index.
    """
    entries = [
        {name: item[name] for name in (*keys, *own)}
        for item in (before, after)
        if item and all(name in item for name in own)
    ]
    if len(entries) > 1 and entries[0] == entries[1]:
        return 0
    return sum(write_units(item_size(entry)) for entry in entries)


def _value_size(typed: Mapping[str, Any]) -> int:
    ((kind, value),) = typed.items()
    match kind:
        case "M":
            return _CONTAINER + sum(
                1 + len(name.encode()) + _value_size(part) for name, part in value.items()
            )
        case "L":
            return _CONTAINER + sum(1 + _value_size(part) for part in value)
        case "SS" | "NS" | "BS":
            return sum(_SCALARS[kind[0]](part) for part in value)
    return _SCALARS[kind](value)


def _binary_size(encoded: str) -> int:
    return len(encoded) // 4 * 3 - encoded[-2:].count("=")


def _number_size(text: str) -> int:
    """Two significant digits a byte, one byte more, and one for a sign."""
    digits = text.lstrip("-").partition("E")[0].replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + text.startswith("-")


_SCALARS: Final[Mapping[str, Callable[[Any], int]]] = {
    "S": lambda value: len(value.encode()),
    "B": _binary_size,
    "N": _number_size,
    "BOOL": lambda _: 1,
    "NULL": lambda _: 1,
}
