"""Conditional writes as values: made by the stores, carried out alone or in one transaction.

Conditions name attributes as `#name` and parameters as `:name`; both are declared here, so that
no reserved word and no user text ever reaches an expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from crewline.store.items import item_to_wire, to_wire
from crewline.store.keys import PARTITION, SORT, Key

EXISTS: Final = f"attribute_exists(#{PARTITION})"
ABSENT: Final = f"attribute_not_exists(#{PARTITION})"

MOST_GROUPED: Final = 90
"""Writes of one group: a transaction holds 100, so there is room for the lease and the rows beside it."""
_MOST_BYTES: Final = 2_900_000
"""Bytes of one group: a transaction holds 4 MB, and bodies travel as base64."""
_OVERHEAD: Final = 1_000
"""Bytes that an item's keys and request take beside its body."""

_NAME: Final = re.compile(r"#(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write a whole item."""

    key: Key
    item: Mapping[str, Any]
    condition: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """Spell the arguments of PutItem."""
        item = {PARTITION: self.key.partition, SORT: self.key.sort, **self.item}
        return {"Item": item_to_wire(item), **_expressions(self.condition, self.parameters)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Set, add to and remove attributes of an item; makes it when it is absent and no condition forbids."""

    key: Key
    set: Mapping[str, Any] = field(default_factory=dict)
    """Attribute → new value; None removes it."""
    once: Mapping[str, Any] = field(default_factory=dict)
    """Attribute → value that it gets only if it has none."""
    entries: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """(map attribute, key in it) → new value; the map must be there."""
    expected: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    """(map attribute, key in it) → the value that it must have, beside the condition; None: it must have none."""
    add: Mapping[str, int] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    condition: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """Spell the arguments of UpdateItem."""
        names: dict[str, str] = {}
        values: dict[str, Any] = {}
        settings, removals = [], []
        for count, (name, value) in enumerate(self.set.items()):
            names[f"#{name}"] = name
            if value is None:
                removals.append(f"#{name}")
                continue
            values[f":set{count}"] = to_wire(value)
            settings.append(f"#{name} = :set{count}")
        for count, (name, value) in enumerate(self.once.items()):
            names[f"#{name}"] = name
            values[f":once{count}"] = to_wire(value)
            settings.append(f"#{name} = if_not_exists(#{name}, :once{count})")
        for count, ((name, key), value) in enumerate(self.entries.items()):
            names |= {f"#{name}": name, f"#key{count}": key}
            values[f":key{count}"] = to_wire(value)
            settings.append(f"#{name}.#key{count} = :key{count}")
        additions = []
        for count, (name, amount) in enumerate(self.add.items()):
            names[f"#{name}"] = name
            values[f":add{count}"] = to_wire(amount)
            additions.append(f"#{name} :add{count}")
        for name in self.remove:
            names[f"#{name}"] = name
            removals.append(f"#{name}")
        clauses = (("SET", settings), ("ADD", additions), ("REMOVE", removals))
        expression = " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses if parts)
        conditions = [self.condition] if self.condition else []
        for count, ((name, key), value) in enumerate(self.expected.items()):
            names |= {f"#{name}": name, f"#was{count}": key}
            if value is None:
                conditions.append(f"attribute_not_exists(#{name}.#was{count})")
                continue
            values[f":was{count}"] = to_wire(value)
            conditions.append(f"#{name}.#was{count} = :was{count}")
        return {
            "Key": _key(self.key),
            **({"UpdateExpression": expression} if expression else {}),
            **_expressions(" AND ".join(conditions), self.parameters, names, values),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Remove an item."""

    key: Key
    condition: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """Spell the arguments of DeleteItem."""
        return {"Key": _key(self.key), **_expressions(self.condition, self.parameters)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Let a transaction go through only while a condition holds; writes nothing."""

    key: Key
    condition: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def wire(self) -> dict[str, Any]:
        """Spell the arguments of a condition check."""
        return {"Key": _key(self.key), **_expressions(self.condition, self.parameters)}


Write = Put | Update | Delete
"""What can be carried out alone."""
Change = Write | Check
"""A member of a transaction."""

T = TypeVar("T")


def grouped(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Divide what is to be written so that each group fits a transaction, beside the lease and the rows.

    Args:
        items: Taken one by one, as the groups are consumed.
        size: Tells the bytes that one has in its item.
    """
    group: list[T] = []
    weight = 0
    for item in items:
        more = size(item) + _OVERHEAD
        if group and (len(group) == MOST_GROUPED or weight + more > _MOST_BYTES):
            yield group
            group, weight = [], 0
        group.append(item)
        weight += more
    if group:
        yield group


def body_bytes(change: Change) -> int:
    """Tell how large the body is that a change writes; 0 when it writes none."""
    return len(change.item.get("body", b"")) if isinstance(change, Put) else 0


def _key(key: Key) -> dict[str, Any]:
    return {PARTITION: {"S": key.partition}, SORT: {"S": key.sort}}


def _expressions(
    condition: str | None,
    parameters: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    all_names = {**{f"#{name}": name for name in _NAME.findall(condition or "")}, **(names or {})}
    all_values = {**(values or {}), **{f":{name}": to_wire(value) for name, value in parameters.items()}}
    return {
        **({"ConditionExpression": condition} if condition else {}),
        **({"ExpressionAttributeNames": all_names} if all_names else {}),
        **({"ExpressionAttributeValues": all_values} if all_values else {}),
    }
