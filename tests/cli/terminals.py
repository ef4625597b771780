"""Commands in a real terminal: 100 columns, 40 lines, and what stands on its screen."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pyte

KEPT = Path(__file__).parent / "screens"
COLUMNS, LINES = 100, 40
_PATIENCE = 60
_NORMAL = (
    (re.compile(r"\b(run|thr|dep|ver)_[0-9a-f]{32}\b"), r"\1_" + "0" * 32),
    (
        re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
        "0" * 8 + "-0000" * 3 + "-" + "0" * 12,
    ),
    (re.compile(r'"[0-9a-f]{32}"'), '"' + "0" * 32 + '"'),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "2000-01-01 00:00:00"),
    (re.compile(r"\b\d+\.\ds\b"), "0.0s"),
    (re.compile(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]"), "⠋"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://127.0.0.1:2024"),
)


class Terminal:
    """A terminal with one command in it."""

    def __init__(self, process: pexpect.spawn[bytes]) -> None:
        self.process = process
        self.printed = b""
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without what differs from one time to the next."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return [_normal(line) for line in lines]

    def colours(self, line: int) -> set[str]:
        """Which colours a line has, beside that of all text."""
        return {cell.fg for cell in self._screen.buffer[line].values() if cell.data.strip()} - {"default"}

    def until(self, seen: Callable[[list[str]], bool]) -> None:
        """Read until the screen is as it must be; bounded."""
        deadline = time.monotonic() + _PATIENCE
        while not seen(self.lines):
            assert time.monotonic() < deadline, "\n".join(self.lines)
            assert self._read(), "\n".join(self.lines)

    def ended(self) -> int:
        """Read to the end; its exit code. Bounded: what is drawn for ever says something for ever."""
        deadline = time.monotonic() + _PATIENCE
        while self._read():
            assert time.monotonic() < deadline, "\n".join(self.lines)
        self.process.close()
        return int(self.process.exitstatus if self.process.exitstatus is not None else -1)

    def _read(self) -> bool:
        try:
            part = self.process.read_nonblocking(65_536, timeout=_PATIENCE)
        except pexpect.EOF:
            return False
        self.printed += part
        self._stream.feed(part)
        return True


@contextmanager
def terminal(*arguments: str, **environ: str) -> Iterator[Terminal]:
    """Run `crewline` in a terminal; it is ended on leaving."""
    ours = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = pexpect.spawn(
        sys.executable,
        ["-m", "crewline.cli", *arguments],
        env={**ours, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environ},
        dimensions=(LINES, COLUMNS),
        timeout=_PATIENCE,
        # A shell that starts the tests in the background has them ignore Ctrl-C, and so would the command.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield Terminal(process)
    finally:
        process.close(force=True)


def check_kept(name: str, lines: list[str]) -> None:
    """Compare a screen with the one that is kept; with KEEP_SCREENS=1, keep this one."""
    file = KEPT / f"{name}.txt"
    text = "\n".join(lines) + "\n"
    if os.environ.get("KEEP_SCREENS"):
        file.write_text(text)
    assert text == file.read_text()


def _normal(line: str) -> str:
    for pattern, written in _NORMAL:
        line = pattern.sub(written, line)
    return line
