"""`/v1`: what a run does, over API Gateway events; in what words is in tests/unit/http/v1."""

from __future__ import annotations

from typing import Any

import orjson

from tests.functions.deployments import Deployment
from tests.functions.test_crewship_runs import UNKNOWN, start

Told = list[tuple[Any, str]]


def events(text: str) -> Told:
    """Read events as a browser does: data and id."""
    blocks = [
        dict(line.split(": ", 1) for line in block.split("\r\n")) for block in text.split("\r\n\r\n")[:-1]
    ]
    assert {frozenset(block) for block in blocks} == {frozenset(("data", "id"))}
    return [(orjson.loads(block["data"]), block["id"]) for block in blocks]


def test_a_run_without_a_thread_is_told_to_whoever_comes_later(deployment: Deployment) -> None:
    run_id = start(deployment)
    deployment.work()
    answer = deployment.request("GET", f"/v1/runs/{run_id}/events")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    types = [event["type"] for event, _ in told]
    assert types == ["run.started", *["task.started", "task.completed"] * 3, "run.completed"]
    (begun, _), *_, (end, _) = told
    assert (begun["data"]["run_id"], begun["data"]["thread_id"]) == (run_id, None)
    assert (end["data"]["status"], end["data"]["output"]) == ("succeeded", {"n": 3, "log": ["a", "b", "c"]})
    for count, (_, ident) in enumerate(told[:-1], 1):
        rest = deployment.request("GET", f"/v1/runs/{run_id}/events", headers={"Last-Event-ID": ident})
        assert events(rest.text) == told[count:]
    last = {"Last-Event-ID": told[-1][1]}
    assert deployment.request("GET", f"/v1/runs/{run_id}/events", headers=last).text == ""


def test_a_run_that_speaks_the_other_api_is_told_too(deployment: Deployment) -> None:
    thread = deployment.thread()
    body = {"assistant_id": "failing", "input": {"x": "y"}}
    run_id = deployment.request("POST", f"/threads/{thread}/runs", body).json["run_id"]
    deployment.work()
    told = events(deployment.request("GET", f"/v1/runs/{run_id}/events").text)
    assert [event["type"] for event, _ in told] == ["run.started", "run.failed"]
    assert told[-1][0]["data"]["error"] == "boom: y"


def test_a_run_that_is_not_there_has_no_events(deployment: Deployment) -> None:
    unknown = deployment.request("GET", f"/v1/runs/run_{UNKNOWN}/events")
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "not_found")
    wrong = deployment.request("GET", f"/v1/runs/thr_{UNKNOWN}/events")
    assert (wrong.status, "begins with run_" in wrong.message) == (400, True)
