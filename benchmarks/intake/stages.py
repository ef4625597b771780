"""What the benchmark stands on: table, bucket and queues of the packaged template, and who empties the queue.

The local cloud hands a FIFO queue to one sandbox at a time, so pollers of the benchmark's own stand in for
Lambda's: they receive real batches, hand them to the function's real handler, and delete what it did not
report. A poller can die after a batch was handled; then all of it comes again.
"""

from __future__ import annotations

import json
import random
import runpy
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import boto3.session
from botocore.config import Config

from benchmarks.intake.messages import Sent
from crewline import locations
from crewline.local.proxy_events import lambda_context

_STACK: Final = "intake"
_KEPT: Final = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue")
_BATCH: Final = 10
_EMPTY: Final = 3
"""After so many receives in a row that found nothing, a poller ends."""
_PATIENCE_S: Final = 60

Handler = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Stage:
    """Names of what was made."""

    table: str
    bucket: str
    run_queue: str
    webhooks: str
    intake: str
    refused: str
    events: str


def aws(service: Any) -> Any:
    """Make a client of the benchmark's own, which nobody counts."""
    config = Config(read_timeout=_PATIENCE_S, max_pool_connections=50)
    return boto3.session.Session().client(service, config=config)


def build() -> Stage:
    """Deploy what the packaged template has of table, bucket and queues, and no function."""
    template = json.loads(locations.TEMPLATE.read_text())
    kept = {name: one for name, one in template["Resources"].items() if one["Type"] in _KEPT}
    formation = aws("cloudformation")
    formation.create_stack(StackName=_STACK, TemplateBody=json.dumps({"Resources": kept}))
    formation.get_waiter("stack_create_complete").wait(StackName=_STACK, WaiterConfig={"Delay": 1})
    made = {
        one["LogicalResourceId"]: one["PhysicalResourceId"]
        for one in formation.describe_stack_resources(StackName=_STACK)["StackResources"]
    }

    def named(beginning: str) -> str:
        (found,) = (one for name, one in made.items() if name.startswith(f"Service{beginning}"))
        return str(found)

    return Stage(
        table=named("Table"),
        bucket=named("Bucket"),
        run_queue=named("RunQueue"),
        webhooks=named("WebhookQueue"),
        intake=named("IntakeQueue"),
        refused=named("IntakeDeadLetters"),
        events=named("EventDeadLetters"),
    )


def load_handler() -> Handler:
    """Load the function as a cold start does."""
    handler: Handler = runpy.run_path(str(locations.FUNCTIONS / "intake" / "handler.py"))["handler"]
    return handler


def send(stage: Stage, sent: Iterable[Sent]) -> int:
    """Send messages; each is another one to SQS. Returns how many there were."""
    sqs, count, rest = aws("sqs"), 0, iter(sent)
    while batch := list(islice(rest, _BATCH)):
        entries = [
            {
                "Id": str(place),
                "MessageBody": one.body,
                "MessageGroupId": one.group,
                "MessageDeduplicationId": str(count + place),
            }
            for place, one in enumerate(batch)
        ]
        if failed := sqs.send_message_batch(QueueUrl=stage.intake, Entries=entries).get("Failed"):
            raise RuntimeError(f"The queue did not take {failed}.")
        count += len(batch)
    return count


@dataclass(slots=True)
class Handled:
    """What the pollers have done."""

    batches: int = 0
    deliveries: int = 0
    failed: int = 0
    """Messages that were reported to come again."""
    deaths: int = 0
    """Batches after which a poller died."""
    again: int = 0
    """Messages of those batches."""
    busy_s: float = 0.0
    """Time in the handler."""
    seconds: float = 0.0
    """Time in all."""
    unfinished: bool = False
    """The time was up before the queue was empty."""
    lock: threading.Lock = field(default_factory=threading.Lock)


def drain(stage: Stage, *, sandboxes: int, dying: float, until: float, seed: int) -> Handled:
    """Empty the intake queue.

    Args:
        stage: Where it is.
        sandboxes: How many pollers there are.
        dying: Which share of the batches a poller dies after.
        until: When to give up, in seconds of the monotonic clock.
        seed: Of what is random.
    """
    handled, began = Handled(), time.monotonic()
    handlers = [load_handler() for _ in range(sandboxes)]  # one after the other: imports share a lock

    def work(place: int) -> None:
        _poll(stage, handlers[place], handled, random.Random(seed + place), dying=dying, until=until)

    with ThreadPoolExecutor(sandboxes) as pool:
        list(pool.map(work, range(sandboxes)))
    handled.seconds = time.monotonic() - began
    return handled


def _poll(
    stage: Stage, handler: Handler, handled: Handled, chance: random.Random, *, dying: float, until: float
) -> None:
    sqs, empty = aws("sqs"), 0
    while empty < _EMPTY:
        if time.monotonic() > until:
            handled.unfinished = True
            return
        found = sqs.receive_message(
            QueueUrl=stage.intake,
            MaxNumberOfMessages=_BATCH,
            MessageSystemAttributeNames=["All"],
            WaitTimeSeconds=1,
        ).get("Messages", [])
        if not found:
            empty += 1
            continue
        empty, began = 0, time.monotonic()
        answer = handler({"Records": [_record(one) for one in found]}, lambda_context("intake", "benchmark"))
        spent = time.monotonic() - began
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        # One that comes again is not let down a second time: SQS would put it away after five.
        fresh = all(one["Attributes"]["ApproximateReceiveCount"] == "1" for one in found)
        dies = fresh and chance.random() < dying
        entries = [
            {"Id": str(place), "ReceiptHandle": one["ReceiptHandle"]}
            for place, one in enumerate(found)
            if dies or one["MessageId"] not in failed
        ]
        if dies:
            hidden = [{**entry, "VisibilityTimeout": 0} for entry in entries]
            sqs.change_message_visibility_batch(QueueUrl=stage.intake, Entries=hidden)
        elif entries:
            sqs.delete_message_batch(QueueUrl=stage.intake, Entries=entries)
        with handled.lock:
            handled.batches += 1
            handled.deliveries += len(found)
            handled.failed += len(failed)
            handled.deaths += dies
            handled.again += len(found) * dies
            handled.busy_s += spent


def letters(stage: Stage) -> Iterator[tuple[str, str]]:
    """Take every dead letter of the intake queue: its body and its reason."""
    sqs = aws("sqs")
    while found := sqs.receive_message(
        QueueUrl=stage.refused, MaxNumberOfMessages=_BATCH, MessageAttributeNames=["All"]
    ).get("Messages"):
        for one in found:
            yield one["Body"], one.get("MessageAttributes", {}).get("reason", {}).get("StringValue", "")
            sqs.delete_message(QueueUrl=stage.refused, ReceiptHandle=one["ReceiptHandle"])


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:intake.fifo",
        "awsRegion": "us-east-1",
    }
