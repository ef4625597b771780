"""The JavaScript clients, unmodified, against the local service: each scenario of theirs is a test here.

`npm ci` installs them beside the Python packages, once for each lock file; after that it needs no network.
With SERVICE_URL=http://… and Node alone they run against any other service: `node hook.sdk-1.15.test.mjs`; TIME_SCALE=4
gives a slow one four times as long.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.node import NodeMissing, installed

HERE: Final = Path(__file__).parent
NODE: Final = shutil.which("node")
LIMIT: Final = 180.0 * float(os.environ.get("TIME_SCALE", "1"))
"""Seconds for one file of scenarios."""

_SCENARIO: Final = re.compile(r'^ +async "?([^"(]+)"?\(', re.MULTILINE)


def _named(module: str) -> list[str]:
    return _SCENARIO.findall((HERE / module).read_text())


CONVERSATIONS: Final = _named("conversations.mjs")
_PLAIN, _THREAD_STREAMS = (HERE / "clients.mjs").read_text().split("export function threadStreamScenarios")
FILES: Final = {
    "hook.sdk-1.15": CONVERSATIONS,
    "hook.sdk-2.0": CONVERSATIONS,
    "hook.react-1.1": CONVERSATIONS,
    "client.sdk-1.15": _SCENARIO.findall(_PLAIN + _THREAD_STREAMS),
    "client.sdk-2.0": _SCENARIO.findall(_PLAIN),
}
"""What each file of tests runs."""


@dataclass(frozen=True, slots=True)
class Running:
    """A file of scenarios that Node is running."""

    process: subprocess.Popen[bytes]
    report: Path
    printed: Path

    def outcomes(self) -> dict[str, str | None]:
        """Wait until it is through, and give what went wrong in each scenario, or None."""
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        told = (json.loads(line) for line in self.report.read_text().splitlines())
        return {one["name"]: one["error"] for one in told}


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder of the installed packages."""
    try:
        return installed(HERE)
    except NodeMissing as exc:
        pytest.skip(str(exc))


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest,
    packages: Path,
    service_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Running]]:
    """The files that are asked for, all at once: what they do is mostly waiting."""
    folder = tmp_path_factory.mktemp("javascript")
    for module in HERE.glob("*.mjs"):
        shutil.copy(module, folder)
    (folder / "node_modules").symlink_to(packages)  # modules look for packages in the folders above them
    asked = {
        item.callspec.params["file"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    }
    started = {file: _start(file, folder, service_url) for file in FILES if file in asked}
    yield started
    for file in started.values():
        file.process.kill()
        file.process.wait()


def _start(file: str, folder: Path, url: str) -> Running:
    report, printed = folder / f"{file}.report", folder / f"{file}.log"
    options = ["--test-reporter=./reporter.mjs", f"--test-reporter-destination={report}"]
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [str(NODE), *options, f"{file}.test.mjs"],
            cwd=folder,
            env={**os.environ, "SERVICE_URL": url, "NODE_ENV": "production"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Running(process, report, printed)


@pytest.mark.parametrize(
    ("file", "scenario"), [(file, scenario) for file, scenarios in FILES.items() for scenario in scenarios]
)
def test_a_scenario_passes(running: dict[str, Running], file: str, scenario: str) -> None:
    outcomes = running[file].outcomes()

    if scenario not in outcomes:
        pytest.fail(f"it did not run\n{running[file].printed.read_text()}", pytrace=False)
    if error := outcomes[scenario]:
        pytest.fail(error, pytrace=False)


@pytest.mark.parametrize("file", FILES)
def test_a_file_runs_these_scenarios_and_ends_well(running: dict[str, Running], file: str) -> None:
    outcomes = running[file].outcomes()

    assert sorted(outcomes) == sorted(FILES[file])
    if not any(outcomes.values()):
        assert running[file].process.returncode == 0, running[file].printed.read_text()
