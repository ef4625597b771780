"""The worker: jobs are done once, however often their message comes; what it cannot do is reported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from crewline.errors import Unavailable
from crewline.models.leases import Claim
from crewline.models.runs import Run
from crewline.services.runs import Runs
from crewline.store import keys
from crewline.store.changes import Update
from tests.functions.deployments import TENANT, Deployment, recorded
from tests.unit.store.worlds import measured

DONE: dict[str, list[Any]] = {"batchItemFailures": []}


def failures(answer: Any) -> list[str]:
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


def queued(deployment: Deployment, crew: str = "steps", given: Any = None) -> tuple[str, str]:
    """A background run; its path and its message."""
    thread = deployment.thread()
    body = {"assistant_id": crew, "input": given or {"n": 0}}
    run = deployment.request("POST", f"/threads/{thread}/runs", body).json
    (message,) = deployment.world.messages()
    return f"/threads/{thread}/runs/{run['run_id']}", json.dumps(message)


def status(deployment: Deployment, path: str) -> str:
    text: str = deployment.request("GET", path).json["status"]
    return text


def test_a_run_is_executed(deployment: Deployment) -> None:
    path, message = queued(deployment)
    assert deployment.work(message) == DONE
    assert status(deployment, path) == "success"
    assert deployment.request("GET", f"{path}/join").json == {"n": 3, "log": ["a", "b", "c"]}


def test_what_was_measured_is_printed_in_lines_of_their_own(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    _, message = queued(deployment)
    deployment.work(message)
    lines = [measured(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [line for line in lines if "Runs" in line] == [
        {"service": "crewline", "Crew": "steps", "Status": "success", "Runs": 1}
    ]


def test_a_message_that_comes_again_does_nothing(deployment: Deployment) -> None:
    path, message = queued(deployment)
    deployment.work(message)
    before = deployment.world.items()
    assert deployment.work(message) == DONE
    assert deployment.work(message, message) == DONE
    assert deployment.world.items() == before
    assert status(deployment, path) == "success"


def test_a_message_about_a_run_that_another_worker_executes_does_nothing(deployment: Deployment) -> None:
    path, message = queued(deployment)
    thread = path.split("/")[2]
    update = Update(key=keys.lease(TENANT, thread), set={"owner": "another", "until": 2**53})
    deployment.world.table.write(update)
    before = deployment.world.items()
    assert deployment.work(message) == DONE
    assert deployment.world.items() == before
    assert status(deployment, path) == "pending"


def test_a_crew_that_raises_is_no_failure_of_the_message(deployment: Deployment) -> None:
    path, message = queued(deployment, "failing", {"x": "1"})
    assert deployment.work(message) == DONE
    row = deployment.request("GET", path).json
    assert (row["status"], row["error"]) == ("error", {"error": "ValueError", "message": "boom: 1"})


@pytest.mark.parametrize(
    "poison",
    [
        "",
        "not json",
        "[]",
        '{"kind":"launch"}',
        '{"kind":"run","tenant":"default"}',
        '{"kind":"run","tenant":"A#B","thread_id":"t","run_id":"r"}',
    ],
)
def test_a_poison_message_is_reported_and_its_neighbours_are_done(
    deployment: Deployment, poison: str
) -> None:
    path, message = queued(deployment)
    assert failures(deployment.work(poison, message)) == ["m0"]
    assert status(deployment, path) == "success"


def test_a_batch_of_nothing_but_poison_is_reported_too(deployment: Deployment) -> None:
    assert failures(deployment.work("x", "y")) == ["m0", "m1"]


def test_a_recorded_message_about_a_run_that_is_not_there_does_nothing(deployment: Deployment) -> None:
    before = deployment.world.items()
    assert deployment.invoke("worker", recorded("run_queue")) == DONE
    assert deployment.world.items() == before


def test_a_table_that_does_not_answer_lets_the_message_come_again(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, message = queued(deployment)

    def broken(*_: Any, **__: Any) -> Any:
        raise Unavailable("no") from EndpointConnectionError(endpoint_url="http://db")

    with monkeypatch.context() as patch:
        patch.setattr("crewline.store.table.Table.write", broken)
        assert failures(deployment.work(message)) == ["m0"]
    assert deployment.work(message) == DONE
    assert status(deployment, path) == "success"


def test_a_worker_whose_run_was_taken_over_lets_its_message_go(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, message = queued(deployment)
    thread = path.split("/")[2]
    lost = Update(key=keys.lease(TENANT, thread), set={"owner": "another"})

    def overtaken(_runs: Runs, _claim: Claim, run: Run) -> Run:
        deployment.world.table.write(lost)
        return run

    monkeypatch.setattr(Runs, "show_running", overtaken)
    assert deployment.work(message) == DONE
    assert status(deployment, path) == "pending"
    assert deployment.world.table.get(keys.lease(TENANT, thread))


def test_a_message_that_comes_before_its_run_is_due_is_sent_again(deployment: Deployment) -> None:
    # The clocks of two machines differ, and what SQS held back to the second is early by one of them.
    thread = deployment.thread()
    body = {"assistant_id": "steps", "input": {"n": 0}, "after_seconds": 60}
    run = deployment.request("POST", f"/threads/{thread}/runs", body).json
    message = {"kind": "run", "tenant": TENANT, "thread_id": thread, "run_id": run["run_id"]}
    deployment.writes.clear()
    assert deployment.work(json.dumps(message)) == DONE
    assert deployment.writes == ["SendMessage"]
    assert status(deployment, f"/threads/{thread}/runs/{run['run_id']}") == "pending"


def test_a_deleted_thread_is_purged(deployment: Deployment) -> None:
    path, message = queued(deployment)
    deployment.work(message)
    thread = path.split("/")[2]
    deployment.request("DELETE", f"/threads/{thread}")
    (purge,) = deployment.world.messages()
    assert purge == {"kind": "purge", "tenant": TENANT, "thread_id": thread}
    assert deployment.work(json.dumps(purge), json.dumps(purge), message) == DONE
    partition = keys.thread_partition(TENANT, thread)
    assert [sort for found, sort in deployment.world.items() if found == partition] == [keys.LEASE_SORT]
