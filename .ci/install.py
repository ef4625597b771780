"""Make `.venv` in the checkout and install what the lock names; standard library only.

Safe to run from several `make` at once (one installs, the others wait) and again at any time
(nothing happens while the lock, the project file and the Python are the same).
"""

import fcntl
import hashlib
import itertools
import pathlib
import shutil
import subprocess
import sys
import time
import venv
from typing import NoReturn

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "layers" / "deps" / "develop.txt"
ENVIRONMENT_STAMP = VENV / ".environment"
PROJECT_STAMP = VENV / ".project"
LOG = ROOT / ".venv.log"
OLDEST = (3, 11)
QUIET = 15
"""Seconds between signs of life where there is no terminal."""


def fail(message: str) -> NoReturn:
    """Say what went wrong and what to do; exit code 2."""
    print(f"make install: {message}", file=sys.stderr)
    sys.exit(2)


def digest(*parts: bytes) -> str:
    """What something was made from."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def fresh(stamp: pathlib.Path, wanted: str) -> bool:
    """Tell whether what a stamp stands for was made from the same."""
    return stamp.is_file() and stamp.read_text() == wanted


def run(title: str, *command: str) -> None:
    """Run one step, showing that it is alive; on failure say what to do and stop."""
    began = time.monotonic()
    with LOG.open("ab") as log:
        process = subprocess.Popen([str(VENV / "bin" / "python"), *command], cwd=ROOT, stdout=log, stderr=log)
        for tick in itertools.count():
            try:
                code = process.wait(timeout=1)
                break
            except subprocess.TimeoutExpired:
                seconds = int(time.monotonic() - began)
                if sys.stdout.isatty():
                    print(f"\r{title} {'.' * (tick % 4):<4}{seconds:>4} s", end="", flush=True)
                elif tick % QUIET == QUIET - 1:
                    print(f"{title} … {seconds} s", flush=True)
    if code:
        tail = "\n".join(LOG.read_text(errors="replace").splitlines()[-12:])
        fail(
            f"'{title}' failed:\n{tail}\nThe whole log is {LOG}. Check that pip can reach a package index, then try again."
        )
    end = "\r" if sys.stdout.isatty() else ""
    print(f"{end}{title}: {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """Install, unless everything is there already."""
    if sys.version_info < OLDEST:
        fail(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {sys.version.split()[0]}; say make PYTHON=python3.12"
        )
    with (ROOT / ".venv.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        environment = digest(sys.version.encode(), str(ROOT).encode(), LOCK.read_bytes())
        project = digest(environment.encode(), (ROOT / "pyproject.toml").read_bytes())
        if not fresh(ENVIRONMENT_STAMP, environment):
            make_environment()
            ENVIRONMENT_STAMP.write_text(environment)
        if not fresh(PROJECT_STAMP, project):
            run(
                "Installing crewline",
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--no-build-isolation",
                "-e",
                str(ROOT),
            )
            PROJECT_STAMP.write_text(project)


def make_environment() -> None:
    """Make the virtual environment anew, with every locked dependency."""
    LOG.unlink(missing_ok=True)
    shutil.rmtree(VENV, ignore_errors=True)
    print(f"Setting up {VENV} with Python {sys.version.split()[0]} (about a minute, once)", flush=True)
    try:
        venv.create(VENV, with_pip=True)
    except subprocess.CalledProcessError:
        fail("Python's venv module cannot make an environment with pip; on Debian: apt install python3-venv")
    packages = LOCK.read_text().count("==")
    run(f"Installing {packages} packages", "-m", "pip", "install", "--require-hashes", "-r", str(LOCK))


if __name__ == "__main__":
    main()
