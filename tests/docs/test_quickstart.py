"""The quick start: followed by the letter, from an empty folder to a conversation in a project that was edited."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crewline.local.children import local_service
from tests.docs.pages import Block, blocks, fits
from tests.e2e.processes import eventually

PAGE = "quickstart.md"
RELOAD_S = 30


@pytest.mark.thorough
def test_whoever_follows_it_has_a_conversation_with_what_was_edited(tmp_path: Path) -> None:
    install, init, dev, first, before, after, second, conversation = blocks(PAGE)
    assert install.code.split() == ["pip", "install", "crewline"]
    typed(init, tmp_path)
    project = tmp_path / "my-crew"
    assert dev.code == "crewline dev\n"
    with local_service(project=project, state=project / ".crewline", reload=True) as service:
        typed(first, project, url=service.url)
        graph = (project / "graph.py").read_text()
        assert graph.count(before.code.strip()) == 1
        (project / "graph.py").write_text(graph.replace(before.code.strip(), after.code.strip()))
        eventually(lambda: "Reloaded in " in service.log.read_text(), RELOAD_S)
        typed(second, project, url=service.url)
        typed(conversation, project, url=service.url)


def typed(block: Block, folder: Path, url: str = "") -> None:
    """Type what a block says, and compare what it prints."""
    environ = {**os.environ, "XDG_CONFIG_HOME": str(folder), "CREWLINE_URL": url, "TZ": "UTC"}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    done = subprocess.run(
        ["sh", "-euc", block.code],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if block.printed is not None:
        assert fits(done.stdout, block.printed), f"{block} prints:\n{done.stdout}"
