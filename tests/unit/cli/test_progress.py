"""How far a long work is: drawn on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from crewline.cli import screens
from crewline.cli.progress import progress


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    """What two of three steps show."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, legacy_windows=False)
    monkeypatch.setattr(screens, "notes", lambda: console)
    with progress("Removing [all]", total=3) as done:
        done("the [first]")
        done("the second")
    return file.getvalue()


def test_elsewhere_than_on_a_terminal_each_step_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, terminal=False) == "the [first]\nthe second\n"


def test_a_terminal_shows_a_bar_with_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = shown(monkeypatch, terminal=True)
    assert "Removing [all]" in drawn
    assert "2/3" in drawn
    assert "the second" in drawn
