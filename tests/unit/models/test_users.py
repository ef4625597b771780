"""Users, and what they may see: filters over metadata."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewline.models.users import EVERYTHING, NOBODY, Filters, Sender, User

ANN = User({"identity": "ann", "team": "red", "secret": "s3cret"})
SCALARS = st.sampled_from(["a", "b", 1, True, None])
METADATA = st.dictionaries(st.sampled_from("xyz"), SCALARS | st.lists(SCALARS, max_size=3), max_size=3)
SAID = st.dictionaries(
    st.sampled_from("xyz"),
    SCALARS
    | st.fixed_dictionaries({"$eq": SCALARS})
    | st.fixed_dictionaries({"$contains": SCALARS | st.lists(SCALARS, max_size=2)}),
    max_size=3,
)


def test_a_user_has_what_authentication_gave_as_items_and_as_attributes() -> None:
    assert (ANN.identity, ANN["team"], ANN.team, ANN.get("nothing")) == ("ann", "red", "red", None)
    assert (ANN.display_name, ANN.permissions, ANN.is_authenticated) == ("ann", [], True)
    assert ANN["permissions"] == []
    assert "team" in ANN
    assert dict(copy.deepcopy(ANN)) == dict(ANN)
    with pytest.raises(AttributeError):
        _ = ANN.nothing
    with pytest.raises(KeyError):
        _ = ANN["nothing"]


def test_a_user_is_no_secret_in_a_text_but_what_else_there_is_may_be() -> None:
    assert repr(ANN) == str(ANN) == "User('ann')"


@pytest.mark.parametrize(
    ("said", "metadata", "seen"),
    [
        ({}, {}, True),
        ({"owner": "ann"}, {"owner": "ann", "more": 1}, True),
        ({"owner": "ann"}, {"owner": "bob"}, False),
        ({"owner": "ann"}, {}, False),
        ({"owner": "ann"}, {"owner": ["ann"]}, False),
        ({"owner": {"$eq": "ann"}}, {"owner": "ann"}, True),
        ({"owner": None}, {}, False),
        ({"level": 1}, {"level": True}, False),
        ({"who": {"$contains": "ann"}}, {"who": ["bob", "ann"]}, True),
        ({"who": {"$contains": "ann"}}, {"who": "ann"}, False),
        ({"who": {"$contains": "ann"}}, {"who": ["annie"]}, False),
        ({"who": {"$contains": ["ann", "bob"]}}, {"who": ["bob", "carl", "ann"]}, True),
        ({"who": {"$contains": ["ann", "bob"]}}, {"who": ["ann"]}, False),
        ({"owner": "ann", "team": "red"}, {"owner": "ann", "team": "blue"}, False),
    ],
)
def test_filters_are_compared_with_metadata(
    said: dict[str, Any], metadata: dict[str, Any], seen: bool
) -> None:
    assert Filters.read(said).match(metadata) is seen


@pytest.mark.parametrize(
    "said",
    [
        {"owner": {"$ne": "ann"}},
        {"owner": {}},
        {"owner": {"$eq": "ann", "$contains": "ann"}},
        {"owner": ["ann"]},
        {"owner": {"$eq": {"id": 1}}},
        {"who": {"$contains": [["ann"]]}},
        {"who": {"$contains": {"id": 1}}},
    ],
)
def test_what_is_no_filter_is_refused_and_lets_nothing_be_seen(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"owner|who"):
        Filters.read(said)


@given(SAID, METADATA, METADATA)
def test_a_narrowed_search_finds_what_it_found_and_what_may_be_seen(
    said: dict[str, Any], asked: dict[str, Any], metadata: dict[str, Any]
) -> None:
    sees = Filters.read(said)
    narrowed = sees.narrow(asked)
    found = Filters(asked).match(metadata)
    assert (narrowed is not None and Filters(narrowed).match(metadata)) == (found and sees.match(metadata))


@given(SAID, METADATA)
def test_what_a_user_makes_is_what_the_user_sees(said: dict[str, Any], metadata: dict[str, Any]) -> None:
    sees = Filters.read(said)
    made = sees.fill(metadata)
    if made is None:
        assert any(name in metadata for name in sees.wanted)
    else:
        assert sees.match(made)
        assert metadata.items() <= made.items()


def test_changes_keep_a_thing_in_sight_by_its_single_values() -> None:
    sees = Filters.read({"owner": "ann", "who": {"$contains": "ann"}})
    assert sees.keeps({"title": "x", "owner": "ann"})
    assert not sees.keeps({"owner": "bob"})
    assert sees.keeps({"who": ["bob"]})  # whoever takes part may leave


def test_a_sender_is_kept_and_read_again() -> None:
    sender = Sender(user=ANN, stamps={"owner": "ann"}, sees=Filters({"owner": "ann"}))
    assert Sender.of(sender.kept()) == sender
    assert NOBODY.kept() is None
    assert Sender.of(None) == NOBODY
    assert not EVERYTHING
