"""`crewline dev` as a process: it starts, serves, stops, and leaves nothing behind.

The functions are stubs; a driver points the command at them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from crewline.local import children, clouds, states
from crewline.local.failures import LocalServiceError
from crewline.store import clients
from tests.e2e.processes import eventually, gone

STUB = """
import json, os
from crewline.http.replies import Reply

def answer(event, context):
    seen = {"cwd": os.getcwd(), "environ": dict(os.environ), "path": event["path"]}
    return Reply(200, {"content-type": "application/json"}, json.dumps(seen).encode())
"""

SLOW = """
import time
from crewline.http.replies import Reply

def answer(event, context):
    time.sleep(60)
    return Reply(200)
"""

BROKEN = """
from crewline.errors import CrewFailedToLoad
raise CrewFailedToLoad("Crew 'a' cannot be imported: ModuleNotFoundError: No module named 'absent'.")
"""

WORKER = """
import os
print("worker", os.getpid(), "of cloud", os.getppid(), flush=True)
def handler(event, context):
    return None
"""

DRIVER = """
import pathlib, sys
from crewline import locations
locations.FUNCTIONS, locations.TEMPLATE = map(pathlib.Path, sys.argv[1:3])
del sys.argv[1:3]
from crewline.cli.main import main
main()
"""

Command = Callable[[], list[str]]
Start = Callable[[], AbstractContextManager[children.ChildService]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "graph.py").write_text("graph = None\n")
    manifest = {
        "graphs": {"a": "./graph.py:graph"},
        "dependencies": ["."],
        "env": {"GREETING": "hello", "AWS_REGION": "eu-west-1"},
    }
    (folder / "langgraph.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def command(functions: Path, template: Path, project: Path, tmp_path: Path) -> Command:
    """Spell `crewline dev` on the stubs."""
    for name in ("api", "crew", "tail"):
        (functions / name / "handler.py").write_text(STUB)
    (functions / "worker" / "handler.py").write_text(WORKER)

    def spell() -> list[str]:
        driver = [sys.executable, "-P", "-c", DRIVER, str(functions), str(template), "dev"]
        return [*driver, "--project", str(project), "--port", "0", "--state", str(tmp_path / "state")]

    return spell


@pytest.fixture
def start(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Start:
    monkeypatch.setattr(children, "_command", lambda *_, **_options: [*command(), "--stop-on-eof"])
    return lambda: children.local_service(state=tmp_path / "state")


def asked(url: str) -> dict[str, Any]:
    """Ask the stub what it sees."""
    seen: dict[str, Any] = httpx.get(f"{url}/ok").json()
    return seen


def worker_of(url: str, state: Path) -> tuple[int, int]:
    """Have a worker started; its process id and that of its local cloud."""
    environ = asked(url)["environ"]
    queue = clients.client(
        "sqs",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        region=clouds.REGION,
        credentials=clouds.CREDENTIALS,
    )
    queue.send_message(QueueUrl=environ["CREWLINE_RUN_QUEUE_URL"], MessageBody="run")
    log = state / "logs" / "functions.log"
    _, worker, _, _, cloud = eventually(log.read_text).split()[:5]
    return int(worker), int(cloud)


def test_it_serves_in_the_environment_of_a_function(
    start: Start, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "one that is not on this machine")
    with start() as service:
        seen = asked(service.url)
        held = json.loads((tmp_path / "state" / "service.json").read_text())
    environ = seen["environ"]
    assert seen["cwd"] == str(project)
    assert environ["GREETING"] == "hello"
    assert environ["LANGGRAPH_STRICT_MSGPACK"] == "true"
    assert environ["CREWLINE_MANIFEST"] == str(project / "langgraph.json")
    assert "AWS_PROFILE" not in environ
    assert environ["AWS_REGION"] == "us-east-1", "the project's AWS_ variables stay out"
    assert held == {"pid": service.process.pid, "url": service.url}
    assert "Crewline is ready at " + service.url in service.log.read_text()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.thorough), signal.SIGTERM])
def test_a_signal_stops_everything(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    with start() as service:
        worker, cloud = worker_of(service.url, tmp_path / "state")
        service.process.send_signal(number)
        assert service.process.wait(10) == 0
        assert gone(worker, cloud)
    assert not (tmp_path / "state" / "service.json").exists()
    with start():
        pass  # and everything can be started again


def test_it_leaves_nothing_behind_when_it_is_killed(start: Start, tmp_path: Path) -> None:
    with start() as service:
        worker, cloud = worker_of(service.url, tmp_path / "state")
        service.process.kill()
        service.process.wait()
        eventually(lambda: gone(worker, cloud))
    with start() as service:  # what the cloud stored was saved all the same
        assert asked(service.url)["path"] == "/ok"


def test_it_ends_with_the_process_that_started_it(start: Start, tmp_path: Path) -> None:
    with start() as service:
        worker, cloud = worker_of(service.url, tmp_path / "state")
        assert service.process.stdin
        service.process.stdin.close()
        assert service.process.wait(10) == 0
        assert gone(worker, cloud)


def test_a_second_signal_does_not_wait_for_anybody(start: Start, functions: Path, tmp_path: Path) -> None:
    (functions / "crew" / "handler.py").write_text(SLOW)
    with start() as service:
        worker, cloud = worker_of(service.url, tmp_path / "state")
        with httpx.Client() as client:
            with pytest.raises(httpx.ReadTimeout):
                client.post(f"{service.url}/runs/wait", timeout=0.3)
            service.process.send_signal(signal.SIGINT)
            eventually(lambda: (tmp_path / "state" / "service.json").exists() is False)
            service.process.send_signal(signal.SIGINT)
            assert service.process.wait(2) == 130
        eventually(lambda: gone(worker, cloud))


def test_it_ends_when_its_local_cloud_does(start: Start, tmp_path: Path) -> None:
    with start() as service:
        _, cloud = worker_of(service.url, tmp_path / "state")
        os.kill(cloud, signal.SIGKILL)
        assert service.process.wait(10) == 2
        assert "Error: The local cloud ended by itself (code -9)." in service.log.read_text()


def test_a_crew_that_does_not_load_is_one_line(command: Command, functions: Path, tmp_path: Path) -> None:
    (functions / "crew" / "handler.py").write_text(BROKEN)
    result = subprocess.run(command(), check=False, capture_output=True, text=True, timeout=20)
    message = "Error: Crew 'a' cannot be imported: ModuleNotFoundError: No module named 'absent'.\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", message)
    with states.held(tmp_path / "state"):
        pass  # nobody holds it any more: the local cloud has ended


def test_a_state_folder_in_use_is_one_line(command: Command, tmp_path: Path) -> None:
    with states.held(tmp_path / "state"):
        result = subprocess.run(command(), check=False, capture_output=True, text=True, timeout=20)
    assert result.returncode == 2
    assert result.stderr == (
        f"Error: The state folder {tmp_path / 'state'} is in use by another `crewline dev` "
        f"(process {os.getpid()}); stop that one or choose another folder with --state.\n"
    )


def test_a_service_that_does_not_come_up_is_told_with_its_output(start: Start, functions: Path) -> None:
    (functions / "crew" / "handler.py").write_text(BROKEN)
    with pytest.raises(LocalServiceError, match=r"ended with code 2\.\nError: Crew 'a' cannot"), start():
        pass
