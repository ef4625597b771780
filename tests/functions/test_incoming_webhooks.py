"""Incoming webhooks: whoever knows the URL starts runs of one deployment, and nothing tells the URL on."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from crewline.models.assistants import default_assistant_id
from crewline.models.public_ids import public_id
from crewline.services.runs import Runs
from tests.functions.deployments import TENANT, Answer, Deployment, recorded


@pytest.fixture
def token(deployment: Deployment) -> str:
    return deployment.world.webhook_tokens.create(TENANT, "steps", "forms")[1]


def post(deployment: Deployment, token: str, body: Any, **headers: str) -> Answer:
    """Post as somebody who has no key."""
    return deployment.request("POST", f"/webhooks/runs/{token}", body, headers={"x-api-key": "", **headers})


def test_the_body_is_the_input_of_a_run(deployment: Deployment, token: str) -> None:
    answer = post(deployment, token, {"n": 0, "deployment_id": "echo"})
    assert answer.status == 202
    assert set(answer.json) == {"run_id", "version_id", "version_number", "status"}
    assert answer.json["status"] == "running"
    deployment.work()
    run = deployment.request("GET", f"/v1/runs/{answer.json['run_id']}").json
    assert (run["status"], run["input"]) == ("succeeded", {"n": 0, "deployment_id": "echo"})
    assert run["deployment_id"] == public_id("deployment", default_assistant_id("steps"))
    assert run["output"]["log"] == ["a", "b", "c"]


def test_a_delivery_that_is_repeated_starts_one_run(deployment: Deployment, token: str) -> None:
    first = post(deployment, token, {"n": 0}, **{"Idempotency-Key": "delivery-1"})
    assert post(deployment, token, {"n": 0}, **{"Idempotency-Key": "delivery-1"}).json == first.json
    _, other = deployment.world.webhook_tokens.create(TENANT, "steps")
    elsewhere = post(deployment, other, {"n": 0}, **{"Idempotency-Key": "delivery-1"})
    assert elsewhere.json["run_id"] != first.json["run_id"]
    deployment.work()


def test_unknown_rotated_and_revoked_tokens_are_answered_alike(deployment: Deployment) -> None:
    tokens = deployment.world.webhook_tokens
    rotated, first = tokens.create(TENANT, "steps")
    tokens.rotate(TENANT, rotated.token_id)
    revoked, second = tokens.create(TENANT, "steps")
    tokens.revoke(TENANT, revoked.token_id)
    before = deployment.world.items()
    answers = [post(deployment, one, {"n": 0}) for one in (first, second, "whk_none", "x")]
    assert {(answer.status, answer.text) for answer in answers} == {
        (404, '{"error":{"message":"There is no such webhook.","code":"not_found"}}')
    }
    assert deployment.world.items() == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "The body is the input of the run: send a JSON object."),
        ("[1]", "The body must be a JSON object"),
        ("{", "The body is not valid JSON"),
    ],
)
def test_a_body_that_is_no_input_is_refused(
    deployment: Deployment, token: str, body: Any, message: str
) -> None:
    answer = post(deployment, token, body)
    assert (answer.status, message in answer.message) == (400, True)


def test_a_token_opens_nothing_else(deployment: Deployment, token: str) -> None:
    answer = deployment.request("GET", "/v1/runs", headers={"x-api-key": token})
    assert answer.status == 401


def test_the_token_is_in_no_log_and_in_no_answer(
    deployment: Deployment, token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = deployment.functions["api"].answer.__self__
    logger = Logger(service="loud", level="DEBUG")
    monkeypatch.setattr(app, "_logger", logger)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Runs, "create_stateless", fail)
    answers = [
        post(deployment, token, {"n": 0}),
        post(deployment, token, "{"),
        deployment.request("PUT", f"/webhooks/runs/{token}", {"n": 0}),
        deployment.request("POST", f"/webhooks/runs/{token}/more", {"n": 0}),
    ]
    assert [answer.status for answer in answers] == [500, 400, 405, 404]
    written = capsys.readouterr()
    assert "request failed" in written.out + written.err  # the log is looked at, and not nothing
    secret = token.rpartition("_")[2]
    assert secret not in written.out + written.err + "".join(answer.text for answer in answers)


def test_the_event_of_a_request_is_the_only_place_of_the_token(deployment: Deployment, token: str) -> None:
    event = copy.deepcopy(recorded("create_thread"))
    event |= {"path": f"/webhooks/runs/{token}", "body": '{"n": 0}'}
    assert deployment.send(event).status == 202
    secret = token.rpartition("_")[2]
    assert secret not in repr(deployment.world.items()) + repr(deployment.world.messages())
