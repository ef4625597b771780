"""Checkpoints in the table: their writes are found wherever they are, large ones in S3."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from crewline.checkpoints.codec import LONGEST_CHAIN, Base, seal_record
from crewline.checkpoints.projection import INTERRUPT
from crewline.checkpoints.records import Record, Sealed, Write
from crewline.errors import CorruptRecord
from crewline.store import keys
from crewline.store.changes import Delete, Put
from crewline.store.records import LARGEST_DIFFERENCE, LARGEST_ROOT
from tests.unit.store.worlds import TENANT, Calls, World, late, record, sealed, uuid6

T = "t"


def write(task: str, index: int, text: str = "") -> Write:
    return Write(task_id=task, task_path="~", index=index, channel="n", value=("bytes", text.encode()))


def store(world: World, *entries: Sealed) -> None:
    for entry in entries:
        world.table.write(world.records.put(TENANT, T, entry))


def ids(world: World, namespace: str = "", **more: Any) -> list[str]:
    return [found.record.checkpoint_id for found in world.records.newest_first(TENANT, T, namespace, **more)]


def test_a_record_survives(world: World) -> None:
    stored = record(2, parent=1, defaults={"log": ("msgpack", b"\x90")}, parent_writes=(write("a", 0, "x"),))
    store(world, seal_record(stored)[0])
    found = world.records.get(TENANT, T, "", uuid6(2))
    assert found is not None
    assert found.record == stored
    assert found.writes == ()


def test_writes_that_ride_in_the_child_are_the_parents(world: World) -> None:
    store(world, sealed(1), sealed(2, parent=1, parent_writes=(write("a", 0),)))
    parent = world.records.get(TENANT, T, "", uuid6(1))
    assert parent is not None
    assert parent.writes == (write("a", 0),)
    newest, older = world.records.newest_first(TENANT, T, "")
    assert (newest.writes, older.writes) == ((), (write("a", 0),))


def test_late_and_riding_writes_are_united_in_the_order_in_which_they_apply(world: World) -> None:
    store(
        world,
        sealed(1),
        late(1, write("b", 0)),
        late(1, write("a", 2), write("a", 10), write("a", 9)),
        sealed(2, parent=1, parent_writes=(write("a", 0), write("a", 1))),
    )
    wanted = (write("a", 0), write("a", 1), write("a", 2), write("a", 9), write("a", 10), write("b", 0))
    got = world.records.get(TENANT, T, "", uuid6(1))
    listed = [
        found for found in world.records.newest_first(TENANT, T, "") if found.record.checkpoint_id == uuid6(1)
    ]
    assert got is not None
    assert got.writes == wanted
    assert [found.writes for found in listed] == [wanted]


def test_the_writes_of_a_fork_are_not_those_of_the_record_before_it(world: World) -> None:
    store(
        world,
        sealed(1),
        sealed(2, parent=1, parent_writes=(write("a", 0),)),
        late(1, write("c", 0)),
        sealed(3, parent=1),
    )
    by_id = {found.record.checkpoint_id: found.writes for found in world.records.newest_first(TENANT, T, "")}
    assert by_id == {uuid6(3): (), uuid6(2): (), uuid6(1): (write("a", 0), write("c", 0))}
    second = world.records.get(TENANT, T, "", uuid6(2))
    assert second is not None
    assert second.writes == ()


def test_the_newest_is_the_head_and_not_the_highest_id(world: World) -> None:
    store(world, sealed(1), sealed(2, parent=1), sealed(3, parent=2), late(2, write("a", -3)))
    found = world.records.latest(TENANT, T, "", head=uuid6(2))
    assert found is not None
    assert found.record.checkpoint_id == uuid6(2)
    assert found.writes == (write("a", -3),)


def test_the_newest_of_a_namespace_is_its_highest_id(world: World) -> None:
    store(
        world,
        sealed(1, namespace="inner"),
        sealed(2, namespace="inner"),
        sealed(9),
        sealed(8, namespace="inner#x"),
    )
    found = world.records.latest(TENANT, T, "inner")
    assert found is not None
    assert found.record.checkpoint_id == uuid6(2)


def test_history_goes_back_from_before_a_checkpoint(world: World) -> None:
    store(world, *(sealed(number, parent=number - 1) for number in range(1, 7)))
    assert ids(world) == [uuid6(number) for number in (6, 5, 4, 3, 2, 1)]
    assert ids(world, before=uuid6(4)) == [uuid6(3), uuid6(2), uuid6(1)]
    assert ids(world, upto=uuid6(4)) == [uuid6(4), uuid6(3), uuid6(2), uuid6(1)]


def test_before_a_checkpoint_keeps_the_writes_that_ride_in_it(world: World) -> None:
    store(world, sealed(1), sealed(2, parent=1, parent_writes=(write("a", 0),)))
    (found,) = world.records.newest_first(TENANT, T, "", before=uuid6(2))
    assert found.writes == (write("a", 0),)


def test_namespaces_that_look_alike_are_apart(world: World) -> None:
    names = ["", "a", "a#b", "a%23b", "a|b:1", "x" * 900, "x" * 901]
    store(world, *(sealed(count, namespace=name) for count, name in enumerate(names)))
    for count, name in enumerate(names):
        (found,) = world.records.newest_first(TENANT, T, name)
        assert (found.record.namespace, found.record.checkpoint_id) == (name, uuid6(count))


def test_nothing_is_found_where_nothing_was_stored(world: World) -> None:
    store(world, sealed(1))
    assert world.records.get(TENANT, T, "", uuid6(2)) is None
    assert world.records.get(TENANT, "u", "", uuid6(1)) is None
    assert world.records.get("other", T, "", uuid6(1)) is None
    assert world.records.latest(TENANT, T, "inner") is None
    assert ids(world, "inner") == []


def test_late_writes_without_their_record_are_no_checkpoint(world: World) -> None:
    store(world, late(1, write("a", 0)))
    assert world.records.get(TENANT, T, "", uuid6(1)) is None
    assert ids(world) == []


def test_reading_the_newest_costs_one_request(world: World) -> None:
    store(world, *(sealed(number, parent=number - 1) for number in range(1, 30)))
    with Calls(world.cloud.dynamodb, "Query") as calls:
        world.records.latest(TENANT, T, "", head=uuid6(29))
    assert [request["Limit"] for request in calls.requests] == [LONGEST_CHAIN * 4 // 3]


def test_reading_a_head_whose_chain_is_known_reads_nothing_of_the_chain_before(world: World) -> None:
    made = chained(world, LONGEST_CHAIN + 3)
    first = uuid6(LONGEST_CHAIN + 1)
    tasks = (late(LONGEST_CHAIN + 3, write(f"task-{number}", -3)) for number in range(LONGEST_CHAIN))
    store(world, *tasks)  # more of them than a page without a bound has room for
    with Calls(world.cloud.dynamodb, "Query") as calls:
        found = world.records.latest(TENANT, T, "", head=uuid6(LONGEST_CHAIN + 3), chain=first)
    assert found is not None
    assert (found.record, len(found.writes)) == (made[-1], LONGEST_CHAIN)
    (request,) = calls.requests
    assert world.cloud.dynamodb.query(**request)["ScannedCount"] == 3 + LONGEST_CHAIN


def test_a_head_whose_chain_was_deleted_is_what_is_newest_before_it(world: World) -> None:
    made = chained(world, 3)
    found = world.records.latest(TENANT, T, "", head=uuid6(5), chain=uuid6(4))
    assert found is not None
    assert found.record == made[-1]
    assert world.records.latest(TENANT, "u", "", head=uuid6(5), chain=uuid6(4)) is None


def test_a_head_before_the_chain_that_is_named_is_read_all_the_same(world: World) -> None:
    made = chained(world, 3)
    found = world.records.latest(TENANT, T, "", head=uuid6(2), chain=uuid6(3))
    assert found is not None
    assert found.record == made[1]


@pytest.mark.parametrize("chain", [None, uuid6(1)])
def test_a_chain_of_more_than_a_page_of_dynamodb_is_read_back_whole(world: World, chain: str | None) -> None:
    count, size = 30, 60_000
    base: Base | None = None
    channels = {"n": ("bytes", os.urandom(2 * count * size))}
    for number in range(1, count + 1):
        channels = {**channels, "m": ("bytes", os.urandom(size))}
        one = record(number, parent=number - 1 if number > 1 else None, channels=channels)
        item, link = seal_record(one, base)
        assert item.root == (number == 1)
        store(world, item)
        base = (one, link)
    with Calls(world.cloud.dynamodb, "Query") as calls:
        found = world.records.latest(TENANT, T, "", head=uuid6(count), chain=chain)
    assert found is not None
    assert found.record == one
    assert len(calls.requests) == 2  # 1.8 MB, and a page is 1 MB
    assert len(world.objects()) == 1


@pytest.mark.parametrize(("extra", "inline"), [(-300, True), (1, False)])
def test_a_root_over_its_limit_goes_to_s3_before_the_item(world: World, extra: int, inline: bool) -> None:
    big = record(1, channels={"n": ("bytes", os.urandom(LARGEST_ROOT + extra))})
    put = world.records.put(TENANT, T, seal_record(big)[0])
    assert len(world.objects()) == (0 if inline else 1)
    world.table.write(put)
    found = world.records.get(TENANT, T, "", uuid6(1))
    assert found is not None
    assert found.record == big
    assert set(world.items()[put.key]) == {"PK", "SK", "body" if inline else "blob"}


def test_large_late_writes_go_to_s3_too(world: World) -> None:
    content = os.urandom(LARGEST_DIFFERENCE + 1)
    big = Write(task_id="a", task_path="", index=0, channel="n", value=("bytes", content))
    store(world, sealed(1), late(1, big))
    assert len(world.objects()) == 1
    found = world.records.latest(TENANT, T, "", head=uuid6(1))
    assert found is not None
    assert found.writes == (big,)


def chained(world: World, count: int) -> list[Record]:
    """Store a chain in which every record builds on the one before, as far as the codec lets it."""
    base: Base | None = None
    made: list[Record] = []
    for number in range(1, count + 1):
        one = record(
            number, parent=number - 1 if number > 1 else None, channels={"n": ("bytes", bytes(number))}
        )
        item, link = seal_record(one, base)
        store(world, item)
        base = (one, link)
        made.append(one)
    return made


def test_every_checkpoint_of_a_chain_of_differences_is_read_back_whole(world: World) -> None:
    made = chained(world, 2 * LONGEST_CHAIN + 15)
    listed = [found.record for found in world.records.newest_first(TENANT, T, "")]
    assert listed == made[::-1]
    end = LONGEST_CHAIN
    for number in (1, end - 1, end, end + 1, 2 * end, len(made)):
        found = world.records.get(TENANT, T, "", uuid6(number))
        assert found is not None
        assert found.record == made[number - 1]


def test_the_newest_state_of_a_long_thread_is_read_with_one_request(world: World) -> None:
    newest = uuid6(len(chained(world, 2 * LONGEST_CHAIN)))
    with Calls(world.cloud.dynamodb, "Query") as calls:
        found = world.records.latest(TENANT, T, "", head=newest)
    assert found is not None
    assert len(calls.requests) == 1


def test_a_difference_that_lost_what_it_builds_on_is_corrupt(world: World) -> None:
    chained(world, 3)
    world.table.write(Delete(key=keys.record(TENANT, T, "", uuid6(1))))
    with pytest.raises(CorruptRecord, match="missing"):
        world.records.latest(TENANT, T, "", head=uuid6(3))


def test_a_record_whose_bytes_were_altered_is_corrupt(world: World) -> None:
    key = keys.record(TENANT, T, "", uuid6(1))
    world.table.write(Put(key=key, item={"body": b"\x01not zstd"}))
    with pytest.raises(CorruptRecord, match=uuid6(1)):
        world.records.get(TENANT, T, "", uuid6(1))


def test_a_record_whose_blob_is_gone_is_corrupt(world: World) -> None:
    store(world, sealed(1, channels={"n": ("bytes", os.urandom(LARGEST_ROOT + 1))}))
    world.cloud.s3.delete_object(Bucket=world.name, Key=world.objects()[0])
    with pytest.raises(CorruptRecord, match="missing"):
        world.records.latest(TENANT, T, "", head=uuid6(1))


# ------------------------------------------------------------------ whose turn it was


def store_in(world: World, turn: int, *entries: Sealed) -> None:
    for entry in entries:
        world.table.write(world.records.put(TENANT, T, entry, turn=turn))


def reserved(index: int, channel: str, text: str) -> Write:
    return Write(task_id="a", task_path="~", index=index, channel=channel, value=("bytes", text.encode()))


def asks(text: str) -> Write:
    return reserved(-3, INTERRUPT, text)


def answers(text: str) -> Write:
    return reserved(-4, "__resume__", text)


def undo(world: World, turn: int) -> list[str]:
    found = list(world.records.keys_of_turn(TENANT, T, turn))
    for key in found:
        world.table.write(Delete(key=key))
    return [key.sort for key in found]


def newest(world: World) -> tuple[tuple[Write, ...], int]:
    found = world.records.latest(TENANT, T, "")
    assert found is not None
    return found.writes, found.asked_in


def test_what_a_run_writes_carries_its_turn(world: World) -> None:
    store_in(world, 7, sealed(1), late(1, write("a", 0)))
    record_, item = world.records.put(TENANT, T, sealed(1), turn=7), late(1, write("a", 0))
    assert world.items()[record_.key]["turn"] == 7
    assert record_.key == keys.record(TENANT, T, "", uuid6(1))
    assert world.records.put(TENANT, T, item, turn=7).key.sort.endswith("#W#a#0@00000007")
    assert world.records.put(TENANT, T, replace(item, place="a#0~"), turn=7).key.sort.endswith(
        "#W#a#0@00000007~"
    )
    assert world.records.put(TENANT, T, item).key.sort.endswith("#W#a#0")


def test_of_two_turns_questions_and_answers_on_one_checkpoint_the_later_count(world: World) -> None:
    store_in(world, 1, sealed(1), late(1, asks("first?")))
    assert newest(world) == ((asks("first?"),), 1)
    store_in(world, 2, late(1, answers("1")), late(1, asks("second?")))
    assert newest(world) == ((answers("1"), asks("second?")), 2)
    store_in(world, 10, late(1, answers("2")))
    assert newest(world) == ((answers("2"), asks("second?")), 2)


def test_removing_what_the_later_turn_wrote_brings_the_earlier_back(world: World) -> None:
    store_in(world, 1, sealed(1), late(1, asks("first?")))
    before = world.items()
    store_in(
        world,
        2,
        late(1, answers("1")),
        late(1, asks("second?")),
        sealed(2, parent=1),
        sealed(3, namespace="inner"),
        late(2, write("b", 0)),
    )
    assert len(undo(world, 2)) == 5
    assert world.items() == before
    assert newest(world) == ((asks("first?"),), 1)
    assert undo(world, 2) == []


def test_what_a_run_wrote_is_listed_newest_first_and_nothing_of_another(world: World) -> None:
    store_in(world, 1, sealed(1))
    store_in(world, 2, sealed(2, parent=1), late(2, write("a", 0)))
    store_in(world, 3, sealed(3, parent=2))
    store(world, sealed(4))
    sorts = [key.sort for key in world.records.keys_of_turn(TENANT, T, 2)]
    assert sorts == [f"C##{uuid6(2)}#W#a#0@00000002", f"C##{uuid6(2)}"]
    assert list(world.records.keys_of_turn(TENANT, T, 9)) == []


def test_a_checkpoint_that_asks_nothing_was_asked_in_no_turn(world: World) -> None:
    store_in(world, 4, sealed(1), late(1, answers("1")))
    assert newest(world) == ((answers("1"),), 0)
