"""The built wheel works from an empty environment and an empty folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from crewline.local.children import local_service


def _run(installed: Path, *command: str, cwd: Path) -> str:
    environ = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(cwd)}
    result = subprocess.run(
        [str(installed / command[0]), *command[1:]],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_holds_the_package_the_constructs_and_what_they_deploy(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "crewline/py.typed",
        "crewline/local/template.json",
        "crewline/_bundle/functions/api/handler.py",
        "crewline/_bundle/layers/crews/langgraph.json",
        "crewline/_bundle/layers/deps/control.txt",
        "crewline/_bundle/layers/deps/crew.txt",
        "crewline/_bundle/layers/adapter/start",
        "crewline/_bundle/layers/deps/adapter.txt",
        "crewline/_bundle/layers/streaming/start",
        "crewline/_bundle/layers/templates/chatbot/gitignore",
        "crewline/_bundle/layers/templates/approval/tests/test_graph.py",
        "crewline/_bundle/functions/tail/handler.py",
        "crewline_cdk/service.py",
    } <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_the_command_works_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "crewline dev" in _run(installed, "crewline", "dev", "--help", cwd=tmp_path)
    where = _run(installed, "python", "-c", "import crewline; print(crewline.__file__)", cwd=tmp_path)
    assert where.startswith(str(installed.parent))


def test_a_project_is_made_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "crewline dev" in _run(installed, "crewline", "init", "my-crew", cwd=tmp_path)
    assert (tmp_path / "my-crew" / ".gitignore").is_file()
    program = (
        "from graph import graph; print(graph.invoke({'messages': [('user', 'Hello')]})['messages'][-1].text)"
    )
    assert _run(installed, "python", "-c", program, cwd=tmp_path / "my-crew") == "You said 'Hello'.\n"


@pytest.mark.thorough
def test_the_example_crews_run_from_the_wheel_in_an_empty_folder(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(installed / "python"))
    monkeypatch.chdir(tmp_path)
    with (
        local_service(state=tmp_path / "state") as service,
        httpx.Client(base_url=service.url, timeout=30) as http,
    ):
        body = {"assistant_id": "planner", "input": {"message": "Generate a plan"}}
        assert "plan" in http.post("/runs/wait", json=body).json()["messages"][-1]["content"]
        thread_id = http.post("/threads", json={}).json()["thread_id"]
        run = http.post(f"/threads/{thread_id}/runs", json=body).json()
        joined = http.get(f"/threads/{thread_id}/runs/{run['run_id']}/join").json()
        assert "plan" in joined["messages"][-1]["content"]
