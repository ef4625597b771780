"""Crons on the local cloud: one run at their minute, and none of what was stopped, whatever still fires."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from crewline.local import services
from crewline.local.services import LocalService
from tests.e2e.processes import eventually
from tests.e2e.test_intake import aws
from tests.unit.store.worlds import BASIC

pytestmark = pytest.mark.thorough

PATIENCE_S = 100.0
ZONE = "Asia/Kathmandu"
"""A quarter of an hour off: a schedule read as UTC would not fire."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with services.serve(BASIC, state=tmp_path_factory.mktemp("crons") / "state") as service:
        yield service


@pytest.fixture(scope="module")
def client(service: LocalService) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=service.url) as client:
        yield client


def soon() -> datetime:
    """The next minute that is far enough for a few crons to be made before it."""
    return (datetime.now(UTC) + timedelta(seconds=70)).replace(second=0, microsecond=0)


class Planned:
    """A cron of a thread of its own, which is due at one minute of the day."""

    def __init__(self, service: LocalService, client: SyncLangGraphClient, due: datetime) -> None:
        self._client = client
        self._scheduler: Any = aws(service, "scheduler")
        self.thread_id = client.threads.create()["thread_id"]
        there = due.astimezone(ZoneInfo(ZONE))
        cron: Any = client.crons.create_for_thread(
            self.thread_id,
            "steps",
            schedule=f"{there.minute} {there.hour} * * *",
            timezone=ZONE,
            input={"n": 0},
        )
        self.cron_id: str = cron["cron_id"]
        assert datetime.fromisoformat(cron["next_run_date"]) == due
        (self.schedule,) = self.schedules()

    def schedules(self) -> list[dict[str, Any]]:
        """The schedules of the cron that are there."""
        listed = self._scheduler.list_schedules(NamePrefix=self.cron_id.replace("-", ""))["Schedules"]
        return [self._scheduler.get_schedule(Name=one["Name"], GroupName=one["GroupName"]) for one in listed]

    def schedule_again(self) -> None:
        """Make the schedule that it had: as somebody does who is late."""
        kept = (
            "Name",
            "GroupName",
            "ScheduleExpression",
            "ScheduleExpressionTimezone",
            "FlexibleTimeWindow",
            "Target",
        )
        assert self.schedules() == []
        self._scheduler.create_schedule(**{name: self.schedule[name] for name in kept})

    def runs(self) -> list[Any]:
        return list(self._client.runs.list(self.thread_id))


def test_a_cron_fires_once_at_its_minute_and_what_was_stopped_does_not(
    service: LocalService, client: SyncLangGraphClient
) -> None:
    due = soon()
    fires, ended, disabled, deleted = (Planned(service, client, due) for _ in range(4))
    client.crons.update(ended.cron_id, end_time=due)
    client.crons.update(disabled.cron_id, enabled=False)
    client.crons.delete(deleted.cron_id)
    stopped = (ended, disabled, deleted)
    for one in stopped:
        one.schedule_again()
    assert fires.runs() == []

    (run,) = eventually(fires.runs, PATIENCE_S)
    assert datetime.fromisoformat(run["created_at"]) >= due
    eventually(lambda: fires.runs()[0]["status"] == "success", PATIENCE_S)
    eventually(lambda: not any(one.schedules() for one in stopped), PATIENCE_S)
    assert [one.runs() for one in stopped] == [[], [], []]

    said = fires.schedule["Target"]["Input"].replace(
        "<aws.scheduler.scheduled-time>", f"{due:%Y-%m-%dT%H:%M:%SZ}"
    )
    for _ in range(2):
        answer = aws(service, "lambda").invoke(FunctionName=fires.schedule["Target"]["Arn"], Payload=said)
        assert "FunctionError" not in answer, json.loads(answer["Payload"].read())
    assert [one["run_id"] for one in fires.runs()] == [run["run_id"]]


def test_crons_by_the_sdk(client: SyncLangGraphClient) -> None:
    cron: Any = client.crons.create(
        "steps", schedule="0 3 1 1 *", input={"n": 0}, metadata={"by": "sdk"}, on_run_completed="keep"
    )
    (found,) = client.crons.search(metadata={"by": "sdk"})
    assert found["cron_id"] == cron["cron_id"]
    assert client.crons.count(metadata={"by": "sdk"}) == 1
    changed: Any = client.crons.update(cron["cron_id"], schedule="0 4 1 1 *", end_time=None)
    assert (changed["schedule"], changed["on_run_completed"]) == ("0 4 1 1 *", "keep")
    client.crons.delete(cron["cron_id"])
    assert client.crons.search(metadata={"by": "sdk"}) == []
