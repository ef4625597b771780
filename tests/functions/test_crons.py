"""Crons by the API: made, changed and found, and fired by what Scheduler gives the intake."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crewline.errors import Unavailable
from crewline.store import clients
from tests.functions.deployments import TENANT, Deployment
from tests.functions.test_intake import batch, letters

EACH_MINUTE = {"assistant_id": "steps", "schedule": "* * * * *", "input": {"n": 0}}


@pytest.fixture
def scheduler(deployment: Deployment) -> Any:
    return clients.client("scheduler")


def made(deployment: Deployment, path: str = "/runs/crons", **fields: Any) -> dict[str, Any]:
    answer = deployment.request("POST", path, {**EACH_MINUTE, **fields})
    assert answer.status == 200, answer.text
    cron: dict[str, Any] = answer.json
    return cron


def firing(scheduler: Any, cron: dict[str, Any], due: datetime | None = None) -> Any:
    """What the schedule of a cron says at the next minute."""
    (name,) = (
        one["Name"]
        for one in scheduler.list_schedules(MaxResults=100)["Schedules"]
        if one["Name"].startswith(cron["cron_id"].replace("-", ""))
    )
    text = scheduler.get_schedule(Name=name)["Target"]["Input"]
    due = due or datetime.now(UTC) + timedelta(minutes=1)
    return json.loads(text.replace("<aws.scheduler.scheduled-time>", f"{due:%Y-%m-%dT%H:%M:00Z}"))


def test_a_firing_starts_a_run_on_the_crons_thread_once(deployment: Deployment, scheduler: Any) -> None:
    thread = deployment.thread()
    cron = made(deployment, f"/threads/{thread}/runs/crons", metadata={"k": "v"})
    said = firing(scheduler, cron)
    assert deployment.invoke("intake", said) is None
    assert deployment.invoke("intake", said) is None
    deployment.work()
    (run,) = deployment.request("GET", f"/threads/{thread}/runs").json
    assert (run["status"], run["metadata"]["cron_id"], run["metadata"]["k"]) == (
        "success",
        cron["cron_id"],
        "v",
    )
    assert deployment.request("DELETE", f"/runs/crons/{cron['cron_id']}").status == 204
    assert deployment.invoke("intake", {**said, "due": "2999-01-01T00:00:00Z"}) is None
    assert len(deployment.request("GET", f"/threads/{thread}/runs").json) == 1


def test_a_cron_is_made_changed_found_and_deleted(deployment: Deployment) -> None:
    cron = made(deployment, schedule="0 3 1 1 *", metadata={"mine": 1}, end_time="2099-12-31T00:00:00+01:00")
    path = f"/runs/crons/{cron['cron_id']}"
    assert cron["end_time"] == "2099-12-30T23:00:00.000000+00:00"
    assert deployment.request("GET", path).json == cron
    changed = deployment.request("PATCH", path, {"enabled": False, "end_time": None}).json
    assert (changed["enabled"], changed["end_time"], changed["next_run_date"]) == (False, None, None)
    found = deployment.request("POST", "/runs/crons/search", {"metadata": {"mine": 1}, "select": ["cron_id"]})
    assert found.json == [{"cron_id": cron["cron_id"]}]
    assert found.headers["x-pagination-total"] == "1"
    assert deployment.request("POST", "/runs/crons/count", {"metadata": {"mine": 1}}).json == 1
    assert deployment.request("DELETE", path).status == 204
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        answer = deployment.request(method, path, body)
        assert answer.status == 404
        assert cron["cron_id"] in answer.detail


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"schedule": "bogus"}, "schedule: 'bogus' must have five fields"),
        ({"schedule": "0 0 */2 * 1"}, "which EventBridge Scheduler cannot say"),
        ({"timezone": "Mars/Olympus"}, "timezone: 'Mars/Olympus' is no time zone"),
        ({"end_time": "tomorrow"}, "end_time: 'tomorrow' is no time"),
        ({"assistant_id": "nobody"}, "is no crew of this deployment"),
    ],
)
def test_a_bad_cron_is_refused_with_a_sentence(
    deployment: Deployment, fields: dict[str, Any], says: str
) -> None:
    answer = deployment.request("POST", "/runs/crons", {**EACH_MINUTE, **fields})
    assert answer.status == 422
    assert says in answer.detail


def test_a_request_with_a_key_makes_one_cron(deployment: Deployment) -> None:
    headers = {"idempotency-key": "once"}
    first, second = (
        deployment.request("POST", "/runs/crons", EACH_MINUTE, headers=headers).json for _ in range(2)
    )
    assert first == second


def test_a_cron_of_a_thread_that_is_not_there_is_none(deployment: Deployment) -> None:
    path = "/threads/00000000-0000-4000-8000-000000000000/runs/crons"
    assert deployment.request("POST", path, EACH_MINUTE).status == 404


def test_a_firing_that_can_never_start_a_run_is_a_dead_letter(
    deployment: Deployment, scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cron = made(deployment)
    said = firing(scheduler, cron)
    crews = deployment.functions["intake"].receiver._fires._runs._assistants
    with monkeypatch.context() as patch:
        patch.setattr(crews, "_crews", frozenset())
        assert deployment.invoke("intake", said) is None
    ((body, reason, letter_id),) = letters(deployment, "event")
    assert json.loads(body) == said
    assert reason.startswith("Its assistant is unknown")
    assert letter_id.startswith(cron["cron_id"])
    again = batch(("crons", body))
    for _ in range(2):
        assert deployment.invoke("intake", again) == {"batchItemFailures": []}
    assert len(deployment.world.messages()) == 1


def test_what_is_no_turn_of_a_cron_is_a_dead_letter(deployment: Deployment) -> None:
    nonsense = {
        "tenant": TENANT,
        "cron_id": "one",
        "revision": 1,
        "part": 0,
        "due": "2026-01-01T00:00:00",
    }
    assert deployment.invoke("intake", nonsense) is None
    assert deployment.invoke("intake", batch(("crons", nonsense))) == {"batchItemFailures": []}
    for queue in ("event", "intake"):
        ((body, reason, _),) = letters(deployment, queue)
        assert (json.loads(body), reason) == (nonsense, "It says of a cron not which minute is due.")


def test_a_firing_that_fails_is_delivered_again(
    deployment: Deployment, scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = firing(scheduler, made(deployment))

    def broken(*_: Any, **__: Any) -> Any:
        raise Unavailable("no")

    with monkeypatch.context() as patch:
        patch.setattr("crewline.store.table.Table.transact", broken)
        with pytest.raises(Unavailable):
            deployment.invoke("intake", said)
    assert deployment.invoke("intake", said) is None
    assert len(deployment.world.messages()) == 1


def test_the_sweeper_makes_the_schedules_that_the_api_could_not(
    deployment: Deployment, scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise Unavailable("no")

    with monkeypatch.context() as patch:
        patch.setattr("crewline.store.schedules.Schedules.create", broken)
        cron = made(deployment)
    sweeper = deployment.functions["sweeper"].sweeper
    assert sweeper._crons.bring_in_line(TENANT, cron["cron_id"]) is None
    assert firing(scheduler, cron)["cron_id"] == cron["cron_id"]
