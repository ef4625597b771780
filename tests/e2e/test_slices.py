"""Runs that outlive an invocation, on the local cloud: worker, run queue and state machine as deployed."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from crewline import locations
from crewline.engine.slices import ENDING_S
from crewline.local import clouds, services
from crewline.local.services import LocalService
from crewline.settings import environment
from tests.e2e.processes import eventually
from tests.e2e.streaming import START, Event, Line, follow, in_order

LONG = Path(__file__).parents[1] / "projects" / "long"
SUPERSTEPS = 40
SLICE_S = 3
"""What a slice has for its nodes."""
MOST_SLICES = 3
"""Slices of one execution of the workflow: a run of many goes through several."""
PATIENCE_S = 180.0
KILLS = 2


@dataclass(frozen=True, slots=True)
class Long:
    """The service, and the file in which every step leaves a line."""

    service: LocalService
    steps: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.service.url, timeout=PATIENCE_S)

    def start(self, client: httpx.Client) -> tuple[str, str]:
        thread_id = client.post("/threads", json={}).raise_for_status().json()["thread_id"]
        body = {
            "assistant_id": "long",
            "input": {"wanted": SUPERSTEPS, "pause_s": 0.4},
            "config": {"recursion_limit": 2 * SUPERSTEPS},
            "stream_mode": ["custom"],
            "stream_resumable": True,
        }
        run = client.post(f"/threads/{thread_id}/runs", json=body).raise_for_status().json()
        return thread_id, run["run_id"]

    def lines(self, run_id: str) -> list[tuple[int, int]]:
        """Every execution of a node of a run: which step, which process."""
        if not self.steps.exists():
            return []
        parts = [line.split() for line in self.steps.read_text().splitlines()]
        return [(int(step), int(pid)) for run, step, pid, _ in parts if run == run_id]

    def aws(self, name: Any) -> Any:
        return boto3.client(
            name,
            endpoint_url=self.service.cloud.url,
            region_name=clouds.REGION,
            aws_access_key_id=clouds.CREDENTIALS.access_key,
            aws_secret_access_key=clouds.CREDENTIALS.secret_key,
        )


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Long]:
    folder = tmp_path_factory.mktemp("long")
    template = json.loads(locations.TEMPLATE.read_text())
    worker = template["Resources"]["WorkerFunction"]["Properties"]
    worker["Timeout"] = int(ENDING_S) + SLICE_S
    worker["Environment"]["Variables"] |= environment(most_slices=MOST_SLICES)
    shorter, steps = folder / "template.json", folder / "steps"
    shorter.write_text(json.dumps(template))
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("STEPS_FILE", str(steps))
        with services.serve(LONG, state=folder / "state", template=shorter) as service:
            yield Long(service, steps)


def executions(long: Long, run_id: str) -> list[dict[str, Any]]:
    """The executions of the workflow for a run."""
    states = long.aws("stepfunctions")
    [machine] = states.list_state_machines()["stateMachines"]
    found = states.list_executions(stateMachineArn=machine["stateMachineArn"])["executions"]
    return [one for one in found if one["name"].startswith(run_id)]


def definition(long: Long) -> Any:
    """What the state machine is that ran."""
    states = long.aws("stepfunctions")
    [machine] = states.list_state_machines()["stateMachines"]
    return json.loads(states.describe_state_machine(stateMachineArn=machine["stateMachineArn"])["definition"])


def _spelled(long: Long, template: dict[str, Any]) -> Any:
    """What the packaged template says it is, with the ARN of the worker's alias in its place."""
    [machine] = [
        one["Properties"]
        for one in template["Resources"].values()
        if one["Type"] == "AWS::StepFunctions::StateMachine"
    ]
    [worker] = [
        f"{one['FunctionArn']}:live"
        for one in long.aws("lambda").list_functions()["Functions"]
        if "WorkerFunction" in one["FunctionName"]
    ]
    parts = machine["DefinitionString"]["Fn::Join"][1]
    return json.loads("".join(part if isinstance(part, str) else worker for part in parts))


def slices(long: Long, run_id: str) -> int:
    """How many slices of a run ended before the run, by the log of the worker."""
    lines = map(json.loads, long.service.state.function_log.read_text().splitlines())
    return sum(line.get("message") == "slice ended" and line.get("run_id") == run_id for line in lines)


async def followed(long: Long, thread_id: str, run_id: str) -> list[Event]:
    """Everything that a run says, from its first event to its last."""
    async with httpx.AsyncClient(base_url=long.service.url, timeout=PATIENCE_S) as client:
        path = f"/threads/{thread_id}/runs/{run_id}/stream"
        async with follow(client, path, START) as response:
            assert response.status_code == 200
            return await Line(response).rest()


@pytest.mark.thorough
async def test_a_crew_of_forty_supersteps_ends_in_many_slices_and_each_node_runs_once(long: Long) -> None:
    with long.client() as client:
        thread_id, run_id = long.start(client)
        told = await followed(long, thread_id, run_id)
        run = client.get(f"/threads/{thread_id}/runs/{run_id}").json()
        state = client.get(f"/threads/{thread_id}/state").json()
    assert run["status"] == "success"
    assert state["values"]["done"] == list(range(SUPERSTEPS))
    assert [step for step, _ in long.lines(run_id)] == list(range(SUPERSTEPS))
    assert slices(long, run_id) >= 5
    assert [event.data["step"] for event in told if event.name == "custom"] == list(range(SUPERSTEPS))
    assert told[-1].name == "end"
    assert in_order(told)
    ended = eventually(lambda: _ended(executions(long, run_id)), PATIENCE_S)
    assert definition(long) == _spelled(long, json.loads(locations.TEMPLATE.read_text()))
    assert sorted(ended) == [f"{run_id}-{number}" for number in range(1, len(ended) + 1)]
    assert len(ended) >= 2
    assert set(ended.values()) == {"SUCCEEDED"}


def _ended(found: list[dict[str, Any]]) -> dict[str, str]:
    """The status of every execution by name; nothing while one is running."""
    statuses = {one["name"]: one["status"] for one in found}
    return {} if "RUNNING" in statuses.values() else statuses


@pytest.mark.thorough
async def test_a_crew_whose_worker_is_killed_in_random_slices_repeats_no_node_that_had_ended(
    long: Long,
) -> None:
    """One that was killed between its last line and its commit may come again; no other."""
    dice = random.Random(7)
    with long.client() as client:
        thread_id, run_id = long.start(client)
        told = asyncio.create_task(followed(long, thread_id, run_id))
        killed: set[int] = set()
        for _ in range(KILLS):
            least = len(long.lines(run_id)) + dice.randint(2, 7)
            _, pid = await asyncio.to_thread(eventually, partial(_last, long, run_id, least), PATIENCE_S)
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        events = await told
        run = client.get(f"/threads/{thread_id}/runs/{run_id}").json()
        state = client.get(f"/threads/{thread_id}/state").json()
    assert run["status"] == "success"
    assert state["values"]["done"] == list(range(SUPERSTEPS))
    lines = long.lines(run_id)
    times = Counter(step for step, _ in lines)
    assert set(times) == set(range(SUPERSTEPS))
    last = {max(step for step, other in lines if other == pid) for pid in killed}
    assert {step for step, count in times.items() if count > 1} <= last
    assert in_order(events)
    assert {event.data["step"] for event in events if event.name == "custom"} == set(range(SUPERSTEPS))


def _last(long: Long, run_id: str, least: int) -> tuple[int, int] | None:
    """The last line of a run, once there are so many."""
    lines = long.lines(run_id)
    return lines[-1] if len(lines) >= least else None
