"""What the layers hold: plain file work that needs neither Node nor Docker.

Each `bundle_*` fills an empty folder with what Lambda unpacks under `/opt`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from crewline import locations

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
    def platform(self) -> str:
        """The platform, by uv's name."""
        return _PLATFORMS[self.architecture]


STREAMING_FOLDER: Final = "streaming"
"""Where the runtime of functions that stream lies under `/opt`."""

STREAMING_START: Final = "start"
"""The script in it that starts it."""

PROJECT_FOLDER: Final = "project"
"""Where the crews' project lies under `/opt`."""

CORE_EXCLUDES: Final = ("__pycache__", "/local", "/cli", "/_bundle")
"""Parts of the package that only a laptop uses; `/` roots a name at the package, as gitignore does."""

STREAMING_EXCLUDES: Final = ("__pycache__",)
"""What machines made of the runtime of functions that stream."""

PROJECT_EXCLUDES: Final = (
    ".git",
    ".venv",
    "__pycache__",
    ".crewline",
    "node_modules",
    "cdk.out",
    ".env",
)
"""Parts of a project that never belong into a deployment: history, machines' own files, secrets."""

_INSTALL: Final = (
    *("--target", "python"),
    *("--only-binary", ":all:", "--require-hashes"),
    "--no-deps",  # the lock is complete
    "--quiet",
)


def copy_tree(source: Path, target: Path, excludes: Sequence[str]) -> None:
    """Copy a folder without the named parts.

    Args:
        source: The folder to copy.
        target: Where its content goes; made if missing.
        excludes: Names to leave out at any depth, or with a leading `/` at the top alone.
    """

    def ignored(folder: str, names: list[str]) -> set[str]:
        top = Path(folder) == source
        return {name for name in names if name in excludes or (top and f"/{name}" in excludes)}

    shutil.copytree(source, target, ignore=ignored, symlinks=True, dirs_exist_ok=True)


def bundle_core(output: Path) -> None:
    """Lay out the library as `python/crewline`.

    Args:
        output: The empty folder to fill.
    """
    copy_tree(locations.IMPORT_ROOT / "crewline", output / "python" / "crewline", CORE_EXCLUDES)


def bundle_streaming(output: Path) -> None:
    """Lay out the runtime of functions that stream as `streaming`.

    Args:
        output: The empty folder to fill.
    """
    folder = output / STREAMING_FOLDER
    copy_tree(locations.STREAMING, folder, STREAMING_EXCLUDES)
    (folder / STREAMING_START).chmod(0o755)  # Lambda insists, and not every installer keeps the mode


def bundle_project(project: Path, output: Path) -> None:
    """Lay out the crews' project as `project`.

    Args:
        project: The folder of the manifest.
        output: The empty folder to fill.
    """
    copy_tree(project, output / PROJECT_FOLDER, PROJECT_EXCLUDES)


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
    platform = ("--python-version", target.python, "--python-platform", target.platform)
    return [sys.executable, "-m", "uv", "pip", "install", *_INSTALL, *platform, "-r", str(lock)]


def bundle_dependencies(lock: Path, target: Target, output: Path) -> None:
    """Install locked dependencies for Lambda as `python`.

    Args:
        lock: The requirements, each with a version and hashes.
        target: What they are installed for.
        output: The empty folder to fill.

    Raises:
        CalledProcessError: The installer failed; it has said why on standard error.
    """
    # `cdk synth` prints the template on standard output: the installer keeps away from it.
    subprocess.run(install_command(lock, target), cwd=output, check=True, stdout=sys.stderr)  # noqa: S603


def dependencies_hash(lock: Path, target: Target) -> str:
    """Fingerprint a layer of dependencies by what decides its content: the lock and the target.

    Returns:
        A hash that is the same on every machine.
    """
    digest = hashlib.sha256(lock.read_bytes())
    digest.update(f"python{target.python} {target.architecture}".encode())
    return digest.hexdigest()
