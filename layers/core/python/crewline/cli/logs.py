"""`crewline logs`: what the functions of a service have logged."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from crewline.cli.options import STACK, AsJson

_DURATION: Final = re.compile(r"(\d+)(s|m|h|d)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_KEPT_LOCALLY: Final = frozenset({"intake", "sweeper", "worker"})
"""Functions that `crewline dev` runs on its local cloud."""
_ANSWERING: Final = frozenset({"api", "crew", "tail"})
_METRICS: Final = '{"_aws":'
"""How lines begin that are for CloudWatch to make metrics of."""
_AWAY_MS: Final = 15_000
"""How far back is looked again for lines that come late."""
_PAUSE_LOCAL_S: Final = 0.3
_PAUSE_S: Final = 3.0
_SHOWN_ELSEWHERE: Final = frozenset({"timestamp", "level", "message", "service", "location", "exception"})
_NOISE: Final = re.compile(r"cold_start|function_.+|xray_trace_id|sampling_rate|exception_name")
_STYLES: Final = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow", "DEBUG": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a log."""

    at_ms: int
    function: str
    text: str
    """As it was written."""
    fields: dict[str, Any]
    """What it says, where it is JSON."""


def logs(
    function: Annotated[
        list[str] | None,
        typer.Option(
            "--function", metavar="NAME", help="Only this one: api, crew, tail, worker, sweeper or intake."
        ),
    ] = None,
    *,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Only lines about this run (run_…).")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="How far back: 90s, 10m, 2h or 3d.")
    ] = "10m",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    stack: Annotated[
        str | None,
        typer.Option(
            "--stack",
            metavar="NAME",
            help="A deployment, by its CloudFormation stack.",
            show_default=f"the local service, or {STACK} where there is none",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            file_okay=False,
            exists=True,
            help="A local service, by its folder for state and logs.",
            show_default=".crewline here, if it is there",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show logs: of `crewline dev`, from its files, or of a deployment, from CloudWatch.

    `crewline dev` keeps those of worker, sweeper and intake; the other functions log where it runs.
    With --json each line is an object: time, function, and what was logged.
    """
    from crewline.cli.failures import CliError
    from crewline.models.public_ids import parse_public_id

    term = parse_public_id("run", run) if run else ""
    since_ms = _since(since)
    if stack and state:
        raise CliError("A service is deployed or local: give --stack or --state, not both.")
    folder = state or Path.cwd() / ".crewline"
    local = folder / "logs" / "functions.log"
    if state or (not stack and local.is_file()):
        found = _local(local, set(function or ()), term, since_ms, follow=follow)
    else:
        found = _deployed(stack or STACK, function or [], term, since_ms, follow=follow)
    try:
        for line in found:
            _show(line, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit from None  # how following ends


def _since(text: str) -> int:
    from crewline.cli.failures import CliError

    if not (found := _DURATION.fullmatch(text)):
        raise CliError(f"--since must be a number of s, m, h or d, such as 10m, not {text!r}.")
    return int((time.time() - int(found[1]) * _UNITS[found[2]]) * 1_000)


def _local(path: Path, functions: set[str], term: str, since_ms: int, *, follow: bool) -> Iterator[Line]:
    from crewline.cli.failures import CliError, ExitCode

    if not path.is_file():
        raise CliError(
            f"There are no logs in {path.parent}; is this the folder that `crewline dev` says its state is in?",
            ExitCode.NOT_FOUND,
        )
    if unknown := functions - _KEPT_LOCALLY - _ANSWERING:
        raise CliError(
            f"There is no function {', '.join(sorted(unknown))}; there are {', '.join(sorted(_KEPT_LOCALLY | _ANSWERING))}.",
            ExitCode.NOT_FOUND,
        )
    if elsewhere := functions - _KEPT_LOCALLY:
        raise CliError(
            f"`crewline dev` keeps the logs of {', '.join(sorted(_KEPT_LOCALLY))}; what {', '.join(sorted(elsewhere))} "
            "has to say is printed where it runs."
        )
    before = Line(at_ms=int(path.stat().st_mtime * 1_000), function="", text="", fields={})
    for text in _lines(path, follow=follow):
        if text.startswith(_METRICS):
            continue
        before = line = _parse(text, before)
        chosen = not functions or line.function in functions
        if chosen and term in line.text and line.at_ms >= since_ms:
            yield line


def _lines(path: Path, *, follow: bool) -> Iterator[str]:
    """Read a file's complete lines; a file that was emptied, by another start, is read from its beginning."""
    position, rest = 0, b""
    while True:
        if path.is_file():
            with path.open("rb") as file:
                if path.stat().st_size < position:
                    position, rest = 0, b""
                file.seek(position)
                new = file.read()
                position += len(new)
            *complete, rest = (rest + new).split(b"\n")
            yield from (one.decode(errors="replace") for one in complete)
        if not follow:
            return
        time.sleep(_PAUSE_LOCAL_S)  # nothing tells of a file that another process writes


def _deployed(stack: str, functions: list[str], term: str, since_ms: int, *, follow: bool) -> Iterator[Line]:
    from crewline.cli.failures import CliError, ExitCode
    from crewline.store.logs import Logs

    kept = Logs(stack)
    if unknown := [name for name in functions if name not in kept.groups]:
        raise CliError(
            f"Stack {stack} has no function {', '.join(unknown)}; it has {', '.join(sorted(kept.groups))}.",
            ExitCode.NOT_FOUND,
        )
    wanted = functions or [name for name in kept.groups if name != "access"]
    seen: dict[str, int] = {}
    while True:
        for event in kept.read(wanted, since_ms=since_ms, term=term):
            if event.event_id not in seen:
                seen[event.event_id] = event.at_ms
                if event.text.startswith(_METRICS):
                    continue
                before = Line(at_ms=event.at_ms, function=event.function, text="", fields={})
                yield _parse(event.text, before)
        if not follow:
            return
        since_ms = max([since_ms, *(at - _AWAY_MS for at in seen.values())])
        seen = {event_id: at for event_id, at in seen.items() if at >= since_ms}
        time.sleep(_PAUSE_S)  # CloudWatch tells of nothing by itself


def _parse(text: str, before: Line) -> Line:
    """Read a line; what is no JSON is of the time and the function of the line before."""
    try:
        fields = json.loads(text)
        at = datetime.fromisoformat(fields["timestamp"])
        return Line(
            at_ms=int(at.timestamp() * 1_000),
            function=str(fields.get("service", before.function)),
            text=text,
            fields=fields,
        )
    except (ValueError, TypeError, KeyError):
        return Line(at_ms=before.at_ms, function=before.function, text=text, fields={})


def _show(line: Line, *, as_json: bool) -> None:
    from rich.text import Text

    from crewline.cli import screens

    at = datetime.fromtimestamp(line.at_ms / 1_000, UTC)
    if as_json:
        time_ = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = line.fields or {"message": line.text}
        screens.print_json({"time": time_, "function": line.function, "log": said})
        return
    fields = line.fields
    level = str(fields.get("level", ""))
    shown = Text(f"{at:%H:%M:%S}.{at.microsecond // 1_000:03} ", style="dim")
    shown.append(f"{line.function:<7} ", style="cyan")
    shown.append(f"{level:<7} ", style=_STYLES.get(level, ""))
    shown.append(screens.plain(fields.get("message", line.text)))
    for name, value in fields.items():
        if name not in _SHOWN_ELSEWHERE and not _NOISE.fullmatch(name):
            shown.append(f"  {name}=", style="dim")
            shown.append(screens.plain(value if isinstance(value, str) else json.dumps(value)))
    for one in str(fields.get("exception", "")).splitlines():
        shown.append(f"\n  {screens.plain(one)}", style="red")
    screens.console().print(shown)
