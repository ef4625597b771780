"""`/v1`: runs by the API of Crewship, which are the same runs in other words."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from crewline.models.assistants import default_assistant_id
from crewline.models.public_ids import parse_public_id, public_id
from crewline.settings import UNDEPLOYED
from tests.functions.deployments import TENANT, Answer, Deployment

STEPS = public_id("deployment", default_assistant_id("steps"))
UNKNOWN = "0199c7a0000040008000" + "00000000dead"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def start(deployment: Deployment, **body: Any) -> str:
    """Start a run and give its id."""
    answer = deployment.request("POST", "/v1/runs", {"deployment_id": STEPS, "input": {"n": 0}, **body})
    assert answer.status == 202, answer.text
    run_id: str = answer.json["run_id"]
    return run_id


def get(deployment: Deployment, run_id: str) -> Any:
    answer = deployment.request("GET", f"/v1/runs/{run_id}")
    assert answer.status == 200, answer.text
    return answer.json


def core(deployment: Deployment, run_id: str) -> Any:
    """The run as the core has it."""
    return deployment.world.runs.find(TENANT, parse_public_id("run", run_id))


# ------------------------------------------------------------------ starting


def test_a_run_is_accepted_and_said_to_be_running(deployment: Deployment) -> None:
    answer = deployment.request("POST", "/v1/runs", {"deployment_id": STEPS, "input": {"n": 0}})
    made = answer.json
    assert (answer.status, set(made)) == (202, {"run_id", "version_id", "version_number", "status"})
    assert (made["version_id"], made["version_number"]) == (f"ver_{UNDEPLOYED}", 1)
    assert made["status"] == "running"
    assert core(deployment, made["run_id"]).status == "pending"
    deployment.work()


@pytest.mark.parametrize("deployment_id", [STEPS, "steps", default_assistant_id("steps")])
def test_a_deployment_is_named_by_its_id_or_as_its_crew(deployment: Deployment, deployment_id: str) -> None:
    assert get(deployment, start(deployment, deployment_id=deployment_id))["deployment_id"] == STEPS
    deployment.work()


def test_a_run_without_input_has_an_empty_one(deployment: Deployment) -> None:
    run_id = start(deployment, input=None)
    deployment.work()
    run = get(deployment, run_id)
    assert (run["status"], run["input"], run["output"]["log"]) == ("succeeded", {}, ["a", "b", "c"])


def test_its_log_can_be_told_as_events(deployment: Deployment) -> None:
    asked = core(deployment, start(deployment)).kwargs
    assert (asked["stream_mode"], asked["subgraphs"]) == (["tasks", "custom"], True)
    deployment.work()


def test_a_repeated_request_starts_no_second_run(deployment: Deployment) -> None:
    body, key = {"deployment_id": STEPS, "input": {"n": 0}}, {"Idempotency-Key": "crewship-1"}
    first = deployment.request("POST", "/v1/runs", body, headers=key)
    again = deployment.request("POST", "/v1/runs", body, headers=key)
    assert (again.status, again.json) == (202, first.json)
    deployment.work()
    ended = deployment.request("POST", "/v1/runs", body, headers=key)
    assert ended.json == {**first.json, "status": "succeeded"}
    other = deployment.request("POST", "/v1/runs", {**body, "input": {"n": 1}}, headers=key)
    assert (other.status, "with another body" in other.message) == (409, True)


# ------------------------------------------------------------------ reading


def test_a_run_goes_from_pending_to_succeeded(deployment: Deployment) -> None:
    run_id = start(deployment)
    before = get(deployment, run_id)
    assert before == {
        "id": run_id,
        "version_id": f"ver_{UNDEPLOYED}",
        "deployment_id": STEPS,
        "thread_id": None,
        "status": "pending",
        "input": {"n": 0},
        "output": None,
        "error_message": None,
        "usage": None,
        "created_at": before["created_at"],
        "started_at": None,
        "completed_at": None,
    }
    deployment.work()
    after = get(deployment, run_id)
    assert after == {
        **before,
        "status": "succeeded",
        "output": {"n": 3, "log": ["a", "b", "c"]},
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
        "started_at": after["started_at"],
        "completed_at": after["completed_at"],
    }
    times = [after[name] for name in ("created_at", "started_at", "completed_at")]
    assert all(TIME.fullmatch(time) for time in times)
    assert times == sorted(times)


def test_a_run_that_fails_says_why_and_has_no_output(deployment: Deployment) -> None:
    run_id = start(deployment, deployment_id="failing", input={"n": 0})
    deployment.work()
    run = get(deployment, run_id)
    assert (run["status"], run["output"]) == ("failed", None)
    assert run["error_message"] == core(deployment, run_id).error.message != ""


def test_a_run_of_a_thread_names_it(deployment: Deployment) -> None:
    thread = deployment.thread()
    body = {"assistant_id": "steps", "input": {"n": 0}}
    run_id = deployment.request("POST", f"/threads/{thread}/runs", body).json["run_id"]
    deployment.work()
    run = get(deployment, run_id)
    assert run == get(deployment, public_id("run", run_id))
    assert run["thread_id"] == public_id("thread", thread)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "deployment_id is required"),
        ({"deployment_id": 7}, 400, "deployment_id: input should be a valid string"),
        ({"deployment_id": "steps", "input": [1]}, 400, "input: input should be a valid dictionary"),
        ({"deployment_id": "steps", "environment": "moon"}, 400, "environment: input should be 'production' or"),
        ({"deployment_id": "none"}, 400, "none"),
        ({"deployment_id": f"thr_{UNKNOWN}"}, 400, "is a thread's id; a deployment's id begins with dep_."),
        ({"deployment_id": f"dep_{UNKNOWN}"}, 404, str(UUID(UNKNOWN))),
        (
            {"deployment_id": "steps", "environment": "staging"},
            404,
            "No running version found for staging environment",
        ),
        ("{", 400, "The body is not valid JSON"),
        ("[]", 400, "The body must be a JSON object"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_is_refused(
    deployment: Deployment, body: Any, status: int, message: str
) -> None:
    before = deployment.world.items()
    answer = deployment.request("POST", "/v1/runs", body)
    assert answer.status == status, answer.text
    assert message in answer.message
    assert deployment.world.items() == before


@pytest.mark.parametrize(
    ("run_id", "status", "message"),
    [
        (f"run_{UNKNOWN}", 404, f"There is no run run_{UNKNOWN}"),
        (UNKNOWN, 404, f"There is no run {UNKNOWN}"),
        (f"thr_{UNKNOWN}", 400, f"'thr_{UNKNOWN}' is a thread's id; a run's id begins with run_."),
        ("latest", 400, "'latest' is no run's id, which is run_ and 32 hexadecimal digits."),
    ],
)
def test_a_run_that_is_not_there_is_not_found(
    deployment: Deployment, run_id: str, status: int, message: str
) -> None:
    answer = deployment.request("GET", f"/v1/runs/{run_id}")
    assert answer.status == status
    assert message in answer.message


def test_every_refusal_has_the_shape_of_this_api(deployment: Deployment) -> None:
    _, reader = deployment.world.api_keys.create(TENANT, ["read"])
    body = {"deployment_id": STEPS}
    refused: list[tuple[int, Answer]] = [
        (404, deployment.request("GET", "/v1/nothing/here")),
        (405, deployment.request("PUT", "/v1/runs", body)),
        (401, deployment.request("POST", "/v1/runs", body, headers={"x-api-key": "hunter2"})),
        (403, deployment.request("POST", "/v1/runs", body, headers={"x-api-key": reader})),
        (413, deployment.request("POST", "/v1/runs", {**body, "input": {"text": "x" * 60_000}})),
    ]
    for status, answer in refused:
        assert answer.status == status
        assert answer.message
