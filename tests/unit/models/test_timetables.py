"""Cron expressions: EventBridge Scheduler is told of exactly the minutes that cron means."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cronsim import CronSim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ministack.services import eventbridge

from crewline.models.timetables import (
    MOST_EXPRESSIONS,
    check_schedule,
    check_zone,
    expressions,
    is_due,
    next_due,
)

BEGIN = datetime(2027, 12, 1)  # a leap year, and a month before it  # noqa: DTZ001
DAYS = 400
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


def _field(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    """One field of a cron expression: all, steps, lists, ranges, names."""
    number = st.integers(low, high)
    spelled = number.map(str) | (st.sampled_from(names) if names else st.nothing())
    rising = st.tuples(number, number).map(sorted)
    part = (
        spelled
        | rising.map(lambda pair: f"{pair[0]}-{pair[1]}")
        | st.tuples(rising, st.integers(1, 20)).map(lambda one: f"{one[0][0]}-{one[0][1]}/{one[1]}")
    )
    whole = st.just("*") | st.integers(1, 20).map(lambda step: f"*/{step}")
    return whole | st.lists(part, min_size=1, max_size=4).map(",".join)


_SPECIAL_DAYS = st.sampled_from(["L", "L,3", "31,L", "30"])
_SPECIAL_WEEKDAYS = st.sampled_from(["5L", "1#2", "0#5", "MON#1,WED", "7#1,0L", "7", "0", "0-7", "5-7"])
LONG = " ".join(
    [
        *(
            ",".join(str(one) for one in range(most) if one % step)
            for most, step in ((60, 7), (24, 5), (32, 6))
        ),
        "1-3,5-7,9-11 *",
    ]
)
SCHEDULES = st.tuples(
    _field(0, 59),
    _field(0, 23),
    _field(1, 31) | _SPECIAL_DAYS,
    _field(1, 12, _MONTHS),
    _field(0, 7, _WEEKDAYS) | _SPECIAL_WEEKDAYS,
).map(" ".join)


def days_of(expression: str) -> set[int]:
    """The days on which an expression of Scheduler matches, counted from the beginning."""
    fields: Any = eventbridge._parse_cron_fields(expression)
    assert fields is not None, expression
    _, _, days, months, weekdays, _, day, _ = fields
    found = set()
    for count in range(DAYS):
        date = (BEGIN + timedelta(days=count)).replace(tzinfo=UTC)
        on = eventbridge._dow_matches(weekdays, date) if day == "?" else eventbridge._dom_matches(days, date)
        if on and date.month in months:
            found.add(count)
    return found


def times_of(expression: str) -> tuple[frozenset[int], frozenset[int]]:
    """The minutes and hours at which an expression of Scheduler matches."""
    fields: Any = eventbridge._parse_cron_fields(expression)
    return fields[0], fields[1]


def _matches(made: Iterable[str], schedule: str) -> None:
    cron = CronSim(schedule, BEGIN)
    on = {
        count
        for count in range(DAYS)
        if (date := (BEGIN + timedelta(days=count)).date()).month in cron.months and cron.match_day(date)
    }
    made = list(made)
    assert set[int]().union(*(days_of(one) for one in made)) == on
    for one in made:
        assert times_of(one) == (frozenset(cron.minutes), frozenset(cron.hours))


@given(SCHEDULES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_scheduler_is_told_of_the_days_hours_and_minutes_that_cron_means(schedule: str) -> None:
    try:
        made = expressions(schedule)
    except ValueError as exc:
        _explained(schedule, str(exc))
        return
    assert 1 <= len(made) <= MOST_EXPRESSIONS
    _matches(made, schedule)


@pytest.mark.thorough
@given(SCHEDULES)
@settings(max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_it_is_so_for_thousands_of_expressions(schedule: str) -> None:
    try:
        made = expressions(schedule)
    except ValueError as exc:
        _explained(schedule, str(exc))
        return
    _matches(made, schedule)


def _explained(schedule: str, refusal: str) -> None:
    """What is refused is what Scheduler cannot say, or no cron expression."""
    _, _, day, _, weekday = schedule.split()
    both = day.startswith("*") != weekday.startswith("*") or (day.startswith("*") and weekday.startswith("*"))
    reasons = ["bad day-of-month", "make two crons of it"] + (["must both match"] if both else [])
    assert any(reason in refusal for reason in reasons), (schedule, refusal)


@given(SCHEDULES, st.datetimes(BEGIN, BEGIN + timedelta(days=DAYS)))
@settings(max_examples=40, deadline=None)
def test_without_a_zone_of_its_own_a_cron_is_due_next_when_cron_says(schedule: str, after: datetime) -> None:
    try:
        said = next(CronSim(schedule, after))
    except Exception:  # noqa: BLE001  no cron expression, or never due
        return
    due = next_due(schedule, "UTC", after.replace(tzinfo=UTC))
    assert due == said.replace(tzinfo=UTC)
    assert is_due(schedule, "UTC", due)
    if due - timedelta(minutes=1) > after.replace(tzinfo=UTC):
        assert not is_due(schedule, "UTC", due - timedelta(minutes=1))


@pytest.mark.parametrize(
    ("schedule", "made"),
    [
        ("0 3 1 1 *", ["cron(0 3 1 1 ? *)"]),
        ("*/15 9-17 * * MON-FRI", ["cron(0,15,30,45 9-17 ? * 2-6 *)"]),
        ("0 0 1,15 * 1", ["cron(0 0 1,15 * ? *)", "cron(0 0 ? * 2 *)"]),
        ("0 0 * * 0", ["cron(0 0 ? * 1 *)"]),
        ("0 0 * * 7", ["cron(0 0 ? * 1 *)"]),
        ("0 0 * * SAT,SUN", ["cron(0 0 ? * 1,7 *)"]),
        ("0 0 L * *", ["cron(0 0 L * ? *)"]),
        ("0 0 * * FRI#2", ["cron(0 0 ? * 6#2 *)"]),
        ("0 0 * * 5L", ["cron(0 0 ? * 6L *)"]),
        ("0 0 1-31 * MON", ["cron(0 0 * * ? *)"]),
        ("0 0 31 4 1", ["cron(0 0 ? 4 2 *)"]),
        ("* * * * *", ["cron(* * * * ? *)"]),
    ],
)
def test_how_expressions_are_spelled(schedule: str, made: list[str]) -> None:
    assert list(expressions(schedule)) == made


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("bogus", "must have five fields"),
        ("* * * * * *", "must have five fields"),
        ("60 * * * *", "bad minute"),
        ("0 0 31 2 *", "bad day-of-month"),
        ("0 0 */2 * MON", "must both match"),
        ("0 0 LW * *", "LW"),
        ("0 0 1 * 1#1,1#2,1#3,2#1,2#2,2#3,3#1,3#2", "make two crons of it"),
        (LONG, "longer than EventBridge Scheduler takes"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(schedule: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_schedule(schedule)


@pytest.mark.parametrize(
    "name", ["Mars/Olympus", "localtime", "posix/Europe/Berlin", "../UTC", "Europe", "", "+02:00", "a\0b"]
)
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        check_zone(name)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_zones_have_the_names_of_the_database(name: str) -> None:
    assert check_zone(name) == name


def berlin(text: str) -> datetime | None:
    return next_due("30 2 * * *", "Europe/Berlin", datetime.fromisoformat(text))


def test_a_time_that_the_clocks_skip_is_left_out() -> None:
    assert berlin("2026-03-28T12:00:00+01:00") == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    assert not is_due("30 3 * * *", "Europe/Berlin", datetime(2026, 3, 29, 2, 30, tzinfo=UTC))


def test_a_time_that_the_clocks_show_twice_comes_once() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert berlin("2026-10-24T12:00:00+02:00") == first
    assert berlin(first.isoformat()) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert berlin("2026-10-25T00:59:00+00:00") == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
