"""`crewline init`: projects made, and projects found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crewline import locations
from crewline.cli.projects import Template
from crewline.models.manifests import read_manifest
from tests.cli.commands import Command

AGENTS = """
import re
from langchain.agents import create_agent
from langgraph.func import entrypoint

NUMBER = re.compile(r"\\d+")
builder = make()
graph = builder.compile(name="x").with_config(recursion_limit=5)
helper: object = create_agent("model")
other = prebuilt.create_react_agent(model)

@entrypoint(checkpointer=None)
def flow(topic):
    return topic

def inner():
    graph = builder.compile()
"""


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("template", Template)
def test_a_new_project_has_all_it_needs_and_its_test_passes(
    command: Command, empty: Path, template: Template
) -> None:
    done = command("init", "My Crew", "--template", template.value)
    assert done.code == 0
    project = empty / "My Crew"
    assert {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()} == {
        ".env.example",
        ".gitignore",
        "README.md",
        "graph.py",
        "langgraph.json",
        "pyproject.toml",
        "tests/test_graph.py",
    }
    assert ".crewline/" in (project / ".gitignore").read_text().splitlines()
    assert 'name = "my-crew"' in (project / "pyproject.toml").read_text()
    assert (project / "README.md").read_text().startswith("# My Crew\n")
    assert list(read_manifest(project / "langgraph.json").crews) == [template.value]
    for next_one in ("cd 'My Crew'", "crewline dev", "crewline invoke", "crewline doctor"):
        assert next_one in done.out
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_template_of_the_folder_can_be_chosen() -> None:
    assert {folder.name for folder in locations.TEMPLATES.iterdir()} == set(Template)


def test_a_file_in_the_way_is_named_and_nothing_is_written(command: Command, empty: Path) -> None:
    (empty / "pyproject.toml").write_text("mine")
    said = command.refused(4, "init", "--yes")
    assert "pyproject.toml already, and nothing is overwritten" in said
    assert [path.name for path in empty.iterdir()] == ["pyproject.toml"]
    assert (empty / "pyproject.toml").read_text() == "mine"


def test_a_new_repository_keeps_what_it_has(command: Command, empty: Path) -> None:
    for name in ("README.md", ".gitignore"):
        (empty / name).write_text("mine")
    done = command("init", "--json")
    assert done.code == 0
    assert set(done.json["made"]) == {
        ".env.example",
        "graph.py",
        "langgraph.json",
        "pyproject.toml",
        "tests/test_graph.py",
    }
    assert {(empty / name).read_text() for name in ("README.md", ".gitignore")} == {"mine"}


def test_the_graphs_of_a_folder_are_found_by_reading_it(command: Command, empty: Path) -> None:
    for name, text in {
        "src/support/agent.py": "graph = b.compile()\nraise SystemExit('this is never executed')\n",
        "agents.py": AGENTS,
        "broken.py": "def (:\n",
        "tests/test_it.py": "graph = builder.compile()\n",
        ".venv/lib/x.py": "graph = builder.compile()\n",
        ".env": "A=1\n",
    }.items():
        (empty / name).parent.mkdir(parents=True, exist_ok=True)
        (empty / name).write_text(text)
    done = command("init", "--json")
    assert done.code == 0
    written = json.loads((empty / "langgraph.json").read_text())
    assert written == {
        "dependencies": [".", "./src"],
        "graphs": {
            "work": "./agents.py:graph",
            "helper": "./agents.py:helper",
            "other": "./agents.py:other",
            "flow": "./agents.py:flow",
            "support": "./src/support/agent.py:graph",
        },
        "env": ".env",
    }
    assert done.json["made"] == ["langgraph.json"]
    assert done.json["graphs"] == written["graphs"]
    assert len(read_manifest(empty / "langgraph.json").crews) == 5


def test_graphs_of_one_name_get_numbers(command: Command, empty: Path) -> None:
    for name in ("a", "b"):
        (empty / name).mkdir()
        (empty / name / "main.py").write_text("chat = builder.compile()\n")
    assert command("init").code == 0
    assert list(json.loads((empty / "langgraph.json").read_text())["graphs"]) == ["chat", "chat_2"]


@pytest.mark.parametrize(
    ("code", "attribute"),
    [
        ("def build():\n    return b.compile()\ngraph = build()\n", "graph"),
        ("def build(tools):\n    g = b.compile()\n    return g\nchat: object = build([])\n", "chat"),
        ("def make_graph():\n    return create_agent(model)\n", "make_graph"),
        ("async def make_graph(config):\n    return b.compile()\n", "make_graph"),
        ("def build(tools):\n    return b.compile()\n", None),
        ("def main():\n    b.compile().invoke({})\n", None),
        ("def pattern():\n    return re.compile('a')\n", None),
    ],
)
def test_functions_that_make_graphs_are_understood(
    command: Command, empty: Path, code: str, attribute: str | None
) -> None:
    (empty / "bot.py").write_text(code)
    if attribute is None:
        command.refused(2, "init")
    else:
        assert [*command("init", "--json").json["graphs"].values()] == [f"./bot.py:{attribute}"]


def test_the_next_command_can_be_typed_as_it_is(command: Command, empty: Path) -> None:
    assert "  cd 'my crew; rm'\n" in command("init", "my crew; rm", "--yes").out
    assert "  cd ./-crew\n" in command("init", "--yes", "--", "-crew").out


def test_code_without_a_graph_is_told(command: Command, empty: Path) -> None:
    (empty / "tool.py").write_text("import re\npattern = re.compile('a')\n")
    assert "None of the 1 Python files" in command.refused(2, "init")
    assert not (empty / "langgraph.json").exists()


def test_a_project_that_is_there_stays_as_it_is(command: Command, empty: Path) -> None:
    command("init", "--yes")
    (empty / "graph.py").write_text("graph = 1\n")
    before = {path: path.read_bytes() for path in empty.rglob("*") if path.is_file()}
    done = command("init", "--template", "approval")
    assert done.code == 0
    assert "is a project already: langgraph.json names chatbot" in done.out
    assert "crewline dev" in done.out
    assert {path: path.read_bytes() for path in empty.rglob("*") if path.is_file()} == before
