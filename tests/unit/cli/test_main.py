"""The `crewline` command: help, version, and what the user can repair in one line with exit 2."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from crewline import locations
from crewline.cli import development
from crewline.cli.main import main


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "graph.py").write_text("graph = None\n")
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"a": "./graph.py:graph"}}))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["crewline", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"crewline {metadata.version('crewline')}\n"


def test_help_and_completion_load_nothing_that_takes_long() -> None:
    program = "import sys, crewline.cli.main; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"pydantic", "botocore", "httpx", "langgraph", "tomlkit", "crewline.local"} & set(loaded)


def test_help_shows_an_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "dev", "--help") == 0
    shown = capsys.readouterr().out
    assert "crewline dev --project ../my-crews --port 2025" in shown
    assert "--stop-on-eof" not in shown


def test_a_port_in_use_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(monkeypatch, "dev", "--project", project, "--port", port) == 2
    message = f"Error: Port {port} is in use on 127.0.0.1; choose another with --port.\n"
    assert capsys.readouterr().err == message
    assert not (project / ".crewline").exists()


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "is not valid JSON"),
        ('{"graphs": {}}', "graphs"),
        ('{"graphs": {"a": "graph.py"}}', "must be spelled"),
        ('{"graphs": {"a": "./absent.py:graph"}}', "absent.py"),
        ('{"graphs": {"a": "./graph.py:graph"}, "env": "absent.env"}', "absent.env"),
    ],
)
def test_a_broken_manifest_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    project: Path,
    manifest: str,
    message: str,
) -> None:
    (project / "langgraph.json").write_text(manifest)
    assert run(monkeypatch, "dev", "--project", project, "--port", 0) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_named_project_without_manifest_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "dev", "--project", tmp_path, "--port", 0) == 2
    assert capsys.readouterr().err.startswith("Error: There is no langgraph.json")


@pytest.mark.parametrize("here", [True, False], ids=["the current folder", "the examples"])
def test_without_project_it_serves(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    project: Path,
    tmp_path_factory: pytest.TempPathFactory,
    here: bool,
) -> None:
    folder = project if here else tmp_path_factory.mktemp("empty")
    served: list[tuple[Path, Path]] = []
    monkeypatch.chdir(folder)
    monkeypatch.setattr(development, "run", lambda project, *, state, **_: served.append((project, state)))
    assert run(monkeypatch, "dev") == 0
    assert served == [(folder if here else locations.EXAMPLES, folder / ".crewline")]
    said = (
        ""
        if here
        else "There is no langgraph.json here, which `crewline init` makes: serving the example crews.\n"
    )
    assert capsys.readouterr().out == said
