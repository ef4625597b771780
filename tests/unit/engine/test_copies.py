"""Copies of threads: what the original had, whole, under a new id; or nothing at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ReadTimeoutError

from crewline.checkpoints.codec import seal_writes
from crewline.checkpoints.records import LateWrites, Write
from crewline.errors import Conflict, CorruptRecord, InvalidRequest, NotFound, Unavailable
from crewline.models.leases import DRAFT_MS
from crewline.models.runs import RunCreate
from crewline.models.searches import ThreadSearch
from crewline.models.threads import MOST_METADATA_KEYS, ThreadCreate, ThreadPatch
from crewline.services.endings import Outcome
from crewline.store import keys, leases
from crewline.store.idempotency import Once
from tests.unit.engine.places import Place
from tests.unit.engine.test_edits import deltas, outer_and_inner
from tests.unit.store.worlds import TENANT, Calls, claimed, sealed

_NO = ("msgpack", b"\xa2no")
COPIED_LATER = 4
"""UUID version of a copy's id."""


def copied(place: Place) -> Place:
    """The copy of the thread, in another process."""
    other = place.again()
    other.thread = place.world.copies.copy(TENANT, place.thread)["thread_id"]
    return other


def without_names(states: Any) -> Any:
    """States as they are on any thread."""
    if isinstance(states, list):
        return [without_names(one) for one in states]
    if isinstance(states, dict):
        return {name: without_names(one) for name, one in states.items() if name != "thread_id"}
    return states


def everything_of(place: Place, thread_id: str) -> set[str]:
    partition = keys.thread_partition(TENANT, thread_id)
    return {sort for found, sort in place.world.items() if found == partition}


def others(place: Place) -> set[str]:
    """The threads of which something is stored, apart from the original."""
    found = {partition.split("#")[2] for partition, _ in place.world.items() if partition.startswith("T#")}
    return found - {place.thread}


# ------------------------------------------------------------------ what a copy has


def test_a_copy_has_the_state_and_the_history_of_the_original(place: Place) -> None:
    place.run({"n": 0}, crew="steps", metadata={"of": "the run"})
    place.world.threads.get(TENANT, place.thread)

    other = copied(place)

    row, original = other.thread_row(), place.thread_row()
    assert UUID(row["thread_id"]).version == COPIED_LATER
    assert row["metadata"] == {**original["metadata"], "forked_from": place.thread}
    for name in ("values", "status", "config", "error", "interrupts"):
        assert row[name] == original[name]
    assert without_names(other.history()) == without_names(place.history())
    assert without_names(other.state()) == without_names(place.state())


def test_original_and_copy_go_their_own_ways(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    other = copied(place)

    other.run({"n": 10}, crew="steps")
    place.run({"n": 20}, crew="steps")

    assert (place.state()["values"]["n"], other.state()["values"]["n"]) == (23, 13)
    assert len(place.history()) == len(other.history()) == 10


def test_a_question_stays_open_in_the_copy_and_can_be_answered_in_both(place: Place) -> None:
    place.run({"topic": "x"}, crew="approval")
    other = copied(place)

    assert other.thread_row()["interrupts"] == place.thread_row()["interrupts"] != {}
    assert other.run(crew="approval", command={"resume": "no"})["answer"] == "no"
    assert place.run(crew="approval", command={"resume": "yes"})["answer"] == "yes"


def test_a_question_of_a_subgraph_is_answered_in_the_copy(place: Place) -> None:
    place.serve(outer_and_inner())
    place.run({"n": 0})
    other = copied(place)

    assert without_names(other.state(subgraphs=True)) == without_names(place.state(subgraphs=True))
    assert "yes at 2" in other.run(crew="echo", command={"resume": "yes"})["log"]


def test_a_copy_has_the_writes_that_a_delta_channel_lives_in(place: Place) -> None:
    place.serve(deltas())
    for text in ("one", "two"):
        place.run({"log": [text]})
    other = copied(place)

    other.run({"log": ["three"]})

    assert other.state()["values"]["log"] == ["one", "a", "two", "a", "three", "a"]


def test_a_copy_has_large_values_of_its_own(place: Place) -> None:
    place.run({"size": 200_000}, crew="large")
    text = place.state()["values"]["text"]
    other = copied(place)

    place.world.threads.delete(TENANT, place.thread)
    place.world.threads.purge(TENANT, place.thread)

    assert other.state()["values"]["text"] == text
    assert all(name.startswith(keys.blob_prefix(TENANT, other.thread)) for name in place.world.objects())


def test_a_copy_of_many_checkpoints_takes_as_many_transactions_as_it_needs(place: Place) -> None:
    for turn in range(40):
        place.run({"n": turn}, crew="steps")
    assert len(place.history(limit=1000)) == 200

    other = copied(place)

    assert without_names(other.history(limit=1000)) == without_names(place.history(limit=1000))


def test_the_storage_of_a_thread_is_what_its_checkpoints_take(place: Place) -> None:
    world = place.world
    assert world.threads.storage(TENANT, place.thread)["total_bytes"] == 0
    place.run({"topic": "x"}, crew="approval")
    place.run({"size": 200_000}, crew="large")

    storage = world.threads.storage(TENANT, place.thread)

    items = world.items().items()
    bodies = {key[1]: len(item["body"]) for key, item in items if key[1].startswith("C#") and "body" in item}
    late = {sort for sort in bodies if "#W#" in sort}
    assert storage["pending_writes"] == {"count": len(late), "bytes": sum(bodies[sort] for sort in late)}
    assert late
    assert storage["checkpoints"]["count"] == len(bodies) - len(late)
    assert storage["channel_values"]["bytes"] > 100_000
    assert storage["total_bytes"] == sum(bodies.values()) + storage["channel_values"]["bytes"]
    with pytest.raises(NotFound):
        world.threads.storage(TENANT, str(uuid4()))


def test_a_fresh_thread_can_be_copied(place: Place) -> None:
    assert copied(place).thread_row()["values"] is None


def test_what_the_rollback_of_a_copys_run_removes_is_its_own(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    other = copied(place)
    before = other.history()

    started = other.start({"n": 50}, crew="steps")
    claim = claimed(started)
    other.world.leases.commit(claim, [sealed(0xFFFF)])
    other.world.cancellations.cancel(TENANT, other.thread, started.run.run_id, action="rollback")
    lease = leases.from_item(other.world.lease(other.thread))
    outcome = Outcome(status="success", thread_status="idle")
    other.world.endings.finish(
        type(claim)(
            **{**{f: getattr(claim, f) for f in ("tenant", "thread_id", "run_id", "owner")}, "lease": lease}
        ),
        outcome,
        [],
    )

    assert other.history() == before


# ------------------------------------------------------------------ while a run is in flight


def test_a_copy_of_a_busy_thread_has_what_the_run_has_committed(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    started = place.start({"n": 5}, crew="steps", interrupt_after=["a"])
    assert copied(place).thread_row()["status"] == "idle"
    before = without_names(place.history())
    place.execute(started)
    held = place.start(crew="steps")

    other = copied(place)

    assert held.claim is not None
    assert other.world.lease(other.thread).get("run") is None
    assert other.thread_row()["status"] == "interrupted"
    assert len(other.history()) == len(before) + 3
    assert other.run(None, crew="steps")["n"] == 8


def test_what_is_committed_while_a_copy_is_made_is_left_out(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    before = without_names(place.history())
    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: place.again().run({"n": 100}, crew="steps")
        other = copied(place)

    assert without_names(other.history()) == before
    assert without_names(place.history()) != before


def test_a_copy_begins_again_when_records_went_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run({"n": 0}, crew="steps")
    copies, seen = place.world.copies, []
    check = copies._check

    def pruned_once(tenant: str, source: Any, before: Any) -> None:
        seen.append(1)
        if len(seen) == 1:
            place.world.prunings.keep_latest(tenant, source.thread_id)
        check(tenant, source, before)

    monkeypatch.setattr(copies, "_check", pruned_once)
    other = copied(place)

    assert without_names(other.history()) == without_names(place.history())
    for message in place.world.messages():
        place.world.threads.purge(message["tenant"], message["thread_id"])
    left = others(place) - {other.thread}
    assert len(left) == 1
    assert everything_of(place, left.pop()) == {keys.LEASE_SORT}


def test_a_copy_begins_again_when_a_large_value_went_before_it_was_read(place: Place) -> None:
    for _ in range(2):
        place.run({"size": 200_000}, crew="large")
    with Calls(place.world.cloud.s3, "GetObject") as reads:
        reads.before = lambda: place.again().world.prunings.keep_latest(TENANT, place.thread)
        other = copied(place)

    assert without_names(other.history()) == without_names(place.history())


def test_a_copy_of_a_thread_that_lacks_a_large_value_is_refused_and_leaves_nothing(place: Place) -> None:
    place.run({"size": 200_000}, crew="large")
    place.world.blobs.delete(place.world.objects())

    with pytest.raises(CorruptRecord):
        copied(place)

    for message in place.world.messages():
        place.world.threads.purge(message["tenant"], message["thread_id"])
    (left,) = others(place)
    assert everything_of(place, left) == {keys.LEASE_SORT}


# ------------------------------------------------------------------ what is refused, and what is left


def test_a_thread_that_is_not_there_cannot_be_copied(place: Place) -> None:
    with pytest.raises(Conflict, match=r"^Conflict$"):
        place.world.copies.copy(TENANT, str(uuid4()))


@pytest.mark.parametrize("lands", [1, 2, 3])
def test_a_copy_that_dies_is_never_seen_and_its_rest_is_purged(place: Place, lands: int) -> None:
    """It dies before its second, third or last transaction, and cannot even say so."""
    for turn in range(20):
        place.run({"n": turn}, crew="steps")
    dead = [ReadTimeoutError(endpoint_url="http://db")] * 40
    db = place.world.cloud.dynamodb
    with Calls(db, "TransactWriteItems") as calls, Calls(db, "UpdateItem") as updates:
        calls.failures = [*[None] * lands, *dead]
        updates.failures = list(dead)
        with pytest.raises(Unavailable):
            copied(place)
    (target,) = others(place)
    with pytest.raises(NotFound):
        place.world.threads.get(TENANT, target)
    with pytest.raises(Conflict):
        place.world.threads.create(TENANT, ThreadCreate(thread_id=target))

    place.world.threads.purge(TENANT, target)
    assert "draft" in place.world.lease(target)  # it may still be at it
    place.clock.pass_(DRAFT_MS)
    place.world.threads.purge(TENANT, target)

    assert everything_of(place, target) == {keys.LEASE_SORT}
    assert place.world.lease(target)["purged"]
    assert place.world.threads.create(TENANT, ThreadCreate(thread_id=target))


def test_who_took_too_long_completes_nothing_and_leaves_nothing(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    slow = place.again().world

    def purged() -> None:
        (target,) = others(place)
        place.clock.pass_(DRAFT_MS)
        place.world.threads.purge(TENANT, target)

    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        write = slow.drafts.write

        def late_write(draft: Any, changes: Any) -> None:
            purged()
            write(draft, changes)

        slow.drafts.write = late_write  # type: ignore[method-assign]
        with pytest.raises(Conflict, match="took too long"):
            slow.copies.copy(TENANT, place.thread)
    assert calls.requests

    (target,) = others(place)
    assert everything_of(place, target) == {keys.LEASE_SORT}


def test_a_copy_whose_last_answer_was_lost_is_there_once(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.twice = True
        other = copied(place)

    assert others(place) == {other.thread}
    assert without_names(other.history()) == without_names(place.history())


def test_a_copy_begins_again_when_a_run_was_rolled_back_and_another_has_gone_on_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run({"n": 0}, crew="steps")
    started = place.start({"n": 50}, crew="steps")
    claim = place.world.leases.commit(claimed(started), [sealed(0xFFFF)])
    copies, seen = place.world.copies, []
    check = copies._check

    def rolled_back_once(tenant: str, source: Any, before: Any) -> None:
        seen.append(1)
        if len(seen) == 1:
            world = place.again().world
            world.cancellations.cancel(TENANT, place.thread, started.run.run_id, action="rollback")
            asked = replace(claim, lease=leases.from_item(world.lease(place.thread)))
            world.endings.finish(asked, Outcome(status="success", thread_status="idle"), [])
            place.again().run({"n": 100}, crew="steps")
        check(tenant, source, before)

    monkeypatch.setattr(copies, "_check", rolled_back_once)
    other = copied(place)

    assert len(seen) == 2
    assert without_names(other.history()) == without_names(place.history())


def test_what_a_later_run_writes_on_a_checkpoint_of_the_copy_is_left_out(place: Place) -> None:
    place.run({"topic": "x"}, crew="approval")
    asked = place.thread_row()["interrupts"]
    (task_id,) = asked

    def answer() -> None:
        world = place.again().world
        claim = claimed(place.again().start(crew="approval", command={"resume": "no"}))
        write = Write(task_id=task_id, task_path="~__pregel_pull, ask", index=0, channel="answer", value=_NO)
        head = str(claim.lease.head)
        late = LateWrites(namespace="", checkpoint_id=head, writes=(write,))
        world.leases.commit(claim, [seal_writes(late)])

    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = answer
        other = copied(place)

    late_writes = [sort for sort in everything_of(place, other.thread) if keys.LATE_INFIX in sort]
    assert len(late_writes) == len([one for one in everything_of(place, place.thread) if "#W#" in one]) - 1
    assert other.run(crew="approval", command={"resume": "yes"})["answer"] == "yes"


def test_the_metadata_of_a_copy_can_be_changed_however_many_keys_the_original_has(place: Place) -> None:
    world = place.world
    metadata = {f"key {number}": number for number in range(MOST_METADATA_KEYS)}
    place.thread = world.threads.create(TENANT, ThreadCreate(metadata=metadata))["thread_id"]
    other = copied(place)

    world.threads.patch(TENANT, other.thread, ThreadPatch(metadata={"key 1": "changed"}))

    assert other.thread_row()["metadata"]["key 1"] == "changed"
    with pytest.raises(InvalidRequest):
        world.threads.patch(TENANT, other.thread, ThreadPatch(metadata={"one more": 1}))


def test_a_copy_that_is_asked_for_twice_with_one_key_is_made_once(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    once = Once(scope="POST /copy", key="k", digest="d")
    copies = place.world.copies

    first = copies.copy(TENANT, place.thread, once=once)

    assert copies.copy(TENANT, place.thread, once=once)["thread_id"] == first["thread_id"]
    assert others(place) == {first["thread_id"]}
    with pytest.raises(Conflict, match="another body"):
        copies.copy(TENANT, place.thread, once=replace(once, digest="e"))


def test_of_two_copies_at_once_with_one_key_one_is_given_up(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    once = Once(scope="POST /copy", key="k", digest="d")
    made: list[str] = []
    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.before = lambda: made.append(
            place.again().world.copies.copy(TENANT, place.thread, once=once)["thread_id"]
        )
        assert place.world.copies.copy(TENANT, place.thread, once=once)["thread_id"] == made[0]

    for message in place.world.messages():
        place.world.threads.purge(message["tenant"], message["thread_id"])
    (left,) = others(place) - set(made)
    assert everything_of(place, left) == {keys.LEASE_SORT}
    assert place.world.lease(left)["purged"]


def test_a_copy_of_a_private_thread_is_in_the_lists(place: Place) -> None:
    body = RunCreate.model_validate({"assistant_id": "steps", "input": {"n": 0}})
    started = place.world.runs.start_stateless(TENANT, body, readable=True)
    place.thread = started.run.thread_id

    other = copied(place)

    found = place.world.searches.search(TENANT, ThreadSearch()).threads
    assert other.thread in [one["thread_id"] for one in found]
