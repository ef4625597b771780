"""What is deployed from the wheel: the same as from the checkout, and each function has all that it imports.

A project that is not ours is synthesised for the processor of this machine, so that what the layers hold
can be run: by an interpreter of the functions' version that sees the unpacked layers and nothing else.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.cold.layouts import ARCHITECTURE, Layout, Synthesised, synthesise
from benchmarks.cold.starts import Start, install_client, start
from crewline.http.authentication import NEEDED
from crewline.http.resources import resource_for
from crewline_cdk.bundles import UV, Target, bundle_adapter
from crewline_cdk.interpreters import find_interpreter

ROOT = Path(__file__).parents[2]
FOREIGN = ROOT / "tests" / "projects" / "foreign"
PYTHON = find_interpreter(Target().python)
CONTROL = ("api", "tail", "sweeper", "intake")
CREWS = ("crew", "worker")
ASKING = """
from streaming_bootstrap.handlers import load
_, answer = load("handler.answer")
for method, path in {places}:
    path = path.replace("{{", "").replace("}}", "")
    reply = answer({{"httpMethod": method, "path": path, "headers": {{}}, "body": None, "requestContext": {{}}}}, None)
    assert reply.status == 401, (method, path, reply)
"""
"""Asks for every route without a key: it is made before that is looked for."""
ENGINE = {"langgraph", "langgraph_sdk", "langchain_core", "langsmith"}

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(shutil.which("node") is None, reason="CDK needs Node, and there is none here"),
    pytest.mark.skipif(PYTHON is None, reason="there is no Python of the functions' version here"),
]


@pytest.fixture(scope="module", autouse=True)
def index() -> None:
    """Skip where uv reaches no package index: what layers hold comes from there, as in a deploy."""
    asked = [*UV, "pip", "compile", "--quiet", "--no-deps", "--no-header", "-"]
    answered = subprocess.run(asked, input="orjson", capture_output=True, text=True, check=False)
    if answered.returncode and "Failed to fetch" in answered.stderr:
        pytest.skip("uv reaches no package index from here")
    assert "orjson==" in answered.stdout, answered.stderr


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


@pytest.mark.parametrize("name", ["api", "tail"])
def test_routes_that_are_made_later_find_all_that_they_import(
    layouts: dict[str, Layout], client: Path, name: str
) -> None:
    assert PYTHON is not None
    places = [place for place, scope in NEEDED.items() if scope and resource_for(place[1])[1] == name]
    assert len(places) > 3

    modules = start(PYTHON.path, layouts[name], client, code=ASKING.format(places=places)).modules

    assert {"crewline.http.v1.runs" if name == "api" else "crewline.http.v1.events"} <= set(modules)
    assert not {module.split(".")[0] for module in modules} & ENGINE


def test_the_control_plane_has_a_client_for_every_service_that_it_calls(
    layouts: dict[str, Layout], client: Path
) -> None:
    assert PYTHON is not None
    code = "from crewline.store.clients import SERVICES, client\nfor service in SERVICES: client(service)"

    assert start(PYTHON.path, layouts["api"], client, code=code).modules


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


def test_the_control_plane_is_served_to_the_web_adapter_from_its_layers_alone(
    layouts: dict[str, Layout], tmp_path: Path
) -> None:
    assert PYTHON is not None
    api = layouts["api"]
    bundle_adapter(Target(architecture=ARCHITECTURE), tmp_path)
    (tmp_path / "python").symlink_to(api.opt / "python")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        **api.environment,
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_RUNTIME_DIR": str(tmp_path / "runtime"),
        "_HANDLER": "handler.answer",
        "AWS_LWA_PORT": str(port),
    }
    command = ["/bin/sh", str(tmp_path / "adapter" / "start"), str(PYTHON.path)]
    process = subprocess.Popen(command, env=environ, cwd=api.task)
    try:
        answer = asked(process, port, "/ok")
    finally:
        process.terminate()
        process.wait()

    assert answer == (200, b'{"ok":true}')


def asked(process: subprocess.Popen[bytes], port: int, path: str) -> tuple[int, bytes]:
    """Ask as the adapter does, once the port is open."""
    told = {"request_id": "r", "deadline": 9_999_999_999_999, "invoked_function_arn": "a"}
    headers = {
        "x-amzn-request-context": json.dumps({"resourcePath": "/{proxy+}"}),
        "x-amzn-lambda-context": json.dumps(told),
    }
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        except ConnectionRefusedError:
            assert process.poll() is None, "the server has ended"
            time.sleep(0.01)
        finally:
            connection.close()


def test_a_checkout_deploys_the_same_assets(deployed: Synthesised, project: Path) -> None:
    (project / "graphs" / "__pycache__").mkdir()
    (project / "graphs" / "__pycache__" / "greeter.cpython-399.pyc").touch()
    (project / ".DS_Store").touch()
    os.utime(project / "langgraph.json", (0, 0))

    again = synthesise(sys.executable, project, deployed.folder)

    assert again.assets == deployed.assets
    assert again.template == deployed.template
