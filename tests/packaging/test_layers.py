"""What is deployed from the wheel: the same as from the checkout, and each function has all that it imports.

A project that is not ours is synthesised for the processor of this machine, so that what the layers hold
can be run: by an interpreter of the functions' version that sees the unpacked layers and nothing else.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crewline_cdk.interpreters import find_interpreter

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "tests" / "projects" / "foreign"
ARCHITECTURE = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
CONTROL = ("ApiFunction", "TailFunction", "SweeperFunction")
CREWS = ("CrewFunction", "WorkerFunction")
ENGINE = {"langgraph", "langgraph_sdk", "langchain_core", "langsmith"}

IMPORT = """
import json, sys
sys.path[:0] = [{task!r}, {packages!r}]
import handler
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
caches = [module.__spec__.cached for module in sys.modules.values() if getattr(module, "__spec__", None)]
print(json.dumps({{"modules": list(sys.modules), "files": files, "caches": caches}}))
"""

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="CDK needs Node, and there is none here"),
    pytest.mark.skipif(
        find_interpreter("3.13") is None, reason="there is no Python 3.13 to run the functions"
    ),
]


@dataclass(frozen=True, slots=True)
class Synthesised:
    """A synthesised stack."""

    folder: Path
    template: dict[str, Any]
    assets: set[str]

    def function(self, name: str) -> dict[str, Any]:
        properties: dict[str, Any] = self.template["Resources"][name]["Properties"]
        return properties

    def asset(self, content: dict[str, str]) -> Path:
        stem = self.folder / f"asset.{content['S3Key'].removesuffix('.zip')}"
        return stem if stem.is_dir() else stem.with_name(f"{stem.name}.zip")

    def layer(self, name: str) -> Path:
        return self.asset(self.template["Resources"][name]["Properties"]["Content"])


def synthesise(python: Path | str, project: Path, folder: Path) -> Synthesised:
    """Run the CDK app as the CDK's command line runs it."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    context = {"project": str(project), "architecture": ARCHITECTURE}
    environ |= {"CDK_OUTDIR": str(folder), "CDK_CONTEXT_JSON": json.dumps(context)}
    command = [str(python), "-m", "crewline_cdk"]
    where = project.parent
    ended = subprocess.run(command, cwd=where, env=environ, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assets = json.loads((folder / "Crewline.assets.json").read_text())
    template = json.loads((folder / "Crewline.template.json").read_text())
    # The template is an asset too, named after its content.
    return Synthesised(folder, template, set(assets["files"]))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "project"
    shutil.copytree(FOREIGN, folder)
    return folder


@pytest.fixture(scope="module")
def deployed(installed: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return synthesise(installed / "python", project, tmp_path_factory.mktemp("cdk.out"))


@pytest.fixture(scope="module")
def opt(deployed: Synthesised, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a function of the control plane has under `/opt`, and one that loads crews."""
    folders = {}
    for name in ("ApiFunction", "CrewFunction"):
        folders[name] = tmp_path_factory.mktemp("opt")
        for layer in deployed.function(name)["Layers"]:
            zipfile.ZipFile(deployed.layer(layer["Ref"])).extractall(folders[name])
    return folders


def start(deployed: Synthesised, name: str, opt: Path) -> dict[str, list[str]]:
    """Import the function's file as a cold start does, and tell what was loaded from where."""
    function = deployed.function(name)
    variables = {
        key: str(opt / value.removeprefix("/opt/"))
        if str(value).startswith("/opt/")
        else json.dumps(value)
        if isinstance(value, dict)
        else value
        for key, value in function["Environment"]["Variables"].items()
    }
    environ = {
        **variables,
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "LAMBDA_TASK_ROOT": str(deployed.asset(function["Code"])),
    }
    interpreter = find_interpreter("3.13")
    assert interpreter is not None
    script = IMPORT.format(task=environ["LAMBDA_TASK_ROOT"], packages=str(opt / "python"))
    command = [str(interpreter.path), "-I", "-S", "-B", "-c", script]
    ended = subprocess.run(command, env=environ, cwd=opt, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, list[str]] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("name", CONTROL)
def test_the_control_plane_imports_from_its_layers_alone_and_no_langgraph(
    deployed: Synthesised, opt: dict[str, Path], name: str
) -> None:
    found = start(deployed, name, opt["ApiFunction"])

    tops = {module.split(".")[0] for module in found["modules"]}
    assert {"crewline", "boto3", "pydantic"} <= tops
    assert not tops & ENGINE


@pytest.mark.parametrize("name", CREWS)
def test_functions_that_load_crews_import_them_and_what_they_require(
    deployed: Synthesised, opt: dict[str, Path], name: str
) -> None:
    found = start(deployed, name, opt["CrewFunction"])

    assert {"langgraph", "humanize", "slugify", "inflection", "greetings"} <= set(found["modules"])
    from_layers = [cache for cache in found["caches"] if cache and cache.startswith(str(opt["CrewFunction"]))]
    assert len(from_layers) > 500
    assert [cache for cache in from_layers if not Path(cache).is_file()] == []
    elsewhere = (str(ROOT), sys.prefix)
    assert [file for file in found["files"] if file.startswith(elsewhere)] == []


def test_the_layers_of_the_control_plane_hold_no_langgraph(opt: dict[str, Path]) -> None:
    assert not ENGINE & {path.name for path in (opt["ApiFunction"] / "python").iterdir()}
    assert {path.name for path in (opt["CrewFunction"] / "python").iterdir()} >= ENGINE


def test_a_checkout_deploys_the_same_assets(deployed: Synthesised, project: Path) -> None:
    (project / "graphs" / "__pycache__").mkdir()
    (project / "graphs" / "__pycache__" / "greeter.cpython-399.pyc").touch()
    (project / ".DS_Store").touch()
    os.utime(project / "langgraph.json", (0, 0))

    again = synthesise(sys.executable, project, deployed.folder)

    assert again.assets == deployed.assets
    assert again.template == deployed.template
