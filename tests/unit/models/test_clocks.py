"""Ids are UUIDs that sort by creation; times are spelled as the API spells them."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewline.errors import InvalidRequest
from crewline.models.assistants import default_assistant_id
from crewline.models.clocks import iso, new_id, parse_id, system_clock


def test_a_time_has_microseconds_and_an_offset() -> None:
    assert iso(1_760_000_000_123) == "2025-10-09T08:53:20.123000+00:00"
    assert iso(1_760_000_000_000) == "2025-10-09T08:53:20.000000+00:00"


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 4_000_000_000_000))
def test_times_sort_as_text(one: int, other: int) -> None:
    assert (iso(one) < iso(other)) == (one < other)
    assert datetime.fromisoformat(iso(one)) == datetime.fromtimestamp(one / 1000, UTC)


def test_the_system_clock_counts_milliseconds() -> None:
    before = datetime.now(UTC).timestamp() * 1000
    assert before - 1 <= system_clock() <= datetime.now(UTC).timestamp() * 1000


def test_new_ids_are_uuid7_and_sort_by_creation() -> None:
    ids = [new_id() for _ in range(200)]
    assert ids == sorted(set(ids))
    assert {UUID(one).version for one in ids} == {7}


@pytest.mark.parametrize(
    "spelling",
    [
        "0199C7A0-0000-7000-8000-00000000ABCD",
        "0199c7a000007000800000000000abcd",
        "{0199c7a0-0000-7000-8000-00000000abcd}",
        "urn:uuid:0199c7a0-0000-7000-8000-00000000abcd",
    ],
)
def test_an_id_has_one_spelling(spelling: str) -> None:
    assert parse_id(spelling, "thread") == "0199c7a0-0000-7000-8000-00000000abcd"


@given(st.text().filter(lambda text: len(text.replace("-", "")) != 32))
def test_what_is_no_uuid_is_refused_by_the_name_of_its_kind(text: str) -> None:
    with pytest.raises(InvalidRequest, match="Invalid run ID: must be a UUID") as caught:
        parse_id(text, "run")
    assert len(caught.value.message) < 800


def test_the_default_assistant_of_a_crew_has_the_id_that_langgraph_gives_it() -> None:
    assert default_assistant_id("agent") == "fe096781-5601-53d2-b2f6-0d3403f7e9ca"
