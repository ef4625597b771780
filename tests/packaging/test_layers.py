"""What is deployed from the wheel: the same as from the checkout, and each function has all that it imports.

A project that is not ours is synthesised for the processor of this machine, so that what the layers hold
can be run: by an interpreter of the functions' version that sees the unpacked layers and nothing else.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.cold.layouts import Layout, Synthesised, synthesise
from benchmarks.cold.starts import Start, install_client, start
from crewline_cdk.bundles import Target
from crewline_cdk.interpreters import find_interpreter

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "tests" / "projects" / "foreign"
PYTHON = find_interpreter(Target().python)
CONTROL = ("api", "tail", "sweeper")
CREWS = ("crew", "worker")
ENGINE = {"langgraph", "langgraph_sdk", "langchain_core", "langsmith"}

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="CDK needs Node, and there is none here"),
    pytest.mark.skipif(PYTHON is None, reason="there is no Python of the functions' version here"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign") / "project"
    shutil.copytree(FOREIGN, folder)
    return folder


@pytest.fixture(scope="module")
def deployed(installed: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("PYTHONPATH", raising=False)  # the wheel's library, and not the checkout's
        return synthesise(installed / "python", project, tmp_path_factory.mktemp("cdk.out"))


@pytest.fixture(scope="module")
def layouts(deployed: Synthesised, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Layout]:
    folder = tmp_path_factory.mktemp("opt")
    return {name: deployed.unpack(name, folder) for name in deployed.functions()}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_client(ROOT / "layers" / "deps" / "develop.txt", tmp_path_factory.mktemp("client"))


def started(layout: Layout, client: Path) -> Start:
    assert PYTHON is not None
    return start(PYTHON.path, layout, client)


def test_these_are_all_functions(deployed: Synthesised) -> None:
    assert set(deployed.functions()) == {*CONTROL, *CREWS}


@pytest.mark.parametrize("name", CONTROL)
def test_the_control_plane_imports_from_its_layers_alone_and_no_langgraph(
    layouts: dict[str, Layout], client: Path, name: str
) -> None:
    modules = {module.split(".")[0] for module in started(layouts[name], client).modules}

    assert {"crewline", "botocore", "pydantic"} <= modules
    assert not modules & ENGINE


@pytest.mark.parametrize("name", CREWS)
def test_functions_that_load_crews_import_them_and_what_they_require(
    layouts: dict[str, Layout], client: Path, name: str
) -> None:
    found = started(layouts[name], client)

    assert {"langgraph", "humanize", "slugify", "inflection", "greetings"} <= set(found.modules)
    from_layers = [cache for cache in found.caches if cache and cache.startswith(str(layouts[name].opt))]
    assert len(from_layers) > 500
    assert [cache for cache in from_layers if not Path(cache).is_file()] == []
    elsewhere = (str(ROOT), sys.prefix)
    assert [file for file in found.files if file.startswith(elsewhere)] == []


def test_the_layers_of_the_control_plane_hold_no_langgraph(layouts: dict[str, Layout]) -> None:
    assert not ENGINE & {path.name for path in (layouts["api"].opt / "python").iterdir()}
    assert {path.name for path in (layouts["crew"].opt / "python").iterdir()} >= ENGINE


def test_a_checkout_deploys_the_same_assets(deployed: Synthesised, project: Path) -> None:
    (project / "graphs" / "__pycache__").mkdir()
    (project / "graphs" / "__pycache__" / "greeter.cpython-399.pyc").touch()
    (project / ".DS_Store").touch()
    os.utime(project / "langgraph.json", (0, 0))

    again = synthesise(sys.executable, project, deployed.folder)

    assert again.assets == deployed.assets
    assert again.template == deployed.template
