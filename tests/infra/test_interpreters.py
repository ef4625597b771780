import sys
from pathlib import Path

import pytest

from crewline_cdk.interpreters import find_interpreter

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER = "3.99"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Python but the running one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    (tmp_path / "bin").mkdir()
    return tmp_path


def place(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_running_one_is_taken_if_it_fits(home: Path) -> None:
    found = find_interpreter(MINOR)

    assert found is not None
    assert found.path == Path(sys.executable)


def test_there_may_be_none(home: Path) -> None:
    assert find_interpreter(OTHER) is None


def test_a_shim_that_fails_and_one_that_is_another_are_passed_over(home: Path) -> None:
    place(home / "bin" / f"python{OTHER}", "exit 127")
    assert find_interpreter(OTHER) is None

    place(
        home / ".pyenv" / "versions" / f"{OTHER}.1" / "bin" / f"python{OTHER}", f'exec {sys.executable} "$@"'
    )
    assert find_interpreter(OTHER) is None

    right = home / ".pyenv" / "versions" / f"{OTHER}.0" / "bin" / f"python{OTHER}"
    place(right, f"echo CPython {OTHER} aabbccdd")
    found = find_interpreter(OTHER)
    assert found is not None
    assert (found.path, found.magic) == (right, "aabbccdd")
