"""The site that the docs become."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.main import get_command

from crewline.cli.main import app
from crewline.http import operations

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: a link that leads nowhere fails it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "-f", ".ci/site/mkdocs.yml", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "link", "iframe"):
            self.found.add(given.get("src") or given.get("href") or "")


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        sources = _Sources()
        sources.feed(page.read_text())
        assert not [source for source in sources.found if re.match(r"(https?:)?//", source)], page


def test_every_route_has_a_place_in_the_reference(site: Path) -> None:
    reference = (site / "generated" / "api.html").read_text()
    for method, path in operations.OPERATIONS:
        assert f">{method} {path}<" in reference


def test_every_command_has_a_place_in_the_reference(site: Path) -> None:
    reference = (site / "generated" / "cli.html").read_text()
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"<code>crewline {name}</code>" in reference
