"""Requirements of projects, resolved by uv among a handful of small packages that lie in a folder."""

import json
import zipfile
from pathlib import Path

import pytest

from crewline import locations
from crewline.errors import BadDeployment, BadManifest
from crewline.models.manifests import read_manifest
from crewline_cdk.bundles import LOCK, Target, bundle_dependencies
from crewline_cdk.requirements import lock_requirements, locked_version


def wheel(folder: Path, name: str, version: str, *, tag: str = "py3-none-any", requires: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only packages there are; the crews import `engine`, and theirs has version 1."""
    folder = tmp_path / "index"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        wheel(folder, "engine", version)
        wheel(folder, "tool", version)
    wheel(folder, "native", "1.0", tag="cp313-cp313-manylinux_2_34_x86_64")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "crew.in").write_text("engine\n")
    (tmp_path / "crew.txt").write_text("engine==1.0 \\\n    --hash=sha256:00\n")
    monkeypatch.setattr(locations, "CREW_REQUIREMENTS", tmp_path / "crew.in")
    monkeypatch.setattr(locations, "CREW_LOCK", tmp_path / "crew.txt")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "graphs.py").touch()
    return folder


def test_a_lock_tells_the_version_of_a_package(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("engine-more==2.0 \\\n    --hash=sha256:00\nengine==1.0 ; python_version >= '3.11' \\\n")
    assert locked_version(lock, "engine") == "1.0"


def lock_of(project: Path, *dependencies: str, target: Target = Target()) -> Path:  # noqa: B008  it is frozen
    manifest = project / "langgraph.json"
    manifest.write_text(json.dumps({"graphs": {"crew": "./graphs.py:g"}, "dependencies": list(dependencies)}))
    return lock_requirements(read_manifest(manifest), target)


def pins(lock: Path) -> list[str]:
    return [line.split(" ")[0] for line in lock.read_text().splitlines() if "==" in line]


def test_a_project_that_requires_nothing_runs_on_the_lock_of_the_library(index: Path, project: Path) -> None:
    (project / "pyproject.toml").write_text("[project]\nname = 'ours'\nversion = '1'\n")

    assert lock_of(project, ".") == locations.CREW_LOCK
    assert not (project / LOCK).exists()


def test_requirements_are_locked_beside_the_manifest_with_the_versions_of_the_library(
    index: Path, project: Path, tmp_path: Path
) -> None:
    lock = lock_of(project, "tool")

    assert lock == project / LOCK
    assert pins(lock) == ["engine==1.0", "tool==2.0"]
    assert lock.read_text().count("--hash=sha256:") == 2
    assert str(tmp_path) not in lock.read_text()
    bundle_dependencies(lock, Target(), tmp_path)
    assert (tmp_path / "python" / "tool.py").is_file()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "-r more.txt\n"),
        ("pyproject.toml", "[project]\nname = 'ours'\nversion = '1'\ndependencies = ['tool<2']\n"),
    ],
)
def test_a_local_folder_says_what_it_requires(index: Path, project: Path, name: str, text: str) -> None:
    (project / "lib").mkdir()
    (project / "lib" / "more.txt").write_text("tool<2\n")
    (project / "lib" / name).write_text(text)

    assert pins(lock_of(project, "./lib")) == ["engine==1.0", "tool==1.0"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("setup.py", "import setuptools; setuptools.setup()\n"),
        ("pyproject.toml", "[project]\nname = 'ours'\nversion = '1'\ndynamic = ['dependencies']\n"),
        ("pyproject.toml", "[build-system]\nrequires = []\n[tool.poetry.dependencies]\ntool = '1'\n"),
    ],
)
def test_what_only_a_build_would_tell_must_be_listed(
    index: Path, project: Path, name: str, text: str
) -> None:
    (project / name).write_text(text)
    with pytest.raises(BadDeployment, match=r"only known when it is built.*requirements\.txt beside it\."):
        lock_of(project, ".")

    (project / "requirements.txt").write_text("tool<2\n")

    assert pins(lock_of(project, ".")) == ["engine==1.0", "tool==1.0"]


def test_a_pyproject_that_only_sets_tools_requires_nothing(index: Path, project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")

    assert lock_of(project, ".") == locations.CREW_LOCK


def test_a_lock_stays_until_what_it_was_made_from_changes(index: Path, project: Path) -> None:
    (project / "requirements.txt").write_text("-r more.txt\n")
    (project / "more.txt").write_text("tool<2\n")
    before = lock_of(project, ".").read_text()
    wheel(index, "tool", "1.5")
    lock_of(project, ".")
    assert (project / LOCK).read_text() == before

    wheel(index, "extra", "1.0")
    (project / "more.txt").write_text("tool<2\nextra\n")
    lock_of(project, ".")

    assert pins(project / LOCK) == ["engine==1.0", "extra==1.0", "tool==1.0"]


def test_a_new_version_of_a_project_needs_no_new_lock(index: Path, project: Path) -> None:
    text = "[project]\nname = 'ours'\nversion = '1'\ndependencies = ['tool']\n"
    (project / "pyproject.toml").write_text(text)
    before = lock_of(project, ".").read_text()

    (project / "pyproject.toml").write_text(text.replace("'1'", "'2'"))

    assert lock_of(project, ".").read_text() == before


def test_a_package_without_a_wheel_for_the_processor_is_named_with_the_ways_out(
    index: Path, project: Path
) -> None:
    with pytest.raises(BadDeployment) as caught:
        lock_of(project, "native")

    assert "native" in caught.value.message
    assert "for Python 3.13 on arm64" in caught.value.message
    assert "architecture x86_64, or give the crews a container image" in caught.value.message
    assert not (project / LOCK).exists()
    assert pins(lock_of(project, "native", target=Target(architecture="x86_64"))) == [
        "engine==1.0",
        "native==1.0",
    ]


def test_a_lock_that_was_altered_is_not_installed(index: Path, project: Path, tmp_path: Path) -> None:
    lock = lock_of(project, "tool")
    digest = lock.read_text().rsplit("sha256:", 1)[1].strip()
    lock.write_text(lock.read_text().replace(digest, "0" * 64))

    with pytest.raises(BadDeployment, match=r"crewline\.lock cannot be installed"):
        bundle_dependencies(lock, Target(), tmp_path)


def test_what_lies_outside_of_the_project_is_not_deployed_and_so_refused(index: Path, project: Path) -> None:
    (project.parent / "shared").mkdir()

    with pytest.raises(BadManifest, match="lies outside of"):
        lock_of(project, "../shared")
