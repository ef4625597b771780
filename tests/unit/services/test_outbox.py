"""What a finished run has left to say is sent at least once, whatever dies in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from crewline.errors import Unavailable
from crewline.models.lifecycles import event_of
from crewline.models.runs import Run
from crewline.services.outbox import Outbox
from crewline.store import keys
from crewline.store.keys import Key
from crewline.store.queues import WebhookQueue
from tests.buses import Bus
from tests.unit.store.worlds import NOW, SILENT, TENANT, Calls, World

THREAD = "0199c7a0-0000-7000-8000-00000000abcd"
RUN = Run(
    run_id="0199c7a0-0000-7000-8000-00000000beef",
    thread_id=THREAD,
    assistant_id="a1",
    graph_id="echo",
    status="success",
    created_at="2026-01-01T00:00:00+00:00",
    updated_at="2026-01-01T00:00:00+00:00",
    kwargs={"input": "a secret"},
    metadata={"customer": "c1"},
    heard=True,
)
MESSAGE = {
    "kind": "webhook",
    "tenant": TENANT,
    "thread_id": THREAD,
    "run_id": RUN.run_id,
    "status": "success",
}


def make_box(world: World, bus: Bus | None = None) -> Outbox:
    queue = WebhookQueue(world.cloud.sqs, world.queue_url)
    return Outbox(world.table, queue, bus.bus if bus else None, world.clock, SILENT)


def noted(world: World, box: Outbox, run: Run = RUN) -> Key:
    change = box.note(TENANT, run, "run.succeeded")
    assert change
    world.table.transact([change])
    return change.key


@pytest.fixture
def box(world: World) -> Outbox:
    return make_box(world)


@pytest.fixture
def key(world: World, box: Outbox) -> Key:
    return noted(world, box)


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


# ------------------------------------------------------------------ with an event bus


def test_without_a_bus_nothing_is_noted_of_a_run_without_a_webhook(box: Outbox) -> None:
    assert box.note(TENANT, replace(RUN, heard=False), "run.succeeded") is None


def test_with_a_bus_every_run_is_told_of_and_webhooks_only_of_ends(world: World) -> None:
    bus = Bus()
    box = make_box(world, bus)
    box.publish(noted(world, box, replace(RUN, heard=False)))
    assert (bus.told, world.messages()) == ([event_of(TENANT, RUN, "run.succeeded")], [])
    change = box.note(TENANT, replace(RUN, status="running"), "run.started")
    assert change
    world.table.write(change)
    box.publish(change.key)
    assert [event.type for event in bus.told] == ["run.succeeded", "run.started"]
    assert (world.messages(), world.items()) == ([], {})


def test_one_item_tells_both_and_goes(world: World) -> None:
    bus = Bus()
    box = make_box(world, bus)
    key = noted(world, box)
    box.publish(key)
    box.publish(key)
    assert (len(bus.told), world.messages(), world.items()) == (1, [MESSAGE], {})


REFUSED = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}


@pytest.mark.parametrize("failure", [EndpointConnectionError(endpoint_url="events"), REFUSED])
def test_a_bus_that_does_not_take_an_event_is_told_later_and_alone(world: World, failure: Any) -> None:
    bus = Bus(failures=[failure] * 2)
    box = make_box(world, bus)
    key = noted(world, box)
    for _ in range(2):
        with pytest.raises(Unavailable, match="event bus"):
            box.publish(key)
        assert in_index(world) == [key]
    assert world.messages() == [MESSAGE]
    box.publish(key)
    assert (len(bus.told), world.messages(), world.items()) == (1, [], {})


def test_a_queue_that_does_not_take_a_webhook_keeps_no_event_back(world: World) -> None:
    bus = Bus()
    box = make_box(world, bus)
    key = noted(world, box)
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="sqs")]
        with pytest.raises(Unavailable, match="webhook queue"):
            box.publish(key)
    box.publish(key)
    assert (len(bus.told), world.messages(), world.items()) == (1, [MESSAGE], {})


def test_what_is_left_of_an_item_that_somebody_else_has_published_is_not_brought_back(world: World) -> None:
    other = make_box(world, Bus())
    bus = Bus(failures=[REFUSED])
    box = make_box(world, bus)
    key = noted(world, box)
    with Calls(world.cloud.dynamodb, "UpdateItem") as calls:
        calls.before = lambda: other.publish(key)
        with pytest.raises(Unavailable):
            box.publish(key)
    assert world.items() == {}


def test_who_begins_a_run_does_not_fail_for_the_bus(world: World) -> None:
    bus = Bus(failures=[REFUSED])
    box = make_box(world, bus)
    key = noted(world, box)
    box.try_to_publish(key)
    assert in_index(world) == [key]
