"""A project that is edited while `crewline dev` serves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crewline.local.children import ChildService, local_service
from tests.e2e.processes import eventually

GRAPH = """
import operator, os, pathlib, time
from typing import Annotated, TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    gate: str

def wait(state):
    if gate := state.get("gate"):
        pathlib.Path(gate + ".begun").touch()
        deadline = time.monotonic() + 30
        while not pathlib.Path(gate).exists() and time.monotonic() < deadline:
            time.sleep(0.02)

def speak(state):
    return {"log": ["ANSWER " + os.environ.get("GREETING", "")]}

graph = StateGraph(State).add_sequence([wait, speak]).add_edge(START, "wait")
"""
RELOAD_S = 30


class Project:
    """A project under `crewline dev`, and its editor."""

    def __init__(self, folder: Path, service: ChildService) -> None:
        self.folder = folder
        self.service = service
        self.http = httpx.Client(base_url=service.url, timeout=30)

    def edit(self, name: str, text: str, says: str = "Reloaded in") -> str:
        """Save a file and wait until the service has said something of it; returns that."""
        seen = len(self.service.log.read_text())
        draft = self.folder / f".{name}.draft"  # as editors save: nobody ever reads half of it
        draft.write_text(text)
        draft.replace(self.folder / name)

        def said() -> str | None:
            new = self.service.log.read_text()[seen:]
            return new if says in new and new.endswith("\n") else None

        return eventually(said, RELOAD_S)

    def speak(self, answer: str, name: str = "graph.py") -> str:
        return self.edit(name, GRAPH.replace("ANSWER", answer))

    def run(self, graph: str = "talk", **state: Any) -> Any:
        return self.http.post("/runs/wait", json={"assistant_id": graph, "input": state}).json()

    def run_behind(self, **state: Any) -> str:
        """Start a run in the background; its path."""
        thread_id = self.http.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "talk", "input": state}
        run = self.http.post(f"/threads/{thread_id}/runs", json=body).json()
        return f"/threads/{thread_id}/runs/{run['run_id']}"

    def joined(self, path: str) -> Any:
        def ended() -> bool:
            return self.http.get(path).json()["status"] not in ("pending", "running")

        eventually(ended, RELOAD_S)
        return self.http.get(f"{path}/join").json()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "graph.py").write_text(GRAPH.replace("ANSWER", "first"))
    (folder / ".env").write_text("GREETING=hello\n")
    (folder / "langgraph.json").write_text(manifest("talk"))
    with local_service(
        project=folder, state=tmp_path_factory.mktemp("reloads") / "state", reload=True
    ) as service:
        project = Project(folder, service)
        with project.http:
            yield project


def manifest(*graphs: str) -> str:
    return json.dumps(
        {"graphs": dict.fromkeys(graphs, "./graph.py:graph"), "dependencies": ["."], "env": ".env"}
    )


def test_the_next_run_has_what_was_edited_in_its_request_and_in_the_background(project: Project) -> None:
    assert project.joined(project.run_behind())["log"][0].split()[0] == "first", "a worker has loaded it"
    assert "graph.py" in project.speak("second")
    assert project.run()["log"] == ["second hello"]
    assert project.joined(project.run_behind())["log"] == ["second hello"]


@pytest.mark.thorough
def test_a_module_that_hangs_does_not_keep_its_mending_from_being_served(project: Project) -> None:
    project.speak("before")
    begun = project.folder / "begun"
    hangs = f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(1_000)\n"
    (project.folder / "graph.py").write_text(hangs)
    eventually(begun.exists, RELOAD_S)
    assert project.run()["log"] == ["before hello"]
    assert "graph.py" in project.speak("mended")
    assert project.run()["log"] == ["mended hello"]


def test_what_does_not_load_is_told_and_what_was_before_goes_on(project: Project) -> None:
    project.speak("good")
    told = project.edit("graph.py", "import operator\nraise ValueError('not yet')\n", says="still served")
    assert "Not reloaded: graph.py" in told
    assert "Crew 'talk'" in told
    assert "fails to import: ValueError: not yet" in told
    assert "graph.py, line 2, in <module>: raise ValueError('not yet')" in told
    assert project.run()["log"] == ["good hello"]
    assert project.joined(project.run_behind())["log"] == ["good hello"]
    project.speak("better")
    assert project.run()["log"] == ["better hello"]


def test_a_stream_and_a_run_under_way_end_as_they_began(project: Project, tmp_path: Path) -> None:
    project.speak("old")
    gates = [str(tmp_path / "stream"), str(tmp_path / "behind")]
    behind = project.run_behind(gate=gates[1])
    body = {"assistant_id": "talk", "input": {"gate": gates[0]}, "stream_mode": "values"}
    with project.http.stream("POST", "/runs/stream", json=body) as stream:
        lines = stream.iter_lines()
        eventually(lambda: all(Path(f"{gate}.begun").exists() for gate in gates), RELOAD_S)
        project.speak("new")
        assert project.run()["log"] == ["new hello"], "both are served at once"
        for gate in gates:
            Path(gate).touch()
        data = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert [one["log"] for one in data if one.get("log")] == [["old hello"]]
    assert data[-1]["status"] == "success"
    assert project.joined(behind)["log"] == ["old hello"]
    assert project.joined(project.run_behind())["log"] == ["new hello"]


@pytest.mark.thorough
def test_graphs_and_variables_are_those_of_the_edited_manifest_and_env_file(project: Project) -> None:
    project.speak("said")
    project.edit("langgraph.json", manifest("talk", "more"))
    assert project.run("more")["log"] == ["said hello"]
    project.edit(".env", "GREETING=good evening\n")
    assert project.run()["log"] == ["said good evening"]
    assert project.joined(project.run_behind())["log"] == ["said good evening"]
    project.edit("langgraph.json", manifest("talk"))
    assert project.http.post("/runs/wait", json={"assistant_id": "more"}).status_code in (404, 422)
    told = project.edit("langgraph.json", "{", says="still served")
    assert "is not valid JSON" in told
    project.edit("langgraph.json", manifest("talk"))
    assert project.run()["log"] == ["said good evening"]
