"""`crewline deploy` checks what it needs, and tells the CDK what to do."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from crewline.cli import releases
from crewline.cli.main import main
from crewline.errors import Forbidden
from crewline.models.versions import Version

VERSION = Version(number=7, build="a" * 32, created_at="2026-11-21T12:00:00.000000+00:00")

CDK = """#!{python}
import json, os, pathlib, sys
if sys.argv[1:] == ["--version"]:
    sys.exit(print("{version} (build 1)"))
told = {{"arguments": sys.argv[1:], "folder": os.getcwd()}}
pathlib.Path({told!r}).write_text(json.dumps(told))
if {status}:
    sys.exit({status})
outputs = sys.argv[sys.argv.index("--outputs-file") + 1]
pathlib.Path(outputs).write_text(json.dumps({{sys.argv[sys.argv.index("deploy") + 1]: {{"ApiUrl": "https://api/v1/"}}}}))
"""


class Machine:
    """A PATH with a recording `cdk`, or whatever else a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.told = folder / "told.json"
        self.settled: list[str] = []
        """Stacks of which the deployed version was made live."""
        self.bin.mkdir()
        self.place("node", "#!/bin/sh\n")

    def place(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.write_text(script)
        path.chmod(0o755)
        return path

    def cdk(self, name: str = "cdk", *, version: str = "2.1148.1", status: int = 0) -> Path:
        return self.place(
            name, CDK.format(python=sys.executable, version=version, told=str(self.told), status=status)
        )

    def settle(self, stack: str) -> Version:
        self.settled.append(stack)
        return VERSION

    @property
    def arguments(self) -> list[str]:
        arguments: list[str] = json.loads(self.told.read_text())["arguments"]
        return arguments

    def option(self, name: str) -> str:
        return self.arguments[self.arguments.index(name) + 1]

    @property
    def context(self) -> dict[str, str]:
        given = [
            after for before, after in zip(self.arguments, self.arguments[1:], strict=False) if before == "-c"
        ]
        return dict(item.split("=", 1) for item in given)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.setattr(releases, "settle", made.settle)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "my crews"
    folder.mkdir()
    (folder / "graph.py").write_text("graph = None\n")
    (folder / "langgraph.json").write_text(json.dumps({"graphs": {"a": "./graph.py:graph"}}))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["crewline", "deploy", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_cdk_is_told_what_to_deploy_and_then_where_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], machine: Machine, project: Path
) -> None:
    machine.cdk()

    assert (
        run(
            monkeypatch,
            "--project",
            project,
            "--stack",
            "Ours",
            "--architecture",
            "x86_64",
            "--stage",
            "staging",
            "--yes",
        )
        == 0
    )

    assert machine.arguments[:2] == ["deploy", "Ours"]
    assert shlex.split(machine.option("--app")) == [sys.executable, "-m", "crewline_cdk"]
    assert machine.option("--output") == str(project / ".crewline" / "cdk.out")
    assert machine.option("--require-approval") == "never"
    assert machine.context == {
        "project": str(project),
        "stack": "Ours",
        "architecture": "x86_64",
        "stage": "staging",
    }
    assert json.loads(machine.told.read_text())["folder"] == str(project / ".crewline")
    shown = capfd.readouterr().out
    assert machine.settled == ["Ours"]
    assert "Crewline is deployed as Ours, version 7: https://api/v1/" in shown
    assert "crewline keys create --stack Ours" in shown


def test_what_the_cdk_writes_is_for_its_owner_alone_and_for_no_commit(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, project: Path
) -> None:
    machine.cdk()
    (project / ".crewline" / "cdk.out").mkdir(parents=True)  # of a deployment that left it to everybody
    assert run(monkeypatch, "--project", project) == 0
    assert (project / ".crewline" / "cdk.out").stat().st_mode & 0o777 == 0o700
    assert (project / ".crewline" / ".gitignore").read_text() == "*\n"


def test_the_current_folder_is_deployed_as_crewline_on_arm_and_the_cdk_may_ask(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, project: Path
) -> None:
    machine.cdk()
    monkeypatch.chdir(project)

    assert run(monkeypatch, "--image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/crews:1") == 0

    assert machine.option("--require-approval") == "broadening"
    assert machine.context == {
        "project": str(project),
        "stack": "Crewline",
        "architecture": "arm64",
        "stage": "production",
        "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/crews:1",
    }


def test_a_failed_deployment_ends_as_the_cdk_did_and_says_how_to_bootstrap(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], machine: Machine, project: Path
) -> None:
    cdk = machine.cdk(status=3)

    assert run(monkeypatch, "--project", project) == 3

    shown = capfd.readouterr().out
    assert f"not bootstrapped, which every account and region is once: {cdk} bootstrap" in shown
    assert "is deployed" not in shown
    assert machine.settled == []


def test_a_program_is_told_by_one_value_and_what_the_cdk_says_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], machine: Machine, project: Path
) -> None:
    machine.place("cdk", machine.cdk().read_text().replace("if 0:", 'print("Synthesising");\nif 0:'))

    assert run(monkeypatch, "--project", project, "--stack", "Ours", "--json") == 0

    shown = capfd.readouterr()
    assert json.loads(shown.out) == {
        "stack": "Ours",
        "url": "https://api/v1/",
        "version": {"number": 7, "build": VERSION.build, "created_at": VERSION.created_at},
    }
    assert "Synthesising" in shown.err


def test_credentials_that_may_only_deploy_deploy_and_are_told_what_they_could_not_see(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], machine: Machine, project: Path
) -> None:
    def refuse(_: str) -> Version:
        raise Forbidden("AWS does not allow ListVersionsByFunction with the credentials of this environment.")

    machine.cdk()
    monkeypatch.setattr(releases, "settle", refuse)

    assert run(monkeypatch, "--project", project) == 0

    shown = capfd.readouterr()
    assert "Crewline is deployed as Crewline: https://api/v1/" in shown.out
    assert "does not allow ListVersionsByFunction" in shown.err
    assert "crewline versions --stack Crewline" in shown.err


def test_npx_brings_the_cdk_where_there_is_none_of_version_2(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, project: Path
) -> None:
    machine.cdk(version="3.0.0")
    machine.cdk("npx")

    assert run(monkeypatch, "--project", project) == 0

    assert machine.arguments[:4] == ["--yes", "aws-cdk@2", "deploy", "Crewline"]


def test_a_cdk_of_another_version_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], machine: Machine, project: Path
) -> None:
    machine.cdk(version="3.0.0")

    assert run(monkeypatch, "--project", project) == 2

    assert "npm install -g aws-cdk@2" in capsys.readouterr().err
    assert not machine.told.exists()


def test_node_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], machine: Machine, project: Path
) -> None:
    machine.cdk()
    (machine.bin / "node").unlink()

    assert run(monkeypatch, "--project", project) == 2

    assert "needs Node" in capsys.readouterr().err


def test_the_constructs_are_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], machine: Machine, project: Path
) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == "aws_cdk" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)

    assert run(monkeypatch, "--project", project) == 2

    assert "aws_cdk cannot be imported; pip install 'crewline[cdk]'." in capsys.readouterr().err


def test_a_folder_without_a_manifest_is_refused_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], machine: Machine, tmp_path: Path
) -> None:
    machine.cdk()

    assert run(monkeypatch, "--project", tmp_path) == 2

    assert "There is no langgraph.json in" in capsys.readouterr().err
    assert not machine.told.exists()
