import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from crewline import locations
from crewline.errors import BadDeployment
from crewline.models.manifests import Manifest
from crewline_cdk.bundles import (
    Architecture,
    Target,
    adapter_source,
    bundle_adapter,
    bundle_core,
    bundle_project,
    bundle_streaming,
    dependencies_source,
    install_command,
)


def test_the_core_layer_imports_as_the_library_without_what_only_a_laptop_uses(tmp_path: Path) -> None:
    bundle_core(tmp_path)

    package = tmp_path / "python" / "crewline"
    assert (package / "http" / "resources.py").is_file()
    assert not {"local", "cli", "_bundle"} & {entry.name for entry in package.iterdir()}
    assert not list(tmp_path.rglob("__pycache__"))


def test_the_core_layer_says_which_version_it_is(tmp_path: Path) -> None:
    bundle_core(tmp_path)
    [found] = metadata.distributions(name="crewline", path=[str(tmp_path / "python")])
    assert found.version == metadata.version("crewline")


def test_the_streaming_layer_starts_where_the_functions_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = tmp_path / "installed"
    shutil.copytree(locations.STREAMING, installed)
    (installed / "start").chmod(0o644)  # as an installer may leave it
    (installed / "streaming_bootstrap" / "__pycache__").mkdir(exist_ok=True)
    monkeypatch.setattr(locations, "STREAMING", installed)

    bundle_streaming(tmp_path / "opt")

    assert not list((tmp_path / "opt").rglob("__pycache__"))
    environ = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1", "_HANDLER": "none.at_all", "LAMBDA_TASK_ROOT": "/"}
    start = tmp_path / "opt" / "streaming" / "start"
    command = [str(start), sys.executable, "/var/runtime/bootstrap.py"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Unable to import module 'none'" in done.stderr
    assert "RuntimeApiBroken" in done.stderr


def test_a_project_is_copied_without_history_secrets_and_what_machines_made(tmp_path: Path) -> None:
    project = tmp_path / "ours"
    unwanted = (
        *(
            ".git/HEAD",
            ".venv/bin/python",
            ".env",
            ".env.local",
            ".crewline/state",
            "node_modules/x",
            "cdk.out/x",
        ),
        *("crewline.lock", ".mypy_cache/x", ".DS_Store", "crews/__pycache__/chat.pyc", "crews/.env"),
    )
    wanted = ("langgraph.json", "crews/chat.py", "crews/local/prompt.txt")
    for name in (*unwanted, *wanted):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name)

    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "plan.txt").write_text("Plan.")
    (project / "prompts").symlink_to(tmp_path / "prompts")
    (project / "gone").symlink_to(tmp_path / "nowhere")

    bundle_project(Manifest(path=project / "langgraph.json", crews={}), tmp_path / "layer")

    copied = [path for path in (tmp_path / "layer").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "layer" / "project")) for path in copied} == {
        *wanted,
        "prompts/plan.txt",
    }


@pytest.mark.parametrize("name", ["prod.env", "./settings/prod.env", "settings/../prod.env"])
def test_the_file_of_variables_stays_out_whatever_its_name(tmp_path: Path, name: str) -> None:
    project = tmp_path / "ours"
    (project / "settings").mkdir(parents=True)
    for one in ("prod.env", "settings/prod.env"):
        (project / one).write_text("OPENAI_API_KEY=sk-1")

    bundle_project(
        Manifest(path=project / "langgraph.json", crews={}, env=project / name), tmp_path / "layer"
    )

    [left] = [path for path in (tmp_path / "layer").rglob("*") if path.is_file()]
    assert left.relative_to(tmp_path / "layer" / "project") != Path(os.path.normpath(name))


def test_a_file_of_variables_beside_the_project_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "prod.env").write_text("OPENAI_API_KEY=sk-1")
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "prod.env").write_text("of somebody else")
    manifest = Manifest(
        path=tmp_path / "ours" / "langgraph.json", crews={}, env=tmp_path / "ours" / "../prod.env"
    )

    bundle_project(manifest, tmp_path / "layer")

    assert (tmp_path / "prod.env").is_file()
    assert (tmp_path / "layer" / "prod.env").is_file()


def test_a_project_is_not_copied_into_itself(tmp_path: Path) -> None:
    manifest = Manifest(path=tmp_path / "langgraph.json", crews={})
    manifest.path.write_text("{}")

    with pytest.raises(BadDeployment, match=r"The CDK writes to .*/build, which lies in the project"):
        bundle_project(manifest, tmp_path / "build" / "layers" / "x")
    (tmp_path / "build" / "cdk.out" / "x").mkdir(parents=True)  # as there is when a layer is filled
    bundle_project(manifest, tmp_path / "build" / "cdk.out" / "x")

    copied = (tmp_path / "build" / "cdk.out" / "x" / "project").rglob("*")
    assert {path.name for path in copied} == {"langgraph.json", "build"}


@pytest.mark.parametrize(("architecture", "processor"), [("arm64", "aarch64"), ("x86_64", "x86_64")])
def test_dependencies_come_as_wheels_for_lambda_with_their_hashes_checked(
    architecture: Architecture, processor: str
) -> None:
    command = install_command(locations.CREW_LOCK, Target(architecture=architecture))

    assert command[:5] == [sys.executable, "-m", "uv", "pip", "install"]
    assert {"--require-hashes", ":all:", "3.13", str(locations.CREW_LOCK)} <= set(command)
    assert command[command.index("--python-platform") + 1] == f"{processor}-manylinux_2_34"


def test_a_layer_of_dependencies_changes_with_its_lock_and_target_alone(tmp_path: Path) -> None:
    before = dependencies_source(locations.CONTROL_LOCK, Target())
    lock = tmp_path / "elsewhere.txt"
    lock.write_bytes(locations.CONTROL_LOCK.read_bytes())

    assert dependencies_source(lock, Target()) == before
    lock.write_text(f"# said by somebody\n{lock.read_text()}")
    assert dependencies_source(lock, Target()) == before
    assert dependencies_source(lock, Target(architecture="x86_64")) != before
    lock.write_text("langgraph==0.0.1")
    assert dependencies_source(lock, Target()) != before


def test_the_adapter_layer_starts_its_server_beside_the_packages_of_crews(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = tmp_path / "nothing.txt"
    lock.write_text("")
    monkeypatch.setattr(locations, "ADAPTER_LOCK", lock)
    before = adapter_source(Target())

    bundle_adapter(Target(), tmp_path / "opt")

    assert (tmp_path / "opt" / "adapter" / "start").stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "opt" / "python").exists()
    lock.write_text("uvicorn==1")
    assert adapter_source(Target()) != before
    assert adapter_source(Target(architecture="x86_64")) != adapter_source(Target())
