"""Messages and events start runs on the local cloud: queues, rules and functions as deployed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest

from crewline.local import clouds, services
from crewline.local.services import LocalService
from crewline.models.intake import thread_id_of
from crewline.models.lifecycles import RunEvent
from tests.e2e.processes import eventually
from tests.unit.store.worlds import BASIC

TENANT = "default"
PATIENCE_S = 60.0
BUS = "crews"
"""Who is told of every run of these tests."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with services.serve(BASIC, state=tmp_path_factory.mktemp("intake") / "state", event_bus=BUS) as service:
        yield service


def aws(service: LocalService, name: Any) -> Any:
    return boto3.client(
        name,
        endpoint_url=service.cloud.url,
        region_name=clouds.REGION,
        aws_access_key_id=clouds.CREDENTIALS.access_key,
        aws_secret_access_key=clouds.CREDENTIALS.secret_key,
    )


def send(service: LocalService, *bodies: Any) -> None:
    """Send messages of one group; each is another one to SQS."""
    sqs = aws(service, "sqs")
    for count, body in enumerate(bodies):
        sqs.send_message(
            QueueUrl=service.intake_queue_url,
            MessageBody=body if isinstance(body, str) else json.dumps(body),
            MessageGroupId="ada",
            MessageDeduplicationId=f"{count}",
        )


def finished(service: LocalService, key: str, count: int) -> list[Any]:
    """The runs of a key's thread, oldest first, once there are so many and all have ended."""

    def look() -> list[Any] | None:
        answer = httpx.get(f"{service.url}/threads/{thread_id_of(TENANT, key)}/runs", timeout=PATIENCE_S)
        if answer.status_code == 404:
            return None
        runs = answer.raise_for_status().json()
        done = len(runs) >= count and all(run["status"] == "success" for run in runs)
        return list(reversed(runs)) if done else None

    return eventually(look, PATIENCE_S)


def test_messages_start_one_run_each_in_the_thread_of_their_key_and_a_bad_one_holds_up_none(
    service: LocalService,
) -> None:
    first, second = (
        {"assistant_id": "steps", "input": {"n": n}, "thread_key": "ada", "idempotency_key": f"m{n}"}
        for n in (1, 2)
    )
    send(service, first, first, "poison", second, first)
    runs = finished(service, "ada", 2)
    assert [run["kwargs"]["input"] for run in runs] == [{"n": 1}, {"n": 2}]
    letters = _letters(service, "IntakeDeadLetters")
    assert [(one["Body"], one["MessageAttributes"]["reason"]["StringValue"][:14]) for one in letters] == [
        ("poison", "It is not JSON")
    ]
    values = httpx.get(f"{service.url}/threads/{thread_id_of(TENANT, 'ada')}").json()["values"]
    assert len(values["log"]) == 6, "the second run went on with what the first had left"


def test_an_event_starts_a_run_in_the_thread_of_its_customer(service: LocalService) -> None:
    events = aws(service, "events")
    good = {"order": "o-1", "count": 7, "customer": {"id": 42}}
    bad = {"order": "o-2", "count": 1}
    entries = [
        {"Source": "shop.orders", "DetailType": kind, "Detail": json.dumps(detail)}
        for kind, detail in (("OrderPlaced", good), ("OrderPlaced", bad), ("OrderPaid", good))
    ]
    sent = events.put_events(Entries=entries)["Entries"]
    (run,) = finished(service, "42", 1)
    assert (run["kwargs"]["input"], run["metadata"]["order"]) == ({"n": 7}, "o-1")
    (letter,) = eventually(lambda: _letters(service, "EventDeadLetters"), PATIENCE_S)
    assert letter["MessageAttributes"]["id"]["StringValue"] == sent[1]["EventId"]
    assert "thread_key leads to nothing" in letter["MessageAttributes"]["reason"]["StringValue"]


def test_a_bus_is_told_of_every_run_and_its_rules_hand_it_on(service: LocalService) -> None:
    events, sqs = aws(service, "events"), aws(service, "sqs")
    url = sqs.create_queue(QueueName="told")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["crewline"], "detail": {"metadata": {"customer": ["grace"]}}}
    events.put_rule(Name="told", EventBusName=BUS, EventPattern=json.dumps(pattern))
    events.put_targets(Rule="told", EventBusName=BUS, Targets=[{"Id": "1", "Arn": arn}])
    body = {"assistant_id": "steps", "input": {"n": 1}, "metadata": {"customer": "grace"}}
    with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as http:
        thread_id = http.post("/threads", json={}).raise_for_status().json()["thread_id"]
        waited = http.post(f"/threads/{thread_id}/runs/wait", json=body).raise_for_status()
        background = http.post(f"/threads/{thread_id}/runs", json=body).raise_for_status().json()
        stateless = http.post("/runs/wait", json=body).raise_for_status()
        failing = http.post("/runs/wait", json={**body, "assistant_id": "failing"}).raise_for_status()
    assert "__error__" in failing.json()
    assert "__error__" not in {**waited.json(), **stateless.json()}
    told: dict[str, Any] = {}

    def all_told() -> bool:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", []):
            envelope = json.loads(message["Body"])
            event = RunEvent.model_validate(envelope["detail"])
            assert (envelope["source"], envelope["detail-type"]) == ("crewline", event.type)
            told[event.id] = event
        return len(told) >= 8

    eventually(all_told, PATIENCE_S)
    assert Counter(event.type for event in told.values()) == {
        "run.started": 4,
        "run.succeeded": 3,
        "run.failed": 1,
    }
    ended = told[f"{background['run_id']}.succeeded"]
    assert (ended.thread_id, ended.graph_id, ended.status) == (thread_id, "steps", "success")
    (failed,) = (event for event in told.values() if event.type == "run.failed")
    assert failed.error == failing.json()["__error__"]["error"]


def _letters(service: LocalService, name: str) -> list[Any]:
    sqs = aws(service, "sqs")
    (url,) = (one for one in sqs.list_queues()["QueueUrls"] if f"Service{name}" in one)
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0
    )
    found: list[Any] = answer.get("Messages", [])
    return found
