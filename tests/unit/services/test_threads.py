"""Threads: made once, patched key by key, deleted at once and purged later, ids used again."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt

from crewline.checkpoints.records import Write
from crewline.errors import (
    Conflict,
    CorruptRecord,
    InvalidRequest,
    NotFound,
    StaleOwner,
    ThreadExists,
    Unavailable,
)
from crewline.models.clocks import iso
from crewline.models.leases import Claim
from crewline.models.runs import RunCreate
from crewline.models.threads import ThreadCreate, ThreadPatch, ThreadWire
from crewline.services.endings import Outcome
from crewline.store import keys
from crewline.store.changes import Put
from crewline.store.table import Refused
from tests.unit.store.worlds import NOW, TENANT, Calls, World, claimed, late, sealed, uuid6

ID = "0199c7a0-0000-7000-8000-00000000abcd"
OTHER = "0199c7a0-0000-7000-8000-00000000beef"
SERIALIZER = JsonPlusSerializer(allowed_msgpack_modules=None)


def create(world: World, **body: Any) -> ThreadWire:
    return world.threads.create(TENANT, ThreadCreate(**body))


def patch(world: World, thread_id: str, **metadata: Any) -> ThreadWire:
    world.threads.patch(TENANT, thread_id, ThreadPatch(metadata=metadata))
    return world.threads.get(TENANT, thread_id)


def started(world: World, thread_id: str) -> Claim:
    return claimed(world.runs.start(TENANT, thread_id, RunCreate(assistant_id="echo")))


def purge(world: World) -> None:
    for message in world.messages():
        assert message["kind"] == "purge"
        world.threads.purge(message["tenant"], message["thread_id"])


def of_thread(world: World, thread_id: str) -> set[str]:
    partition = keys.thread_partition(TENANT, thread_id)
    return {sort for found, sort in world.items() if found == partition}


# ------------------------------------------------------------------ create and read


def test_a_new_thread_has_the_defaults_of_the_wire(world: World) -> None:
    row = create(world)
    assert row == {
        "thread_id": row["thread_id"],
        "created_at": iso(NOW),
        "updated_at": iso(NOW),
        "state_updated_at": iso(NOW),
        "metadata": {},
        "status": "idle",
        "config": {},
        "error": None,
        "values": None,
        "interrupts": {},
    }
    assert world.threads.get(TENANT, row["thread_id"]) == row


def test_a_thread_may_have_an_id_of_the_callers_choice(world: World) -> None:
    assert create(world, thread_id=ID.upper(), metadata={"a": 1})["thread_id"] == ID
    assert world.threads.get(TENANT, ID)["metadata"] == {"a": 1}


def test_the_crew_of_a_thread_may_be_named_before_its_first_run(world: World) -> None:
    assert create(world, graph_id="echo", metadata={"a": 1})["metadata"] == {"a": 1, "graph_id": "echo"}


def test_an_id_that_is_taken_is_a_conflict(world: World) -> None:
    create(world, thread_id=ID)
    before = world.items()
    with pytest.raises(ThreadExists, match=ID):
        create(world, thread_id=ID, metadata={"a": 2})
    assert world.items() == before


def test_an_id_that_is_taken_may_be_used_as_it_is(world: World) -> None:
    create(world, thread_id=ID, metadata={"a": 1})
    world.clock.pass_(1000)
    row = create(world, thread_id=ID, metadata={"a": 2}, if_exists="do_nothing")
    assert (row["metadata"], row["created_at"]) == ({"a": 1}, iso(NOW))


def test_an_id_that_is_no_uuid_is_refused_everywhere(world: World) -> None:
    for call in (
        lambda: world.threads.get(TENANT, "nope"),
        lambda: patch(world, "nope"),
        lambda: world.threads.delete(TENANT, "nope"),
    ):
        with pytest.raises(InvalidRequest, match="Invalid thread ID: must be a UUID"):
            call()
    assert world.items() == {}


def test_an_unknown_thread_is_not_found_anywhere(world: World) -> None:
    for call in (
        lambda: world.threads.get(TENANT, ID),
        lambda: patch(world, ID, a=1),
        lambda: world.threads.delete(TENANT, ID),
    ):
        with pytest.raises(NotFound, match=f"Thread with ID {ID} not found"):
            call()
    assert world.items() == {}
    assert world.messages() == []


def test_the_thread_of_another_tenant_is_not_found(world: World) -> None:
    create(world, thread_id=ID)
    with pytest.raises(NotFound):
        world.threads.get("other", ID)
    world.threads.create("other", ThreadCreate(thread_id=ID))
    world.threads.delete("other", ID)
    assert world.threads.get(TENANT, ID)


def test_a_creation_that_landed_although_its_answer_was_lost_is_no_conflict(world: World) -> None:
    with Calls(world.cloud.dynamodb, "PutItem") as calls:
        calls.twice = True  # botocore's own retry
        assert create(world)["status"] == "idle"


def test_a_thread_shows_its_values_and_open_questions(world: World) -> None:
    create(world, thread_id=ID)
    run = started(world, ID)
    value = SERIALIZER.dumps_typed
    asked = Write(
        task_id="task",
        task_path="",
        index=-3,
        channel="__interrupt__",
        value=value([Interrupt(value="?", id="i")]),
    )
    entries = [
        sealed(1, channels={"n": value(1), "__start__": value(0)}, defaults={"log": value([])}),
        late(1, asked),
    ]
    world.endings.finish(run, Outcome(status="success", thread_status="interrupted"), entries)
    row = world.threads.get(TENANT, ID)
    assert (row["values"], row["status"]) == ({"n": 1, "log": []}, "interrupted")
    assert [question["value"] for question in row["interrupts"]["task"]] == ["?"]


def test_a_thread_whose_newest_checkpoint_is_damaged_says_so(world: World) -> None:
    create(world, thread_id=ID)
    world.leases.commit(started(world, ID), [sealed(1)])
    world.table.write(Put(key=keys.record(TENANT, ID, "", uuid6(1)), item={"body": b"?"}))
    with pytest.raises(CorruptRecord):
        world.threads.get(TENANT, ID)


# ------------------------------------------------------------------ patch


def test_a_patch_merges_metadata_key_by_key(world: World) -> None:
    create(world, thread_id=ID, metadata={"a": {"x": 1}, "b": 1})
    world.clock.pass_(1000)
    row = patch(world, ID, a={"y": 2}, c=None)
    assert row["metadata"] == {"a": {"y": 2}, "b": 1, "c": None}
    assert (row["created_at"], row["updated_at"]) == (iso(NOW), iso(NOW + 1000))
    assert world.threads.get(TENANT, ID) == row


def test_a_patch_leaves_a_run_in_flight_alone(world: World) -> None:
    create(world, thread_id=ID)
    started(world, ID)
    lease = world.lease(ID)
    assert patch(world, ID, a=1)["status"] == "busy"
    assert world.lease(ID) == lease


# ------------------------------------------------------------------ delete and purge


def test_a_deleted_thread_is_gone_at_once(world: World) -> None:
    create(world, thread_id=ID)
    world.threads.delete(TENANT, ID)
    with pytest.raises(NotFound):
        world.threads.get(TENANT, ID)
    with pytest.raises(NotFound):
        world.threads.delete(TENANT, ID)
    assert world.messages() == [{"kind": "purge", "tenant": TENANT, "thread_id": ID}]


def test_a_worker_on_a_deleted_thread_writes_nothing_more(world: World) -> None:
    create(world, thread_id=ID)
    run = started(world, ID)
    world.threads.delete(TENANT, ID)
    for write in (
        lambda: world.leases.commit(run, [sealed(1)]),
        lambda: world.leases.heartbeat(run),
        lambda: world.endings.finish(run, Outcome(status="success", thread_status="idle"), [sealed(1)]),
    ):
        with pytest.raises(StaleOwner):
            write()


def test_a_purge_leaves_only_the_tombstone_for_a_day(world: World) -> None:
    create(world, thread_id=ID)
    create(world, thread_id=OTHER)
    run = world.runs.start(TENANT, ID, RunCreate(assistant_id="echo", input={"text": "x" * 200_000}))
    world.leases.commit(claimed(run), [sealed(1), sealed(2, namespace="inner#1")])
    world.table.write(Put(key=keys.event(TENANT, run.run.run_id, 1, 1), item={}))
    world.table.write(Put(key=keys.marker(TENANT, ID, 3), item={}))
    others = of_thread(world, OTHER)
    world.threads.delete(TENANT, ID)
    purge(world)
    assert of_thread(world, ID) == {keys.LEASE_SORT}
    assert world.lease(ID)["ttl"] == NOW // 1000 + 86_400
    assert world.lease(ID)["purged"] is True
    assert of_thread(world, OTHER) == others
    assert {partition[0] for partition, _ in world.items()} == {"T"}
    assert world.objects() == []


def test_a_purge_that_comes_twice_does_nothing_more(world: World) -> None:
    create(world, thread_id=ID)
    world.threads.delete(TENANT, ID)
    purge(world)
    before = world.items()
    world.clock.pass_(1000)
    world.threads.purge(TENANT, ID)
    assert world.items() == before


def test_a_purge_of_a_thread_that_lives_does_nothing(world: World) -> None:
    create(world, thread_id=ID)
    world.leases.commit(started(world, ID), [sealed(1)])
    before = world.items()
    world.threads.purge(TENANT, ID)
    world.threads.purge(TENANT, OTHER)
    assert world.items() == before


def test_a_purge_that_breaks_off_is_finished_by_the_next_one(world: World) -> None:
    create(world, thread_id=ID)
    world.leases.commit(started(world, ID), [sealed(1)])
    world.threads.delete(TENANT, ID)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://db")]
        with pytest.raises(Unavailable):
            world.threads.purge(TENANT, ID)
    assert "purged" not in world.lease(ID)
    purge(world)
    assert of_thread(world, ID) == {keys.LEASE_SORT}


def test_a_deletion_whose_message_is_lost_still_stands_and_is_shown_to_the_sweeper(world: World) -> None:
    create(world, thread_id=ID)
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://sqs")]
        world.threads.delete(TENANT, ID)
    assert len(calls.requests) == 1
    assert world.messages() == []
    with pytest.raises(NotFound):
        world.threads.get(TENANT, ID)
    assert keys.LEASES_IN_FLIGHT.sort in world.lease(ID)


def test_a_deletion_that_landed_although_nobody_heard_can_be_asked_for_again(world: World) -> None:
    create(world, thread_id=ID)
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [ReadTimeoutError(endpoint_url="http://db")]
        with pytest.raises(Unavailable):
            world.threads.delete(TENANT, ID)
    with pytest.raises(NotFound):
        world.threads.delete(TENANT, ID)


# ------------------------------------------------------------------ an id that is used again


def test_an_id_is_a_conflict_until_its_thread_is_purged(world: World) -> None:
    create(world, thread_id=ID)
    world.threads.delete(TENANT, ID)
    for if_exists in ("raise", "do_nothing"):
        with pytest.raises(Conflict, match="still being removed") as caught:
            create(world, thread_id=ID, if_exists=if_exists)
        assert caught.value.details["retry_after"] > 0
    with pytest.raises(NotFound):
        world.threads.get(TENANT, ID)


def test_an_id_may_be_used_again_after_the_purge_with_nothing_of_the_old_thread(world: World) -> None:
    create(world, thread_id=ID, metadata={"old": 1})
    old = started(world, ID)
    world.leases.commit(old, [sealed(1)])
    world.threads.delete(TENANT, ID)
    purge(world)
    row = create(world, thread_id=ID)
    assert (row["metadata"], row["values"]) == ({}, None)
    assert world.threads.get(TENANT, ID)["values"] is None
    assert "ttl" not in world.lease(ID)
    new = started(world, ID)
    assert new.lease.epoch > old.lease.epoch
    with pytest.raises(StaleOwner):
        world.leases.commit(old, [sealed(2)])
    assert world.leases.commit(new, [sealed(3)]).lease.head == uuid6(3)


def test_a_run_may_make_the_id_again(world: World) -> None:
    create(world, thread_id=ID)
    world.threads.delete(TENANT, ID)
    purge(world)
    body = RunCreate(assistant_id="echo", if_not_exists="create")
    assert world.runs.start(TENANT, ID, body).run.thread_id == ID


def test_a_purge_that_lost_its_race_takes_nothing_of_the_thread_that_has_the_id_now(world: World) -> None:
    create(world, thread_id=ID)
    world.threads.delete(TENANT, ID)
    with Calls(world.cloud.dynamodb, "Query") as calls:

        def another_purge_then_a_new_life() -> None:
            world.threads.purge(TENANT, ID)
            create(world, thread_id=ID)
            held = world.leases.commit(started(world, ID), [sealed(1)])
            world.endings.finish(held, Outcome(status="success", thread_status="idle"), [])

        calls.before = another_purge_then_a_new_life
        world.threads.purge(TENANT, ID)
    assert len(world.runs.list(TENANT, ID, limit=10, offset=0, status=None)) == 1
    assert world.records.get(TENANT, ID, "", uuid6(1)) is not None


def test_a_purge_that_lost_its_race_does_not_end_the_next_ones(world: World) -> None:
    create(world, thread_id=ID)
    world.threads.delete(TENANT, ID)
    with Calls(world.cloud.s3, "ListObjectsV2") as calls:

        def another_purge_then_a_new_life_and_its_end() -> None:
            world.threads.purge(TENANT, ID)
            create(world, thread_id=ID)
            world.leases.commit(started(world, ID), [sealed(1)])
            world.clock.pass_(1000)
            world.threads.delete(TENANT, ID)

        calls.before = another_purge_then_a_new_life_and_its_end
        world.threads.purge(TENANT, ID)
    purge(world)
    assert of_thread(world, ID) == {keys.LEASE_SORT}


def test_a_purge_that_lost_its_race_takes_no_large_value_of_the_thread_that_has_the_id_now(
    world: World,
) -> None:
    create(world, thread_id=ID)
    world.threads.delete(TENANT, ID)
    digests: list[str] = []
    with Calls(world.cloud.s3, "ListObjectsV2") as calls:

        def another_purge_then_a_new_life() -> None:
            world.threads.purge(TENANT, ID)
            create(world, thread_id=ID)
            digests.append(world.blobs.put(TENANT, ID, b"large"))

        calls.before = another_purge_then_a_new_life
        world.threads.purge(TENANT, ID)
    assert world.blobs.get(TENANT, ID, digests[0]) == b"large"


def test_a_purge_removes_more_than_one_transaction_holds(world: World) -> None:
    create(world, thread_id=ID)
    world.leases.commit(started(world, ID), [sealed(number) for number in range(120)])
    world.threads.delete(TENANT, ID)
    purge(world)
    assert of_thread(world, ID) == {keys.LEASE_SORT}


def test_a_refusal_never_leaves_the_service(world: World) -> None:
    create(world, thread_id=ID)
    with pytest.raises(ThreadExists) as caught:
        create(world, thread_id=ID)
    assert isinstance(caught.value.__cause__, Refused)
