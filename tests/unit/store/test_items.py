"""Items survive DynamoDB's spelling; what the table never holds is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewline.store.items import from_wire, item_from_wire, item_to_wire, to_wire

values = st.recursive(
    st.text() | st.booleans() | st.integers() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_a_value_survives(value: Any) -> None:
    back = from_wire(to_wire(value))
    assert back == value
    assert type(back) is type(value)


def test_true_is_no_number_and_one_is_no_boolean() -> None:
    assert to_wire(True) == {"BOOL": True}
    assert to_wire(1) == {"N": "1"}


def test_a_tuple_comes_back_as_a_list() -> None:
    assert from_wire(to_wire((1, "a"))) == [1, "a"]


def test_an_attribute_that_is_none_is_left_out() -> None:
    assert item_to_wire({"a": None, "b": 0, "c": "", "d": False}) == {
        "b": {"N": "0"},
        "c": {"S": ""},
        "d": {"BOOL": False},
    }
    assert item_from_wire(item_to_wire({"a": None, "b": 0})) == {"b": 0}


@pytest.mark.parametrize("value", [1.5, None, {"a": None}, [None], {1}, object()])
def test_what_the_table_does_not_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="The table holds no"):
        to_wire(value)


@pytest.mark.parametrize("attribute", [{"NULL": True}, {"SS": ["a"]}, {"NS": ["1"]}])
def test_a_type_that_is_never_written_is_refused(attribute: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="is not one of Crewline's"):
        from_wire(attribute)
