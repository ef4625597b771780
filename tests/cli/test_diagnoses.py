"""`crewline doctor`: what it finds on a machine, in a project and in an account, and the cure that it names."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from crewline.cli import diagnoses
from crewline.store import clients
from tests.cli.commands import Command, Done
from tests.cli.servers import Answer, ScriptedService

REGION = "eu-west-1"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on its PATH and no AWS credentials; the folder of its programs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("PATH", str(programs))
    clients._session.cache_clear()
    return programs


@pytest.fixture
def account(machine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS account of moto."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        clients._session.cache_clear()
        yield
    clients._session.cache_clear()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "graph.py").write_text(
        "from langgraph.graph import START, MessagesState, StateGraph\n"
        "graph = StateGraph(MessagesState).add_node('a', lambda _: {}).add_edge(START, 'a').compile()\n"
    )
    (folder / "langgraph.json").write_text(json.dumps({"graphs": {"a": "./graph.py:graph"}}))
    return folder


def program(machine: Path, name: str, says: str) -> None:
    (machine / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (machine / name).chmod(0o755)


def finding(done: Done, check: str) -> Any:
    [found] = [one for one in done.json["checks"] if one["check"] == check]
    return found


def limited(limit: int) -> None:
    """Let Lambda say how many functions may execute at once, which moto does not know."""

    def answer(**_: Any) -> Any:
        response: Any = type("Response", (), {"status_code": 200})()
        return response, {"AccountLimit": {"ConcurrentExecutions": limit}}

    clients._session().get_component("event_emitter").register_first(
        "before-call.lambda.GetAccountSettings", answer
    )


@pytest.mark.usefixtures("account")
def test_where_all_is_there_it_ends_with_0(command: Command, machine: Path, project: Path) -> None:
    program(machine, "node", "v22.1.0")
    program(machine, "cdk", "2.1000.0 (build x)")
    boto3.client("ssm", region_name=REGION).put_parameter(
        Name="/cdk-bootstrap/hnb659fds/version", Value="21", Type="String"
    )
    limited(1000)
    done = command("doctor", "--project", project, "--json")
    assert done.code == 0, done.out
    assert done.json["good"] is True
    assert {one["check"]: one["state"] for one in done.json["checks"] if one["check"] != "port 2024"} == {
        "Python": "good",
        "project": "good",
        "crews": "good",
        "service": "skipped",
        "Node": "good",
        "CDK": "good",
        "constructs": "good",
        "Python 3.13": finding(done, "Python 3.13")["state"],  # a warning where there is none
        "AWS credentials": "good",
        "CDK bootstrap": "good",
        "Lambda concurrency": "good",
    }
    assert finding(done, "AWS credentials")["said"].endswith(f"of account 123456789012, in {REGION}")
    assert finding(done, "CDK bootstrap")["said"] == f"version 21 in {REGION}"


@pytest.mark.usefixtures("account")
def test_what_an_account_lacks_has_its_cure(command: Command) -> None:
    limited(10)
    done = command("doctor", "--json")
    assert done.code == 1
    bootstrap = finding(done, "CDK bootstrap")
    assert bootstrap["state"] == "failed"
    assert bootstrap["cure"] == f"npx aws-cdk@2 bootstrap aws://123456789012/{REGION}"
    assert finding(done, "Lambda concurrency")["state"] == "warning"
    assert "10 functions" in finding(done, "Lambda concurrency")["said"]


def test_what_a_deploy_needs_is_a_warning_where_none_is_meant(
    command: Command, machine: Path, project: Path
) -> None:
    program(machine, "node", "v18.0.0")
    strict = command("doctor", "--project", project)
    assert strict.code == 1
    lines = strict.out.splitlines()
    assert [
        line
        for line in lines
        if line.startswith("✗ Node (to deploy): v18.0.0 is too old. Install version 20")
    ]
    assert [line for line in lines if line.startswith("✗ CDK (to deploy): ") and "npm install" in line]
    assert [line for line in lines if line.startswith("✗ AWS credentials (to deploy): There are no AWS cred")]
    assert lines[-1] == "Needed to deploy, and not there: Node, CDK, AWS credentials."
    mild = command("doctor", "--for", "dev", "--project", project)
    assert mild.code == 0
    assert "! Node (to deploy): v18.0.0 is too old." in mild.out
    assert "✗" not in mild.out


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import absent_module\n", "fails to import: ModuleNotFoundError: No module named 'absent_module'"),
        ("raise SystemExit(3)\n", "fails to import: SystemExit: 3"),
        ("import os\nos._exit(7)\n", "the process ended with 7."),
        ("graph = 1\n", "is a int, not a graph"),
        pytest.param(
            "import time\ntime.sleep(60)\n", "they do not load within 5 s.", marks=pytest.mark.thorough
        ),
    ],
)
def test_crews_that_do_not_load_are_told(
    command: Command, project: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setattr(diagnoses, "_LOAD_S", 5)
    (project / "graph.py").write_text(code)
    done = command("doctor", "--for", "dev", "--project", project, "--json")
    assert done.code == 1
    found = finding(done, "crews")
    assert found["state"] == "failed"
    assert said in found["said"]


@pytest.mark.usefixtures("machine")
def test_what_embeds_and_does_not_load_is_told_with_the_crews(command: Command, project: Path) -> None:
    manifest = json.loads((project / "langgraph.json").read_text())
    manifest["store"] = {"index": {"embed": "./graph.py:embed", "dims": 8}}
    (project / "langgraph.json").write_text(json.dumps(manifest))
    done = command("doctor", "--for", "dev", "--project", project, "--json")
    assert "has no 'embed'" in finding(done, "crews")["said"]


def test_what_authenticates_and_does_not_load_is_told_with_the_crews(command: Command, project: Path) -> None:
    manifest = json.loads((project / "langgraph.json").read_text())
    manifest["auth"] = {"path": "./graph.py:graph"}
    (project / "langgraph.json").write_text(json.dumps(manifest))
    done = command("doctor", "--for", "dev", "--project", project, "--json")
    assert "not a langgraph_sdk.Auth" in finding(done, "crews")["said"]


@pytest.mark.usefixtures("machine")
def test_crews_load_with_the_variables_of_their_project(command: Command, project: Path) -> None:
    (project / "graph.py").write_text(f"import os\nos.environ['OWN']\n{(project / 'graph.py').read_text()}")
    assert finding(command("doctor", "--project", project, "--json"), "crews")["state"] == "failed"
    assert command("env", "set", "OWN=1", "--project", project).code == 0
    assert finding(command("doctor", "--project", project, "--json"), "crews")["state"] == "good"


@pytest.mark.usefixtures("machine")
def test_a_broken_manifest_is_told(command: Command, project: Path) -> None:
    (project / "langgraph.json").write_text("{")
    done = command("doctor", "--for", "dev", "--project", project, "--json")
    assert done.code == 1
    assert "is not valid JSON" in finding(done, "project")["said"]
    assert finding(done, "crews")["state"] == "skipped"


@pytest.mark.usefixtures("machine")
def test_a_service_is_asked_with_its_key(
    command: Command, scripted_service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWLINE_API_KEY", "crewline_default_a_b")
    scripted_service.answer("GET /v1/runs", Answer(200, {"runs": [], "next_cursor": None}))
    good = finding(command("doctor", "--for", "dev", "--url", scripted_service.url, "--json"), "service")
    assert (good["state"], good["said"]) == ("good", f"{scripted_service.url} answers, the key is good")
    refusal = {"error": {"message": "no", "code": "unauthenticated"}}
    scripted_service.answer("GET /v1/runs", Answer(401, refusal))
    refused = command("doctor", "--for", "dev", "--url", scripted_service.url, "--json")
    assert refused.code == 1
    assert finding(refused, "service")["state"] == "failed"


@pytest.mark.usefixtures("machine")
def test_a_service_that_is_down_is_told(command: Command) -> None:
    done = command("doctor", "--for", "dev", "--url", "http://127.0.0.1:9", "--json")
    assert done.code == 1
    assert "127.0.0.1:9" in finding(done, "service")["said"]


def test_this_python_is_named(command: Command, machine: Path) -> None:
    said = finding(command("doctor", "--json"), "Python")["said"]
    assert said == ".".join(map(str, sys.version_info[:3]))
