"""An update of the stack while runs are in flight."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from langgraph_sdk.client import SyncLangGraphClient

from tests.e2e.deployed.crews import client_of
from tests.e2e.deployed.deployments import Deployed
from tests.e2e.deployed.steps import CheckFailed

_CREW: Final = "gated"
_NODES: Final = ["begin", "wait", "end"]
_IN_BACKGROUND: Final = 5
_STREAMED: Final = 2
_PATIENCE: Final = 180.0


def add_gated_crew(project: Path) -> None:
    """Add a crew to a project that waits until it is told to go on."""
    shutil.copy(Path(__file__).with_name("gated.py"), project)
    path = project / "langgraph.json"
    manifest = json.loads(path.read_text())
    manifest["graphs"][_CREW] = "./gated.py:graph"
    path.write_text(json.dumps(manifest))


def change_echo(project: Path) -> None:
    """Change the code of tests/projects/basic, so that it shows which of the two runs."""
    graphs = project / "graphs.py"
    graphs.write_text(graphs.read_text().replace('"echo: {', '"echo again: {'))


def update_in_flight(deployed: Deployed, update: Callable[[], object], gate: Path) -> str:
    """Update a stack while runs execute in the background, in requests and behind streams.

    Args:
        deployed: The stack; its project has the crew of `add_gated_crew`.
        update: Brings the change.
        gate: A file that is not there yet: the runs go on when it is.

    Returns:
        What has been seen.

    Raises:
        CheckFailed: A run was lost, or did something twice, or ended before the update.
    """
    client, given = client_of(deployed), {"gate": str(gate)}
    threads = [client.threads.create()["thread_id"] for _ in range(_IN_BACKGROUND + _STREAMED + 1)]
    background, streamed = threads[:_IN_BACKGROUND], threads[_IN_BACKGROUND:-1]
    with ThreadPoolExecutor(_STREAMED + 1) as pool:
        try:
            for one in background:
                client.runs.create(one, _CREW, input=given)
            streams = [pool.submit(_streamed, client, one, given) for one in streamed]
            answer = pool.submit(lambda: client.runs.wait(threads[-1], _CREW, input=given))
            _until(lambda: all(_log(client, one) == ["begin"] for one in threads), "every run to wait")
            update()
            statuses = {client.threads.get(one)["status"] for one in threads}
        finally:
            gate.touch()
        ends = [stream.result() for stream in streams] + [_log_of(answer.result())]
    for one in background:
        [run] = client.runs.list(one)
        client.runs.join(one, run["run_id"])
    if statuses != {"busy"} or any(log != _NODES for log in ends):
        raise CheckFailed(f"After the update the threads were {statuses}; the requests ended with {ends}.")
    for one in threads:
        _check(client, one)
    return f"{len(threads)} runs were in flight while it was updated; all ended well, each node once"


def _streamed(client: SyncLangGraphClient, thread_id: str, given: Any) -> list[str]:
    values = [
        part.data for part in client.runs.stream(thread_id, _CREW, input=given) if part.event == "values"
    ]
    return _log_of(values[-1])


def _log(client: SyncLangGraphClient, thread_id: str) -> list[str]:
    return _log_of(client.threads.get_state(thread_id)["values"])


def _log_of(values: Any) -> list[str]:
    return (values or {}).get("log") or []


def _check(client: SyncLangGraphClient, thread_id: str) -> None:
    [run] = client.runs.list(thread_id)
    thread, log = client.threads.get(thread_id), _log(client, thread_id)
    if (run["status"], thread["status"], log) != ("success", "idle", _NODES):
        raise CheckFailed(
            f"Run {run['run_id']} is {run['status']}, its thread {thread['status']}, did {log}."
        )
    steps = [
        (state["metadata"] or {}).get("step") for state in client.threads.get_history(thread_id, limit=100)
    ]
    if steps != [3, 2, 1, 0, -1]:
        raise CheckFailed(f"Thread {thread_id} has the supersteps {steps}.")


def _until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not fact():
        if time.monotonic() > deadline:
            raise CheckFailed(f"Waited {_PATIENCE:.0f} s for {what}.")
        time.sleep(0.2)
