from typing import Any

from benchmarks.sizes import index_units

TABLE = ("PK", "SK")
INDEX = ("shard", "place")


def _item(**texts: str) -> dict[str, Any]:
    return {name: {"S": text} for name, text in {"PK": "T#1", "SK": "!", **texts}.items()}


def _units(before: dict[str, Any] | None, after: dict[str, Any] | None) -> int:
    return index_units(before, after, TABLE, INDEX)


def test_an_entry_that_comes_or_goes_is_one_write() -> None:
    listed = _item(shard="0", place="a")
    assert _units(None, listed) == 1
    assert _units(_item(), listed) == 1
    assert _units(listed, _item()) == 1
    assert _units(listed, None) == 1


def test_an_entry_that_moves_is_removed_and_written() -> None:
    assert _units(_item(shard="0", place="a"), _item(shard="0", place="b")) == 2


def test_an_index_of_keys_does_not_see_other_attributes_change() -> None:
    assert _units(_item(shard="0", place="a", x="1"), _item(shard="0", place="a", x="2")) == 0


def test_an_item_without_all_keys_of_an_index_is_not_in_it() -> None:
    assert _units(_item(shard="0"), _item(shard="1")) == 0
    assert _units(None, None) == 0


def test_a_large_entry_costs_by_its_own_size_and_not_by_that_of_the_item() -> None:
    assert _units(None, _item(shard="0", place="a", body="x" * 5_000)) == 1
    assert _units(None, _item(shard="0", place="a" * 1_500)) == 2
