"""Which files make a project, and what tells that one of them has changed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crewline.local import sources
from crewline.models.manifests import Manifest, read_manifest


@pytest.fixture
def project(tmp_path: Path) -> Manifest:
    folder = tmp_path / "project"
    for name in ("graph.py", "tools/search.py", ".venv/lib/own.py", "env3/lib/own.py", "node_modules/a.py"):
        write(folder / name, "a = 1\n")
    write(folder / "env3/pyvenv.cfg", "")
    write(folder / ".crewline/made.py", "")
    write(folder / "notes.md", "")
    write(folder / ".env", "A=1\n")
    write(tmp_path / "shared/lib.py", "")
    write(
        folder / "langgraph.json",
        '{"graphs": {"a": "./graph.py:graph"}, "dependencies": [".", "../shared"], "env": ".env"}',
    )
    return read_manifest(folder / "langgraph.json")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def strangers() -> Iterator[Path]:
    """A project with a folder and a file that belong to somebody else, and may not be read."""
    with tempfile.TemporaryDirectory() as made:  # where everybody may come to, which `tmp_path` is not
        folder = Path(made).resolve()
        folder.chmod(0o755)
        write(folder / "langgraph.json", '{"graphs": {"a": "./graph.py:graph"}, "dependencies": ["."]}')
        write(folder / "graph.py", "")
        write(folder / "secret.py", "")
        write(folder / "database/own.py", "")
        for path in (folder / "secret.py", folder / "database"):
            path.chmod(0)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # root may read everything
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            (folder / "database").chmod(0o700)


def names(project: Manifest, paths: list[Path]) -> set[str]:
    return {path.relative_to(project.folder.parent).as_posix() for path in paths}


def test_sources_are_those_of_the_project_and_of_its_local_dependencies(project: Manifest) -> None:
    assert names(project, list(sources.snapshot(project))) == {
        "project/.env",
        "project/graph.py",
        "project/langgraph.json",
        "project/tools/search.py",
        "shared/lib.py",
    }
    assert names(project, sources.folders(project)) == {"project", "project/tools", "shared"}


def test_what_may_not_be_read_is_no_source(strangers: Path) -> None:
    found = sources.snapshot(read_manifest(strangers / "langgraph.json"))
    assert {path.name for path in found} == {"graph.py", "langgraph.json"}


@pytest.mark.parametrize("name", ["graph.py", "langgraph.json", ".env", "new/deep/more.py"])
def test_a_source_that_is_written_is_named(project: Manifest, name: str) -> None:
    before = sources.snapshot(project)
    write(project.folder / name, "b = 2\n")
    after = sources.snapshot(project)
    assert sources.changed(before, after) == [project.folder / name]
    assert sources.digest(before) != sources.digest(after)


def test_a_source_that_went_is_named(project: Manifest) -> None:
    before = sources.snapshot(project)
    (project.folder / "tools/search.py").unlink()
    assert sources.changed(before, sources.snapshot(project)) == [project.folder / "tools/search.py"]


def test_what_is_written_with_the_same_content_is_no_change(project: Manifest) -> None:
    before = sources.snapshot(project)
    write(project.folder / "graph.py", "a = 1\n")
    write(project.folder / ".crewline/made.py", "b = 2\n")
    write(project.folder / "env3/lib/own.py", "b = 2\n")
    after = sources.snapshot(project)
    assert sources.changed(before, after) == []
    assert sources.digest(before) == sources.digest(after)


def test_what_is_pinned_is_imported_as_it_was_when_it_was_kept(project: Manifest, tmp_path: Path) -> None:
    write(project.folder / "graph.py", "said = 'then'\n")
    kept = sources.keep(sources.snapshot(project), tmp_path / "kept")
    write(project.folder / "graph.py", "said = (\n")
    write(project.folder / "other.py", "said = 'now'\n")
    program = (
        "import sys; from pathlib import Path; from crewline.local import sources; "
        "sources.pin(Path(sys.argv[1])); import graph, other; print(graph.said, other.said, graph.__file__)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(kept)],
        cwd=project.folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert told == ["then", "now", str(project.folder / "graph.py")]


def test_the_same_sources_are_kept_once(project: Manifest, tmp_path: Path) -> None:
    first = sources.keep(sources.snapshot(project), tmp_path / "kept")
    assert sources.keep(sources.snapshot(project), tmp_path / "kept") == first
    write(project.folder / "graph.py", "b = 2\n")
    assert sources.keep(sources.snapshot(project), tmp_path / "kept") != first
