"""Counts what requests cost, from the requests themselves.

A meter listens to the events of botocore clients. It keeps the size of every item and object that
passed through it, so that it knows what a write replaces and what a read evaluates; only the
outcome of an update, and a query that leaves something out of its answer, it reads by a client of
its own that nobody counts. What the service says that it consumed is never looked at.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from benchmarks.sizes import ITEM_OVERHEAD, Wire, item_size, read_units, write_units

_CONTEXT: Final = "crewline_benchmark"
_OK: Final = 300
_NARROWING: Final = ("ProjectionExpression", "FilterExpression", "Select", "AttributesToGet")


class Emitter(Protocol):
    """The events of a boto3 client or session."""

    def register(self, event_name: str, handler: Callable[..., None]) -> None:
        """Call a function at every such event."""


@dataclass(slots=True)
class Cost:
    """What some requests cost."""

    requests: int = 0
    wcu: float = 0
    rcu: float = 0
    s3_puts: int = 0
    s3_gets: int = 0
    operations: Counter[str] = field(default_factory=Counter)

    @property
    def pages(self) -> int:
        """Pages of queries."""
        return self.operations["Query"]


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes at rest."""

    items: int
    """How many items."""
    dynamodb: int
    """Their bytes, with what storage is billed for each beside its content."""
    s3: int

    @property
    def total(self) -> int:
        """DynamoDB and S3 together."""
        return self.dynamodb + self.s3


class Meter:
    """Counts the requests of the clients that it watches; safe for many threads.

    Args:
        reader: A DynamoDB client that is not watched.
    """

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._lock = threading.RLock()
        self._items: dict[str, dict[tuple[str, ...], int]] = {}
        self._objects: dict[str, dict[str, int]] = {}
        self._costs: list[Cost] = []

    def watch(self, events: Emitter) -> None:
        """Listen to a client, or to every client that a session makes."""
        events.register("provide-client-params.s3.PutObject", self._on_object)
        events.register("provide-client-params.s3", self._on_s3)
        events.register("before-call.dynamodb", self._on_dynamodb)
        events.register("after-call", self._on_answer)

    @contextmanager
    def measuring(self) -> Iterator[Cost]:
        """Count what is requested inside; a measurement within another is not part of it."""
        cost = Cost()
        self._costs.append(cost)
        try:
            yield cost
        finally:
            self._costs.remove(cost)

    def stored(self, table: str, bucket: str) -> Stored:
        """Add up what is in a table and a bucket."""
        items = self._items.get(table, {})
        return Stored(
            items=len(items),
            dynamodb=sum(items.values()) + ITEM_OVERHEAD * len(items),
            s3=sum(self._objects.get(bucket, {}).values()),
        )

    def check(self, table: str) -> None:
        """Compare what was added up with what the table has.

        Raises:
            AssertionError: They differ, and no figure of this meter is worth anything.
        """
        found: dict[tuple[str, ...], int] = {}
        for page in self._reader.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
            found |= {self._place(wire(item)): item_size(wire(item)) for item in page["Items"]}
        if found != self._items.get(table, {}):
            raise AssertionError(f"The meter has lost count of the items of table {table}.")

    # ------------------------------------------------------------------ events

    def _on_s3(self, params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context.setdefault(_CONTEXT, {"params": params, "size": 0})

    def _on_object(self, params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[_CONTEXT] = {"params": params, "size": _body_size(params.get("Body", b""))}

    def _on_dynamodb(self, params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[_CONTEXT] = {"params": json.loads(params["body"])}

    def _on_answer(
        self, http_response: Any, parsed: Mapping[str, Any], model: Any, context: Mapping[str, Any], **_: Any
    ) -> None:
        seen = context.get(_CONTEXT)
        if seen is None:
            return
        done = http_response.status_code < _OK
        with self._lock:
            cost = self._costs[-1] if self._costs else Cost()
            tries = 1 + parsed.get("ResponseMetadata", {}).get("RetryAttempts", 0)
            cost.requests += tries
            cost.operations[model.name] += tries
            params = seen["params"]
            if model.service_model.service_name == "s3":
                self._count_object(cost, model.name, params, seen["size"], done=done)
            else:
                answer = json.loads(http_response.content) if done else {}
                self._count_items(cost, model.name, params, answer, done=done)

    def _count_object(
        self, cost: Cost, operation: str, params: Mapping[str, Any], size: int, *, done: bool
    ) -> None:
        objects = self._objects.setdefault(params["Bucket"], {})
        match operation:
            case "PutObject":
                cost.s3_puts += 1
                if done:
                    objects[params["Key"]] = size
            case "GetObject":
                cost.s3_gets += 1
            case "DeleteObjects":
                for one in params["Delete"]["Objects"] if done else ():
                    objects.pop(one["Key"], None)

    def _count_items(
        self, cost: Cost, operation: str, params: Mapping[str, Any], answer: Mapping[str, Any], *, done: bool
    ) -> None:
        consistent = bool(params.get("ConsistentRead"))
        for kind, one, factor in writes_of(operation, params):
            cost.wcu += factor * self._written(kind, one, answer.get("Attributes"), done=done)
        match operation:
            case "GetItem":
                cost.rcu += read_units(self._size(params["TableName"], params["Key"]), consistent=consistent)
            case "BatchGetItem":
                for table, wanted in params["RequestItems"].items():
                    strong = bool(wanted.get("ConsistentRead"))
                    sizes = [self._size(table, key) for key in wanted["Keys"]]
                    cost.rcu += sum(read_units(size, consistent=strong) for size in sizes)
            case "TransactGetItems":
                gets = [action["Get"] for action in params["TransactItems"]]
                sizes = [self._size(one["TableName"], one["Key"]) for one in gets]
                cost.rcu += sum(2 * read_units(size, consistent=True) for size in sizes)
            case "Query" | "Scan":
                cost.rcu += read_units(self._evaluated(operation, params, answer), consistent=consistent)

    def _written(self, kind: str, one: Mapping[str, Any], after: Wire | None, *, done: bool) -> int:
        """Count one written item in the ledger; give its units, before a transaction doubles them."""
        table = one["TableName"]
        sizes = self._items.setdefault(table, {})
        place = self._place(one.get("Item") or one["Key"])
        before = sizes.get(place, 0)
        if not done or kind == "ConditionCheck":
            return write_units(before)
        match kind:
            case "Put":
                sizes[place] = item_size(one["Item"])
            case "Update":
                sizes[place] = item_size(after) if after else self._read_size(table, one["Key"])
            case "Delete":
                sizes.pop(place, None)
        return write_units(max(before, sizes.get(place, 0)))

    def _size(self, table: str, key: Wire) -> int:
        return self._items.get(table, {}).get(self._place(key), 0)

    def _read_size(self, table: str, key: Wire) -> int:
        found = self._reader.get_item(TableName=table, Key=key, ConsistentRead=True)
        return item_size(wire(found["Item"])) if "Item" in found else 0

    def _evaluated(self, operation: str, params: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
        """Give the bytes that a query went through, whatever it left out of its answer."""
        items = answer.get("Items", [])
        if any(name in params for name in _NARROWING):
            items = self._whole_items(operation, params)
        return sum(map(item_size, items))

    def _whole_items(self, operation: str, params: Mapping[str, Any]) -> list[Wire]:
        whole = {name: value for name, value in params.items() if name not in _NARROWING}
        used = str(whole.get("KeyConditionExpression", ""))
        for name in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            kept = {short: value for short, value in whole.pop(name, {}).items() if short in used}
            if kept:
                whole[name] = kept
        read = self._reader.query if operation == "Query" else self._reader.scan
        return [wire(item) for item in read(**whole)["Items"]]

    @staticmethod
    def _place(key: Wire) -> tuple[str, ...]:
        return tuple(str(key[name]["S"]) for name in ("PK", "SK") if name in key)


def writes_of(operation: str, params: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], int]]:
    """Take the writes out of a request to DynamoDB, as it is on the wire.

    Yields:
        What it does (`Put`, `Update`, `Delete`, `ConditionCheck`), its arguments, and how many times
        its units count: twice in a transaction.
    """
    match operation:
        case "PutItem" | "UpdateItem" | "DeleteItem":
            yield operation.removesuffix("Item"), params, 1
        case "TransactWriteItems":
            for action in params["TransactItems"]:
                ((kind, one),) = action.items()
                yield kind, one, 2
        case "BatchWriteItem":
            for table, requests in params["RequestItems"].items():
                for request in requests:
                    ((name, one),) = request.items()
                    yield name.removesuffix("Request"), {"TableName": table, **one}, 1


def wire(item: Mapping[str, Any]) -> Wire:
    """Spell an item that botocore has parsed as it was on the wire."""
    encoded: Wire = json.loads(json.dumps(item, default=_encoded))
    return encoded


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _body_size(body: Any) -> int:
    if isinstance(body, str):
        return len(body.encode())
    if isinstance(body, (bytes, bytearray)):
        return len(body)
    position = body.tell()
    size = body.seek(0, 2) - position
    body.seek(position)
    return int(size)
