"""When a cron is due: five fields as cron has them, and the expressions of EventBridge Scheduler that mean the same.

Times are those of a wall clock: a time that the clocks skip in spring is left out, and one that they show
twice in autumn counts once, as Scheduler does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from cronsim import CronSim

_FIELDS: Final = 5
_DAYS_OF_WEEK: Final = 7
_LONGEST: Final = 256
"""Characters of an expression of Scheduler."""
MOST_EXPRESSIONS: Final = 8
"""Schedules of one cron."""
_MINUTES: Final = frozenset(range(60))
_HOURS: Final = frozenset(range(24))
_DAYS: Final = frozenset(range(1, 32))
_MONTHS: Final = frozenset(range(1, 13))
_WEEK: Final = frozenset(range(_DAYS_OF_WEEK))
_LENGTHS: Final = dict(zip(range(1, 13), (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
_SYSTEMS_OWN: Final = ("posix", "right/", "localtime", "Factory")
"""What the database of some systems has beside the names of the IANA."""


def check_schedule(text: str) -> str:
    """Check a cron expression.

    Args:
        text: Minute, hour, day of the month, month and day of the week.

    Returns:
        The expression with single spaces.

    Raises:
        ValueError: It is none, is never due, or Scheduler cannot say it.
    """
    spelled = " ".join(text.split())
    expressions(spelled)
    if next(_times(spelled, datetime(2000, 1, 1)), None) is None:  # noqa: DTZ001  a wall clock
        raise ValueError(f"{spelled!r} never comes")
    return spelled


def check_zone(name: str) -> str:
    """Check the name of a time zone.

    Raises:
        ValueError: The time zone database does not have it.
    """
    try:
        if _ZONE.fullmatch(name) and not name.startswith(_SYSTEMS_OWN):
            ZoneInfo(name)
            return name
    except (ZoneInfoNotFoundError, OSError):  # the latter of a folder
        pass
    raise ValueError(f"{name[:60]!r} is no time zone; give a name like Europe/Berlin or UTC")


def expressions(schedule: str) -> tuple[str, ...]:
    """Translate a cron expression: together, the results match the minutes that it matches.

    Scheduler takes a day of the month or a day of the week, and never both; cron, where both are
    given, is due when either is. So such a cron has two expressions, and what Scheduler cannot put
    in one list (the last day, the second Tuesday) has one of its own.

    Args:
        schedule: The five fields.

    Returns:
        Expressions of EventBridge Scheduler.

    Raises:
        ValueError: It is no cron expression, or Scheduler cannot say it.
    """
    cron = _parse(schedule)
    minutes, hours = _spell(cron.minutes, _MINUTES), _spell(cron.hours, _HOURS)
    months = _spell(cron.months, _MONTHS)
    made = tuple(f"cron({minutes} {hours} {day} {months} {weekday} *)" for day, weekday in _days(cron))
    if len(made) > MOST_EXPRESSIONS:
        raise ValueError(
            f"{schedule!r} takes {len(made)} schedules of EventBridge, {MOST_EXPRESSIONS} at most; make two crons of it"
        )
    if any(len(one) > _LONGEST for one in made):
        raise ValueError(f"{schedule!r} is longer than EventBridge Scheduler takes; make two crons of it")
    return made


def is_due(schedule: str, zone: str, at: datetime) -> bool:
    """Tell whether a cron is due at a minute.

    Args:
        schedule: The five fields.
        zone: The time zone of its wall clock.
        at: The minute.
    """
    wall = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None, second=0, microsecond=0)
    return next(_times(schedule, wall - timedelta(minutes=1)), None) == wall


def next_due(schedule: str, zone: str, after: datetime) -> datetime | None:
    """Tell when a cron is due next; None when it is not for fifty years.

    Args:
        schedule: The five fields.
        zone: The time zone of its wall clock.
        after: It is due later than this.

    Returns:
        The minute, in UTC.
    """
    there = ZoneInfo(zone)
    # What a clock shows twice counts the first time; so a time that it has passed never counts later.
    wall = after.astimezone(there).replace(tzinfo=None)
    for time in _times(schedule, wall):
        due = time.replace(tzinfo=there).astimezone(UTC)
        if due > after and due.astimezone(there).replace(tzinfo=None) == time:
            return due
    return None


def _times(schedule: str, after: datetime) -> Iterator[datetime]:
    """List the times of a wall clock at which a cron is due."""
    from cronsim import CronSim  # noqa: PLC0415  only what has to do with crons needs it

    return CronSim(schedule, after)


def _parse(schedule: str) -> CronSim:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415

    if len(schedule.split()) != _FIELDS:
        raise ValueError(
            f"{schedule[:60]!r} must have five fields: minute, hour, day of the month, month and day of the week"
        )
    try:
        return CronSim(schedule, datetime(2000, 1, 1))  # noqa: DTZ001
    except CronSimError as exc:
        raise ValueError(f"{schedule[:60]!r} is no cron expression: {str(exc).lower()}") from None


def _days(cron: CronSim) -> Iterator[tuple[str, str]]:
    """Spell the days as pairs of a day of the month and a day of the week, of which any may match."""
    from cronsim import CronSim  # noqa: PLC0415

    days = {day for day in cron.days if day > 0}
    weekdays = {day % _DAYS_OF_WEEK for day in cron.weekdays if isinstance(day, int)}
    every_day, every_weekday = days == _DAYS, weekdays == _WEEK
    if cron.day_and and not (every_day or every_weekday):
        raise ValueError(
            "a day of the month and a day of the week of which one begins with * must both match, which "
            "EventBridge Scheduler cannot say; write the days out, or leave one of them to *"
        )
    if every_day and (every_weekday or not cron.day_and):
        yield "*", "?"
        return
    if every_weekday and not cron.day_and:
        yield "*", "?"
        return
    if not every_day:
        if days and min(days) <= max(_LENGTHS[month] for month in cron.months):
            yield _spell(days, _DAYS), "?"
        if CronSim.LAST in cron.days:
            yield "L", "?"
        if CronSim.LAST_WEEKDAY in cron.days:
            raise ValueError("LW is a day that EventBridge Scheduler has no word for")
    if not every_weekday:
        if weekdays:
            yield "?", _spell({day + 1 for day in weekdays}, frozenset())
        for day, which in sorted(one for one in cron.weekdays if isinstance(one, tuple)):
            yield "?", f"{day % _DAYS_OF_WEEK + 1}{'L' if which == CronSim.LAST else f'#{which}'}"


def _spell(values: Iterable[int], every: frozenset[int]) -> str:
    """Spell some values of a field: all, a range, or a list."""
    found = sorted(values)
    if set(found) == every:
        return "*"
    first, last = found[0], found[-1]
    if len(found) > 2 and last - first == len(found) - 1:  # noqa: PLR2004
        return f"{first}-{last}"
    return ",".join(map(str, found))
