"""The journal: what rides, what comes late, what a failure leaves behind, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from crewline.checkpoints.codec import Opened, open_writes
from crewline.checkpoints.records import Link, Sealed, Snapshot, Write, merge_writes
from crewline.engine.journals import Journal
from crewline.errors import RunCancelled, StaleOwner, Unavailable
from tests.unit.store.worlds import record, uuid6


def write(task: str, index: int, text: str = "") -> Write:
    return Write(task_id=task, task_path="", index=index, channel="n", value=("bytes", text.encode()))


def place(number: int, namespace: str = "") -> tuple[str, str]:
    return (namespace, uuid6(number))


class Commits:
    """Keeps the groups that it is given; fails or waits first when told to."""

    def __init__(self) -> None:
        self.groups: list[list[Sealed]] = []
        self.failures: list[BaseException] = []
        self.failed = 0
        self.hold: threading.Event | None = None
        self.begun = threading.Event()

    def __call__(self, entries: Sequence[Sealed]) -> None:
        self.begun.set()
        if self.hold:
            assert self.hold.wait(5)
        if self.failures:
            raise self.failures.pop(0)
        self.groups.append(list(entries))

    def on_failure(self) -> None:
        self.failed += 1

    @property
    def entries(self) -> list[Sealed]:
        return [entry for group in self.groups for entry in group]


@pytest.fixture
def commits() -> Commits:
    return Commits()


@pytest.fixture
async def journal(commits: Commits) -> Journal:
    return Journal(commits, on_failure=commits.on_failure)


LINK = Link(depth=0, weight=0, root_size=100)


def carried(entry: Sealed) -> tuple[Write, ...]:
    """The writes that an entry holds: late ones, or those of the parent that ride in a record."""
    if entry.place is not None:
        return open_writes(entry.checkpoint_id, entry.body)
    return Opened(entry.checkpoint_id, entry.body).parent_writes


def spelled(entries: Sequence[Sealed]) -> list[Any]:
    """Entries as (kind, checkpoint, tasks and indexes of the writes they hold)."""
    return [
        (
            "record" if entry.place is None else "late",
            entry.checkpoint_id,
            [(one.task_id, one.index) for one in carried(entry)],
        )
        for entry in entries
    ]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (a condition of another thread)
            await asyncio.sleep(0.001)


# ------------------------------------------------------------------ what rides and what comes late


async def test_the_writes_of_a_checkpoint_ride_in_the_record_that_follows_it(journal: Journal) -> None:
    journal.put(record(1))
    journal.put_writes(place(1), [write("b", 0)])
    journal.put_writes(place(1), [write("a", 0), write("a", 1)])
    journal.put(record(2, parent=1))
    assert spelled(await journal.close()) == [
        ("record", uuid6(1), []),
        ("record", uuid6(2), [("a", 0), ("a", 1), ("b", 0)]),
    ]


async def test_more_than_ten_writes_ride_in_the_order_of_their_numbers(journal: Journal) -> None:
    journal.put(record(1))
    journal.put_writes(place(1), [write("a", index) for index in range(15)])
    journal.put(record(2, parent=1))
    assert spelled(await journal.close())[1][2] == [("a", index) for index in range(15)]


async def test_writes_without_a_record_that_follows_are_items_of_their_own(journal: Journal) -> None:
    journal.put(record(1))
    journal.put_writes(place(1), [write("a", 0), write("b", 0), write("a", -3), write("a", -4)])
    assert spelled(await journal.close()) == [
        ("late", uuid6(1), [("a", 0)]),
        ("late", uuid6(1), [("b", 0)]),
        ("late", uuid6(1), [("a", -3)]),
        ("late", uuid6(1), [("a", -4)]),
        ("record", uuid6(1), []),
    ]


async def test_items_of_one_checkpoint_never_overwrite_one_another(journal: Journal) -> None:
    journal.put(record(1))
    journal.put_writes(place(1), [write("a", 0), write("a", 1)])
    journal.flush("all")
    journal.put_writes(place(1), [write("a", 0), write("a", 1), write("a", 2)])
    journal.put_writes(place(1), [write("a", -3), write("a", -1)])
    places = [entry.place for entry in await journal.close() if entry.place is not None]
    assert sorted(places) == ["a#-1", "a#-3", "a#2"]


async def test_writes_of_a_checkpoint_that_does_not_directly_precede_come_late(journal: Journal) -> None:
    for number in (1, 2, 3):
        journal.put(record(number, parent=number - 1 if number > 1 else None))
    journal.put_writes(place(1), [write("a", 0)])
    journal.put(record(4, parent=1))
    entries = spelled(await journal.close())
    assert (entries[0], entries[-1]) == (("late", uuid6(1), [("a", 0)]), ("record", uuid6(4), []))


async def test_the_writes_of_a_checkpoint_read_as_the_newest_ride_too(journal: Journal) -> None:
    journal.saw(Snapshot(link=LINK, record=record(1), writes=()), newest=True)
    journal.put_writes(place(1), [write("a", 0)])
    journal.put(record(2, parent=1))
    assert spelled(await journal.close()) == [("record", uuid6(2), [("a", 0)])]


async def test_the_writes_of_an_older_checkpoint_that_was_read_come_late(journal: Journal) -> None:
    journal.saw(Snapshot(link=LINK, record=record(1), writes=()), newest=False)
    journal.put_writes(place(1), [write("a", 0)])
    journal.put(record(9, parent=1))
    assert spelled(await journal.close()) == [("late", uuid6(1), [("a", 0)]), ("record", uuid6(9), [])]


async def test_namespaces_do_not_carry_each_others_writes(journal: Journal) -> None:
    journal.put(record(1))
    journal.put(record(1, namespace="inner"))
    journal.put_writes(place(1), [write("outer", 0)])
    journal.put_writes(place(1, "inner"), [write("inner", 0)])
    journal.put(record(2, parent=1, namespace="inner"))
    journal.put(record(2, parent=1))
    assert spelled(await journal.close())[2:] == [
        ("record", uuid6(2), [("inner", 0)]),
        ("record", uuid6(2), [("outer", 0)]),
    ]


async def test_writes_that_were_flushed_do_not_ride_again(journal: Journal, commits: Commits) -> None:
    journal.put(record(1))
    journal.put_writes(place(1), [write("a", 0)])
    journal.flush("all")
    journal.put_writes(place(1), [write("b", 0)])
    journal.put(record(2, parent=1))
    assert spelled(commits.entries) == [("late", uuid6(1), [("a", 0)]), ("record", uuid6(1), [])]
    assert spelled(await journal.close()) == [("record", uuid6(2), [("b", 0)])]


async def test_a_task_that_runs_again_changes_nothing_of_what_it_wrote(journal: Journal) -> None:
    journal.saw(Snapshot(link=LINK, record=record(1), writes=(write("a", 0, "first"),)), newest=True)
    journal.put_writes(place(1), [write("a", 0, "again"), write("a", 1, "new")])
    assert spelled(await journal.close()) == [("late", uuid6(1), [("a", 1)])]


async def test_a_reserved_write_replaces_the_one_before(journal: Journal) -> None:
    journal.saw(Snapshot(link=LINK, record=record(1), writes=(write("a", -4, "no"),)), newest=True)
    journal.put_writes(place(1), [write("a", -4, "maybe")])
    journal.put_writes(place(1), [write("a", -4, "yes")])
    (late,) = await journal.close()
    assert carried(late) == (write("a", -4, "yes"),)


# ------------------------------------------------------------------ what is read back


async def test_what_was_put_is_read_back_before_it_is_written(journal: Journal) -> None:
    assert journal.read("", None) is None
    journal.put(record(1))
    journal.put_writes(place(1), [write("a", 1), write("a", 0)])
    for checkpoint_id in (None, uuid6(1)):
        found = journal.read("", checkpoint_id)
        assert found is not None
        assert found.record.checkpoint_id == uuid6(1)
        assert found.writes == (write("a", 0), write("a", 1))
    assert journal.read("inner", None) is None
    assert journal.read("", uuid6(2)) is None


async def test_what_was_put_is_read_back_after_it_was_written(journal: Journal) -> None:
    journal.put(record(1))
    journal.put(record(2, parent=1))
    journal.flush()
    found = journal.read("", None)
    assert found is not None
    assert found.record.checkpoint_id == uuid6(2)


async def test_reading_a_checkpoint_again_does_not_forget_its_new_writes(journal: Journal) -> None:
    snapshot = Snapshot(link=LINK, record=record(1), writes=(write("a", 0, "stored"),))
    journal.saw(snapshot, newest=True)
    journal.put_writes(place(1), [write("b", 0, "new")])
    journal.saw(snapshot, newest=True)
    journal.put_writes(place(1), [write("b", 0, "again")])
    (late,) = await journal.close()
    assert carried(late) == (write("b", 0, "new"),)


# ------------------------------------------------------------------ writing in the background


async def test_entries_gather_for_a_moment_and_are_written_as_one_group(
    journal: Journal, commits: Commits
) -> None:
    journal.put(record(1))
    journal.schedule()
    journal.put_writes(place(1), [write("a", 0)])
    journal.schedule()
    journal.put(record(2, parent=1))
    journal.schedule()
    await until(lambda: bool(commits.groups))
    assert [spelled(group) for group in commits.groups] == [
        [("record", uuid6(1), []), ("record", uuid6(2), [("a", 0)])]
    ]
    assert await journal.close() == []


async def test_what_comes_while_a_write_is_under_way_goes_with_the_next(
    journal: Journal, commits: Commits
) -> None:
    commits.hold = threading.Event()
    journal.put(record(1))
    journal.schedule()
    await until(commits.begun.is_set)
    for number in (2, 3, 4):
        journal.put(record(number, parent=number - 1))
        journal.schedule()
    commits.hold.set()
    await until(lambda: len(commits.entries) == 4)
    assert [len(group) for group in commits.groups] == [1, 3]


async def test_a_short_run_writes_nothing_before_its_finish(journal: Journal, commits: Commits) -> None:
    journal.put(record(1))
    journal.schedule()
    journal.put(record(2, parent=1))
    journal.schedule()
    assert len(await journal.close()) == 2
    assert commits.groups == []


async def test_a_journal_without_a_table_keeps_everything_in_memory(commits: Commits) -> None:
    journal = Journal(None, on_failure=commits.on_failure)
    journal.put(record(1))
    journal.schedule()
    journal.flush()
    assert journal.read("", None) is not None
    assert spelled(await journal.close()) == [("record", uuid6(1), [])]


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize("failure", [Unavailable("no"), StaleOwner("gone"), RunCancelled("stop")])
async def test_a_commit_that_fails_is_raised_at_every_later_call(
    journal: Journal, commits: Commits, failure: Exception
) -> None:
    commits.failures = [failure]
    journal.put(record(1))
    journal.schedule()
    await until(lambda: commits.failed > 0)
    with pytest.raises(type(failure)):
        journal.put(record(2, parent=1))
    with pytest.raises(type(failure)):
        journal.put_writes(place(1), [write("a", 0)])
    assert commits.failed == 1


@pytest.mark.parametrize("failure", [Unavailable("no"), StaleOwner("gone"), OSError("disk")])
async def test_a_commit_that_failed_is_raised_at_the_end(
    journal: Journal, commits: Commits, failure: Exception
) -> None:
    commits.failures = [failure]
    journal.put(record(1))
    journal.schedule()
    await until(lambda: commits.failed > 0)
    with pytest.raises(type(failure)):
        await journal.close()


async def test_a_flush_that_fails_is_raised_where_it_was_asked_for_and_later(
    journal: Journal, commits: Commits
) -> None:
    commits.failures = [Unavailable("no")]
    journal.put(record(1))
    with pytest.raises(Unavailable):
        journal.flush()
    with pytest.raises(Unavailable):
        await journal.close()


async def test_a_cancelled_run_keeps_its_entries_for_the_finish_in_their_order(
    journal: Journal, commits: Commits
) -> None:
    commits.failures = [RunCancelled("stop")]
    journal.put(record(1))
    journal.put_writes(place(1), [write("a", 0)])
    journal.schedule()
    await until(lambda: commits.failed > 0)
    assert spelled(await journal.close()) == [("late", uuid6(1), [("a", 0)]), ("record", uuid6(1), [])]
    assert commits.groups == []


# ------------------------------------------------------------------ the end


async def test_the_end_waits_for_a_write_under_way(journal: Journal, commits: Commits) -> None:
    commits.hold = threading.Event()
    journal.put(record(1))
    journal.schedule()
    await until(commits.begun.is_set)
    journal.put(record(2, parent=1))
    closing = asyncio.ensure_future(journal.close())
    await asyncio.wait((closing,), timeout=0.05)
    assert not closing.done()
    commits.hold.set()
    assert spelled(await closing) == [("record", uuid6(2), [])]
    assert spelled(commits.entries) == [("record", uuid6(1), [])]


async def test_the_end_waits_for_a_write_whose_caller_was_cancelled(
    journal: Journal, commits: Commits
) -> None:
    # Durability sync: the graph's task is cancelled while its superstep is being written.
    commits.hold = threading.Event()
    journal.put(record(1))
    superstep = asyncio.ensure_future(asyncio.to_thread(journal.flush))
    await until(commits.begun.is_set)
    superstep.cancel()
    await asyncio.wait((superstep,))
    closing = asyncio.ensure_future(journal.close())
    await asyncio.wait((closing,), timeout=0.05)
    waited = not closing.done()
    commits.hold.set()
    left = await closing
    await until(lambda: bool(commits.groups))
    assert waited
    assert left == []


async def test_the_end_does_not_wait_for_the_moment_in_which_entries_gather(journal: Journal) -> None:
    journal.put(record(1))
    journal.schedule()
    async with asyncio.timeout(5):
        assert len(await journal.close()) == 1


async def test_everything_that_was_put_is_written_once_and_in_order(
    journal: Journal, commits: Commits
) -> None:
    for number in range(1, 40):
        journal.put(record(number, parent=number - 1 or None))
        journal.put_writes(place(number), [write("a", 0), write("b", 0)])
        journal.schedule()
        if number % 5 == 0:
            await asyncio.sleep(0.003 if number % 10 else 0.03)
    left = await journal.close()  # a write that is under way lands before it
    everything = [*commits.entries, *left]
    assert [one.checkpoint_id for one in everything if one.place is None] == [
        uuid6(number) for number in range(1, 40)
    ]
    written: dict[str, tuple[Write, ...]] = {}
    for one in everything:
        parent = one.checkpoint_id if one.place is not None else Opened(one.checkpoint_id, one.body).parent_id
        if parent:
            written[parent] = merge_writes(written.get(parent, ()), carried(one))
    assert written == {uuid6(number): (write("a", 0), write("b", 0)) for number in range(1, 40)}
