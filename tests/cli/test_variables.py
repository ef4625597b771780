"""`crewline env`: variables where the project has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crewline.models.manifests import find_manifest, project_environment, read_manifest
from tests.cli.commands import Command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "graph.py").write_text("graph = None\n")
    write(folder)
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, **more: Any) -> None:
    manifest = {"graphs": {"a": "./graph.py:graph"}, **more, "dependencies": ["."]}
    (folder / "langgraph.json").write_text(json.dumps(manifest))


def environment(folder: Path) -> dict[str, str]:
    return project_environment(read_manifest(find_manifest(folder)))


def test_the_first_variable_makes_a_private_file_that_the_manifest_names(
    command: Command, project: Path
) -> None:
    values = {"MODEL": "small", "QUOTED": 'it\'s "so" = $HOME #1', "EMPTY": ""}
    done = command("env", "set", *(f"{name}={value}" for name, value in values.items()))
    assert done.out == (
        f"Set MODEL, QUOTED, EMPTY in {project / '.env'}. `crewline deploy` brings it to a deployment.\n"
    )
    assert environment(project) == values
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert list(json.loads((project / "langgraph.json").read_text())) == ["graphs", "dependencies", "env"]


def test_a_file_keeps_what_else_it_says(command: Command, project: Path) -> None:
    (project / "own.env").write_text("# mine\nA=1\nB=2\n")
    (project / "own.env").chmod(0o644)
    write(project, env="own.env")
    before = (project / "langgraph.json").read_bytes()
    assert command("env", "set", "A=3", "C=4").code == 0
    assert command("env", "unset", "B", "--json").json == {
        "names": ["B"],
        "file": str(project / "own.env"),
    }
    assert environment(project) == {"A": "3", "C": "4"}
    assert (project / "own.env").read_text().startswith("# mine\n")
    assert (project / "own.env").stat().st_mode & 0o777 == 0o600
    assert (project / "langgraph.json").read_bytes() == before


def test_variables_in_the_manifest_are_changed_there(command: Command, project: Path) -> None:
    write(project, env={"A": "1", "B": "2"})
    assert command("env", "set", "B=3", "C=4").code == 0
    assert command("env", "unset", "A").code == 0
    manifest = json.loads((project / "langgraph.json").read_text())
    assert manifest["env"] == {"B": "3", "C": "4"}
    assert list(manifest) == ["graphs", "env", "dependencies"]
    assert not (project / ".env").exists()


def test_beside_a_crewship_toml_the_file_counts_without_being_named(command: Command, project: Path) -> None:
    (project / "langgraph.json").unlink()
    text = '[deployment]\nframework = "langgraph"\nentrypoint = "graph:graph"\n'
    (project / "crewship.toml").write_text(text)
    assert command("env", "set", "A=1").code == 0
    assert environment(project) == {"A": "1"}
    assert (project / "crewship.toml").read_text() == text


def test_values_are_shown_when_asked_for_alone(command: Command, project: Path) -> None:
    command("env", "set", "A=secret", "B=2")
    assert command("env", "list").out == "A\nB\n"
    assert command("env", "list", "--json").json == ["A", "B"]
    assert command("env", "list", "--show").out == "A=secret\nB=2\n"
    assert command("env", "list", "--show", "--json").json == {"A": "secret", "B": "2"}


def test_a_project_without_variables_says_how_to_set_one(command: Command, project: Path) -> None:
    done = command("env", "list")
    assert (done.code, done.out) == (0, "")
    assert "crewline env set NAME=VALUE" in done.err


def test_what_cannot_be_done_is_one_line_and_changes_nothing(command: Command, project: Path) -> None:
    command("env", "set", "A=1")
    assert "sets no B;" in command.refused(3, "env", "unset", "A", "B")
    assert "'1X' is no name" in command.refused(2, "env", "set", "C=1", "1X=2")
    assert environment(project) == {"A": "1"}
    assert "There is no langgraph.json" in command.refused(2, "env", "list", "--project", project.parent)


def test_a_value_comes_from_a_pipe_where_nobody_can_be_asked(command: Command, project: Path) -> None:
    done = command("env", "set", "TOKEN", "--json", stdin="se=cret \n")
    assert (done.json["names"], done.err) == (["TOKEN"], "")
    assert environment(project) == {"TOKEN": "se=cret "}
    assert "TOKEN is asked for" in command.refused(2, "env", "set", "TOKEN")


def test_a_manifest_with_variables_stays_as_private_as_it_was(command: Command, project: Path) -> None:
    manifest = project / "langgraph.json"
    write(project, env={"TOKEN": "secret"})
    manifest.chmod(0o640)
    manifest.rename(project / "real.json")
    manifest.symlink_to("real.json")
    command("env", "set", "MODEL=small")
    assert (project / "real.json").stat().st_mode & 0o777 == 0o640
    assert json.loads((project / "real.json").read_text())["env"] == {"TOKEN": "secret", "MODEL": "small"}
    assert sorted(path.name for path in project.iterdir()) == ["graph.py", "langgraph.json", "real.json"]
