"""`crewline doctor`: what is missing on this machine, in this project and in this account, and its cure."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from crewline.cli.options import AsJson, ProfileName, Url

Area = Literal["dev", "deploy"]
State = Literal["good", "warning", "failed", "skipped"]

_OLDEST_PYTHON: Final = (3, 11)
_FUNCTIONS_PYTHON: Final = "3.13"
_OLDEST_NODE: Final = 20
_PORT: Final = 2024
_FEW: Final = 100
"""Concurrent executions; new accounts have 10, which a handful of streams use up."""
_ASK_S: Final = 15
_LOAD_S: Final = 60
_MARKS: Final = {"good": "✓", "warning": "!", "failed": "✗", "skipped": "-"}
_STYLES: Final = {"good": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}

_LOAD: Final = """
import sys
from pathlib import Path
from crewline.engine.crews import load_crews
from crewline.engine.embeddings import load_embedder
from crewline.errors import CrewlineError
from crewline.http.authorities import load_authority
from crewline.models.manifests import read_manifest
try:
    manifest = read_manifest(Path(sys.argv[1]))
    load_crews(manifest)
    load_embedder(manifest)
    if manifest.auth:
        load_authority(manifest.auth, manifest)
except CrewlineError as error:
    sys.exit(" ".join(str(error).split()))
"""


class Purpose(StrEnum):
    """What is to be done with this machine."""

    DEV = "dev"
    DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found."""

    state: State
    said: str
    cure: str = ""
    """What to do about it, as a sentence or a command."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that is looked at."""

    name: str
    area: Area
    """What it is needed for."""
    look: Callable[[], Finding]


def doctor(
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            metavar="DIR",
            file_okay=False,
            exists=True,
            help="Folder with the project's manifest.",
            show_default="the current folder",
        ),
    ] = None,
    purpose: Annotated[
        Purpose, typer.Option("--for", help="What has to work; for dev, what a deploy needs is a warning.")
    ] = Purpose.DEPLOY,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is missing here: this machine, the project, the AWS account, the service.

    Nothing is changed. Ends with 0 when all that is needed is there, else with 1.
    """
    from crewline.cli import screens

    console, notes = screens.console(), screens.notes()
    found: list[tuple[Check, Finding]] = []
    for check in _checks(project, url, profile):
        waiting = notes.status(f"Looking at: {check.name}") if notes.is_terminal else contextlib.nullcontext()
        with waiting:
            finding = _for(purpose, check, check.look())
        found.append((check, finding))
        if not as_json:
            mark = f"[{_STYLES[finding.state]}]{_MARKS[finding.state]}[/]"
            console.print(f"{mark} {check.name}", end="")
            area = " (to deploy)" if check.area == "deploy" else ""
            cure = f" {finding.cure}" if finding.cure else ""
            console.print(f"{area}: {finding.said}{cure}", markup=False)
    failed = [check.name for check, finding in found if finding.state == "failed"]
    if as_json:
        rows = [{"check": check.name, "for": check.area, **asdict(finding)} for check, finding in found]
        screens.print_json({"good": not failed, "checks": rows})
    elif not failed:
        console.print(f"\nAll that is needed to {purpose.value} is there.")
    else:
        console.print(f"\nNeeded to {purpose.value}, and not there: {', '.join(failed)}.", markup=False)
    raise typer.Exit(1 if failed else 0)


def _for(purpose: Purpose, check: Check, finding: Finding) -> Finding:
    if finding.state == "failed" and check.area == "deploy" and purpose is Purpose.DEV:
        return Finding("warning", finding.said, finding.cure)
    return finding


def _checks(project: Path | None, url: str | None, profile: str | None) -> Iterator[Check]:
    yield Check("Python", "dev", _python)
    yield Check("project", "dev", lambda: _manifest(project))
    yield Check("crews", "dev", lambda: _crews(project))
    yield Check(f"port {_PORT}", "dev", _port)
    yield Check("service", "dev", lambda: _service(url, profile))
    yield Check("Node", "deploy", _node)
    yield Check("CDK", "deploy", _cdk)
    yield Check("constructs", "deploy", _constructs)
    yield Check(f"Python {_FUNCTIONS_PYTHON}", "deploy", _functions_python)
    yield Check("AWS credentials", "deploy", _credentials)
    yield Check("CDK bootstrap", "deploy", _bootstrap)
    yield Check("Lambda concurrency", "deploy", _concurrency)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= _OLDEST_PYTHON:
        return Finding("good", version)
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    return Finding("failed", f"{version} is too old.", f"Install {oldest} or newer.")


def _manifest(project: Path | None) -> Finding:
    from crewline.errors import CrewlineError
    from crewline.models.manifests import find_manifest, project_environment, read_manifest

    where = (project or Path.cwd()).resolve()
    path = find_manifest(where)
    if not path.is_file() and project is None:
        return Finding(
            "skipped", f"there is none in {where}.", "`crewline init` makes one; --project names one."
        )
    try:
        manifest = read_manifest(path)
        project_environment(manifest)
    except CrewlineError as exc:
        return Finding("failed", exc.message)
    return Finding("good", f"{path} names {', '.join(manifest.crews)}")


def _crews(project: Path | None) -> Finding:
    """Import the crews in a process of their own, as a function would."""
    from crewline.models.manifests import find_manifest, project_environment, read_manifest

    if _manifest(project).state != "good":
        return Finding("skipped", "there is no project to load.")
    manifest = read_manifest(find_manifest((project or Path.cwd()).resolve()))
    environ = {**os.environ, **project_environment(manifest), "LANGGRAPH_STRICT_MSGPACK": "true"}
    command = [sys.executable, "-P", "-c", _LOAD, str(manifest.path)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            cwd=manifest.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LOAD_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(
            "failed",
            f"they do not load within {_LOAD_S} s.",
            "Move what takes long from the top of their modules into a node.",
        )
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"the process ended with {done.returncode}."]
        return Finding("failed", said[0], "Correct it, or install what it imports.")
    return Finding("good", "they load")


def _port() -> Finding:
    with socket.socket() as one:
        one.settimeout(_ASK_S)
        if one.connect_ex(("127.0.0.1", _PORT)):
            return Finding("good", "free")
    if _answers_as_crewline(f"http://127.0.0.1:{_PORT}"):
        return Finding("good", "`crewline dev` serves there")
    return Finding("warning", "another program has it.", f"crewline dev --port {_PORT + 1}")


def _answers_as_crewline(url: str) -> bool:
    import httpx

    try:
        return bool(httpx.get(f"{url}/ok", timeout=_ASK_S, trust_env=False).json() == {"ok": True})
    except (httpx.HTTPError, ValueError):
        return False


def _service(url: str | None, profile: str | None) -> Finding:
    from crewline.cli import clients, configurations
    from crewline.cli.failures import CliError, ExitCode

    try:
        place = configurations.choose(url, profile, os.environ)
        if place.url == configurations.LOCAL_URL and not _answers_as_crewline(place.url):
            return Finding("skipped", f"none answers at {place.url}.", "`crewline dev` starts one.")
        with clients.reached(url, profile) as service:
            service.get("/v1/runs", limit=1)
    except CliError as exc:
        if exc.exit_code is ExitCode.UNAVAILABLE:
            return Finding("failed", exc.message, "`crewline profiles list` shows where commands look.")
        return Finding("failed", exc.message)
    return Finding("good", f"{place.url} answers" + (", the key is good" if place.api_key else ""))


def _node() -> Finding:
    cure = f"Install version {_OLDEST_NODE} or newer from nodejs.org; the CDK runs on it."
    if not shutil.which("node"):
        return Finding("failed", "there is none.", cure)
    said = _asked("node", "--version")
    version = re.match(r"v(\d+)\.", said)
    if not version:
        return Finding("failed", f"`node --version` says {said[:80]!r}.", cure)
    if int(version[1]) < _OLDEST_NODE:
        return Finding("failed", f"{said} is too old.", cure)
    return Finding("good", said)


def _cdk() -> Finding:
    if shutil.which("cdk") and (said := _asked("cdk", "--version")).startswith("2."):
        return Finding("good", said)
    if shutil.which("npx"):
        return Finding("good", "npx brings it when it is needed")
    return Finding("failed", "there is neither its version 2 nor npx.", "npm install -g aws-cdk@2")


def _constructs() -> Finding:
    missing = [name for name in ("aws_cdk", "uv") if importlib.util.find_spec(name) is None]
    if missing:
        return Finding(
            "failed", f"{' and '.join(missing)} cannot be imported.", "pip install 'crewline[cdk]'"
        )
    return Finding("good", "aws_cdk and uv are installed")


def _functions_python() -> Finding:
    name = f"python{_FUNCTIONS_PYTHON}"
    running = ".".join(map(str, sys.version_info[:2])) == _FUNCTIONS_PYTHON
    if running or shutil.which(name):
        return Finding("good", "compiles what the functions load")
    if importlib.util.find_spec("uv"):
        arguments = ("python", "find", "--managed-python", "--no-python-downloads", _FUNCTIONS_PYTHON)
        if Path(_asked(sys.executable, "-m", "uv", *arguments)).is_file():
            return Finding("good", "compiles what the functions load")
    return Finding(
        "warning",
        "there is none; without it cold starts take three times as long.",
        f"uv python install {_FUNCTIONS_PYTHON}",
    )


def _credentials() -> Finding:
    from crewline.errors import CrewlineError
    from crewline.store import accounts

    try:
        account, arn = accounts.identity()
        return Finding("good", f"{arn.rpartition('/')[2]} of account {account}, in {accounts.region()}")
    except CrewlineError as exc:
        return Finding("failed", exc.message)


def _bootstrap() -> Finding:
    from crewline.errors import CrewlineError
    from crewline.store import accounts

    try:
        account, region = accounts.identity()[0], accounts.region()
    except CrewlineError:
        return Finding("skipped", "it takes credentials to see.")
    try:
        version = accounts.bootstrap_version()
    except CrewlineError as exc:
        return Finding("warning", exc.message)
    if version is None:
        return Finding(
            "failed", f"{region} is not bootstrapped.", f"npx aws-cdk@2 bootstrap aws://{account}/{region}"
        )
    return Finding("good", f"version {version} in {region}")


def _concurrency() -> Finding:
    from crewline.errors import CrewlineError
    from crewline.store import accounts

    try:
        accounts.identity()
    except CrewlineError:
        return Finding("skipped", "it takes credentials to see.")
    try:
        most = accounts.concurrency()
    except CrewlineError as exc:
        return Finding("warning", exc.message)
    if most < _FEW:
        return Finding(
            "warning",
            f"{most} functions may execute at once; each stream takes one.",
            "Ask for more in the console of Service Quotas, under AWS Lambda: Concurrent executions.",
        )
    return Finding("good", f"{most} at once")


def _asked(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_ASK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
