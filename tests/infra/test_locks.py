"""What is locked is what is asked for, in the same versions everywhere, and names no index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "layers" / "deps"
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^#;]*)")


def asked(name: str) -> dict[str, str]:
    """Package → versions, as a list of requirements and those that it includes ask for."""
    found: dict[str, str] = {}
    for line in (LOCKS / name).read_text().splitlines():
        if line.startswith("-r "):
            found |= asked(line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            package, versions = _split(line)
            found[package] = versions
    return found


def locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^(\S+)==([^\s;]+)", (LOCKS / name).read_text(), re.MULTILINE))


def _split(requirement: str) -> tuple[str, str]:
    found = _REQUIREMENT.match(requirement)
    assert found is not None
    return found[1], found[2].strip()


def test_the_layers_ask_for_what_the_distribution_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    distribution = dict(_split(line) for line in project["dependencies"])

    for name in ("control.in", "crew.in"):
        assert asked(name).items() <= distribution.items()


@pytest.mark.parametrize("name", ["control", "crew", "adapter"])
def test_a_lock_has_all_that_is_asked_for(name: str) -> None:
    assert set(asked(f"{name}.in")) <= set(locked(f"{name}.txt"))


@pytest.mark.parametrize("name", ["control.txt", "adapter.txt"])
def test_functions_of_one_deployment_run_on_the_same_versions(name: str) -> None:
    crew = locked("crew.txt")

    assert {
        package: version for package, version in locked(name).items() if package in crew
    }.items() <= crew.items()


def test_only_crews_have_langgraph_and_its_dependencies() -> None:
    assert {"langgraph", "langchain-core", "langsmith", "boto3"} <= set(locked("crew.txt"))
    assert not {"langgraph", "langgraph-sdk", "langchain-core", "langsmith", "boto3"} & set(
        locked("control.txt")
    )


@pytest.mark.parametrize("path", sorted(LOCKS.glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_holds_names_versions_and_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()

    assert "://" not in text
    for block in re.findall(r"^\S+==(?:.*\\\n)*.*\n", text, re.MULTILINE):
        assert "--hash=sha256:" in block
