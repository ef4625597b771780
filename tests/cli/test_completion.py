"""The shell completes commands and options, once its script is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASK_BASH = """
    eval "$(_CREWLINE_COMPLETE=source_bash crewline)"
    COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    _crewline_completion crewline; printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the `crewline` that these sources are."""
    script = tmp_path / "crewline"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m crewline.cli "$@"\n')
    script.chmod(0o755)
    return tmp_path


def typed(folder: Path, *line: str, **environ: str) -> str:
    done = subprocess.run(
        line,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("crewline thr", "thread"),
        ("crewline thread hist", "history"),
        ("crewline invoke --str", "--stream"),
        ("crewline runs list --status fai", "failed"),
    ],
)
def test_bash_completes(folder: Path, words: str, offered: str) -> None:
    assert offered in typed(folder, "bash", "-c", ASK_BASH.format(words=words)).split()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered(folder: Path, shell: str) -> None:
    told = typed(
        folder,
        "crewline",
        _CREWLINE_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="crewline thread hist",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "history" in told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_crewline(folder: Path, shell: str) -> None:
    assert f"_CREWLINE_COMPLETE=complete_{shell}" in typed(
        folder, "crewline", _CREWLINE_COMPLETE=f"source_{shell}"
    )
