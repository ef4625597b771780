"""Crews load in every form that a manifest can name; what does not load is one sentence."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig

from crewline.engine.crews import Crew, Crews, load_crews
from crewline.errors import BadManifest, CrewFailedToLoad, InvalidRequest
from crewline.models.manifests import read_manifest

HEAD = """
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from langgraph.graph import START, StateGraph
from pydantic import BaseModel
from typing_extensions import TypedDict

opened, closed = [], []

class Order(BaseModel):
    n: int = 0

class State(TypedDict, total=False):
    n: int
    order: Order

def node(state):
    return {"n": state.get("n", 0) + 1}

builder = StateGraph(State).add_node("node", node).add_edge(START, "node")
"""
CONFIG: RunnableConfig = {"configurable": {"user": "ada"}}


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path) -> Iterator[None]:
    """Leave no module and no path of a test's project behind."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Crews]:
    """Write files, name them in a manifest and load its crews."""

    def load(files: dict[str, str], dependencies: list[str] | None = None, **graphs: str) -> Crews:
        for name, code in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(code)
        path = tmp_path / "langgraph.json"
        path.write_text(json.dumps({"graphs": graphs, "dependencies": dependencies or []}))
        return load_crews(read_manifest(path))

    return load


async def answer(crew: Crew, config: RunnableConfig = CONFIG) -> Any:
    async with crew.graph(config) as graph:
        return await graph.ainvoke({"n": 1})


# ------------------------------------------------------------------ every form

FORMS = {
    "compiled": "graph = builder.compile()",
    "builder": "graph = builder",
    "factory": "def graph():\n    return builder.compile()",
    "factory_of_a_builder": "def graph():\n    return builder",
    "factory_with_config": "def graph(config):\n    assert config['configurable']['user'] == 'ada'\n    return builder",
    "async_factory": "async def graph(config):\n    return builder.compile()",
    "lambda": "graph = lambda config: builder",
    "callable_class": "class Make:\n    def __call__(self, config):\n        return builder\ngraph = Make()",
    "context_manager": (
        "@contextmanager\ndef graph(config):\n    opened.append(1)\n    yield builder.compile()\n    closed.append(1)"
    ),
    "async_context_manager": (
        "@asynccontextmanager\nasync def graph(config):\n    opened.append(1)\n    yield builder\n    closed.append(1)"
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_crew_loads_and_answers_as_a(form: str, load: Callable[..., Crews]) -> None:
    crew = load({f"{form}_crew.py": HEAD + FORMS[form]}, crew=f"./{form}_crew.py:graph").get("crew")
    for _ in range(2):
        assert await answer(crew) == {"n": 2}
    module = (
        sys.modules[crew.target.builder.nodes["node"].runnable.func.__module__]
        if form in ("compiled", "builder")
        else None
    )
    assert module is None or module.__name__.startswith("crew_")


async def test_what_a_factory_opened_for_a_use_is_closed_after_it(load: Callable[..., Crews]) -> None:
    for form in ("context_manager", "async_context_manager"):
        crew = load({f"closing_{form}.py": HEAD + FORMS[form]}, ["."], crew=f"closing_{form}.py:graph").get(
            "crew"
        )
        module = sys.modules[f"closing_{form}"]
        async with crew.graph(CONFIG):
            assert (module.opened, module.closed) == ([1], [])
        assert (module.opened, module.closed) == ([1], [1])


async def test_a_compiled_graph_is_the_same_for_every_use_and_a_factory_is_called_anew(
    load: Callable[..., Crews],
) -> None:
    crews = load(
        {"two_forms.py": HEAD + "one = builder.compile()\ndef other(): return builder"},
        one="two_forms.py:one",
        other="two_forms.py:other",
    )
    seen: dict[str, list[Any]] = {"one": [], "other": []}
    for name, graphs in seen.items():
        for _ in range(2):
            async with crews.get(name).graph(CONFIG) as graph:
                graphs.append(graph)
    assert seen["one"][0] is seen["one"][1]
    assert seen["other"][0] is not seen["other"][1]


# ------------------------------------------------------------------ what does not load


@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        ("raise RuntimeError('no key')", CrewFailedToLoad, r"fails to import: RuntimeError: no key"),
        ("import no_such_module_anywhere", CrewFailedToLoad, "No module named 'no_such_module_anywhere'"),
        ("def broken(:", CrewFailedToLoad, "fails to import: SyntaxError"),
        ("import sys; sys.exit(3)", CrewFailedToLoad, "fails to import: SystemExit"),
        ("other = 1", BadManifest, "has no 'graph'; correct the name after the colon"),
        ("graph = 5", BadManifest, "'graph' is a int, not a graph, a builder or a factory"),
        ("graph = None", BadManifest, "'graph' is a NoneType"),
        (HEAD + "graph = StateGraph(State)", CrewFailedToLoad, "does not compile: ValueError"),
    ],
)
def test_what_does_not_load_is_one_sentence_with_the_crew_and_its_file(
    load: Callable[..., Crews],
    tmp_path: Path,
    code: str,
    error: type[BadManifest | CrewFailedToLoad],
    sentence: str,
) -> None:
    with pytest.raises(error, match=sentence) as caught:
        load({"broken_crew.py": code}, crew="broken_crew.py:graph")
    assert "'crew'" in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert "broken_crew" not in sys.modules


async def test_a_factory_that_gives_no_graph_is_told_so(load: Callable[..., Crews]) -> None:
    crew = load({"no_graph.py": "def graph():\n    return 'text'"}, crew="no_graph.py:graph").get("crew")
    with pytest.raises(CrewFailedToLoad, match="'crew' gave a str, not a graph"):
        await answer(crew)


def test_a_crew_that_is_not_deployed_is_told_which_ones_are(load: Callable[..., Crews]) -> None:
    crews = load({"one_crew.py": HEAD}, b="one_crew.py:builder", a="one_crew.py:builder")
    with pytest.raises(InvalidRequest, match="'gone' is not in this deployment; it has a, b"):
        crews.get("gone")


# ------------------------------------------------------------------ modules and their types


def test_a_file_in_an_import_folder_is_the_module_that_its_neighbours_import(
    load: Callable[..., Crews],
) -> None:
    files = {
        "src/shop_pkg/__init__.py": "",
        "src/shop_pkg/graphs.py": HEAD,
        "main_crew.py": "import shop_pkg.graphs as g\nfrom shop_pkg.graphs import builder, Order",
    }
    load(files, ["./src", "."], shop="src/shop_pkg/graphs.py:builder", main="main_crew.py:builder")
    assert sys.modules["main_crew"].Order is sys.modules["shop_pkg.graphs"].Order
    assert sys.modules["shop_pkg.graphs"].Order.__module__ == "shop_pkg.graphs"


def test_two_crews_of_one_file_share_its_module_and_its_types(load: Callable[..., Crews]) -> None:
    for folder, dependencies in (("inside", ["./inside"]), ("outside", None)):
        code = (
            HEAD + "graph = builder.compile()\nother = builder.compile()\ngraph.order = other.order = Order"
        )
        crews = load(
            {f"{folder}/one_file_{folder}.py": code},
            dependencies,
            a=f"{folder}/one_file_{folder}.py:graph",
            b=f"{folder}/one_file_{folder}.py:other",
        )
        a, b = crews.get("a").target, crews.get("b").target
        assert a.order is b.order
        assert getattr(sys.modules[a.order.__module__], "Order", None) is a.order


def test_files_of_the_same_name_in_different_folders_are_different_modules(
    load: Callable[..., Crews],
) -> None:
    code = HEAD + "graph = builder.compile()\ngraph.order = Order\n"
    crews = load(
        {"one/agent.py": code, "two/agent.py": code}, one="one/agent.py:graph", two="two/agent.py:graph"
    )
    for name in ("one", "two"):
        order = crews.get(name).target.order
        assert getattr(sys.modules[order.__module__], "Order", None) is order


def test_a_file_outside_the_import_folders_has_the_same_module_name_in_every_process(
    load: Callable[..., Crews], tmp_path: Path
) -> None:
    load({"stable.py": HEAD + "graph = builder.compile()\ngraph.order = Order"}, crew="stable.py:graph")
    names = {name for name in sys.modules if name.startswith("crew_stable_")}
    assert len(names) == 1
    assert str(tmp_path) not in names.pop()


@pytest.mark.parametrize("folder", ["calendar", "code", "json", "not-an-identifier"])
async def test_a_folder_may_be_named_as_a_module_that_python_has(
    load: Callable[..., Crews], folder: str
) -> None:
    crews = load({f"{folder}/shadowed_agent.py": HEAD}, ["."], crew=f"{folder}/shadowed_agent.py:builder")
    assert await answer(crews.get("crew")) == {"n": 2}


def test_a_file_named_as_a_module_that_python_has_is_loaded_and_not_that_module(
    load: Callable[..., Crews],
) -> None:
    crews = load({"queue.py": HEAD}, ["."], crew="queue.py:builder")
    assert crews.get("crew").target.nodes["node"]


# ------------------------------------------------------------------ what storing a state needs to know


async def test_types_of_the_state_come_back_as_objects_and_others_as_plain_data(
    load: Callable[..., Crews],
) -> None:
    code = (
        HEAD
        + "class Hidden(BaseModel):\n    n: int = 0\ngraph = builder.compile()\ngraph.order, graph.hidden = Order, Hidden"
    )
    crew = load({"typed_crew.py": code}, ["."], crew="typed_crew.py:graph").get("crew")
    async with crew.graph(CONFIG) as graph:
        serializer = crew.prepare(graph).serializer
        order, hidden = crew.target.order(n=1), crew.target.hidden(n=2)
        assert serializer.loads_typed(serializer.dumps_typed(order)) == order
        assert serializer.loads_typed(serializer.dumps_typed(hidden)) == {"n": 2}
        assert crew.prepare(graph) is crew.prepare(graph)


async def test_a_channel_that_has_a_value_before_anything_writes_it_is_a_default(
    load: Callable[..., Crews],
) -> None:
    code = HEAD + (
        "import operator\nfrom typing import Annotated\n"
        "class Logged(TypedDict, total=False):\n    n: int\n    log: Annotated[list, operator.add]\n"
        "graph = StateGraph(Logged).add_node('node', node).add_edge(START, 'node').compile()"
    )
    crew = load({"defaults_crew.py": code}, crew="defaults_crew.py:graph").get("crew")
    async with crew.graph(CONFIG) as graph:
        assert crew.prepare(graph).defaults == {"log": []}
