"""What a project requires, resolved together with what the functions import, into a lock beside its manifest.

The lock is the team's to commit: a deploy from it installs the same everywhere, and asks no index
what is newest. Its first line says what it was made from; it is made anew when that has changed.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from crewline import locations
from crewline.errors import BadDeployment, BadManifest
from crewline.models.manifests import Manifest
from crewline_cdk.bundles import LOCK, UV, Target, cannot_install

_COMPILE: Final = (
    *("--python", sys.executable),  # uv would look for the target's among all there are, for seconds
    *("--only-binary", ":all:", "--generate-hashes"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-annotate", "--no-header", "--quiet"),
)
_INCLUDE: Final = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[ =]?\s*(\S+)", re.MULTILINE)
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def lock_requirements(manifest: Manifest, target: Target) -> Path:
    """Give the lock of what the crews of a project import; resolve its requirements if they have changed.

    Args:
        manifest: The project's manifest.
        target: What they are installed for.

    Returns:
        `crewline.lock` beside the manifest, or the lock of a project that requires nothing.

    Raises:
        BadManifest: A dependency lies outside of the project, or is no folder.
        BadDeployment: What a folder requires is not written down; the requirements contradict each other, or there is no wheel for one.
    """
    files = [file for folder in _folders(manifest) if (file := _requirements_file(folder))]
    if not files and not manifest.requirements:
        return locations.CREW_LOCK
    heading = f"# Made by crewline from requirements {_fingerprint(manifest, files, target)}; commit it.\n"
    lock = manifest.folder / LOCK
    before = lock.read_text() if lock.is_file() else ""
    if not before.startswith(heading):
        pins = _resolve(manifest, files, target, before)
        unfinished = lock.with_suffix(".unfinished")
        unfinished.write_text(heading + pins)
        unfinished.replace(lock)
    return lock


def locked_version(lock: Path, package: str) -> str:
    """Tell which version of a package a lock has.

    Args:
        lock: The lock; it has the package.
        package: Its name.
    """
    versions: dict[str, str] = dict(_PIN.findall(lock.read_text()))
    return versions[package]


def _folders(manifest: Manifest) -> Iterator[Path]:
    """Yield the local dependencies, which are deployed with the project and nothing beside it."""
    for folder in manifest.local_folders:
        if not folder.is_relative_to(manifest.folder):
            raise BadManifest(
                f"{manifest.path}: the dependency {folder} lies outside of {manifest.folder}, which is all that "
                "is deployed; move it there, or publish it and require it by name."
            )
        yield folder


def _requirements_file(folder: Path) -> Path | None:
    """Find where a local folder says what it requires: its pyproject.toml, or a list of requirements.

    Raises:
        BadDeployment: It would have to be built to know.
    """
    pyproject, listed = folder / "pyproject.toml", folder / "requirements.txt"
    parsed = _parse(pyproject) if pyproject.is_file() else {}
    project = parsed.get("project", {})
    if project and "dependencies" not in project.get("dynamic", ()):
        return pyproject if project.get("dependencies") else None
    if listed.is_file():
        return listed
    if project or "build-system" in parsed or (folder / "setup.py").is_file():
        raise BadDeployment(
            f"What {folder} requires is only known when it is built, and nothing is built for a deployment; list it "
            "as dependencies of [project] in its pyproject.toml, or in a requirements.txt beside it."
        )
    return None


def _parse(pyproject: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(pyproject.read_text())
    except tomllib.TOMLDecodeError as exc:
        raise BadManifest(f"{pyproject} is not valid TOML: {exc}.") from exc


def _fingerprint(manifest: Manifest, files: list[Path], target: Target) -> str:
    """Fingerprint what decides the lock, by content; where the project lies is not among it."""
    texts: list[object] = [target.options, locations.CREW_LOCK.read_text(), manifest.requirements]
    for file in files:
        name = file.relative_to(manifest.folder).as_posix()
        content = _of_pyproject(file) if file.suffix == ".toml" else _with_included(file)
        texts.append((name, content))
    return hashlib.sha256(repr(texts).encode()).hexdigest()[:32]


def _of_pyproject(pyproject: Path) -> list[Any]:
    """Read what of a pyproject.toml decides its requirements: uv's own settings are among it."""
    parsed = _parse(pyproject)
    return [parsed["project"]["dependencies"], parsed.get("tool", {}).get("uv")]


def _with_included(requirements: Path) -> list[str]:
    """Read a list of requirements, and those that it includes."""
    texts: dict[Path, str] = {}
    waiting = [requirements]
    while waiting:
        path = waiting.pop().resolve()
        if path not in texts and path.is_file():
            texts[path] = path.read_text()
            waiting += [path.parent / name for name in _INCLUDE.findall(texts[path])]
    return list(texts.values())


def _resolve(manifest: Manifest, files: list[Path], target: Target, before: str) -> str:
    """Resolve the requirements, with the versions that crews without requirements have, and those of before."""
    with tempfile.TemporaryDirectory() as temporary:
        own = Path(temporary) / "requirements.in"
        own.write_text("".join(f"{line}\n" for line in manifest.requirements))
        lock = Path(temporary) / LOCK
        lock.write_text(_preferences(before))  # uv keeps the versions of a lock that is there
        sources = [str(path) for path in (locations.CREW_REQUIREMENTS, own, *files)]
        command = [*UV, "pip", "compile", *_COMPILE, *target.options, "-o", str(lock), *sources]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise BadDeployment(
                cannot_install(f"What {manifest.path} requires", target, done.stderr.replace(str(own), "it"))
            )
        return lock.read_text()


def _preferences(before: str) -> str:
    """Put two locks together; a package that both have has the version of ours."""
    versions = dict(_PIN.findall(before)) | dict(_PIN.findall(locations.CREW_LOCK.read_text()))
    return "".join(f"{name}=={version}\n" for name, version in versions.items())
