"""What a finished run has left to say is sent at least once, whatever dies in between."""

from __future__ import annotations

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from crewline.errors import Unavailable
from crewline.services.outbox import Outbox
from crewline.store import keys, outbox
from crewline.store.keys import Key
from crewline.store.queues import WebhookQueue
from tests.unit.store.worlds import NOW, TENANT, Calls, World

THREAD = "0199c7a0-0000-7000-8000-00000000abcd"
RUN = "0199c7a0-0000-7000-8000-00000000beef"
MESSAGE = {"kind": "webhook", "tenant": TENANT, "thread_id": THREAD, "run_id": RUN, "status": "success"}


@pytest.fixture
def box(world: World) -> Outbox:
    return Outbox(world.table, WebhookQueue(world.cloud.sqs, world.queue_url))


@pytest.fixture
def key(world: World) -> Key:
    change = outbox.put(TENANT, THREAD, RUN, status="success", now_ms=NOW)
    world.table.transact([change])
    return change.key


def in_index(world: World) -> list[Key]:
    shard = keys.in_flight(THREAD, NOW)[keys.LEASES_IN_FLIGHT.partition]
    found = world.cloud.dynamodb.query(
        TableName=world.name,
        IndexName=keys.LEASES_IN_FLIGHT.name,
        KeyConditionExpression="flight_shard = :shard AND flight_key <= :now",
        ExpressionAttributeValues={":shard": {"S": shard}, ":now": {"S": f"{NOW:015d}"}},
    )
    return [Key(item[keys.PARTITION]["S"], item[keys.SORT]["S"]) for item in found["Items"]]


def test_an_item_becomes_a_message_and_goes(world: World, box: Outbox, key: Key) -> None:
    box.publish(key)
    assert world.messages() == [MESSAGE]
    assert world.items() == {}


def test_the_sweepers_index_shows_an_item_until_it_is_published(world: World, box: Outbox, key: Key) -> None:
    assert in_index(world) == [key]
    box.publish(in_index(world)[0])
    assert in_index(world) == []


def test_an_item_that_was_published_is_not_sent_again(world: World, box: Outbox, key: Key) -> None:
    box.publish(key)
    box.publish(key)
    assert world.messages() == [MESSAGE]


def test_two_who_publish_at_once_send_twice_and_fail_neither(world: World, box: Outbox, key: Key) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.before = lambda: box.publish(key)
        box.publish(key)
    assert world.messages() == [MESSAGE, MESSAGE]
    assert world.items() == {}


def test_a_crash_between_send_and_delete_sends_again(world: World, box: Outbox, key: Key) -> None:
    with Calls(world.cloud.dynamodb, "DeleteItem") as calls:
        calls.failures = [ReadTimeoutError(endpoint_url="dynamodb")]
        with pytest.raises(Unavailable):
            box.publish(key)
    assert in_index(world) == [key]
    box.publish(key)
    assert world.messages() == [MESSAGE, MESSAGE]
    assert world.items() == {}


def test_an_item_that_could_not_be_sent_stays(world: World, box: Outbox, key: Key) -> None:
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="sqs")]
        with pytest.raises(Unavailable, match="webhook queue"):
            box.publish(key)
    assert in_index(world) == [key]
    assert world.messages() == []
