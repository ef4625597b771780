"""LangGraph's serialisers, as records need them: lists element by element, and strict by default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from crewline.checkpoints.records import Elements, Value


def strict_serializer(allowed: Iterable[tuple[str, ...]] = ()) -> JsonPlusSerializer:
    """Make a serialiser that brings back only safe types and those that are named.

    Args:
        allowed: Types as (module, name).
    """
    return JsonPlusSerializer(allowed_msgpack_modules=None).with_msgpack_allowlist(allowed)


def plain_serializer(serde: SerializerProtocol) -> SerializerProtocol:
    """Give the serialiser under an encrypting one: encryption is done to whole records."""
    return serde.serde if isinstance(serde, EncryptedSerializer) else serde


def dump_value(serde: SerializerProtocol, value: Any) -> Value:
    """Spell a channel's value; a list of what msgpack can spell goes element by element."""
    if type(value) is not list or not value or not isinstance(serde, JsonPlusSerializer):
        return serde.dumps_typed(value)
    items = []
    for element in value:
        kind, data = serde.dumps_typed(element)
        if kind != "msgpack":
            if kind not in ("null", "bytes"):
                return serde.dumps_typed(value)
            data = ormsgpack.packb(element)
        items.append(data)
    return Elements(tuple(items))
