"""`/metrics`: what the rows tell of how the service is doing, for Prometheus or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Query

from crewline.http.apps import json_response
from crewline.http.resolvers import Router
from crewline.models.vitals import Format, VitalsWire
from crewline.services.vitals import Vitals

PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of Prometheus's text format
(https://prometheus.io/docs/instrumenting/exposition_formats/)."""

_Sample = tuple[dict[str, str], float]


def routes(vitals: Vitals) -> Router:
    """Make the route that tells what waits and what is executed."""
    router = Router()

    @router.get("/metrics")
    def metrics(format: Annotated[Format, Query()] = "prometheus") -> Response[Any]:  # noqa: A002 (the query's name)
        counted = vitals.count(router.caller.tenant)
        if format == "json":
            return json_response(counted)
        return Response(200, PROMETHEUS, spelled(counted))

    return router


def spelled(vitals: VitalsWire) -> str:
    """Spell what was counted in Prometheus's text format; each is a gauge.

    Args:
        vitals: What was counted.
    """
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} gauge\n"
        + "".join(f"{name}{_labels(labels)} {value}\n" for labels, value in samples)
        for name, text, samples in _families(vitals)
    )


def _families(vitals: VitalsWire) -> Iterator[tuple[str, str, list[_Sample]]]:
    runs, outbox = vitals["runs"], vitals["outbox"]
    waiting = runs["pending"] + runs["queued"] + runs["delayed"]
    executed = runs["running"] + runs["expired"]
    # As the LangGraph Server names them, for the dashboards and alerts that a team has.
    yield "lg_api_num_pending_runs", "Runs that have not begun.", [({}, waiting)]
    yield "lg_api_num_running_runs", "Runs that have begun and not ended.", [({}, executed)]
    states = ("pending", "queued", "delayed", "running", "expired")
    yield "crewline_runs", "Runs that have not ended.", [({"state": one}, runs[one]) for one in states]  # type: ignore[literal-required]
    yield (
        "crewline_oldest_pending_run_seconds",
        "For how long the run has waited for a worker that waits longest.",
        [({}, runs["oldest_pending_s"])],
    )
    yield (
        "crewline_threads",
        "Threads that are not idle.",
        [({"status": one}, vitals["threads"][one]) for one in ("busy", "interrupted", "error")],
    )
    yield "crewline_outbox_items", "Webhooks and events not handed over yet.", [({}, outbox["waiting"])]
    yield (
        "crewline_oldest_outbox_item_seconds",
        "For how long the oldest of them has waited.",
        [({}, outbox["oldest_s"])],
    )
    crons = vitals["crons"]
    yield "crewline_crons_enabled", "Crons that start runs.", [({}, crons["enabled"])]
    yield (
        "crewline_crons_unsettled",
        "Crons whose schedules are still to be brought in line.",
        [({}, crons["unsettled"])],
    )
    yield "crewline_purges", "Deleted threads of which something is left.", [({}, vitals["purges"])]
    complete = int(not vitals["at_least"])
    yield "crewline_counts_complete", "0 when a count stopped at its bound.", [({}, complete)]


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}" if labels else ""
