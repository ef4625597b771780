"""What a command did: its exit code and what it printed."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from crewline.cli.main import main


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """What it printed, as lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """Runs `crewline` in this process, without a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object, stdin: str = "") -> Done:
        self._monkeypatch.setattr(sys, "argv", ["crewline", *map(str, arguments)])
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = self._capsys.readouterr()
        assert isinstance(ended.value.code, int), ended.value.code
        return Done(ended.value.code, printed.out, printed.err)

    def refused(self, code: int, *arguments: object, stdin: str = "") -> str:
        """Run a command that fails as it must: with this code, nothing on stdout and one line on stderr."""
        done = self(*arguments, stdin=stdin)
        assert (done.code, done.out) == (code, ""), done
        assert done.err.startswith("Error: "), done.err
        assert done.err.count("\n") == 1, done.err
        return done.err.removeprefix("Error: ").strip()
