"""The local cloud of a torture: the packaged template's table, bucket and queues, and no functions."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from crewline import locations
from crewline.local import clouds, stacks, states
from crewline.store.clients import client
from tests.faults.torture.plans import Place, Plan

_STORES: Final = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue")
_OUTPUTS: Final = ("TableName", "BucketName", "RunQueueUrl", "WebhookQueueUrl")


@contextmanager
def running(plan: Plan, folder: Path) -> Iterator[Place]:
    """Run a local cloud with an empty table whose stream tells every change.

    For as long as it runs, the environment of this process names it.

    Args:
        plan: What is to happen there.
        folder: For its state, and for the history.
    """
    with states.held(folder / "cloud") as state, clouds.running(state) as cloud:
        outputs = stacks.deploy(cloud, _template(), ())
        before = dict(os.environ)
        os.environ.update(cloud.environment)
        place = Place(
            plan=plan,
            folder=folder,
            table=outputs.table,
            bucket=outputs.bucket,
            queue_url=outputs.run_queue_url,
            dead_letter_url=_dead_letters(outputs.run_queue_url),
            began_ns=time.time_ns(),
            thread_ids=tuple(_thread_id(plan, number) for number in range(plan.threads)),
        )
        place.history.mkdir()
        try:
            yield place
        finally:
            os.environ.clear()
            os.environ.update(before)


def _dead_letters(queue_url: str) -> str:
    sqs = client("sqs")
    found = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["RedrivePolicy"])["Attributes"]
    name = json.loads(found["RedrivePolicy"])["deadLetterTargetArn"].rpartition(":")[2]
    return sqs.get_queue_url(QueueName=name)["QueueUrl"]


def _template() -> dict[str, Any]:
    whole = json.loads(locations.TEMPLATE.read_bytes())
    resources = {name: one for name, one in whole["Resources"].items() if one["Type"] in _STORES}
    for resource in resources.values():
        if resource["Type"] == "AWS::DynamoDB::Table":
            resource["Properties"]["StreamSpecification"] = {"StreamViewType": "NEW_AND_OLD_IMAGES"}
        if resource["Type"] == "AWS::S3::Bucket":
            resource["Properties"] = {}
    outputs = {
        name: one if name in _OUTPUTS else {"Value": "not here"} for name, one in whole["Outputs"].items()
    }
    return {"Resources": resources, "Outputs": outputs}


def _thread_id(plan: Plan, number: int) -> str:
    return f"{plan.seed % 2**32:08x}-0000-7000-8000-{number:012x}"
