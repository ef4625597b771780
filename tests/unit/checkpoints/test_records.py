"""The writes of a checkpoint are united in the order in which LangGraph applies them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crewline.checkpoints.records import LateWrites, Write, merge_writes


def write(task: str, index: int, text: str = "", path: str = "") -> Write:
    return Write(task_id=task, task_path=path, index=index, channel="n", value=("bytes", text.encode()))


def places(writes: tuple[Write, ...]) -> list[tuple[str, str, int]]:
    return [(one.task_path, one.task_id, one.index) for one in writes]


def test_the_index_is_a_number_and_no_text() -> None:
    merged = merge_writes([write("a", index) for index in (11, 2, 10, 1, 0, 9)])
    assert [one.index for one in merged] == [0, 1, 2, 9, 10, 11]


def test_the_path_of_a_task_comes_before_its_id() -> None:
    merged = merge_writes([write("a", 0, path="~b"), write("z", 0, path="~a"), write("b", 0, path="~a")])
    assert places(merged) == [("~a", "b", 0), ("~a", "z", 0), ("~b", "a", 0)]


def test_of_two_ordinary_writes_in_one_place_the_first_stays() -> None:
    assert merge_writes([write("a", 0, "first")], [write("a", 0, "again")]) == (write("a", 0, "first"),)


def test_of_two_writes_on_a_reserved_channel_the_last_stays() -> None:
    assert merge_writes([write("a", -4, "no")], [write("a", -4, "yes")]) == (write("a", -4, "yes"),)


def test_tasks_do_not_take_each_others_places() -> None:
    assert len(merge_writes([write("a", 0), write("b", 0)], [write("a", -1), write("b", -1)])) == 4


def test_no_writes_at_all_are_none() -> None:
    assert merge_writes() == merge_writes([], []) == ()


@given(st.lists(st.builds(write, st.sampled_from("ab"), st.integers(0, 12), st.text("xy", max_size=2))))
def test_uniting_twice_changes_nothing(writes: list[Write]) -> None:
    merged = merge_writes(writes)
    assert merge_writes(merged) == merged
    assert merge_writes(merged, writes) == merged
    assert len({(one.task_id, one.index) for one in merged}) == len(merged)


def test_late_writes_have_the_same_place_however_they_are_ordered() -> None:
    writes = (write("a", 1), write("a", 0), write("a", 2))
    late = [LateWrites(namespace="", checkpoint_id="c", writes=one) for one in (writes, writes[::-1])]
    assert [one.place for one in late] == ["a#0", "a#0"]
