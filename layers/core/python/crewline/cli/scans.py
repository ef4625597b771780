"""Finding the graphs of a folder by reading its code: nothing of it is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crewline.local import sources

_MAKERS: Final = frozenset({"create_agent", "create_react_agent", "create_deep_agent"})
_DECORATOR: Final = "entrypoint"
_NAMELESS: Final = frozenset(
    {"graph", "app", "agent", "agents", "main", "workflow", "compiled", "src", "__init__"}
)
"""Names that say nothing of what a graph is for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A graph in a file."""

    path: Path
    attribute: str
    line: int


def python_files(folder: Path) -> list[Path]:
    """List the Python files of a folder, without what is installed or generated there, and without tests."""
    files = (path for inner in sources.below(folder) for path in sorted(inner.glob("*.py")))
    return [path for path in files if not _is_test(path.relative_to(folder))]


def find_graphs(files: Sequence[Path]) -> list[Found]:
    """Find names at the top of modules that are compiled graphs, agents, or entrypoints of the functional API.

    Args:
        files: Where to look; what is no Python is passed over.

    Returns:
        The graphs, in the order of the files.
    """
    return [found for path in files for found in _graphs_of(path)]


def name_graphs(graphs: Sequence[Found], folder: Path) -> dict[str, Found]:
    """Give each graph a name: its own, or, where that says nothing, that of its file or folder.

    Args:
        graphs: The graphs.
        folder: The project.

    Returns:
        Name → graph; a name that comes twice gets a number.
    """
    named: dict[str, Found] = {}
    for found in graphs:
        parts = [folder.name, *found.path.relative_to(folder).with_suffix("").parts, found.attribute]
        wanted = next((part for part in reversed(parts) if part not in _NAMELESS), found.attribute)
        name, count = wanted, 1
        while name in named:
            count += 1
            name = f"{wanted}_{count}"
        named[name] = found
    return named


def _is_test(path: Path) -> bool:
    return "tests" in path.parts or path.name.startswith("test_") or path.name == "conftest.py"


def _graphs_of(path: Path) -> Iterator[Found]:
    try:
        module = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # no Python of this version: nothing of it could be served
    for statement in module.body:
        for name in _names_of(statement):
            yield Found(path, name, statement.lineno)


def _names_of(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        if any(_is_entrypoint(one) for one in statement.decorator_list):
            yield statement.name
        return
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return
    if statement.value is not None and _makes_graph(statement.value):
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _makes_graph(value: ast.expr) -> bool:
    """Tell whether a chain of calls has one that makes a graph: `builder.compile().with_config(…)`."""
    while isinstance(value, ast.Call):
        called = value.func
        if isinstance(called, ast.Name):
            return called.id in _MAKERS
        if not isinstance(called, ast.Attribute):
            return False
        if called.attr in _MAKERS:
            return True
        if called.attr == "compile":
            return not (isinstance(called.value, ast.Name) and called.value.id in ("re", "regex"))
        value = called.value
    return False


def _is_entrypoint(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
    return name == _DECORATOR
