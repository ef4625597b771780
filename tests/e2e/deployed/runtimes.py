"""What stands for Lambda's managed runtime: an interpreter of its own, and the real runtime client."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from crewline_cdk.interpreters import find_interpreter

RUNTIME: Final = "python3.13"
"""The runtime of the deployed functions."""

_LOCK: Final = Path(__file__).parents[3] / "layers" / "deps" / "develop.txt"
_CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")

_BOOTSTRAP: Final = """#!/bin/sh
# What Lambda runs for a function of this runtime: the wrapper, if one is named, is given the rest as a command.
cd "$LAMBDA_TASK_ROOT" || exit 1
exec ${{AWS_LAMBDA_EXEC_WRAPPER:+"$AWS_LAMBDA_EXEC_WRAPPER"}} {python} "$LAMBDA_RUNTIME_DIR/bootstrap.py"
"""
_MAIN: Final = '''"""The managed runtime's own entry: the function first on the path, then layers, then the runtime."""

import os
import sys

sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]

from awslambdaric.__main__ import main

main(["bootstrap", os.environ["_HANDLER"]])
'''


class RuntimeUnavailable(Exception):
    """This machine cannot stand for the managed runtime."""


def make_runtimes(folder: Path) -> Path:
    """Lay out what stands for `/var/runtime`, as `crewline.local.sandboxes` wants it.

    Args:
        folder: Where to; what is there already is used again.

    Returns:
        The folder.

    Raises:
        RuntimeUnavailable: There is no interpreter of the runtime's version here.
    """
    target = folder / RUNTIME
    python = target / "lang" / "bin" / "python"
    if not (target / "bootstrap").exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        # An environment of its own has nothing but the standard library, whatever the machine's interpreter has.
        subprocess.run([str(_interpreter()), "-m", "venv", "--without-pip", str(target / "lang")], check=True)
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)),
                *("--target", str(target), "--only-binary", ":all:", "--require-hashes", "--no-deps"),
                *("--constraint", str(_LOCK), *_pinned()),
            ],
            check=True,
        )
    write_entry(target, python)  # last: it says that the rest is whole
    return folder


def write_entry(folder: Path, python: Path) -> None:
    """Write what Lambda runs for a function.

    Args:
        folder: What stands for `/var/runtime`.
        python: The interpreter; it finds the runtime client there or elsewhere.
    """
    (folder / "bootstrap.py").write_text(_MAIN)
    bootstrap = folder / "bootstrap"
    bootstrap.write_text(_BOOTSTRAP.format(python=shlex.quote(str(python))))
    bootstrap.chmod(0o755)


def _pinned() -> list[str]:
    lines = (line.split(" ")[0] for line in _LOCK.read_text().splitlines())
    return [line for line in lines if line.split("==")[0] in _CLIENT]


def _interpreter() -> Path:
    found = find_interpreter(RUNTIME.removeprefix("python"))
    if found is None:
        raise RuntimeUnavailable(
            f"The deployed functions need {RUNTIME} and there is none here; install it and put it on the PATH."
        )
    return found.path
