"""The sweeper: the minute's event sweeps, a message of the webhook queue is delivered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crewline.errors import BadManifest
from crewline.models.clocks import system_clock
from crewline.processes import make_sweeper
from crewline.services.sweeps import SweepFailed
from crewline.settings import environment
from crewline.store import keys
from crewline.store.changes import Delete, Put, Update
from tests.functions.deployments import TENANT, Deployment, recorded
from tests.unit.store.worlds import BASIC


class Webhooks:
    """Deliveries that only note what they are asked for."""

    def __init__(self, *failing: str) -> None:
        self.delivered: list[str] = []
        self._failing = failing

    def deliver(self, body: str) -> None:
        if body in self._failing:
            raise ConnectionError(body)
        self.delivered.append(body)


@pytest.fixture
def webhooks(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Webhooks:
    recorder = Webhooks()
    monkeypatch.setattr(deployment.functions["sweeper"], "webhooks", recorder)
    return recorder


def left_by_a_dead_worker(deployment: Deployment) -> str:
    """A background run that a worker took up a minute ago; its path."""
    thread = deployment.thread()
    body = {"assistant_id": "steps", "input": {"n": 0}}
    run = deployment.request("POST", f"/threads/{thread}/runs", body).json
    deployment.world.messages()
    long_ago = system_clock() - 60_000
    dead = {"owner": "dead", "until": long_ago, "attempt": 1, **keys.in_flight(thread, long_ago)}
    deployment.world.table.write(Update(key=keys.lease(TENANT, thread), set=dead))
    return f"/threads/{thread}/runs/{run['run_id']}"


def test_the_minute_brings_back_a_run_that_a_dead_worker_left(deployment: Deployment) -> None:
    path = left_by_a_dead_worker(deployment)
    assert deployment.invoke("sweeper", recorded("schedule")) is None
    assert deployment.work() == {"batchItemFailures": []}
    assert deployment.request("GET", path).json["status"] == "success"


def test_a_sweep_that_failed_in_part_is_a_failed_invocation_after_everything_else_was_done(
    deployment: Deployment,
) -> None:
    path = left_by_a_dead_worker(deployment)
    unknown = keys.run(TENANT, "t", "r")
    deployment.world.table.write(Put(key=unknown, item=keys.in_flight("t", 1)))
    with pytest.raises(SweepFailed, match="1 parts of the sweep failed"):
        deployment.invoke("sweeper", recorded("schedule"))
    deployment.world.table.write(Delete(key=unknown))
    deployment.work()
    assert deployment.request("GET", path).json["status"] == "success"


def test_webhooks_are_delivered_and_nothing_is_swept(deployment: Deployment, webhooks: Webhooks) -> None:
    path = left_by_a_dead_worker(deployment)
    assert deployment.invoke("sweeper", recorded("webhook_queue")) == {"batchItemFailures": []}
    assert [json.loads(body) for body in webhooks.delivered] == [{"number": 0}, {"number": 1}]
    assert deployment.world.messages() == []
    assert deployment.request("GET", path).json["status"] == "pending"
    deployment.invoke("sweeper", recorded("schedule"))
    deployment.work()


@pytest.mark.parametrize(
    ("failing", "numbers"), [((0,), [1]), ((1,), [0]), ((0, 1), [])], ids=["first", "second", "both"]
)
def test_a_webhook_that_is_not_delivered_comes_again_and_the_others_do_not(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, failing: tuple[int, ...], numbers: list[int]
) -> None:
    event: Any = recorded("webhook_queue")
    webhooks = Webhooks(*(event["Records"][number]["body"] for number in failing))
    monkeypatch.setattr(deployment.functions["sweeper"], "webhooks", webhooks)
    answer = deployment.invoke("sweeper", event)
    again = [one["itemIdentifier"] for one in answer["batchItemFailures"]]
    assert again == [event["Records"][number]["messageId"] for number in failing]
    assert [json.loads(body)["number"] for body in webhooks.delivered] == numbers


def test_a_sweeper_without_dead_letters_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    variables = environment(table="t", bucket="b", run_queue_url="q", manifest=str(BASIC / "langgraph.json"))
    with pytest.raises(BadManifest, match="lacks CREWLINE_DEAD_LETTER_URL"):
        make_sweeper(variables)


@pytest.mark.parametrize(
    ("endpoint", "own"),
    [("http://127.0.0.1:4566", True), ("https://vpce-1.dynamodb.example", False), ("", False)],
)
def test_webhooks_go_to_this_machine_beside_a_local_cloud_alone(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, own: bool
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    variables = environment(
        table="t",
        bucket="b",
        run_queue_url="q",
        dead_letter_url="d",
        workflow_arn="w",
        manifest=str(BASIC / "langgraph.json"),  # which permits it
    )

    _, webhooks, _ = make_sweeper({**variables, "AWS_ENDPOINT_URL": endpoint})

    assert webhooks._policy.url.disable_loopback is not own  # type: ignore[attr-defined]
