"""Vitals: every run, thread and outbox item that waits is counted once, as what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from crewline.errors import Unhealthy
from crewline.http.metrics import spelled
from crewline.models.clocks import iso
from crewline.models.crons import CronCreate
from crewline.models.leases import LEASE_MS, Claim
from crewline.models.runs import RunCreate
from crewline.models.threads import ThreadCreate
from crewline.models.vitals import VitalsWire
from crewline.services import vitals
from crewline.services.endings import Outcome
from crewline.services.vitals import Vitals
from crewline.store import crons
from crewline.store.table import Table
from tests.unit.store.worlds import TENANT, Calls, World, claimed


def count(world: World, tenant: str = TENANT) -> VitalsWire:
    return Vitals(world.table, world.clock).count(tenant)


def make(world: World, tenant: str = TENANT) -> str:
    return str(world.threads.create(tenant, ThreadCreate())["thread_id"])


def background(world: World, thread_id: str, tenant: str = TENANT, **body: Any) -> str:
    return world.runs.create(tenant, thread_id, RunCreate(assistant_id="echo", **body)).run_id


def claim(world: World, thread_id: str, run_id: str) -> Claim:
    found = world.leases.claim(TENANT, thread_id, run_id)
    assert isinstance(found, Claim)
    return found


def test_a_deployment_at_rest_has_nothing_to_count(world: World) -> None:
    make(world)
    assert count(world) == {
        "runs": {"pending": 0, "queued": 0, "delayed": 0, "running": 0, "expired": 0, "oldest_pending_s": 0},
        "threads": {"busy": 0, "interrupted": 0, "error": 0},
        "outbox": {"waiting": 0, "oldest_s": 0},
        "crons": {"enabled": 0, "unsettled": 0},
        "purges": 0,
        "at_least": [],
    }


def test_every_run_is_counted_as_what_it_is(world: World) -> None:
    lost = make(world)
    claim(world, lost, background(world, lost))
    world.clock.pass_(LEASE_MS + 1)
    busy = make(world)
    claim(world, busy, background(world, busy))
    for _ in range(2):
        background(world, busy)
    background(world, make(world), after_seconds=60)
    background(world, make(world))
    world.clock.pass_(2500)
    background(world, make(world))

    counted = count(world)

    assert counted["runs"] == {
        "pending": 2, "queued": 2, "delayed": 1, "running": 1, "expired": 1, "oldest_pending_s": 2.5,
    }  # fmt: skip
    assert counted["threads"] == {"busy": 5, "interrupted": 0, "error": 0}


def test_a_run_between_two_slices_waits_from_the_end_of_the_first(world: World) -> None:
    thread_id = make(world)
    held = claim(world, thread_id, background(world, thread_id))
    world.clock.pass_(10_000)
    world.leases.end_slice(held, longest=0)
    world.clock.pass_(1500)
    assert count(world)["runs"]["oldest_pending_s"] == 1.5
    assert count(world)["runs"]["pending"] == 1


def test_a_run_that_became_due_waits_from_then_on(world: World) -> None:
    background(world, make(world), after_seconds=60)
    world.clock.pass_(62_000)
    assert (count(world)["runs"]["delayed"], count(world)["runs"]["oldest_pending_s"]) == (0, 2.0)


def test_what_ended_is_counted_no_more_but_its_thread_is_if_it_is_not_idle(world: World) -> None:
    for status, left in (("success", "idle"), ("success", "interrupted"), ("error", "error")):
        started = world.runs.start(TENANT, make(world), RunCreate(assistant_id="echo"))
        world.endings.finish(claimed(started), Outcome(status=status, thread_status=left), [])  # type: ignore[arg-type]
    counted = count(world)
    assert counted["runs"]["running"] == 0
    assert counted["threads"] == {"busy": 0, "interrupted": 1, "error": 1}


def test_what_nobody_has_been_told_waits_in_the_outbox(world: World) -> None:
    body = RunCreate(assistant_id="echo", webhook="https://example.com")
    started = world.runs.start(TENANT, make(world), body)
    with Calls(world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="sqs")]
        world.endings.finish(
            claimed(started), Outcome(status="success", thread_status="idle", run=started.run), []
        )
    world.clock.pass_(3000)
    assert count(world)["outbox"] == {"waiting": 1, "oldest_s": 3.0}


def test_a_deleted_thread_is_counted_until_nothing_of_it_is_left(world: World) -> None:
    thread_id = make(world)
    world.threads.delete(TENANT, thread_id)
    assert count(world)["purges"] == 1
    world.threads.purge(TENANT, thread_id)
    assert count(world)["purges"] == 0


def test_a_tenant_is_told_of_its_own_alone(world: World) -> None:
    background(world, make(world, "globex"), "globex")
    world.threads.delete("globex", make(world, "globex"))
    background(world, make(world))
    assert count(world)["runs"]["pending"] == 1
    assert count(world)["purges"] == 0
    assert count(world)["threads"]["busy"] == 1
    assert count(world, "globex")["runs"]["pending"] == 1


def test_counting_ends_at_its_bounds_and_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "MOST_IN_FLIGHT", 8)
    monkeypatch.setattr(vitals, "MOST_THREADS", 8)
    for _ in range(24):
        background(world, make(world))
    with Calls(world.cloud.dynamodb, "BatchGetItem") as calls:
        counted = count(world)
    assert counted["at_least"] == ["runs", "outbox", "crons.unsettled", "purges", "threads.busy"]
    assert counted["threads"]["busy"] == 8
    assert 1 <= counted["runs"]["pending"] <= 8
    assert sum(len(next(iter(one["RequestItems"].values()))["Keys"]) for one in calls.requests) <= 8
    assert "\ncrewline_counts_complete 0\n" in spelled(counted)


def test_prometheus_reads_what_was_counted(world: World) -> None:
    busy = make(world)
    background(world, busy)
    background(world, busy)
    lines = spelled(count(world)).splitlines()
    assert 'crewline_runs{state="queued"} 1' in lines
    assert 'crewline_threads{status="busy"} 1' in lines
    assert "lg_api_num_pending_runs 2" in lines
    assert "crewline_counts_complete 1" in lines
    named = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {line.split()[2] for line in lines if line.startswith("# HELP")} == named
    assert {line.partition(" ")[0].partition("{")[0] for line in lines if not line.startswith("#")} == named


def test_looking_whether_the_table_is_there_is_one_read(world: World) -> None:
    with Calls(world.cloud.dynamodb, "GetItem") as calls:
        Vitals(world.table, world.clock).check()
        assert [one["ConsistentRead"] for one in calls.requests] == [True]
        calls.failures = [EndpointConnectionError(endpoint_url="dynamodb")]
        with pytest.raises(Unhealthy, match="DynamoDB did not answer"):
            Vitals(world.table, world.clock).check()


def test_a_table_that_is_gone_is_no_passing_trouble(world: World) -> None:
    with pytest.raises(Exception, match="ResourceNotFound"):
        Vitals(Table(world.cloud.dynamodb, "gone"), world.clock).check()


def test_crons_are_counted_that_start_runs_and_those_that_wait_for_schedules(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fields in ({}, {"enabled": False}, {"end_time": iso(world.clock() + 5000)}):
        body = {"assistant_id": "echo", "schedule": "0 9 * * *", **fields}
        world.crons.create(TENANT, CronCreate.model_validate(body))
    assert count(world)["crons"] == {"enabled": 2, "unsettled": 0}
    world.clock.pass_(5000)
    assert count(world)["crons"] == {"enabled": 1, "unsettled": 0}
    cron = next(row for row in crons.rows(world.table, TENANT) if row.cron.enabled)
    noted = replace(cron, token="another", unsettled=True)
    world.table.write(crons.put(TENANT, noted, before=cron, now=world.clock()))
    assert count(world)["crons"]["unsettled"] == 1
    assert count(world, "globex")["crons"] == {"enabled": 0, "unsettled": 0}
    monkeypatch.setattr(vitals, "MOST_CRONS", 2)
    assert count(world)["at_least"] == ["crons.enabled"]
