"""Differences between a checkpoint and its parent: what a record holds instead of the whole state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from crewline.checkpoints.records import Elements, Value

_BLOB, _LIST, _SPLICE = 0, 1, 2

_SET: Final = "s"
_NESTED: Final = "n"
_REMOVED: Final = "r"


def map_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Say what to set, change within and remove, to make a new map of plain values from an old one."""
    changes: dict[str, Any] = {}
    for name, value in new.items():
        if name not in old:
            changes.setdefault(_SET, {})[name] = value
        elif old[name] != value:
            if isinstance(value, Mapping) and isinstance(old[name], Mapping):
                changes.setdefault(_NESTED, {})[name] = map_difference(old[name], value)
            else:
                changes.setdefault(_SET, {})[name] = value
    if removed := [name for name in old if name not in new]:
        changes[_REMOVED] = removed
    return changes


def apply_map(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Make the new map; the inverse of `map_difference`."""
    new = {name: value for name, value in old.items() if name not in changes.get(_REMOVED, ())}
    new.update(changes.get(_SET, {}))
    for name, nested in changes.get(_NESTED, {}).items():
        new[name] = apply_map(old[name], nested)
    return new


def channel_difference(old: Mapping[str, Value], new: Mapping[str, Value]) -> list[Any]:
    """Say how to make the new channels from the old: operations by name, and names that are gone.

    A list that shares its beginning or its end with the old one is a splice: how many elements to
    keep before and after, and the new ones between.
    """
    operations = {
        name: _operation(old.get(name), value)
        for name, value in new.items()
        if not (name in old and (old[name] is value or old[name] == value))
    }
    return [operations, [name for name in old if name not in new]]


def apply_channels(old: Mapping[str, Value], difference: Sequence[Any]) -> dict[str, Value]:
    """Make the new channels; the inverse of `channel_difference`.

    Raises:
        ValueError: The difference does not fit these channels.
    """
    operations, removed = difference
    new = {name: value for name, value in old.items() if name not in removed}
    for name, operation in operations.items():
        new[name] = value_from(operation, old.get(name))
    return new


def whole_value(value: Value) -> list[Any]:
    """Spell a value without reference to another."""
    return [_LIST, list(value.items)] if isinstance(value, Elements) else [_BLOB, *value]


def value_from(operation: Sequence[Any], old: Value | None = None) -> Value:
    """Make the value that an operation stands for.

    Raises:
        ValueError: It is a splice, and the old value is no list that it fits.
    """
    kind, *arguments = operation
    if kind == _BLOB:
        name, data = arguments
        return (name, data)
    if kind == _LIST:
        return Elements(tuple(arguments[0]))
    before, after, items = arguments
    if kind != _SPLICE or not isinstance(old, Elements) or before + after > len(old.items):
        raise ValueError("a splice does not fit")
    return Elements((*old.items[:before], *items, *old.items[len(old.items) - after :]))


def _operation(old: Value | None, new: Value) -> list[Any]:
    if isinstance(old, Elements) and isinstance(new, Elements):
        before, after = _shared(old.items, new.items)
        if before + after:
            return [_SPLICE, before, after, list(new.items[before : len(new.items) - after])]
    return whole_value(new)


def _shared(old: Sequence[bytes], new: Sequence[bytes]) -> tuple[int, int]:
    """Count the elements that two lists share at their beginning, and then at their end."""
    most = min(len(old), len(new))
    before = 0
    while before < most and old[before] == new[before]:
        before += 1
    after = 0
    while after < most - before and old[-1 - after] == new[-1 - after]:
        after += 1
    return before, after
