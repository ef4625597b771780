"""Structured logs, whose fields find a run, and measurements, which CloudWatch makes metrics of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

import orjson
from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics

from crewline.models.clocks import milliseconds
from crewline.models.leases import Claim, Lease
from crewline.models.runs import Run, RunStatus, Usage

NAMESPACE: Final = "Crewline"
"""Of the metrics in CloudWatch."""

_COUNT: Final = "Count"
_MS: Final = "Milliseconds"


def make_logger(service: str, level: str) -> Logger:
    """Make the logger of one function.

    Args:
        service: Name of the function.
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
    """
    return Logger(service=service, level=level, use_rfc3339=True, utc=True, serialize_stacktrace=False)


def run_fields(claim: Claim) -> dict[str, str | int]:
    """Name the fields of a log line about a run: tenant, thread_id, run_id and epoch."""
    return {
        "tenant": claim.tenant,
        "thread_id": claim.thread_id,
        "run_id": claim.run_id,
        "epoch": claim.lease.epoch,
    }


def print_line(line: str) -> None:
    """Write a line to standard output, in one piece: threads share it."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Measures:
    """What functions measure, as lines of CloudWatch's embedded metric format among their logs.

    A line is written where something has come to its end, after the write that ended it: nothing is
    called, nobody waits, and a process that dies in between leaves it uncounted. The dimensions are
    the deployment, crews and statuses; tenants and ids are for logs, since each would be a metric of
    its own that is paid for. Safe for many threads.

    Args:
        deployment: Names it among those of an account: the dimension `service`.
        write: Takes a line; without it, nothing is measured.
    """

    def __init__(self, deployment: str = "", write: Callable[[str], object] | None = None) -> None:
        self._deployment = deployment
        self._write = write

    def run_ended(
        self, run: Run, lease: Lease, *, status: RunStatus, usage: Usage, steps: int, given_up: bool, now: int
    ) -> None:
        """Measure a run that has ended: how, how long it took and had waited, and what it used.

        Args:
            run: The run.
            lease: Its lease, as it was before the end.
            status: How it ended.
            usage: What its model calls have used and cost.
            steps: Supersteps that it has committed, with the one that took its input in.
            given_up: Whether it was ended because nobody got on with it.
            now: The time.
        """
        crew = {"Crew": run.graph_id}
        ready = max(milliseconds(run.created_at), lease.due)
        self._put({**crew, "Status": status}, {"Runs": (_COUNT, 1)})
        used = {
            "InputTokens": usage.input_tokens,
            "OutputTokens": usage.output_tokens,
            "ModelMicroUsd": usage.micro_usd,
            "RunsGivenUp": int(given_up),
        }
        self._put(
            crew,
            {
                "RunDuration": (_MS, max(0, now - lease.started)),
                "RunWait": (_MS, max(0, lease.started - ready)),
                "Supersteps": (_COUNT, steps),
                **{name: (_COUNT, value) for name, value in used.items() if value},
            },
        )

    def slice_ended(self, run: Run) -> None:
        """Measure a slice whose run goes on in another one."""
        self._put({"Crew": run.graph_id}, {"Slices": (_COUNT, 1)})

    def run_resumed(self, run: Run) -> None:
        """Measure that a run goes on whose worker was lost."""
        self._put({"Crew": run.graph_id}, {"RunsResumed": (_COUNT, 1)})

    def swept(self, done: Mapping[str, int]) -> None:
        """Measure what a sweep found, by kind; nothing for what there was none of.

        Args:
            done: `redispatched`, `purges`, … as `Swept` has them.
        """
        found = {f"Swept{_title(kind)}": (_COUNT, number) for kind, number in done.items() if number}
        if found:
            self._put({}, found)

    def webhook(self, what: str) -> None:
        """Measure an attempt to deliver a webhook.

        Args:
            what: `delivered`, `failed` (it is tried again) or `dropped`.
        """
        self._put({}, {f"Webhooks{_title(what)}": (_COUNT, 1)})

    def _put(self, dimensions: Mapping[str, str], metrics: Mapping[str, tuple[str, float]]) -> None:
        if self._write is None:
            return
        made = EphemeralMetrics(namespace=NAMESPACE, service=self._deployment)
        for name, value in dimensions.items():
            made.add_dimension(name=name, value=value)
        for name, (unit, number) in metrics.items():
            made.add_metric(name=name, unit=unit, value=number)
        self._write(orjson.dumps(made.serialize_metric_set()).decode())


UNMEASURED: Final = Measures()
"""For what stands in for a function: measures nothing."""


def _title(words: str) -> str:
    return "".join(word.capitalize() for word in words.split("_"))
