"""Runs and threads that are followed, over API Gateway events."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.functions.deployments import Answer, Deployment, recorded

T = "0199c7a0-0000-7000-8000-00000000abcd"
R = "0199c7a0-0000-7000-8000-0000000000e1"
"""The run of the recorded events."""
UNKNOWN_RUN = f"Run with ID {R} not found on thread {T}."


@pytest.fixture(scope="module")
def run(deployment: Deployment) -> str:
    """A finished run of the recorded thread."""
    deployment.thread(thread_id=T)
    body = {"assistant_id": "steps", "input": {"n": 0}, "stream_mode": ["values", "updates"]}
    made: str = deployment.request("POST", f"/threads/{T}/runs", body).json["run_id"]
    deployment.work()
    return made


def of_run(name: str, run: str, **headers: str) -> dict[str, Any]:
    """A recorded event about another run, with other headers."""
    event: dict[str, Any] = orjson.loads(orjson.dumps(recorded(name)).decode().replace(R, run))
    event["headers"] |= headers
    event["multiValueHeaders"] |= {header: [value] for header, value in headers.items()}
    return event


def events(answer: Answer) -> list[tuple[str, Any, str]]:
    """Read events as a client does: name, data, id."""
    found = []
    for block in answer.text.split("\r\n\r\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\r\n"))
        found.append((lines["event"], orjson.loads(lines["data"]), lines.get("id", "")))
    return found


def names(answer: Answer) -> list[str]:
    return [name for name, _, _ in events(answer)]


WHOLE = ["metadata", "values", *["updates", "values"] * 3, "end"]


# ------------------------------------------------------------------ join


def test_a_finished_run_is_joined(deployment: Deployment, run: str) -> None:
    answer = deployment.send(of_run("join_run", run))
    assert (answer.status, answer.json) == (200, {"n": 3, "log": ["a", "b", "c"]})
    path = f"/threads/{T}/runs/{run}"
    assert answer.headers["content-location"] == path
    assert answer.headers["location"] == f"{path}/join"
    assert answer.headers["content-type"] == "application/json"


def test_an_unknown_run_is_joined_to_an_error(deployment: Deployment, run: str) -> None:
    answer = deployment.send(recorded("join_run"))
    assert answer.status == 200
    assert answer.json == {"__error__": {"error": "NotFound", "message": UNKNOWN_RUN}}


def test_an_id_that_is_none_is_refused(deployment: Deployment) -> None:
    answer = deployment.request("GET", f"/threads/{T}/runs/nope/join")
    assert (answer.status, answer.detail) == (422, "Invalid run ID: must be a UUID, got 'nope'.")


# ------------------------------------------------------------------ streams of runs


def test_a_finished_run_is_told_from_its_start(deployment: Deployment, run: str) -> None:
    answer = deployment.send(of_run("stream_run", run))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["location"] == f"/threads/{T}/runs/{run}/stream"
    told = events(answer)
    assert [name for name, _, _ in told] == WHOLE
    assert told[0][1] == {"run_id": run, "attempt": 1}
    values = [value for name, value, _ in told if name == "values"]
    assert values[-1] == {"n": 3, "log": ["a", "b", "c"]}
    assert [len(one.get("log", [])) for one in values] == [0, 1, 2, 3]
    assert told[-1][1]["status"] == "success"
    ids = [ident for _, _, ident in told]
    assert len(set(ids)) == len(ids)


def test_a_client_that_has_a_part_gets_the_rest(deployment: Deployment, run: str) -> None:
    told = events(deployment.send(of_run("stream_run", run)))
    for place, (_, _, ident) in enumerate(told[:-1]):
        rest = deployment.send(of_run("stream_run", run, **{"Last-Event-ID": ident}))
        assert events(rest) == told[place + 1 :]


@pytest.mark.parametrize("crew", ["steps", "failing"])
def test_a_client_that_has_the_end_gets_nothing_more(deployment: Deployment, crew: str) -> None:
    thread = deployment.thread()
    body = {"assistant_id": crew, "input": {"n": 0} if crew == "steps" else {"x": "1"}}
    made = deployment.request("POST", f"/threads/{thread}/runs", body).json["run_id"]
    deployment.work()
    path = f"/threads/{thread}/runs/{made}/stream"
    *_, (_, _, ident) = events(deployment.request("GET", path, headers={"Last-Event-ID": "-1"}))
    assert names(deployment.request("GET", path, headers={"Last-Event-ID": ident})) == []


def test_a_finished_run_says_nothing_to_a_client_that_names_no_position(
    deployment: Deployment, run: str
) -> None:
    event = of_run("stream_run", run)
    for headers in ("headers", "multiValueHeaders"):
        del event[headers]["Last-Event-ID"]
    answer = deployment.send(event)
    assert (answer.status, answer.text) == (200, "")


def test_a_follower_chooses_modes(deployment: Deployment, run: str) -> None:
    path = f"/threads/{T}/runs/{run}/stream?stream_mode=updates"
    answer = deployment.request("GET", path, headers={"Last-Event-ID": "-1"})
    assert names(answer) == ["updates", "updates", "updates", "end"]


def test_the_stream_of_an_unknown_run_is_an_error_event(deployment: Deployment, run: str) -> None:
    answer = deployment.send(recorded("stream_run"))
    assert answer.status == 200
    assert events(answer) == [("error", {"error": "NotFound", "message": UNKNOWN_RUN}, "")]


def test_a_failed_run_is_told_with_its_error_once(deployment: Deployment) -> None:
    thread = deployment.thread()
    body = {"assistant_id": "failing", "input": {"x": "1"}}
    made = deployment.request("POST", f"/threads/{thread}/runs", body).json["run_id"]
    deployment.work()
    path = f"/threads/{thread}/runs/{made}/stream"
    told = events(deployment.request("GET", path, headers={"Last-Event-ID": "-1"}))
    assert [value for name, value, _ in told if name == "error"] == [
        {"error": "ValueError", "message": "boom: 1"}
    ]
    assert (told[-1][0], told[-1][1]["status"]) == ("end", "error")


def test_a_run_that_was_waited_for_is_told_without_its_tokens(deployment: Deployment) -> None:
    thread = deployment.thread()
    body = {"assistant_id": "steps", "input": {"n": 0}, "stream_mode": ["values", "custom"]}
    deployment.request("POST", f"/threads/{thread}/runs/wait", body)
    (made,) = deployment.request("GET", f"/threads/{thread}/runs").json
    path = f"/threads/{thread}/runs/{made['run_id']}/stream"
    told = events(deployment.request("GET", path, headers={"Last-Event-ID": "-1"}))
    assert [name for name, _, _ in told] == ["metadata", *["values"] * 4, "end"]
    assert told[-2][1] == {"n": 3, "log": ["a", "b", "c"]}


# ------------------------------------------------------------------ streams of threads


def test_an_unknown_thread_is_not_found(deployment: Deployment) -> None:
    unknown = "0199c7a0-0000-4000-8000-00000000dead"
    event: dict[str, Any] = orjson.loads(orjson.dumps(recorded("stream_thread")).decode().replace(T, unknown))
    answer = deployment.send(event)
    assert answer.status == 404
    assert unknown in answer.detail
