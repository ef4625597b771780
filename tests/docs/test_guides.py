"""The guides: what they tell people to type is typed here, in order, against the service that they describe."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from crewline import locations
from crewline.local.children import local_service
from tests.docs.pages import ADDRESS, PAGES, Block, blocks, fits

GUIDES = sorted(
    str(path.relative_to(PAGES))
    for path in (
        *PAGES.glob("guides/*.md"),
        *PAGES.glob("migrate/*.md"),
        PAGES / "runs-or-threads.md",
        PAGES / "v1.md",
        PAGES / "cli.md",
    )
)
LONG = frozenset(("cli.md",))
"""Pages with so many commands that only the thorough tests type them."""
TYPED = [pytest.param(page, marks=[pytest.mark.thorough] * (page in LONG)) for page in GUIDES]
BETWEEN = "\036"
"""What is printed between two blocks."""
FOR_A_DEPLOYMENT = "<your api>"
"""In commands that can only be typed with an address of one's own."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with the crews that the guides speak of."""
    with local_service(project=locations.EXAMPLES, state=tmp_path_factory.mktemp("guides")) as service:
        yield service.url


@pytest.mark.parametrize("page", GUIDES)
def test_the_python_of_a_guide_does_what_the_guide_says(page: str, url: str, tmp_path: Path) -> None:
    typed = [block for block in blocks(page) if block.language == "python"]
    program = "\n".join(f"{block.code}\nprint(end={BETWEEN!r})" for block in typed)
    check(typed, [sys.executable, "-c", program.replace(ADDRESS, url)], url, tmp_path)


@pytest.mark.parametrize("page", TYPED)
def test_the_commands_of_a_guide_do_what_the_guide_says(page: str, url: str, tmp_path: Path) -> None:
    typed = [block for block in blocks(page) if block.language == "sh" and FOR_A_DEPLOYMENT not in block.code]
    script = "set -eu\n" + "\n".join(f"{block.code}printf '\\036'" for block in typed)
    check(typed, ["sh", "-c", script.replace(ADDRESS, url)], url, tmp_path)


def check(typed: list[Block], command: list[str], url: str, folder: Path) -> None:
    """Run the blocks of a page as one program, and compare what each prints with what the page says."""
    environ = {**os.environ, "CREWLINE_URL": url, "XDG_CONFIG_HOME": str(folder), "KEY": "crewline_key"}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for block, printed in zip(typed, done.stdout.split(BETWEEN)[:-1], strict=True):
        if block.printed is not None:
            assert fits(printed, block.printed), f"{block} prints:\n{printed}"


@pytest.mark.parametrize("page", sorted(str(path.relative_to(PAGES)) for path in PAGES.rglob("*.md")))
def test_the_data_of_a_page_can_be_read(page: str) -> None:
    for block in blocks(page):
        if block.language == "json":
            json.loads(block.code)
        elif block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "python":
            compile(block.code, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


MOVED = """
from types import SimpleNamespace
from uuid import uuid4

made = client.threads.create(metadata={"user": "ada"})
first = client.runs.wait(made["thread_id"], "planner", input={"message": "Generate a plan"})
elsewhere = SimpleNamespace(get=lambda _: client.threads.get(made["thread_id"]),
                            get_state=lambda _: client.threads.get_state(made["thread_id"]))
moved = move(SimpleNamespace(threads=elsewhere), client, str(uuid4()), "planner", "answer")
again = client.runs.wait(moved["thread_id"], "planner", input={"message": "Add a timeline"})
print(moved["metadata"]["user"], moved["status"], len(again["messages"]), "## Timeline" in again["messages"][-1]["content"])
"""


def test_a_thread_that_was_moved_goes_on(url: str, tmp_path: Path) -> None:
    typed = [block for block in blocks("migrate/langgraph-platform.md") if block.language == "python"]
    program = "\n".join(block.code for block in typed) + MOVED
    done = subprocess.run(
        [sys.executable, "-c", program.replace(ADDRESS, url)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["ada idle 4 True"], done.stderr
