"""How far a long work is: a bar on a terminal, a line for each step elsewhere; always on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from crewline.cli import screens


@contextmanager
def progress(title: str, *, total: int) -> Iterator[Callable[[str], None]]:
    """Show how far a work is while it lasts.

    Args:
        title: What is done.
        total: How many steps it has.

    Yields:
        Is told of each step as it is done.
    """
    notes = screens.notes()
    if not notes.is_terminal:
        yield lambda step: notes.print(step, markup=False)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}"),
    )
    with Progress(*columns, console=notes, transient=True) as bar:
        task = bar.add_task(escape(title), total=total, step="")
        yield lambda step: bar.update(task, advance=1, step=escape(step))
