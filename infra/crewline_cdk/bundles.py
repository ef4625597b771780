"""What the layers hold: plain file work that needs neither Node nor Docker.

Each `bundle_*` fills an empty folder with what Lambda unpacks under `/opt`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from crewline import locations
from crewline.errors import BadDeployment
from crewline.models.manifests import Manifest

Architecture = Literal["arm64", "x86_64"]
"""The processors of Lambda, by Lambda's names."""

_PLATFORMS: Final = {"arm64": "aarch64-manylinux_2_34", "x86_64": "x86_64-manylinux_2_34"}
"""Architecture → the platform that uv chooses wheels for: Amazon Linux 2023 has glibc 2.34."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the layers are made for."""

    python: str = "3.13"
    """The interpreter's minor version."""
    architecture: Architecture = "arm64"

    @property
    def options(self) -> tuple[str, ...]:
        """What tells uv of it."""
        return ("--python-version", self.python, "--python-platform", _PLATFORMS[self.architecture])


STREAMING_FOLDER: Final = "streaming"
"""Where the runtime of functions that stream lies under `/opt`."""

START: Final = "start"
"""The script in it, and in the folder of the adapter, that starts what is there."""

ADAPTER_FOLDER: Final = "adapter"
"""Where what serves functions behind AWS Lambda Web Adapter lies under `/opt`."""

PROJECT_FOLDER: Final = "project"
"""Where the crews' project lies under `/opt`."""

LOCK: Final = "crewline.lock"
"""The lock of a project's requirements, beside its manifest."""

UV: Final = (sys.executable, "-m", "uv")
"""The installer, which comes with the constructs."""

_MACHINE_FILES: Final = ("__pycache__", "*.pyc", ".DS_Store")
"""What machines leave in folders: no two copies of a source would be the same with them."""

_CORE_EXCLUDES: Final = (*_MACHINE_FILES, "/local", "/cli", "/_bundle")
"""Parts of the package that only a laptop uses; `/` roots a name at the package, as gitignore does."""

PROJECT_EXCLUDES: Final = (
    *_MACHINE_FILES,
    *(".git", ".venv", "venv", "node_modules", "*.egg-info", ".*_cache"),
    *(".crewline", LOCK, "cdk.out"),
    *(".env", ".env.*"),
)
"""Parts of a project that never belong into a deployment: history, machines' own files, secrets."""

_UNUSED: Final = ("python/zstandard/_cffi.*.so", "python/bin")
"""What nothing on Lambda loads: zstandard's second backend is 11 MB, and CPython takes the first."""

_SERVICES: Final = "python/botocore/data"
"""One folder a service of AWS, 22 MB, all of which are looked through when the first client is made."""

_INSTALL: Final = (
    *("--target", "python"),
    *("--only-binary", ":all:", "--require-hashes"),
    "--no-deps",  # the lock is complete
    "--quiet",
)


def copy_tree(source: Path, target: Path, excludes: Sequence[str]) -> None:
    """Copy a folder without the named parts; a link becomes what it points at.

    Args:
        source: The folder to copy.
        target: Where its content goes; made if missing.
        excludes: Patterns of names to leave out at any depth, or with a leading `/` at the top alone.
    """

    def ignored(folder: str, names: list[str]) -> set[str]:
        rooted = [pattern[1:] for pattern in excludes if pattern.startswith("/")]
        patterns = [*excludes, *(rooted if Path(folder) == source else ())]
        return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}

    shutil.copytree(source, target, ignore=ignored, ignore_dangling_symlinks=True, dirs_exist_ok=True)


def bundle_core(output: Path) -> None:
    """Lay out the library as `python/crewline`.

    Args:
        output: The empty folder to fill.
    """
    copy_tree(locations.IMPORT_ROOT / "crewline", output / "python" / "crewline", _CORE_EXCLUDES)
    # What `importlib.metadata` looks for: without it a deployment could not say which version it is.
    version = metadata.version("crewline")
    described = output / "python" / f"crewline-{version}.dist-info" / "METADATA"
    described.parent.mkdir(parents=True)
    described.write_text(f"Metadata-Version: 2.1\nName: crewline\nVersion: {version}\n")


def bundle_streaming(output: Path) -> None:
    """Lay out the runtime of functions that stream as `streaming`.

    Args:
        output: The empty folder to fill.
    """
    folder = output / STREAMING_FOLDER
    copy_tree(locations.STREAMING, folder, _MACHINE_FILES)
    (folder / START).chmod(0o755)  # Lambda insists, and not every installer keeps the mode


def bundle_adapter(target: Target, output: Path) -> None:
    """Lay out what serves functions behind AWS Lambda Web Adapter as `adapter`.

    Its packages are in a folder of their own: crews may bring other versions of them.

    Args:
        target: What it is made for.
        output: The empty folder to fill.

    Raises:
        BadDeployment: The server cannot be installed; the message says why.
    """
    folder = output / ADAPTER_FOLDER
    copy_tree(locations.ADAPTER, folder, _MACHINE_FILES)
    (folder / START).chmod(0o755)
    bundle_dependencies(locations.ADAPTER_LOCK, target, folder)


def adapter_source(target: Target) -> str:
    """Fingerprint the layer that `bundle_adapter` fills, by what decides its content."""
    digest = hashlib.sha256((locations.ADAPTER / START).read_bytes())
    digest.update(dependencies_source(locations.ADAPTER_LOCK, target).encode())
    return digest.hexdigest()


def bundle_project(manifest: Manifest, output: Path) -> None:
    """Lay out the crews' project as `project`.

    Args:
        manifest: Its manifest; the file of variables that it names stays out, whatever its name.
        output: The empty folder to fill.

    Raises:
        BadDeployment: What is filled lies in what is copied.
    """
    project, output = manifest.folder.resolve(), output.resolve()
    within = output.relative_to(project).parts if output.is_relative_to(project) else ()
    if within and not any(fnmatchcase(part, pattern) for part in within for pattern in PROJECT_EXCLUDES):
        raise BadDeployment(
            f"The CDK writes to {project / within[0]}, which lies in the project and would be deployed with it; "
            "let it write to cdk.out, or elsewhere (--output)."
        )
    copy_tree(project, output / PROJECT_FOLDER, PROJECT_EXCLUDES)
    if isinstance(manifest.env, Path):
        named = Path(os.path.relpath(manifest.env, manifest.folder))
        if ".." not in named.parts:
            (output / PROJECT_FOLDER / named).unlink(missing_ok=True)


def install_command(lock: Path, target: Target) -> list[str]:
    """Spell the command that installs locked dependencies for Lambda into `python`.

    Nothing is built: a package without a wheel for the target fails, instead of shipping a binary
    for this machine.

    Args:
        lock: The requirements, each with a version and hashes.
        target: What they are installed for.

    Returns:
        The command, to run in the folder that gets `python`.
    """
    return [*UV, "pip", "install", *_INSTALL, *target.options, "-r", str(lock)]


def bundle_dependencies(
    lock: Path, target: Target, output: Path, *, services: Collection[str] | None = None
) -> None:
    """Install locked dependencies for Lambda as `python`.

    Args:
        lock: The requirements, each with a version and hashes.
        target: What they are installed for.
        output: The empty folder to fill.
        services: The services of AWS that are called; all may be without it.

    Raises:
        BadDeployment: The installer failed; the message says why.
    """
    done = subprocess.run(  # noqa: S603
        install_command(lock, target), cwd=output, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise BadDeployment(cannot_install(lock.name, target, done.stderr))
    for pattern in _UNUSED:
        for path in output.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if services is not None:
        for folder in (output / _SERVICES).iterdir():
            if folder.is_dir() and folder.name not in services:
                shutil.rmtree(folder)


def dependencies_source(lock: Path, target: Target, *, services: Collection[str] | None = None) -> str:
    """Fingerprint a layer of dependencies by what decides its content: the lock and how it is installed.

    Returns:
        A hash that is the same on every machine.
    """
    pins = "".join(line for line in lock.read_text().splitlines(keepends=True) if not line.startswith("#"))
    return hashlib.sha256(repr((pins, _INSTALL, target.options, _UNUSED, services)).encode()).hexdigest()


def cannot_install(what: str, target: Target, reason: str) -> str:
    """Say why requirements cannot be installed, and what to do about a package without a wheel."""
    other = "x86_64" if target.architecture == "arm64" else "arm64"
    return (
        f"{what} cannot be installed for Python {target.python} on {target.architecture}:\n{reason.strip()}\n"
        "Layers hold wheels, and nothing is built for them. For a package that has no wheel for "
        f"{target.architecture}, deploy with architecture {other}, or give the crews a container image (image)."
    )
