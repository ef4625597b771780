"""Steps that a person watches: each with its seconds, and all of them in a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
from langgraph_sdk.errors import LangGraphError
from rich.console import Console
from rich.table import Table

_PASSED: Final = "[green]ok[/]"
_FAILED: Final = "[red]failed[/]"


class CheckFailed(Exception):
    """What was seen is not what must be; the message says both."""


class Steps:
    """What has been done so far.

    Args:
        console: Where it is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        for column in ("step", "seconds", ""):
            self._table.add_column(column, justify="right" if column == "seconds" else "left")

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Do one step; a check or a request that fails is a `CheckFailed`, which the rest rests on."""
        self._console.print(f"[bold]{name}[/] …")
        began, outcome = time.monotonic(), _FAILED
        try:
            yield
            outcome = _PASSED
        except (httpx.HTTPError, LangGraphError) as exc:
            raise CheckFailed(f"A request was not answered as it must be: {exc!r}") from exc
        finally:
            took = time.monotonic() - began
            self._table.add_row(name, f"{took:.1f}", outcome)
            self._console.print(f"  {outcome} after {took:.1f} s")

    def say(self, text: str) -> None:
        """Say something that belongs to the step under way."""
        self._console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)

    def show(self) -> None:
        """Show all steps."""
        self._console.print()
        self._console.print(self._table)
