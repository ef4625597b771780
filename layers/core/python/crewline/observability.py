"""Structured logs; the fields that find a run are on every line that concerns one."""

from __future__ import annotations

from aws_lambda_powertools import Logger

from crewline.models.leases import Claim


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
