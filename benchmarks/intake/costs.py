"""What a message costs: its requests counted by AWS's sizing rules, times the prices of us-east-1."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.intake.messages import good
from benchmarks.intake.stages import Handler, aws, load_handler
from benchmarks.meters import Meter
from benchmarks.runs.hooks import Recorder, see_clients
from benchmarks.runs.traces import DYNAMODB, parse
from crewline.local.proxy_events import lambda_context

WRU: Final = 0.625e-6
RRU: Final = 0.125e-6
SQS: Final = 0.40e-6
SQS_FIFO: Final = 0.50e-6
LAMBDA_REQUEST: Final = 0.20e-6
LAMBDA_GB_S: Final = 0.0000133334
MEMORY_GB: Final = 0.5
"""Dollars on demand, arm64; what the intake has by default."""

_OF_A_KIND: Final = 10
"""Messages of each kind that are counted."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What one message of a kind costs."""

    name: str
    requests: float
    """To DynamoDB, S3 and SQS."""
    wru: float
    rru: float
    sent: float
    """Messages to the run queue or the dead letters."""

    @property
    def dollars(self) -> float:
        """What it costs in DynamoDB and SQS, beside Lambda and the way of the message itself."""
        return self.wru * WRU + self.rru * RRU + self.sent * SQS


class Counting:
    """Watches the clients that the function makes, as long as it is to."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._recorder = Recorder("intake", log, images=True)
        self._meter: Meter | None = None
        self._on = True
        see_clients(self._see)

    def _see(self, client: Any) -> Any:
        if self._on:
            if self._meter is None:
                self._meter = Meter(aws("dynamodb"))
            self._recorder.adopt(client)
            self._meter.watch(client.meta.events)
        return client

    def kinds(self) -> list[Kind]:
        """Count each kind of message, through a handler of its own; afterwards nothing is watched."""
        handler = load_handler()
        found = [self._count(handler, name, bodies) for name, bodies in _samples()]
        self._on = False
        return found

    def _count(self, handler: Handler, name: str, bodies: Sequence[str]) -> Kind:
        with self._reading() as read:
            for place, body in enumerate(bodies):
                record = {
                    "messageId": f"{name}-{place}",
                    "body": body,
                    "attributes": {"MessageGroupId": name.replace(" ", "-")},
                    "eventSource": "aws:sqs",
                }
                answer = handler({"Records": [record]}, lambda_context("intake", "benchmark"))
                if answer["batchItemFailures"]:
                    raise RuntimeError(f"A message could not be taken in: {name}.")
        requests = parse(self._log.read_bytes().splitlines())
        self._log.write_bytes(b"")
        units = sum(one.table_units + one.index_units for one in requests if one.service == DYNAMODB)
        sent = sum(one.operation == "SendMessage" for one in requests)
        return Kind(
            name=name,
            requests=len(requests) / len(bodies),
            wru=units / len(bodies),
            rru=read["rru"] / len(bodies),
            sent=sent / len(bodies),
        )

    @contextmanager
    def _reading(self) -> Iterator[dict[str, float]]:
        read = {"rru": 0.0}
        if self._meter is None:
            raise RuntimeError("The function made no client that could be watched.")
        with self._meter.measuring() as cost:
            yield read
        read["rru"] = cost.rcu


def _samples() -> Iterator[tuple[str, list[str]]]:
    """Messages of each kind; in this order, since the second goes on where the first has begun."""
    firsts = [json.dumps(good(-1 - place, f"sample-{place}")) for place in range(_OF_A_KIND)]
    yield "first of a thread", firsts
    yield "next of a thread", [json.dumps(good(-101 - place, "sample-0")) for place in range(_OF_A_KIND)]
    yield "sent again", firsts
    yield "bad", ["poison"] * _OF_A_KIND


def priced(
    kinds: Sequence[Kind], mix: Mapping[str, int], *, batches: int, busy_s: float
) -> list[tuple[str, float]]:
    """Price what was done, by service.

    Args:
        kinds: What a message of each kind costs.
        mix: How many of each kind were delivered.
        batches: Invocations.
        busy_s: How long they took together.

    Returns:
        Service and dollars.
    """
    wru = sum(kind.wru * mix[kind.name] for kind in kinds)
    rru = sum(kind.rru * mix[kind.name] for kind in kinds)
    sent = sum(kind.sent * mix[kind.name] for kind in kinds)
    deliveries = sum(mix.values())
    return [
        (f"DynamoDB writes, {wru:,.0f} units", wru * WRU),
        (f"DynamoDB reads, {rru:,.0f} units", rru * RRU),
        (f"Lambda, {batches:,} invocations of {busy_s / batches * 1000:,.0f} ms", _lambda(batches, busy_s)),
        (f"SQS, {deliveries:,} in and {sent:,.0f} out", (deliveries + 2 * batches) * SQS_FIFO + sent * SQS),
    ]


def _lambda(batches: int, busy_s: float) -> float:
    return batches * LAMBDA_REQUEST + busy_s * MEMORY_GB * LAMBDA_GB_S
