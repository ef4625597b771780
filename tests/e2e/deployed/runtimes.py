"""What stands for Lambda's managed runtime: an interpreter of its own, and the real runtime client."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

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
    if (target / "bootstrap").exists():
        return folder
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    language = target / "lang"
    # An environment of its own has nothing but the standard library, whatever the machine's interpreter has.
    subprocess.run([_interpreter(), "-m", "venv", "--without-pip", str(language)], check=True)
    python = language / "bin" / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)),
            *("--target", str(target), "--only-binary", ":all:", "--require-hashes", "--no-deps"),
            *("--constraint", str(_LOCK), *_pinned()),
        ],
        check=True,
    )
    (target / "bootstrap.py").write_text(_MAIN)
    bootstrap = target / "bootstrap"
    bootstrap.write_text(_BOOTSTRAP.format(python=shlex.quote(str(python))))
    bootstrap.chmod(0o755)
    return folder


def _pinned() -> list[str]:
    lines = (line.split(" ")[0] for line in _LOCK.read_text().splitlines())
    return [line for line in lines if line.split("==")[0] in _CLIENT]


def _interpreter() -> str:
    for candidate in _candidates():
        # A shim of a version manager is on the PATH whether or not there is an interpreter behind it.
        ended = subprocess.run([candidate, "--version"], check=False, capture_output=True, text=True)
        if ended.returncode == 0 and ended.stdout.startswith(f"Python {RUNTIME.removeprefix('python')}."):
            return candidate
    raise RuntimeUnavailable(
        f"The deployed functions need {RUNTIME} and there is none here; install it and put it on the PATH."
    )


def _candidates() -> Iterator[str]:
    yield sys.executable
    if found := shutil.which(RUNTIME):
        yield found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from map(str, sorted(versions.glob(f"{RUNTIME.removeprefix('python')}.*/bin/python")))
