"""Items as Python values, and as DynamoDB spells them on the wire.

Only what the table holds: text, whole numbers, bytes, booleans, lists and maps. Anything a user
sends is kept as JSON text, so that DynamoDB's own number and set types never touch it. (boto3's
serialiser would bring `Decimal` and `Binary` into every value and costs three times the time.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Item = dict[str, Any]
"""Attribute → value of one item."""


def to_wire(value: Any) -> dict[str, Any]:
    """Spell one value as a DynamoDB attribute value.

    Raises:
        TypeError: The table holds no values of this type.
    """
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case Mapping():
            return {"M": {name: to_wire(part) for name, part in value.items()}}
        case list() | tuple():
            return {"L": [to_wire(part) for part in value]}
    raise TypeError(f"The table holds no {type(value).__name__}.")


def from_wire(attribute: Mapping[str, Any]) -> Any:
    """Read one DynamoDB attribute value.

    Raises:
        TypeError: The value is of a type that Crewline never writes.
    """
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value
        case "N":
            return int(value)
        case "B":
            return bytes(value)
        case "M":
            return {name: from_wire(part) for name, part in value.items()}
        case "L":
            return [from_wire(part) for part in value]
    raise TypeError(f"An attribute of DynamoDB type {kind} is not one of Crewline's.")


def item_to_wire(item: Mapping[str, Any]) -> dict[str, Any]:
    """Spell an item; attributes that are None are left out."""
    return {name: to_wire(value) for name, value in item.items() if value is not None}


def item_from_wire(item: Mapping[str, Any]) -> Item:
    """Read an item."""
    return {name: from_wire(value) for name, value in item.items()}
