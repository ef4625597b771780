"""Every example of the README runs."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crewline import locations
from crewline.local.children import local_service

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:2024"


def _examples(language: str, holding: str) -> str:
    [found] = [
        block for block in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in block
    ]
    return str(found)


@pytest.fixture(scope="module")
def examples_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with local_service(project=locations.EXAMPLES, state=tmp_path_factory.mktemp("examples")) as service:
        yield service.url


def _run(*command: str, cwd: Path, **environ: str) -> str:
    environment = {**os.environ, **environ}
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_sdk_example_refines_a_plan(examples_url: str, tmp_path: Path) -> None:
    program = _examples("python", "get_sync_client").replace(ADDRESS, examples_url)
    answer = _run(sys.executable, "-c", program, cwd=tmp_path)
    assert "## Timeline" in answer
    assert answer.splitlines()[-1] == "15 checkpoints"


def test_the_commands_make_a_conversation(examples_url: str, tmp_path: Path) -> None:
    commands = f"set -eu\n{_examples('sh', 'crewline thread history')}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    printed = _run("sh", "-c", commands, cwd=tmp_path, PATH=path, CREWLINE_URL=examples_url)
    assert "Run completed in" in printed
    assert "turn 2" in printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_the_curl_example_makes_a_plan(examples_url: str, tmp_path: Path) -> None:
    command = _examples("sh", "curl").replace(ADDRESS, examples_url)
    assert "## Phases" in _run("sh", "-c", command, cwd=tmp_path)


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("node") is None, reason="CDK needs Node, and there is none on this machine")
def test_the_cdk_example_synthesises(tmp_path: Path) -> None:
    program = _examples("python", "CrewlineService").replace(
        "App()", "App(outdir='out', context={'aws:cdk:bundling-stacks': []})"
    )
    _run(sys.executable, "-c", program, cwd=tmp_path)
    assert (tmp_path / "out" / "Crews.template.json").exists()


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z0-9-]+)", README)) <= targets
