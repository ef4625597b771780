"""Packages of Node for tests, as a lock file has them: installed beside the Python packages, once for each lock."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

OLDEST: Final = 20
"""The oldest Node that all of them run on."""


class NodeMissing(Exception):
    """There is no Node here on which the packages run."""


def installed(folder: Path) -> Path:
    """Install what a folder's `package-lock.json` names; after the first time that needs no network.

    Args:
        folder: Where `package.json`, `package-lock.json` and `.npmrc` are.

    Returns:
        The folder of the installed packages, `node_modules`.

    Raises:
        NodeMissing: Node or npm is missing, or too old.
        RuntimeError: npm failed.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NodeMissing(f"Node and npm are not on the PATH; install Node {OLDEST} or newer.")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < OLDEST:
        raise NodeMissing(f"Node {OLDEST} or newer is needed, this is {version}.")
    lock = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = Path(sys.prefix) / "javascript" / lock
    if not target.exists():
        _install(npm, folder, target)
    return target / "node_modules"


def _install(npm: str, folder: Path, target: Path) -> None:
    # Into a folder of our own first: nobody finds half an installation, and two at once do no harm.
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(folder / name, unfinished)
    command = [npm, "ci", "--ignore-scripts", "--loglevel=error"]
    ended = subprocess.run(command, cwd=unfinished, capture_output=True, text=True, check=False)
    if ended.returncode:
        shutil.rmtree(unfinished)
        raise RuntimeError(f"npm cannot install what package-lock.json names:\n{ended.stdout}{ended.stderr}")
    try:
        unfinished.rename(target)
    except OSError:
        shutil.rmtree(unfinished)
        if not target.exists():
            raise
