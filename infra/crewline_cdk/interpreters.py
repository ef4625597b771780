"""A Python of the functions' minor version on this machine, to compile what the layers hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ASK: Final = (
    "import importlib.util, platform, sys; "
    "print(platform.python_implementation(), '.'.join(platform.python_version_tuple()[:2]), "
    "importlib.util.MAGIC_NUMBER.hex())"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python whose bytecode the functions read."""

    path: Path
    magic: str
    """What its bytecode begins with, in hex: another one is not read."""


def find_interpreter(python: str) -> Interpreter | None:
    """Find a CPython of a minor version: the running one, on PATH, of pyenv or of uv; nothing is downloaded.

    Args:
        python: The minor version, such as `3.13`.

    Returns:
        The first that runs; None if there is none.
    """
    for candidate in _candidates(python):
        asked = subprocess.run(  # noqa: S603
            [str(candidate), "-I", "-c", _ASK], capture_output=True, text=True, check=False
        )
        # A shim of pyenv fails where its version is not switched on.
        if asked.returncode == 0 and asked.stdout.split()[:2] == ["CPython", python]:
            return Interpreter(candidate, asked.stdout.split()[2])
    return None


def _candidates(python: str) -> Iterator[Path]:
    name = f"python{python}"
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    places = (
        Path(sys.executable),
        *(folder / name for folder in folders),
        *sorted(pyenv.glob(f"versions/{python}*/bin/{name}"), reverse=True),
    )
    yield from (place for place in places if os.access(place, os.X_OK))
    command = [
        sys.executable,
        "-m",
        "uv",
        "python",
        "find",
        "--managed-python",
        "--no-python-downloads",
        python,
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if found.returncode == 0:
        yield Path(found.stdout.strip())
