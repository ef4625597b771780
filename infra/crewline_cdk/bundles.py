"""What the layers hold: plain file work that needs neither Node nor Docker.

Each `bundle_*` fills an empty folder with what Lambda unpacks under `/opt`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from crewline import locations

PYTHON: Final = "3.13"
"""The interpreter on Lambda, and so the one that wheels are chosen for."""

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
    *("--target", "python", "--python-version", PYTHON),
    *("--only-binary", ":all:", "--require-hashes"),
    "--no-deps",  # the lock is complete, and pip reads markers as of the interpreter that runs it
    "--quiet",
)
_UV_TARGET: Final = ("--python-platform", "aarch64-manylinux2014")
_PIP_TARGET: Final = ("--platform", "manylinux2014_aarch64", "--implementation", "cp", "--no-compile")


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


def _find_uv() -> list[str]:
    if importlib.util.find_spec("uv"):
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return [found] if found else []


def install_command() -> list[str]:
    """Spell the command that installs the locked dependencies for Lambda into `python`.

    uv where there is one (seconds), the running interpreter's pip otherwise. Nothing is built:
    a package without a wheel for arm64 fails, instead of shipping a binary for this machine.

    Returns:
        The command, to run in the folder that gets `python`.
    """
    uv = _find_uv()
    installer, target = (uv, _UV_TARGET) if uv else ([sys.executable, "-m"], _PIP_TARGET)
    return [*installer, "pip", "install", *_INSTALL, *target, "-r", str(locations.DEPENDENCY_LOCK)]


def bundle_dependencies(output: Path) -> None:
    """Install the locked dependencies for Lambda as `python`.

    Args:
        output: The empty folder to fill.

    Raises:
        CalledProcessError: The installer failed; it has said why on standard error.
    """
    # `cdk synth` prints the template on standard output: the installer keeps away from it.
    subprocess.run(install_command(), cwd=output, check=True, stdout=sys.stderr)  # noqa: S603


def dependencies_hash() -> str:
    """Fingerprint the dependency layer by what decides its content: the lock and the target.

    Returns:
        A hash that is the same on every machine.
    """
    digest = hashlib.sha256(locations.DEPENDENCY_LOCK.read_bytes())
    digest.update(f"python{PYTHON} arm64".encode())
    return digest.hexdigest()
