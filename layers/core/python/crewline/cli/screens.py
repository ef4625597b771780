"""What commands print: JSON, tables and times, coloured on a terminal and plain elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from crewline.cli.failures import CliError

_CONTROLS: Final = {code: "�" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
_WIDE: Final = 10_000
"""Columns of what is no terminal: nothing is cut."""
_GAP: Final = 2
"""Columns of a terminal between those of a table."""
_NARROWEST: Final = 12
"""Columns of a terminal in which a cut text still says something."""
_LONG: Final = 100
"""Seconds from which on tenths are left out."""
STATUS_STYLES: Final = {
    "succeeded": "green",
    "failed": "red",
    "error": "red",
    "canceled": "yellow",
    "interrupted": "yellow",
    "running": "cyan",
    "busy": "cyan",
    "pending": "dim",
}
"""Status of a run or thread → how it is shown."""


@cache
def console() -> Console:
    """Give what prints results: standard output."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE)


@cache
def notes() -> Console:
    """Give what prints everything beside results: standard error."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def working(text: str) -> Iterator[Callable[[str], object]]:
    """Show on a terminal that something takes its time; gives what to call with a new text."""
    if not notes().is_terminal:
        yield lambda _: None
        return
    with notes().status(escape(text)) as status:
        yield lambda now: status.update(escape(now))


def print_json(value: Any) -> None:
    """Print a value for programs: one line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def show_json(value: Any) -> None:
    """Print a value for people: JSON over many lines, coloured on a terminal."""
    console().print(JSON(json_text(value, indent=2)))


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Spell a value as JSON for people; what is no character, which cannot be printed, becomes `?`."""
    return plain(json.dumps(value, indent=indent, ensure_ascii=False))


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, whole: Collection[str] = ()
) -> None:
    """Print rows under their columns; each row is a line, on a terminal of any width.

    What does not fit there is left out from the last column on, and said to be.

    Args:
        columns: Their names.
        rows: What stands under each.
        whole: Columns that nobody can use cut, such as ids; they are there whole or not at all, as the first always is.
    """
    cells = [[cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row] for row in rows]
    widths = [max(cell_len(name), *(row[at].cell_len for row in cells), 0) for at, name in enumerate(columns)]
    fitting = _fitted(columns, widths, whole) if console().is_terminal else widths
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, width in zip(columns, fitting, strict=False):
        table.add_column(name, no_wrap=True, min_width=width, max_width=width)
    for row in cells:
        table.add_row(*row[: len(fitting)])
    console().print(table)
    if left_out := columns[len(fitting) :]:
        notes().print(f"No room for {', '.join(left_out)}; --json has everything.", style="dim", markup=False)


def _fitted(columns: Sequence[str], widths: Sequence[int], whole: Collection[str]) -> list[int]:
    """Choose how wide the columns are that the terminal has room for."""
    fitting = [widths[0]]
    for name, width in zip(columns[1:], widths[1:], strict=True):
        room = console().width - sum(fitting) - _GAP * len(fitting)
        if width > room:
            return [*fitting, room] if name not in whole and room >= _NARROWEST else fitting
        fitting.append(width)
    return fitting


def styled_status(status: str) -> Text:
    """Colour a status."""
    return Text(status, style=STATUS_STYLES.get(status, ""))


def plain(text: Any) -> str:
    """Take from a text what would move a terminal's cursor or change its colours."""
    return str(text).translate(_CONTROLS).encode(errors="replace").decode()


def shortened(text: str, most: int) -> str:
    """Put a text on one line of so many characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def seconds(value: float) -> str:
    """Spell a duration: `0.2s`, `45.2s`, `2m 05s`."""
    if value < _LONG:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m {rest:02}s" if hours else f"{minutes}m {rest:02}s"


def moment(text: str | None) -> str:
    """Spell a time of the API as this machine's clock shows it."""
    if not text:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def elapsed(begin: str, end: str | None) -> float:
    """Tell how long something has taken, in seconds; until now, when it has not ended.

    Args:
        begin: A time of the API.
        end: One after it.
    """
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return (until - datetime.fromisoformat(begin)).total_seconds()


def show_fields(fields: Mapping[str, Any]) -> None:
    """Print facts about one thing, each on a line of its own; a value that is not text as JSON."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        if isinstance(value, Text):
            shown = value
        else:
            shown = Text(plain(value if isinstance(value, str) else json_text(value)))
        label = Text(f"{name:<{width}}  " if shown else name, style="bold")
        console().print(label + shown)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is gone for good.

    Args:
        question: What is asked.
        yes: Whether it was answered on the command line.

    Raises:
        CliError: Nobody can be asked, or the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError(f"{question} There is nobody to ask here; say --yes.")
    if not typer.confirm(question, err=True):
        raise CliError("Nothing was changed; the answer was no.")
