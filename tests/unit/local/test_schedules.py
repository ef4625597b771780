"""Schedules on the local cloud fire at their minute, in their zone, once, and say which minute it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from crewline.local.schedules import Ticker

PLACE = ("000000000000", "us-east-1", "crons/one")
BEGIN = datetime(2026, 3, 28, 23, 59, 30, tzinfo=UTC).timestamp()


class Emulator:
    """The schedules of an emulator, and what they were fired with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = BEGIN
        self.fired: list[tuple[str, str]] = []
        self.there: dict[Any, dict[str, Any]] = {}
        monkeypatch.setattr("ministack.services.eventbridge._invoke_target", self._invoke)
        self.restart()

    def restart(self) -> None:
        """Begin anew, with the schedules that are there."""
        module = SimpleNamespace(
            _schedules=SimpleNamespace(_data=self.there), _to_epoch=lambda value: value and float(value)
        )
        self.ticker = Ticker(module, lambda: self.now)

    def put(self, expression: str, **more: Any) -> None:
        self.there[PLACE] = {
            "ScheduleExpression": expression,
            "State": "ENABLED",
            "LastModificationDate": self.now,
            "ActionAfterCompletion": "DELETE",
            "Target": {"Arn": "intake", "Input": '{"due": "<aws.scheduler.scheduled-time>"}'},
            **more,
        }

    def look(self, *seconds: float) -> list[str]:
        """Look so long after the last look; the minutes that were due."""
        self.fired.clear()
        for one in seconds:
            self.now += one
            self.ticker.tick()
        return [due[11:16] for _, due in self.fired]

    def _invoke(self, target: dict[str, Any], event: dict[str, Any], schedule: Any) -> None:
        assert event["Source"] == "aws.scheduler"
        self.fired.append((target["Arn"], json.loads(target["Input"])["due"]))


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Emulator:
    return Emulator(monkeypatch)


def test_a_schedule_fires_at_each_of_its_minutes_and_once(emulator: Emulator) -> None:
    emulator.put("cron(* * * * ? *)")
    assert emulator.look(29) == []
    assert emulator.look(2, 0, 1) == ["00:00"]
    assert emulator.fired == [("intake", "2026-03-29T00:00:00Z")]
    assert emulator.look(120) == ["00:01", "00:02"]


def test_what_was_due_before_it_was_made_or_before_a_restart_is_not_fired(emulator: Emulator) -> None:
    emulator.now += 60
    emulator.put("cron(* * * * ? *)")
    assert emulator.look(31) == ["00:01"]
    emulator.now += 600
    emulator.restart()
    assert emulator.look(10) == []
    assert emulator.look(50) == ["00:12"]


def test_a_schedule_that_is_made_just_before_its_minute_is_not_missed(emulator: Emulator) -> None:
    emulator.look(29)
    emulator.put("cron(0 0 * * ? *)")
    assert emulator.look(5) == ["00:00"]


def test_minutes_are_those_of_the_schedules_zone(emulator: Emulator) -> None:
    emulator.put("cron(0 9 * * ? *)", ScheduleExpressionTimezone="Asia/Tokyo")
    assert emulator.look(60) == ["00:00"]


def test_an_hour_that_the_clocks_skip_or_show_twice_counts_at_most_once(emulator: Emulator) -> None:
    berlin = {"ScheduleExpressionTimezone": "Europe/Berlin"}
    emulator.put("cron(30 2 * * ? *)", **berlin)
    assert emulator.look(86_400) == []
    emulator.now = datetime(2026, 10, 25, tzinfo=UTC).timestamp()
    emulator.put("cron(30 2 * * ? *)", **berlin)
    assert emulator.look(3_600, 3_600) == ["00:30"]


def test_a_schedule_ends_when_it_says_and_is_gone_then(emulator: Emulator) -> None:
    emulator.put("cron(* * * * ? *)", EndDate=BEGIN + 60)
    assert emulator.look(120) == ["00:00"]
    assert emulator.there == {}


def test_a_disabled_schedule_does_not_fire(emulator: Emulator) -> None:
    emulator.put("cron(* * * * ? *)", State="DISABLED")
    assert emulator.look(120) == []
