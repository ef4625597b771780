"""A run that nobody executes any more goes on: the sweep, the run queue and the worker, on the local cloud.

The schedule is looked at and not waited for: the function is handed the event of its minute.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest

from crewline.local import clouds, services
from crewline.local.services import LocalService
from crewline.models.clocks import system_clock
from crewline.store import keys
from crewline.store.changes import Update
from crewline.store.clients import client
from crewline.store.table import Table
from tests.conftest import BASIC
from tests.e2e.processes import eventually

TENANT = "default"
EVENT = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with services.serve(BASIC, state=tmp_path_factory.mktemp("state")) as service:
        yield service


def aws(local: LocalService, service: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=local.cloud.url,
        region_name=clouds.REGION,
        aws_access_key_id=clouds.CREDENTIALS.access_key,
        aws_secret_access_key=clouds.CREDENTIALS.secret_key,
    )


def sweeper(local: LocalService) -> dict[str, Any]:
    """The configuration of the deployed function."""
    functions: list[dict[str, Any]] = aws(local, "lambda").list_functions()["Functions"]
    [found] = [one for one in functions if "SweeperFunction" in one["FunctionName"]]
    return found


def swept(local: LocalService) -> list[dict[str, Any]]:
    """What the function logged of each sweep."""
    lines = local.state.function_log.read_text().splitlines()
    return [json.loads(line) for line in lines if '"message":"swept"' in line]


def sweep(local: LocalService) -> dict[str, Any]:
    """Let the function sweep; what it logged of that, which may come after the answer."""
    before = len(swept(local))
    answer = aws(local, "lambda").invoke(
        FunctionName=sweeper(local)["FunctionName"], Payload=json.dumps(EVENT)
    )
    assert "FunctionError" not in answer, answer["Payload"].read()
    return eventually(lambda: swept(local)[before:])[0]


def table(local: LocalService) -> Table:
    name = sweeper(local)["Environment"]["Variables"]["CREWLINE_TABLE"]
    access = {"region": clouds.REGION, "credentials": clouds.CREDENTIALS}
    return Table(client("dynamodb", endpoint_url=local.cloud.url, **access), name)  # type: ignore[call-overload]


def test_the_schedule_of_the_sweeper_is_there_every_minute(local: LocalService) -> None:
    events = aws(local, "events")
    [rule] = [one for one in events.list_rules()["Rules"] if one.get("ScheduleExpression")]
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    [target] = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
    assert target["Arn"] == f"{sweeper(local)['FunctionArn']}:live"


def test_a_run_whose_worker_died_goes_on_by_itself(local: LocalService) -> None:
    with httpx.Client(base_url=local.url, timeout=120) as http:
        thread_id = http.post("/threads", json={}).json()["thread_id"]
        # Once in order: what is waited for below is the sweep, and not the first worker's start.
        first = http.post(f"/threads/{thread_id}/runs", json={"assistant_id": "steps", "input": {"n": 0}})
        http.get(f"/threads/{thread_id}/runs/{first.json()['run_id']}/join").raise_for_status()

        # Its own message comes in ten minutes: whoever executes it before was sent by the sweep.
        body = {"assistant_id": "steps", "input": {"n": 0}, "after_seconds": 600}
        run_id = http.post(f"/threads/{thread_id}/runs", json=body).json()["run_id"]
        assert sweep(local)["redispatched"] == 0

        long_ago = system_clock() - 60_000
        left = {"owner": "dead", "until": long_ago, "due": None, "attempt": 1}
        table(local).write(
            Update(key=keys.lease(TENANT, thread_id), set=left | keys.in_flight(thread_id, long_ago))
        )
        sweep(local)

        path = f"/threads/{thread_id}/runs/{run_id}"
        eventually(lambda: http.get(path).json()["status"] == "success", seconds=60)
        assert http.get(f"{path}/join").json()["log"] == ["a", "b", "c"] * 2
        assert sweep(local)["redispatched"] == 0
