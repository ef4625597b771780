"""Commands in this process, with a configuration of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crewline.local.children import local_service
from tests.cli.commands import Command
from tests.cli.servers import ScriptedService, scripted

TRAVEL = Path(__file__).parents[1] / "projects" / "travel"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any configuration; what the machine's environment says does not count."""
    for name in ("CREWLINE_URL", "CREWLINE_PROFILE", "CREWLINE_API_KEY", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def config(home: Path) -> Path:
    """The configuration file."""
    return home / "config" / "crewline" / "config.toml"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `crewline` in this process."""
    return Command(monkeypatch, capsys)


@pytest.fixture
def scripted_service() -> Iterator[ScriptedService]:
    """A service that answers what it is told to."""
    with scripted() as service:
        yield service


@pytest.fixture(scope="session")
def travel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a `crewline dev` with the crews of tests/projects/travel."""
    with local_service(project=TRAVEL, state=tmp_path_factory.mktemp("travel")) as service:
        yield service.url
