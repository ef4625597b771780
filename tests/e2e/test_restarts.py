"""A stop of everything in the middle of runs: what was accepted is finished after the next start."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from crewline.local.children import ChildService, local_service
from tests.conftest import BASIC

STEPS = ["s0", "s1", "s2", "s3", "s4"]


def _until(fact: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 180
    while not (found := fact()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.2)  # polls the world outside; the deadline decides, not the pause
    return found


def _client(service: ChildService) -> httpx.Client:
    return httpx.Client(base_url=service.url, timeout=30)


@pytest.mark.thorough
def test_a_restart_finishes_what_was_in_flight_and_what_waited(tmp_path: Path) -> None:
    with local_service(project=BASIC, state=tmp_path) as service, _client(service) as http:
        thread_id = http.post("/threads", json={}).json()["thread_id"]
        path = f"/threads/{thread_id}"
        body = {"assistant_id": "slow", "input": {"delay": 1.0}}
        in_flight = http.post(f"{path}/runs", json=body).json()
        waiting = http.post(f"{path}/runs", json={"assistant_id": "steps", "input": {"log": ["next"]}}).json()
        _until(lambda: http.get(f"{path}/state").json()["values"].get("log"), "progress")
        done = http.get(f"{path}/state").json()["values"]["log"]
        assert len(done) < len(STEPS)

    with local_service(project=BASIC, state=tmp_path) as service, _client(service) as http:
        assert http.get(f"{path}/runs/{in_flight['run_id']}").json()["status"] == "running"
        _until(
            lambda: http.get(f"{path}/runs/{waiting['run_id']}").json()["status"] == "success",
            "both runs have ended",
        )
        assert http.get(f"{path}/runs/{in_flight['run_id']}").json()["status"] == "success"
        log = http.get(f"{path}/state").json()["values"]["log"]
        assert log == [*STEPS, "next", "a", "b", "c"], "the input was taken in once, and no superstep twice"
