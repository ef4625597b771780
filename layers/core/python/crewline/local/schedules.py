# ruff: noqa: SLF001  private names are what this module is about
"""EventBridge Scheduler on the local cloud: schedules that fire at their minute, in their time zone.

The emulator looks every ten seconds, by UTC alone, and does not say which minute is due; what falls
between a schedule's making, or the emulator's start, and its first look is lost.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

NAMES: Final = (
    "ministack.services.scheduler:_SCHEDULE_TICK_INTERVAL",
    "ministack.services.scheduler:_schedules._data",
    "ministack.services.scheduler:_tick_schedules",
    "ministack.services.scheduler:_to_epoch",
    "ministack.services.eventbridge:_cron_next_fire",
    "ministack.services.eventbridge:_invoke_target",
    "ministack.services.eventbridge:_parse_cron_fields",
    "ministack.core.responses:set_request_account_id",
    "ministack.core.responses:set_request_region",
)
"""What this module changes in ministack, or leans on."""

_LOOKS_S: Final = 1
"""Seconds between two looks."""
_PLACEHOLDER: Final = "<aws.scheduler.scheduled-time>"


def fire_at_their_minute() -> None:
    """Let the emulator fire schedules of the kind `cron` as AWS does; of others there are none here."""
    scheduler: Any = importlib.import_module("ministack.services.scheduler")
    scheduler._SCHEDULE_TICK_INTERVAL = _LOOKS_S
    scheduler._tick_schedules = Ticker(scheduler, time.time).tick


class Ticker:
    """Fires what is due.

    Args:
        scheduler: ministack's module of schedules.
        clock: Tells the time, in seconds since the epoch.
    """

    def __init__(self, scheduler: Any, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._bridge = importlib.import_module("ministack.services.eventbridge")
        self._scopes = importlib.import_module("ministack.core.responses")
        self._clock = clock
        self._begun = clock()
        self._looked: dict[Any, float] = {}

    def tick(self) -> None:
        """Fire each schedule for every minute at which it was due since the last look."""
        now = self._clock()
        schedules: dict[Any, dict[str, Any]] = self._scheduler._schedules._data
        for place, schedule in list(schedules.items()):
            made = float(schedule["LastModificationDate"])
            since = max(self._begun, made, self._looked.get(place, 0.0))
            self._looked[place] = now
            end = self._scheduler._to_epoch(schedule.get("EndDate"))
            if schedule.get("State") == "ENABLED":
                for due in self._due(schedule, since, now if end is None else min(now, end)):
                    self._fire(place, schedule, due)
            if end is not None and now > end and schedule.get("ActionAfterCompletion") == "DELETE":
                schedules.pop(place, None)
        for gone in self._looked.keys() - schedules.keys():
            del self._looked[gone]

    def _due(self, schedule: Mapping[str, Any], since: float, until: float) -> Iterator[datetime]:
        fields = self._bridge._parse_cron_fields(schedule["ScheduleExpression"])
        if fields is None:
            return
        zone = ZoneInfo(schedule.get("ScheduleExpressionTimezone") or "UTC")
        # The emulator reckons with times of a wall clock, and takes them for UTC.
        wall = datetime.fromtimestamp(since, zone).replace(tzinfo=None) - timedelta(hours=1, minutes=1)
        while (found := self._bridge._cron_next_fire(fields, wall)) is not None:
            wall = found.replace(tzinfo=None)
            due = wall.replace(tzinfo=zone).astimezone(UTC)
            if due.timestamp() > until:
                return
            skipped = due.astimezone(zone).replace(tzinfo=None) != wall
            if due.timestamp() > since and not skipped:
                yield due

    def _fire(self, place: Any, schedule: Mapping[str, Any], due: datetime) -> None:
        account, region, _ = place
        self._scopes.set_request_account_id(account)
        self._scopes.set_request_region(region)
        target = dict(schedule["Target"])
        if "Input" in target:
            target["Input"] = target["Input"].replace(_PLACEHOLDER, f"{due:%Y-%m-%dT%H:%M:%SZ}")
        event = {"Source": "aws.scheduler", "DetailType": "Scheduled Event", "Detail": "{}"}
        # What goes wrong with a target, the bridge logs.
        self._bridge._invoke_target(target, {**event, "Time": due.timestamp()}, schedule)
