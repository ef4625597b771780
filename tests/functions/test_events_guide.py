"""The programs and examples of docs/events.md run: a message in, an event mapped, dead letters sent again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

from crewline.events.schemas import FOLDER, spelled
from crewline.models.intake import thread_id_of
from crewline.models.lifecycles import SOURCE, RunEvent
from crewline.models.manifests import read_manifest
from crewline.services.intake import HOPELESS
from tests.functions.deployments import TENANT, Deployment, recorded
from tests.tables import answer_here

GUIDE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
SEND, COMPUTE, REDRIVE, _, CONSUME = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
MANIFEST, EVENT, MESSAGE, TOLD = (
    json.loads(one) for one in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
)
CUSTOMER = thread_id_of(TENANT, "customer-42")


@pytest.fixture
def queue(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> str:
    """An intake queue, and the environment in which the programs find it."""
    url = deployment.world.cloud.sqs.create_queue(
        QueueName=f"intake-{uuid4().hex}.fifo", Attributes={"FifoQueue": "true"}
    )["QueueUrl"]
    monkeypatch.setenv("INTAKE_QUEUE_URL", url)
    return url


def take(deployment: Deployment, url: str) -> None:
    """Hand what the queue holds to the intake, as one batch."""
    sqs = deployment.world.cloud.sqs
    (record,) = recorded("intake_queue")["Records"]
    found = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
    )["Messages"]
    records = [
        {**record, "messageId": one["MessageId"], "body": one["Body"], "attributes": one["Attributes"]}
        for one in found
    ]
    assert deployment.invoke("intake", {"Records": records}) == {"batchItemFailures": []}
    for one in found:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])


def runs(deployment: Deployment, thread_id: str) -> list[Any]:
    answer = deployment.request("GET", f"/threads/{thread_id}/runs")
    return answer.json if answer.status == 200 else []


def test_the_message_of_the_guide_starts_a_run_in_the_thread_that_it_computes(
    deployment: Deployment, queue: str
) -> None:
    exec(SEND, {})
    take(deployment, queue)
    names: dict[str, Any] = {}
    exec(COMPUTE, names)
    assert str(names["thread_id"]) == CUSTOMER
    (run,) = runs(deployment, CUSTOMER)
    assert (run["kwargs"]["input"], run["metadata"]["order"]) == ({"n": 4}, "o-1")


def test_the_event_of_the_guide_is_the_message_that_it_says(tmp_path: Path) -> None:
    (tmp_path / "graphs.py").touch()
    (tmp_path / "langgraph.json").write_text(json.dumps(MANIFEST))
    (mapping,) = read_manifest(tmp_path / "langgraph.json").events
    assert mapping.pattern == {"source": [EVENT["source"]], "detail-type": [EVENT["detail-type"]]}
    made = mapping.message(EVENT).model_dump(exclude_unset=True)
    assert made == {**MESSAGE, "tenant": None, "multitask_strategy": "enqueue"}


@pytest.mark.parametrize("name", ["intake", "event"])
def test_dead_letters_become_runs_when_they_are_sent_again(
    deployment: Deployment, queue: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    key = str(uuid4())
    event = {**recorded("order_placed"), "id": key}
    event["detail"] = {**event["detail"], "customer": {"id": key}}
    receiver = deployment.functions["intake"].receiver
    (record,) = recorded("intake_queue")["Records"]
    with monkeypatch.context() as patch:
        patch.setattr(receiver, "_mappings", {})  # as before the entry was deployed
        if name == "event":
            deployment.invoke("intake", event)
        else:
            sent = {"Records": [{**record, "messageId": key, "body": json.dumps(event)}]}
            deployment.invoke("intake", sent)
    assert runs(deployment, thread_id_of(TENANT, key)) == []
    letters = receiver._events if name == "event" else receiver._messages
    monkeypatch.setenv("DEAD_LETTERS_URL", letters._url)
    exec(REDRIVE, {})
    take(deployment, queue)
    assert len(runs(deployment, thread_id_of(TENANT, key))) == 1


def test_the_event_of_the_guide_is_one_that_is_told_and_its_consumer_acts_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert RunEvent.model_validate(TOLD).model_dump(mode="json") == TOLD
    table, dynamodb = f"seen-{uuid4().hex}", deployment.world.cloud.dynamodb
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    topic = boto3.client("sns").create_topic(Name=table)["TopicArn"]
    sqs = deployment.world.cloud.sqs
    url = sqs.create_queue(QueueName=table)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    session = boto3.Session()
    answer_here(session.events)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    monkeypatch.setenv("SEEN_TABLE", table)
    monkeypatch.setenv("TOPIC_ARN", topic)
    names: dict[str, Any] = {}
    exec(CONSUME, names)
    envelope = {"source": SOURCE, "detail-type": TOLD["type"], "detail": TOLD}
    names["handler"](envelope, None)
    names["handler"](envelope, None)
    (message,) = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert f"Run {TOLD['run_id']} of planner failed with TokenLimit." in message["Body"]


def test_every_reason_is_in_the_guide() -> None:
    assert [reason for reason in HOPELESS.values() if f"| {reason} |" not in GUIDE] == []


def test_the_schemas_are_those_of_the_code() -> None:
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert files == dict(spelled()), "run `make schemas`"
