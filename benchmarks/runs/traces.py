"""Requests to AWS as they were made: which, when, what they touched, and what they wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.meters import writes_of
from benchmarks.sizes import item_size, write_units
from crewline.store import keys

DYNAMODB: Final = "dynamodb"
EVENTS: Final = "events"

_FAMILIES: Final = {
    "R": "run pointer",
    "N": "thread of a run",
    "E": EVENTS,
    "I": "idempotency",
    "O": "outbox",
    "B": "batch",
    "M": "metadata entry",
    "A": "assistant",
    "K": "cron",
    "S": "store item",
    "H": "API key",
    "W": "webhook token",
    "V": "deployed version",
}
_OF_A_THREAD: Final = {
    keys.LEASE_SORT: "lease",
    keys.THREAD_SORT: "thread row",
    keys.HEAD_PREFIX: "lease and thread row",
    keys.RUN_PREFIX: "run row",
    keys.MARKER_PREFIX: "marker",
    keys.RECORD_PREFIX: "record",
}
"""Beginning of a sort key → what it is; the longest that fits counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call of a client, retries included."""

    process: str
    """Who made it: the front door or the worker."""
    service: str
    operation: str
    touched: Sequence[str]
    """What it wrote or read, by kind."""
    began: int
    """Nanoseconds of the machine's monotonic clock, which all its processes share."""
    ended: int
    tries: int = 1
    table_units: int = 0
    """Write units of the table, doubled in a transaction."""
    index_units: int = 0
    """Write units of its indexes."""
    event_units: int = 0
    """Write units of batches of events, doubled in a transaction; known without reading anything."""

    def line(self) -> bytes:
        """Spell it as a line of a log."""
        return json.dumps(asdict(self)).encode() + b"\n"


def parse(lines: Iterable[bytes]) -> list[Request]:
    """Read the lines of a log, in the order in which the requests began."""
    return sorted((Request(**json.loads(line)) for line in lines), key=lambda one: one.began)


def touched(service: str, operation: str, params: Mapping[str, Any]) -> list[str]:
    """Say what a request touches, by kind and never by name.

    Args:
        service: Name of the service.
        operation: Name of the operation.
        params: For DynamoDB, the request as it is on the wire.
    """
    if service != DYNAMODB:
        return []
    writes = writes_of(operation, params)
    return [f"{_VERBS[kind]} {_kind_of(one.get('Item') or one['Key'])}" for kind, one, _ in writes] or _read(
        operation, params
    )


def event_units(service: str, operation: str, params: Mapping[str, Any]) -> int:
    """Count the write units of batches of events, which are always new: their size is in the request."""
    if service != DYNAMODB:
        return 0
    return sum(
        factor * write_units(item_size(one["Item"]))
        for kind, one, factor in writes_of(operation, params)
        if kind == "Put" and _kind_of(one["Item"]) == EVENTS
    )


def _read(operation: str, params: Mapping[str, Any]) -> list[str]:
    read: list[Any] = []
    match operation:
        case "GetItem":
            read = [params["Key"]]
        case "BatchGetItem":
            read = [key for table in params["RequestItems"].values() for key in table["Keys"]]
        case "TransactGetItems":
            read = [action["Get"]["Key"] for action in params["TransactItems"]]
        case "Query" if "IndexName" in params:
            return [f"index {params['IndexName']}"]
        case "Query":
            return [f"query of {_queried(params['ExpressionAttributeValues'])}"]
    return list(map(_kind_of, read))


_VERBS: Final = {"Put": "put", "Update": "update", "Delete": "delete", "ConditionCheck": "check"}


def kind_of(partition: str, sort: str) -> str:
    """Name the kind of an item, or of the items whose sort keys begin so."""
    family = partition.partition("#")[0]
    if family != "T":
        return _FAMILIES.get(family, family)
    if sort.startswith(keys.RECORD_PREFIX) and keys.LATE_INFIX in sort:
        return "late writes"
    fitting = [prefix for prefix in _OF_A_THREAD if sort.startswith(prefix)]
    return _OF_A_THREAD[max(fitting, key=len)] if fitting else "whole thread"


def _kind_of(key: Mapping[str, Any]) -> str:
    return kind_of(key[keys.PARTITION]["S"], key[keys.SORT]["S"])


def _queried(values: Mapping[str, Any]) -> str:
    """Tell what a query reads: its values are the partition, and bounds of the sort key."""
    texts = {name: value["S"] for name, value in values.items() if "S" in value}
    partition = texts.pop(":pk")
    return kind_of(partition, min(texts.values(), default=""))


def round_trips(requests: Iterable[Request]) -> int:
    """Count how many requests to DynamoDB had to wait for one another.

    That is the longest chain of them in which each began after the one before had ended; two that
    overlap are one round trip. A retry is a round trip more.
    """
    count, free = 0, 0
    for one in sorted(requests, key=lambda request: request.ended):
        if one.service == DYNAMODB and one.began >= free:
            count, free = count + one.tries, one.ended
    return count


def overlapping(requests: Sequence[Request]) -> list[bool]:
    """Tell of each request, in the order of their beginnings, whether it began while another was under way."""
    found, until = [], 0
    for one in requests:
        found.append(one.began < until)
        until = max(until, one.ended)
    return found


def trace_lines(requests: Sequence[Request], *, began: int, ended: int) -> list[Sequence[str]]:
    """Spell requests as rows of a table, with their times since a run's request was sent."""
    rows: list[Sequence[str]] = [("", "request", "touches", "begins at ms", "takes ms", "overlaps")]
    for count, (one, beside) in enumerate(zip(requests, overlapping(requests), strict=True), 1):
        name = f"{one.service} {one.operation}" + (f" ({one.tries} tries)" if one.tries > 1 else "")
        late = " (after the answer)" if one.began > ended else ""
        rows.append(
            (
                str(count),
                name + late,
                ", ".join(one.touched) or "-",
                f"{(one.began - began) / 1e6:.1f}",
                f"{(one.ended - one.began) / 1e6:.1f}",
                "yes" if beside else "no",
            )
        )
    return rows
