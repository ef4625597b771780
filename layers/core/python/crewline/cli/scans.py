"""Finding the graphs of a folder by reading its code: nothing of it is executed."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Sequence
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
    functions = [one for one in module.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    factories = [one for one in functions if _returns_graph(one)]
    makers = _MAKERS | {one.name for one in factories if isinstance(one, ast.FunctionDef)}
    found = [
        Found(path, name, statement.lineno)
        for statement in module.body
        for name in _names_of(statement, makers)
    ]
    yield from found or (Found(path, one.name, one.lineno) for one in factories if _can_be_called(one))


def _names_of(statement: ast.stmt, makers: Container[str]) -> Iterator[str]:
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
    if statement.value is not None and _makes_graph(statement.value, makers):
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _returns_graph(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function gives a graph that it makes: at once, or by a name of its own."""
    parts = [part for statement in function.body for part in ast.walk(statement)]
    made = {
        name
        for part in parts
        if isinstance(part, ast.Assign) and _makes_graph(part.value, _MAKERS)
        for name in (target.id for target in part.targets if isinstance(target, ast.Name))
    }
    returned = [part.value for part in parts if isinstance(part, ast.Return) and part.value is not None]
    return any(
        value.id in made if isinstance(value, ast.Name) else _makes_graph(value, _MAKERS)
        for value in returned
    )


def _can_be_called(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a factory takes what one is called with: nothing, or the config of the run."""
    taken = function.args
    names = [one.arg for one in (*taken.posonlyargs, *taken.args)]
    return not taken.kwonlyargs and (not names or (len(names) == 1 and names[0] == "config"))


def _makes_graph(value: ast.expr, makers: Container[str]) -> bool:
    """Tell whether a chain of calls has one that makes a graph: `builder.compile().with_config(…)`."""
    while isinstance(value, ast.Call):
        called = value.func
        if isinstance(called, ast.Name):
            return called.id in makers
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
