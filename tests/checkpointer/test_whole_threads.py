"""Copy, prune and delete: they may stop at any request, and be done again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.base import ChannelVersions

from crewline.engine.checkpointer import DynamoDBCheckpointer
from crewline.store import changes
from tests.checkpointer import wires
from tests.checkpointer.conftest import House
from tests.checkpointer.steps import at, begin_writes, checkpoint, plain

LARGE = random.Random(1).randbytes(70_000)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three changes fill a transaction, so that a short thread takes many."""
    monkeypatch.setattr(changes, "MOST_GROUPED", 3)


def _prune(saver: DynamoDBCheckpointer) -> None:
    saver.prune(["1"])


def _delete(saver: DynamoDBCheckpointer) -> None:
    saver.delete_thread("1")


def _delete_run(saver: DynamoDBCheckpointer) -> None:
    saver.delete_for_runs(["run-1"])


def _copy(saver: DynamoDBCheckpointer) -> None:
    saver.copy_thread("1", "2")


@pytest.mark.thorough
@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("operation", [_prune, _delete, _delete_run, _copy])
def test_what_is_done_to_a_thread_may_stop_anywhere_and_be_done_again(
    house: House, operation: Callable[[DynamoDBCheckpointer], None]
) -> None:
    wire, storage = wires.wired(house.cloud)
    original = _write_thread(house)
    before = _all(house, "1")
    operation(house.cold(storage=storage))
    expected = _all(house, "1"), _all(house, "2")
    requests = len(wire.sent)

    # Before a request is after the one before it: nothing else of this process changes anything.
    for number, after in [(0, False), *((each, True) for each in range(requests))]:
        house.cold().delete_thread("2")
        _restore(house, original)
        wire.sent.clear()
        with wire.failing(wires.stop_at(wire, number, after=after)), pytest.raises(wires.Stopped):
            operation(house.cold(storage=storage))

        left, copied = _all(house, "1"), _all(house, "2")
        # Of what goes anyway, the writes may go first: they ride in its child.
        assert {key: one | {"writes": []} for key, one in left.items()} == {
            key: one | {"writes": []} for key, one in before.items() if key in left
        }
        assert {key: left.get(key) for key in expected[0]} == expected[0]
        assert copied == {key: one for key, one in before.items() if key in copied}
        operation(house.cold())
        assert (_all(house, "1"), _all(house, "2")) == expected


def _write_thread(house: House) -> list[dict[str, Any]]:
    """Write a thread of two namespaces and two runs, with large values and late writes."""
    saver = house.cold()
    for namespace in ("", "child"):
        config = at("1", namespace)
        for step in range(4):
            values: dict[str, Any] = {
                "list": [f"{number}" for number in range(step)],
                "large": LARGE * (step % 2 + 1),
            }
            versions: ChannelVersions = dict.fromkeys(values, step + 1)
            metadata: Any = {"run_id": f"run-{step // 2}"}
            config = saver.put(config, checkpoint(values, versions), metadata, versions)
            if step % 2:
                saver.put_writes(config, [("list", ["late"])], "task")
            else:
                begin_writes(saver, config, [("list", ["rides"])], "task")
    return house.items("1")


def _restore(house: House, items: list[dict[str, Any]]) -> None:
    saver = house.cold()
    saver.delete_thread("1")
    _write_objects(house)
    for item in items:
        house.cloud.dynamodb.put_item(TableName="checkpoints", Item=item)


def _write_objects(house: House) -> None:
    """Write the large values again, under the same names: their content is the same."""
    for body in _OBJECTS.get(house.tenant, {}).items():
        house.cloud.objects.put_object(Bucket="large-values", Key=body[0], Body=body[1])


_OBJECTS: dict[str, dict[str, bytes]] = {}


def _all(house: House, thread_id: str) -> dict[Any, Any]:
    found = {}
    for one in house.cold().list(at(thread_id, None)):
        spelled = plain(one)
        found[(spelled["namespace"], spelled["id"])] = spelled
    if thread_id == "1" and house.tenant not in _OBJECTS:
        _OBJECTS[house.tenant] = house.objects("1")
    return found


def test_deleting_a_run_reaches_the_copies_of_its_checkpoints(house: House) -> None:
    _write_thread(house)
    house.cold().copy_thread("1", "2")

    house.cold().delete_for_runs(["run-0", "run-1"])

    assert (_all(house, "1"), _all(house, "2")) == ({}, {})


def test_a_deleted_thread_leaves_nothing_behind(house: House) -> None:
    _write_thread(house)
    assert house.objects("1")

    house.cold().delete_thread("1")

    assert (house.items("1"), house.objects("1")) == ([], {})


def test_a_copy_lives_on_when_its_original_is_deleted(house: House) -> None:
    _write_thread(house)
    before = _all(house, "1")

    house.cold().copy_thread("1", "2")
    house.cold().delete_thread("1")

    assert _all(house, "2") == before


def test_a_strategy_that_does_not_exist_is_refused(house: House) -> None:
    with pytest.raises(ValueError, match="no strategy 'keep_some'"):
        house.cold().prune(["1"], strategy="keep_some")
