import json
from collections.abc import Callable
from typing import Any

import pytest

from crewline.store import keys
from crewline.store.queues import RECEIVES

OfType = Callable[[str], dict[str, dict[str, Any]]]


def _only(resources: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (properties,) = resources.values()
    return properties


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def test_the_table_has_the_keys_and_every_index_that_the_store_names(of_type: OfType) -> None:
    table = _only(of_type("DynamoDB::Table"))

    assert table["KeySchema"] == _key_schema(keys.PARTITION, keys.SORT)
    assert table["GlobalSecondaryIndexes"] == [
        {
            "IndexName": index.name,
            "KeySchema": _key_schema(index.partition, index.sort),
            "Projection": {"ProjectionType": index.projection},
        }
        for index in keys.INDEXES
    ]


def test_the_table_is_on_demand_ends_items_and_can_be_restored(of_type: OfType) -> None:
    table = _only(of_type("DynamoDB::Table"))

    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": keys.TTL, "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_the_bucket_is_private_and_encrypted(of_type: OfType) -> None:
    bucket = _only(of_type("S3::Bucket"))

    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert "AES256" in json.dumps(bucket["BucketEncryption"])


def test_bucket_and_queues_refuse_what_does_not_come_over_tls(of_type: OfType) -> None:
    policies = [*of_type("S3::BucketPolicy").values(), *of_type("SQS::QueuePolicy").values()]

    assert len(policies) == 8
    for policy in policies:
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_what_holds_state_outlives_the_stack(template: dict[str, Any]) -> None:
    kinds = {"AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SQS::Queue"}
    stateful = [resource for resource in template["Resources"].values() if resource["Type"] in kinds]

    assert len(stateful) == 9
    assert {resource["UpdateReplacePolicy"] for resource in stateful} == {"Retain"}
    # A deploy that fails leaves nothing of its own behind; an empty table would be no loss.
    assert {resource["DeletionPolicy"] for resource in stateful} == {"RetainExceptOnCreate"}


@pytest.mark.parametrize(
    ("name", "dead_letters", "receives"),
    [
        ("ServiceRunQueue", "ServiceDeadLetters", RECEIVES),
        ("ServiceWebhookQueue", "ServiceWebhookDeadLetters", 8),
        ("ServiceIntakeQueue", "ServiceIntakeDeadLetters", RECEIVES),
    ],
)
def test_a_message_that_keeps_failing_goes_to_the_dead_letters_of_its_queue(
    of_type: OfType, name: str, dead_letters: str, receives: int
) -> None:
    (queue,) = _queues(of_type, name).values()
    ((dead_id, dead),) = _queues(of_type, dead_letters).items()

    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": [dead_id, "Arn"]},
        "maxReceiveCount": receives,
    }
    assert dead["MessageRetentionPeriod"] == 14 * 24 * 3600


@pytest.mark.parametrize(
    ("name", "function"), [("ServiceRunQueue", "WorkerFunction"), ("ServiceWebhookQueue", "SweeperFunction")]
)
def test_a_message_stays_hidden_for_a_whole_invocation_of_its_function(
    of_type: OfType, name: str, function: str
) -> None:
    (queue,) = _queues(of_type, name).values()

    assert queue["VisibilityTimeout"] >= of_type("Lambda::Function")[function]["Timeout"]


def test_messages_come_in_order_and_a_repeated_dead_letter_is_known(of_type: OfType) -> None:
    (queue,) = _queues(of_type, "ServiceIntakeQueue").values()
    (dead,) = _queues(of_type, "ServiceIntakeDeadLetters").values()
    (events,) = _queues(of_type, "ServiceEventDeadLetters").values()
    timeout = of_type("Lambda::Function")["IntakeFunction"]["Timeout"]

    assert (queue["FifoQueue"], dead["FifoQueue"], "FifoQueue" in events) == (True, True, False)
    assert "ContentBasedDeduplication" not in queue, "equal messages are not the same"
    for one in (queue, dead):
        assert one["DeduplicationScope"] == "messageGroup"
        assert one["FifoThroughputLimit"] == "perMessageGroupId"
    assert queue["VisibilityTimeout"] == 6 * timeout < 300, "SQS knows a message for five minutes"


def _queues(of_type: OfType, name: str) -> dict[str, dict[str, Any]]:
    return {found: queue for found, queue in of_type("SQS::Queue").items() if found.startswith(name)}
