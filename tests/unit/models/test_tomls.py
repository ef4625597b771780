"""`crewship.toml` as a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crewline.errors import BadManifest
from crewline.models.manifests import Manifest, find_manifest, read_manifest

ONE = """
[deployment]
framework = "langgraph"
entrypoint = "src.my_agent.graph:graph"
python = "3.13"

[build]
anything = "else"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("src/my_agent/graph.py", "crews/planner/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("graph = None\n")
    return tmp_path


def read(project: Path, text: str) -> Manifest:
    (project / "crewship.toml").write_text(text)
    return read_manifest(find_manifest(project))


def test_a_deployment_is_a_crew_with_the_name_of_its_module(project: Path) -> None:
    manifest = read(project, ONE)
    [crew] = manifest.crews.values()
    assert (crew.graph_id, crew.path, crew.attribute) == (
        "my_agent",
        project / "src/my_agent/graph.py",
        "graph",
    )
    assert manifest.local_folders == (project,)
    assert manifest.env == {}
    assert manifest.chat is None


def test_several_deployments_have_their_names(project: Path) -> None:
    manifest = read(
        project,
        """
        [deployments.agent]
        framework = "langgraph"
        entrypoint = "my_agent.graph:graph"
        [deployments.planner]
        framework = "langgraph"
        entrypoint = "crews.planner:graph"
        description = "Plans."
        [deployments.file]
        framework = "langgraph"
        entrypoint = "./src/my_agent/graph.py:graph"
        """,
    )
    assert {name: crew.path.relative_to(project).as_posix() for name, crew in manifest.crews.items()} == {
        "agent": "src/my_agent/graph.py",
        "planner": "crews/planner/__init__.py",
        "file": "src/my_agent/graph.py",
    }
    assert manifest.crews["planner"].description == "Plans."


def test_it_says_where_a_chat_goes_in_and_comes_out(project: Path) -> None:
    manifest = read(project, ONE + '[chat]\ninput_key = "question"\noutput_key = "answer"\n')
    assert manifest.chat is not None
    assert (manifest.chat.input_key, manifest.chat.output_key) == ("question", "answer")


def test_an_env_file_that_is_there_is_the_projects(project: Path) -> None:
    (project / ".env").write_text("A=1\n")
    assert read(project, ONE).env == project / ".env"


def test_langgraph_json_counts_where_there_are_both(project: Path) -> None:
    (project / "langgraph.json").write_text(json.dumps({"graphs": {"a": "src/my_agent/graph.py:graph"}}))
    assert list(read(project, ONE).crews) == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[deployment", "is not valid TOML"),
        ("", "[deployment] is missing"),
        ("[deployment]\nframework = 'langgraph'\n", "deployment.entrypoint: field required"),
        (ONE + "[deployments.a]\nframework = 'langgraph'\nentrypoint = 'a:b'\n", "keep the one"),
        (ONE.replace('"langgraph"', '"crewai"'), "deployment.framework is 'crewai', which this version"),
        (ONE.replace('"langgraph"', '"langgraph-js"'), "which this version does not support"),
        (ONE.replace('"langgraph"', '"other"'), "must be one of crewai, langgraph, langgraph-js"),
        (ONE.replace("graph:graph", "graph"), "deployment.entrypoint must be spelled"),
        (
            ONE.replace("my_agent", "absent"),
            "looked for src/absent/graph.py, src/absent/graph/__init__.py, src/src",
        ),
        (
            ONE.replace("[deployment]", "[deployments.x]").replace("my_agent", "no"),
            "deployments.x.entrypoint",
        ),
        (ONE + "[chat]\ninput_key = 1\n", "chat.input_key: "),
    ],
)
def test_what_is_wrong_is_told_with_file_and_field(project: Path, text: str, message: str) -> None:
    with pytest.raises(BadManifest) as refused:
        read(project, text)
    assert str(project / "crewship.toml") in refused.value.message
    assert message in refused.value.message
