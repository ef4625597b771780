"""The walk of "Runs vs. Threads": its commands and requests, with the program's name, base URL and ids changed.

https://dev.to/vhalasi/runs-vs-threads-when-to-use-which-3e58
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crewline.local.children import local_service

PROJECT = Path(__file__).parents[1] / "projects" / "research"
DEPLOYMENT, THREAD = r"dep_[0-9a-f]{32}", r"thr_[0-9a-f]{32}"
pytestmark = pytest.mark.thorough
CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


class Walk:
    """Types what the article has, against a service with one deployment."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder
        self.service = httpx.Client(base_url=f"{url}/v1", timeout=60)
        self.deployment = json.loads(self.command("crewline assistants list --json"))[0]["assistant_id"]
        self.deployment = f"dep_{self.deployment.replace('-', '')}"

    def typed(self, line: str) -> subprocess.CompletedProcess[str]:
        """Type one line, as it stands in the article but for names."""
        environ = {**os.environ, "CREWLINE_URL": self.url, "XDG_CONFIG_HOME": str(self._folder)}
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
        line = line.replace("https://api.crewship.dev", self.url)
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self._folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def command(self, line: str) -> str:
        """Type a line that has to succeed, and return what it prints."""
        done = self.typed(line)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def curl(self, path: str, body: Any = None, method: str = "POST") -> tuple[int, Any]:
        """Send a request as the article does."""
        data = f" -d '{json.dumps(body)}'" if body is not None else ""
        answer = self.command(
            f"curl -s -w '\\n%{{http_code}}' -X {method} https://api.crewship.dev/v1{path} "
            f'-H "Authorization: Bearer YOUR_API_KEY" -H "Content-Type: application/json"{data}'
        )
        text, _, status = answer.rpartition("\n")
        return int(status), json.loads(text)

    def ended(self, run_id: str) -> dict[str, Any]:
        """Poll a run until it has ended."""
        deadline = time.monotonic() + 60
        while (run := self.service.get(f"/runs/{run_id}").json())["status"] in ("pending", "running"):
            assert time.monotonic() < deadline, run
            time.sleep(0.1)
        return dict(run)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    folder = tmp_path_factory.mktemp("article")
    with local_service(project=PROJECT, state=folder / "state") as service:
        made = Walk(service.url, folder)
        with made.service:
            yield made


def test_a_run_by_command(walk: Walk) -> None:
    answer = walk.command("""crewline invoke --input '{"topic": "AI agents in logistics"}'""")
    assert json.loads(answer)["report"] == "AI agents in logistics"


@CURL
def test_a_run_by_request_that_is_polled(walk: Walk) -> None:
    body = {"deployment_id": walk.deployment, "input": {"topic": "AI agents in logistics"}}
    status, started = walk.curl("/runs", body)
    assert status == 202
    assert started["status"] == "running"
    run = walk.ended(started["run_id"])
    assert run["status"] == "succeeded"
    assert run["output"]["report"] == "AI agents in logistics"
    assert walk.curl(f"/runs/{run['id']}", method="GET") == (200, run)


@CURL
def test_events_stream_while_the_agents_work(walk: Walk) -> None:
    body = {"deployment_id": walk.deployment, "input": {"topic": "Ports", "seconds": 1}}
    run_id = walk.curl("/runs", body)[1]["run_id"]
    stream = walk.command(f"curl -sN https://api.crewship.dev/v1/runs/{run_id}/events")
    events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == [
        "run.started",
        "task.started",
        "task.completed",
        "task.started",
        "task.completed",
        "run.completed",
    ]
    assert events[-1]["data"]["status"] == "succeeded"
    assert events[-1]["data"]["output"]["report"] == "Ports"


def test_runs_share_nothing_and_execute_side_by_side(walk: Walk) -> None:
    bodies = [{"deployment_id": walk.deployment, "input": {"topic": f"Topic {n}"}} for n in range(4)]
    ids = [walk.service.post("/runs", json=body).json()["run_id"] for body in bodies]
    assert [walk.ended(one)["output"]["asked"] for one in ids] == [[f"Topic {n}"] for n in range(4)]


def test_a_conversation_by_commands(walk: Walk) -> None:
    dep = walk.deployment
    assert re.search(THREAD, walk.command(f"crewline thread create {dep}"))
    made = walk.command(f"""crewline thread create {dep} --metadata '{{"user_id": "demo"}}'""")
    [thread] = set(re.findall(THREAD, made))
    walk.command(
        f"""crewline invoke {dep} --thread {thread} -i '{{"message": "Research AI agents in healthcare"}}'"""
    )
    second = walk.command(
        f"""crewline invoke {dep} --thread {thread} -i '{{"message": "Now focus on diagnostic applications"}}'"""
    )
    assert (
        json.loads(second)["report"]
        == "Research AI agents in healthcare; then Now focus on diagnostic applications"
    )
    history = walk.command(f"crewline thread history {thread}")
    assert "Now focus on diagnostic applications" in history
    shown = json.loads(walk.command(f"crewline thread history {thread} --json"))
    assert len(shown["checkpoints"]) == 2


@CURL
def test_a_conversation_by_requests(walk: Walk) -> None:
    metadata = {"user_id": "user_42", "channel": "web", "priority": "high"}
    status, thread = walk.curl("/threads", {"deployment_id": walk.deployment, "metadata": metadata})
    assert (status, thread["status"], thread["metadata"], thread["values"]) == (201, "idle", metadata, None)
    path = f"/threads/{thread['thread_id']}"
    for message in ("Research AI agents in healthcare", "Now focus on diagnostic applications"):
        status, started = walk.curl(f"{path}/runs", {"input": {"message": message}})
        assert (status, started["status"]) == (202, "running")
        assert walk.ended(started["run_id"])["status"] == "succeeded"
    assert walk.curl(path, method="GET")[1]["values"]["asked"] == [
        "Research AI agents in healthcare",
        "Now focus on diagnostic applications",
    ]
    status, history = walk.curl(f"{path}/history", method="GET")
    assert status == 200
    assert [len(one["values"]["asked"]) for one in history["checkpoints"]] == [2, 1]


@CURL
def test_one_run_at_a_time_in_a_thread(walk: Walk) -> None:
    _, thread = walk.curl("/threads", {"deployment_id": walk.deployment})
    path = f"/threads/{thread['thread_id']}/runs"
    _, first = walk.curl(path, {"input": {"message": "Research", "seconds": 2}})
    assert walk.curl(f"/threads/{thread['thread_id']}", method="GET")[1]["status"] == "busy"
    status, refused = walk.curl(path, {"input": {"message": "Now focus on diagnostic applications"}})
    assert status == 409
    assert first["run_id"].removeprefix("run_") in refused["error"]["message"].replace("-", "")
    assert walk.ended(first["run_id"])["status"] == "succeeded"
    assert walk.curl(path, {"input": {"message": "Now focus"}})[0] == 202


@CURL
def test_a_thread_whose_run_failed_accepts_the_next(walk: Walk) -> None:
    _, thread = walk.curl("/threads", {"deployment_id": walk.deployment})
    path = f"/threads/{thread['thread_id']}"
    failed = walk.ended(walk.curl(f"{path}/runs", {"input": {"message": "Fail"}})[1]["run_id"])
    assert (failed["status"], failed["output"]) == ("failed", None)
    assert "The sources are closed today." in failed["error_message"]
    assert walk.curl(path, method="GET")[1]["status"] == "error"
    following = walk.ended(walk.curl(f"{path}/runs", {"input": {"message": "Try others"}})[1]["run_id"])
    assert following["output"]["report"].endswith("Try others")


def test_metadata_finds_threads_and_a_deleted_one_is_gone(walk: Walk) -> None:
    body = {"deployment_id": walk.deployment, "metadata": {"user_id": "user_7", "channel": "web"}}
    thread_id = walk.service.post("/threads", json=body).json()["thread_id"]
    wanted = {"deployment_id": walk.deployment, "metadata[user_id]": "user_7", "metadata[channel]": "web"}
    found = walk.service.get("/threads", params=wanted).json()["threads"]
    assert [one["thread_id"] for one in found] == [thread_id]
    assert (
        walk.service.get("/threads", params={**wanted, "metadata[channel]": "mail"}).json()["threads"] == []
    )
    walk.command(f"crewline thread delete {thread_id} --yes")
    assert walk.service.get(f"/threads/{thread_id}").status_code == 404


def test_turn_five_went_wrong_and_turn_four_is_looked_at_and_brought_back(walk: Walk) -> None:
    thread_id = walk.service.post("/threads", json={"deployment_id": walk.deployment}).json()["thread_id"]
    for turn in range(1, 6):
        body = {"input": {"message": f"Turn {turn}"}}
        walk.ended(walk.service.post(f"/threads/{thread_id}/runs", json=body).json()["run_id"])
    fourth = json.loads(walk.command(f"crewline thread history {thread_id} --turn 4 --json"))
    assert fourth["values"]["asked"] == ["Turn 1", "Turn 2", "Turn 3", "Turn 4"]
    rolled = walk.service.post(
        f"/threads/{thread_id}/rollback", json={"checkpoint_id": fourth["checkpoint_id"]}
    )
    assert rolled.status_code == 200
    assert rolled.json()["values"] == fourth["values"]
    history = walk.service.get(f"/threads/{thread_id}/history").json()["checkpoints"]
    assert [len(one["values"]["asked"]) for one in history] == [4, 5, 4, 3, 2, 1]
