"""Lets the benchmark see the requests of a process of the product, without the product's knowing.

The product makes its clients in one place; what is put there before the composition root is imported
sees them all.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from benchmarks.clients import TimedClient
from benchmarks.meters import Emitter, wire, writes_of
from benchmarks.runs.traces import DYNAMODB, Request, event_units, touched
from benchmarks.sizes import Wire, index_units, item_size, write_units
from crewline.store import clients, keys

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Watch = Literal["cpu", "requests", "items"]
"""What is seen: the CPU of the calls; the requests; the requests, and the items before and after each."""
WATCHES: Final[tuple[Watch, ...]] = get_args(Watch)

WATCH_VARIABLE: Final = "CREWLINE_BENCH_WATCH"
LOG_VARIABLE: Final = "CREWLINE_BENCH_LOG"
"""The worker is told by its environment, which it has from the service that starts it."""

_make = clients.client
"""Makes clients that nobody sees, whatever the product is given."""

_CONTEXT: Final = "crewline_benchmark_trace"
_ROOT: Final = "crewline.processes"


def watch_worker() -> None:
    """See what this worker asks of AWS, if its environment says so."""
    if (watch := os.environ.get(WATCH_VARIABLE)) in ("requests", "items"):
        see_clients(Recorder("worker", Path(os.environ[LOG_VARIABLE]), images=watch == "items").adopt)


def see_clients(see: Callable[[Any], Any]) -> None:
    """Give every client that the product makes from now on to a function, and the product what it returns.

    Raises:
        RuntimeError: It is too late.
    """
    if _ROOT in sys.modules:
        raise RuntimeError(f"{_ROOT} was imported before its clients could be watched.")

    def client(*arguments: Any, **named: Any) -> Any:
        return see(_make(*arguments, **named))

    clients.client = client


class Timer:
    """Adds up the CPU of all clients."""

    def __init__(self) -> None:
        self._clients: list[TimedClient] = []

    def adopt(self, client: Any) -> TimedClient:
        """Stand in for a client."""
        timed = TimedClient(client)
        self._clients.append(timed)
        return timed

    @property
    def spent_ms(self) -> float:
        """Milliseconds of CPU so far."""
        return sum(client.spent for client in self._clients)


class Recorder:
    """Appends every request of this process to a log; safe for many threads and processes.

    Args:
        process: How this process is called in the log.
        log: The log; shared with other processes.
        images: Read each item before and after it is written, and tell the units. That takes longer
            than the write itself, so nothing can be said about time then.
    """

    def __init__(self, process: str, log: Path, *, images: bool) -> None:
        self._process = process
        self._images = images
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def adopt(self, client: Any) -> Any:
        """Listen to a client."""
        self.listen(client.meta.events)
        return client

    def listen(self, events: Emitter) -> None:
        """Listen to the events of a client."""
        events.register("before-call", self._on_call)
        events.register("after-call", self._on_answer)
        events.register("after-call-error", self._on_error)

    @cached_property
    def _reader(self) -> DynamoDBClient:
        # Made at the first call: before that, nothing says where the local cloud is.
        return _make(DYNAMODB)

    def _on_call(self, model: Any, params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        service = model.service_model.service_name
        body = json.loads(params["body"]) if service == DYNAMODB else {}
        writes = list(writes_of(model.name, body)) if self._images else []
        context[_CONTEXT] = {
            "service": service,
            "operation": model.name,
            "touched": touched(service, model.name, body),
            "event_units": event_units(service, model.name, body),
            "writes": writes,
            "before": [self._read(one) for _, one, _ in writes],
            "began": time.monotonic_ns(),
        }

    def _on_answer(self, parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
        ended = time.monotonic_ns()
        self._record(context, ended, 1 + parsed.get("ResponseMetadata", {}).get("RetryAttempts", 0))

    def _on_error(self, context: Mapping[str, Any], **_: Any) -> None:
        self._record(context, time.monotonic_ns(), 1)

    def _record(self, context: Mapping[str, Any], ended: int, tries: int) -> None:
        seen = dict(context[_CONTEXT])
        writes, before = seen.pop("writes"), seen.pop("before")
        table = index = 0
        for (_, one, factor), old in zip(writes, before, strict=True):
            new = self._read(one)
            table += factor * write_units(max(item_size(old), item_size(new)))
            index += sum(_index_units(old, new, own) for own in keys.INDEXES)
        request = Request(
            process=self._process, ended=ended, tries=tries, table_units=table, index_units=index, **seen
        )
        os.write(self._log, request.line())

    def _read(self, one: Mapping[str, Any]) -> Wire | None:
        if not self._images:
            return None
        whole = one.get("Item") or one["Key"]
        key = {name: whole[name] for name in (keys.PARTITION, keys.SORT)}
        found = self._reader.get_item(TableName=one["TableName"], Key=key, ConsistentRead=True)
        return wire(found["Item"]) if "Item" in found else None


def _index_units(old: Wire | None, new: Wire | None, index: keys.Index) -> int:
    if index.projection != "KEYS_ONLY":
        raise NotImplementedError(f"Index {index.name} projects more than keys.")
    return index_units(old, new, (keys.PARTITION, keys.SORT), (index.partition, index.sort))
