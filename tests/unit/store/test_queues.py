"""Messages of the queues hold ids and no content, and what is not ours is no job."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from pydantic import ValidationError

from crewline.errors import Unavailable
from crewline.store.queues import (
    DeadLetters,
    PurgeJob,
    RunJob,
    WebhookJob,
    WebhookQueue,
    parse_job,
    parse_webhook,
)
from tests.unit.store.worlds import Calls, World

RUN = RunJob(tenant="acme", thread_id="t", run_id="r")
PURGE = PurgeJob(tenant="acme", thread_id="t")
WEBHOOK = WebhookJob(tenant="acme", thread_id="t", run_id="r", status="success")


@pytest.mark.parametrize("job", [RUN, PURGE])
def test_a_job_survives_its_message(job: RunJob | PurgeJob) -> None:
    assert parse_job(job.model_dump_json()) == job


def test_a_webhook_survives_its_message() -> None:
    assert parse_webhook(WEBHOOK.model_dump_json()) == WEBHOOK


@pytest.mark.parametrize("body", ["", "null", "{}", RUN.model_dump_json(), WEBHOOK.model_dump_json()[:-9]])
def test_what_is_no_webhook_is_refused(body: str) -> None:
    with pytest.raises(ValidationError):
        parse_webhook(body)


def test_a_webhook_is_no_job_of_the_run_queue() -> None:
    with pytest.raises(ValidationError):
        parse_job(WEBHOOK.model_dump_json())


def test_a_queue_that_does_not_answer_is_named(world: World) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="sqs")]
        with pytest.raises(Unavailable, match="The webhook queue did not take the message"):
            WebhookQueue(world.cloud.sqs, world.queue_url).send(WEBHOOK)


def test_a_message_is_spelled_out(world: World) -> None:
    world.queue.send(RUN)
    world.queue.send(PURGE)
    assert world.messages() == [
        {"kind": "run", "tenant": "acme", "thread_id": "t", "run_id": "r"},
        {"kind": "purge", "tenant": "acme", "thread_id": "t"},
    ]


def test_a_delayed_message_is_held_back_by_sqs(world: World) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        world.queue.send(RUN, delay_s=5)
        world.queue.send(RUN)
    assert calls.requests[0]["DelaySeconds"] == 5
    assert "DelaySeconds" not in calls.requests[1]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "null",
        "[]",
        "{}",
        '{"kind":"launch"}',
        '{"kind":"run","tenant":"a"}',
        '{"kind":"run","tenant":5,"thread_id":"t","run_id":"r"}',
    ],
)
def test_what_is_not_ours_is_no_job(body: str) -> None:
    with pytest.raises(ValidationError):
        parse_job(body)


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "Throttling", "Message": "no"}}, "SendMessage"),
        EndpointConnectionError(endpoint_url="sqs"),
    ],
)
def test_a_queue_that_does_not_answer_is_unavailable(world: World, failure: Exception) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [failure]
        with pytest.raises(Unavailable):
            world.queue.send(RUN)


def test_a_dead_letter_is_hidden_once_received_until_it_is_deleted_or_its_time_is_over(world: World) -> None:
    letters = DeadLetters(world.cloud.sqs, world.queue_url)
    world.queue.send(RUN)
    with Calls(world.cloud.sqs, "ReceiveMessage") as calls:
        [letter] = letters.receive(hidden_s=3_600)
    assert calls.requests[0]["VisibilityTimeout"] == 3_600
    assert "WaitTimeSeconds" not in calls.requests[0], "an invocation that waits is paid for"
    assert parse_job(letter.body) == RUN
    assert letters.receive(hidden_s=3_600) == []
    world.cloud.sqs.change_message_visibility(
        QueueUrl=world.queue_url, ReceiptHandle=letter.receipt, VisibilityTimeout=0
    )
    [again] = letters.receive(hidden_s=3_600)
    assert again.message_id == letter.message_id
    letters.delete(again)
    attributes = world.cloud.sqs.get_queue_attributes(QueueUrl=world.queue_url, AttributeNames=["All"])
    assert attributes["Attributes"]["ApproximateNumberOfMessagesNotVisible"] == "0"


@pytest.mark.parametrize("operation", ["ReceiveMessage", "DeleteMessage"])
def test_a_dead_letter_queue_that_does_not_answer_is_unavailable(world: World, operation: str) -> None:
    letters = DeadLetters(world.cloud.sqs, world.queue_url)
    world.queue.send(RUN)
    with Calls(world.cloud.sqs, operation) as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="sqs")]
        with pytest.raises(Unavailable):
            letters.delete(letters.receive(hidden_s=1)[0])
