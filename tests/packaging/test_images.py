"""An image is laid out by the Dockerfile of the documentation, and started as the stack says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from crewline import locations
from crewline.settings import environment
from tests.streaming.runtime_apis import Sandbox, sandbox

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "images.md").read_text()
[DOCKERFILE] = re.findall(r"```dockerfile\n(.*?)```", PAGE, re.DOTALL)
[IGNORED] = re.findall(r"```\n(.*?)```", PAGE.split("`.dockerignore`")[1], re.DOTALL)
FOLDERS = ("/opt/", "/var/task/")

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="CDK needs Node, and there is none here")


def _steps() -> list[tuple[str, str]]:
    lines = DOCKERFILE.replace("\\\n", " ").splitlines()
    return [(step, rest) for line in lines if line for step, rest in [line.split(" ", 1)]]


def _inside(text: str, image: Path) -> str:
    """Say of what is in the image where it is on this machine."""
    for folder in FOLDERS:
        text = text.replace(folder, f"{image}{folder}")
    return text


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of an image, filled by the steps of the Dockerfile; installing is left out."""
    image = tmp_path_factory.mktemp("image")
    for folder in (*FOLDERS, "/tmp/", "/bin/"):
        (image / folder[1:]).mkdir(parents=True)
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "tests" / "streaming" / "project", project, dirs_exist_ok=True)
    (project / "requirements.txt").write_text("a-heavy-one==1.0\n")
    python = image / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    environ = {"PATH": f"{python.parent}:{os.environ['PATH']}", "PYTHONPATH": str(locations.IMPORT_ROOT)}
    for step, rest in _steps():
        if step == "COPY":
            source, target = rest.split()
            where = Path(_inside(target, image)) if target.startswith(FOLDERS) else image / target[1:]
            if (project / source).is_dir():
                shutil.copytree(project / source, where)
            else:
                shutil.copy(project / source, where)
        elif step == "RUN" and "pip install" not in rest:
            subprocess.run(["sh", "-euc", _inside(rest, image)], env=environ, check=True)
    return image


def _started(name: str, image: Path, log: Path, settings: Mapping[str, str]) -> Any:
    """Start a function as Lambda starts it from the image."""
    from crewline_cdk.images import entry_point

    python, *arguments = [_inside(f"{part}/", image).removesuffix("/") for part in entry_point(name)]
    assert python == "python3"
    return sandbox(
        log,
        {**settings, "PYTHONPATH": str(locations.IMPORT_ROOT)},
        function=image / "var" / "task" / name,
        command=[sys.executable, *arguments],
    )


def _settings(image: Path) -> dict[str, str]:
    values = environment(
        table="t",
        bucket="b",
        run_queue_url="q",
        workflow_arn="arn",
        manifest=str(image / "opt" / "project" / "langgraph.json"),
    )
    return {**values, "AWS_DEFAULT_REGION": "eu-central-1", "LANGGRAPH_STRICT_MSGPACK": "true"}


def _asked(function: Sandbox) -> dict[str, Any]:
    preflight = {
        "httpMethod": "OPTIONS",
        "path": "/runs/wait",
        "headers": {"origin": "https://a.example", "access-control-request-method": "POST"},
    }
    post = function.api.invoke(preflight)
    prelude = post.prelude()
    post.rest()
    return prelude


def test_the_crew_of_an_image_streams_its_answers(image: Path, tmp_path: Path) -> None:
    with _started("crew", image, tmp_path / "log", _settings(image)) as crew:
        answer = _asked(crew)

    assert answer["statusCode"] == 200
    assert answer["headers"]["access-control-allow-origin"] == "*"


def test_the_worker_of_an_image_takes_the_messages_of_its_queue(image: Path, tmp_path: Path) -> None:
    record = {"messageId": "m", "eventSource": "aws:sqs", "body": '{"kind": "none of ours"}'}
    with _started("worker", image, tmp_path / "log", _settings(image)) as worker:
        post = worker.api.invoke({"Records": [record]})

        assert post.json() == {"batchItemFailures": [{"itemIdentifier": "m"}]}


def test_the_image_says_how_both_functions_are_started(image: Path) -> None:
    from crewline_cdk.images import entry_point

    for name in ("crew", "worker"):
        assert f"| `{name}` | `/var/task/{name}` | `{' '.join(entry_point(name))}` |" in PAGE
        assert (image / "var" / "task" / name / "handler.py").is_file()
    assert (image / "opt" / "project" / "langgraph.json").is_file()


def test_an_image_leaves_out_what_a_layer_leaves_out() -> None:
    from crewline_cdk.bundles import PROJECT_EXCLUDES

    assert {line.removeprefix("**/") for line in IGNORED.splitlines()} == set(PROJECT_EXCLUDES)


def test_an_image_is_made_for_the_python_of_the_other_functions() -> None:
    from crewline_cdk.bundles import Target

    assert ("FROM", f"public.ecr.aws/lambda/python:{Target().python}") in _steps()
    assert re.findall(r"--platform linux/(\w+)", PAGE) == [Target().architecture]
