"""Schedules at EventBridge Scheduler: made once, deleted once, and failures told as such."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from crewline.errors import Unavailable
from crewline.store.clients import client
from crewline.store.schedules import Schedules, Targets, schedule_name
from tests.unit.store.worlds import CREDENTIALS, REGION

CRON = "0199c7a0-0000-7000-8000-00000000abcd"
TARGETS = Targets(
    group="default",
    role="arn:aws:iam::123456789012:role/schedules",
    function="arn:aws:lambda:us-east-1:123456789012:function:intake:live",
    dead_letters="arn:aws:sqs:us-east-1:123456789012:events",
)


@pytest.fixture
def scheduler() -> Iterator[Any]:
    with mock_aws():
        yield client("scheduler", region=REGION, credentials=CREDENTIALS)


def create(schedules: Schedules, name: str, *, end: datetime | None = None) -> None:
    schedules.create(name, "cron(0 9 ? * 2 *)", zone="Europe/Berlin", end=end, says={"cron_id": CRON})


def test_a_schedule_invokes_the_function_and_says_which_minute_is_due(scheduler: Any) -> None:
    name = schedule_name(CRON, 3, 1)
    end = datetime(2099, 1, 1, tzinfo=UTC)
    create(Schedules(scheduler, TARGETS), name, end=end)
    made = scheduler.get_schedule(Name=name, GroupName="default")
    assert (made["ScheduleExpression"], made["ScheduleExpressionTimezone"]) == (
        "cron(0 9 ? * 2 *)",
        "Europe/Berlin",
    )
    assert (made["FlexibleTimeWindow"], made["ActionAfterCompletion"]) == ({"Mode": "OFF"}, "DELETE")
    assert made["EndDate"] == end
    target = made["Target"]
    assert (target["Arn"], target["RoleArn"]) == (TARGETS.function, TARGETS.role)
    assert target["DeadLetterConfig"] == {"Arn": TARGETS.dead_letters}
    assert orjson.loads(target["Input"]) == {"cron_id": CRON, "due": "<aws.scheduler.scheduled-time>"}


def test_making_and_deleting_twice_is_harmless(scheduler: Any) -> None:
    schedules, name = Schedules(scheduler, TARGETS), schedule_name(CRON, 1, 0)
    create(schedules, name)
    create(schedules, name)
    assert len(scheduler.list_schedules()["Schedules"]) == 1
    schedules.delete(name)
    schedules.delete(name)
    assert scheduler.list_schedules()["Schedules"] == []


def test_a_name_fits_and_tells_revisions_apart() -> None:
    name = schedule_name(CRON, 1_000_000_000, 7)
    assert len(name) <= 64
    assert name != schedule_name(CRON, 1, 7)


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "slower"}}, "CreateSchedule"),
        ClientError(
            {"Error": {"Code": "ValidationException", "Message": "must allow us to assume the role"}},
            "CreateSchedule",
        ),
        EndpointConnectionError(endpoint_url="nowhere"),
    ],
    ids=["refused", "new role", "silent"],
)
def test_what_scheduler_does_not_do_can_be_tried_again(failure: Exception) -> None:
    class Broken:
        def create_schedule(self, **_: Any) -> None:
            raise failure

        def delete_schedule(self, **_: Any) -> None:
            raise failure

    schedules = Schedules(Broken(), TARGETS)
    with pytest.raises(Unavailable):
        create(schedules, "one")
    with pytest.raises(Unavailable):
        schedules.delete("one")
