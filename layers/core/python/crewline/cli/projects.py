"""`crewline init`: a new project that runs at once, or the manifest of one that is there; `crewline dev`: serve it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from crewline import locations
from crewline.cli.options import AsJson, Yes


class Template(StrEnum):
    """What a new project begins with."""

    CHATBOT = "chatbot"
    APPROVAL = "approval"


_DOTTED: Final = {"gitignore": ".gitignore", "env.example": ".env.example"}
"""Files that have another name as templates, where git and build tools would take them for their own."""
_KEPT: Final = frozenset({".gitignore", "README.md"})
"""Files that a repository may have before it has a project; they stay as they are."""
_NAME: Final = "NAME"


def init(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", file_okay=False, help="The project's folder.", show_default="the current folder"
        ),
    ] = None,
    *,
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call the project.", show_default="the folder's name"),
    ] = None,
    template: Annotated[
        Template | None,
        typer.Option(
            "--template", help="What a new project begins with.", show_default=Template.CHATBOT.value
        ),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Make a project, or make one of the LangGraph code that is there.

    In an empty folder: a graph that runs offline and without a key, with its manifest, README and test.
    In a folder with code: a langgraph.json that names the graphs found in it. No file is overwritten.
    """
    from crewline.cli import scans
    from crewline.cli.failures import CliError
    from crewline.models.manifests import find_manifest

    where = (folder or Path.cwd()).resolve()
    manifest = find_manifest(where)
    if manifest.is_file():
        _tell_of_project(manifest, as_json=as_json)
        return
    files = scans.python_files(where) if where.is_dir() else []
    if not files or template:
        chosen = template or _choose(ask=not yes and not as_json)
        made = _scaffold(where, chosen, name or where.name)
        _tell(where, manifest, made, _graphs_of(manifest), as_json=as_json)
        return
    if not (found := scans.find_graphs(files)):
        raise CliError(
            f"None of the {len(files)} Python files in {where} has a compiled graph at its top, such as "
            "`graph = builder.compile()`. Add one, or begin a project in another folder: crewline init my-crew."
        )
    graphs = scans.name_graphs(found, where)
    if not yes and not as_json and sys.stdin.isatty():
        for graph_id, graph in graphs.items():
            typer.echo(f"  {graph_id}  {graph.path.relative_to(where)}:{graph.line}  {graph.attribute}")
        typer.confirm(f"Write {manifest.name} with these?", default=True, abort=True)
    content = _manifest_of(where, graphs)
    with manifest.open("x") as file:
        file.write(json.dumps(content, indent=2) + "\n")
    _tell(where, manifest, [manifest], content["graphs"], as_json=as_json)


def _choose(*, ask: bool) -> Template:
    if not ask or not sys.stdin.isatty():
        return Template.CHATBOT
    chosen: Template = typer.prompt("Begin with", type=Template, default=Template.CHATBOT.value)
    return chosen


def _scaffold(where: Path, template: Template, name: str) -> list[Path]:
    """Copy a template; all of it but what every repository has, or nothing where a file is in the way.

    Raises:
        CliError: A file is there already.
    """
    from crewline import locations
    from crewline.cli.failures import CliError, ExitCode

    root = locations.TEMPLATES / template.value
    texts = {
        where / source.relative_to(root).with_name(_DOTTED.get(source.name, source.name)): source.read_text()
        for source in sorted(root.rglob("*"))
        if source.is_file() and "__pycache__" not in source.parts
    }
    texts = {path: text for path, text in texts.items() if path.name not in _KEPT or not path.exists()}
    if taken := [str(path.relative_to(where)) for path in texts if path.exists()]:
        raise CliError(
            f"{where} has {', '.join(taken)} already, and nothing is overwritten; choose another folder.",
            ExitCode.CONFLICT,
        )
    spelled = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or template.value
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text.replace(_NAME, spelled if path.suffix == ".toml" else name))
    return list(texts)


def _manifest_of(where: Path, graphs: dict[str, Any]) -> dict[str, Any]:
    is_distribution = any((where / name).is_file() for name in ("pyproject.toml", "setup.py"))
    beside = ["./src"] if (where / "src").is_dir() and not is_distribution else []
    content: dict[str, Any] = {
        "dependencies": [".", *beside],
        "graphs": {
            graph_id: f"./{graph.path.relative_to(where).as_posix()}:{graph.attribute}"
            for graph_id, graph in graphs.items()
        },
    }
    if (where / ".env").is_file():
        content["env"] = ".env"
    return content


def _graphs_of(manifest: Path) -> dict[str, str]:
    from crewline.models.manifests import read_manifest

    crews = read_manifest(manifest).crews
    return {
        name: f"./{crew.path.relative_to(manifest.parent).as_posix()}:{crew.attribute}"
        if crew.path.is_relative_to(manifest.parent)
        else f"{crew.path}:{crew.attribute}"
        for name, crew in crews.items()
    }


def _tell_of_project(manifest: Path, *, as_json: bool) -> None:
    graphs = _graphs_of(manifest)
    if not as_json:
        typer.echo(f"{manifest.parent} is a project already: {manifest.name} names {', '.join(graphs)}.")
    _tell(manifest.parent, manifest, [], graphs, as_json=as_json)


def _tell(where: Path, manifest: Path, made: list[Path], graphs: dict[str, str], *, as_json: bool) -> None:
    names = [path.relative_to(where).as_posix() for path in made]
    if as_json:
        said = {"folder": str(where), "manifest": manifest.name, "made": names, "graphs": graphs}
        typer.echo(json.dumps(said))
        return
    if made:
        typer.echo(f"Made in {where}: {', '.join(names)}.")
    typer.echo("\nNext")
    if where != Path.cwd():
        typer.echo(f"  cd {_spelled(where)}")
    first = next(iter(graphs))
    steps = {
        "crewline dev": "serves it on this machine, and anew when you edit it",
        f"crewline invoke {shlex.quote(first)} -i '{{…}}'": f"in another terminal: runs {first}",
        "crewline doctor": "looks for what is missing here",
    }
    width = max(map(len, steps))
    for step, why in steps.items():
        typer.echo(f"  {step:<{width}}  {why}")


def _spelled(folder: Path) -> str:
    """Spell a folder for a shell, from here if it is below."""
    text = str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def dev(
    project: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            exists=True,
            help="Folder with the project's manifest: langgraph.json or crewship.toml.",
            show_default="the current folder; the example crews if it has none",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.")
    ] = 2024,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Folder for state and logs.",
            show_default=".crewline in the project",
        ),
    ] = None,
    event_bus: Annotated[
        str, typer.Option(metavar="NAME", help="Tell this EventBridge bus of the local cloud of every run.")
    ] = "",
    reload: Annotated[
        bool,
        typer.Option(
            "--reload/--no-reload",
            help="Serve an edited project a moment after it was saved. Without, the crews run in the command's own process, "
            "where a debugger finds them.",
        ),
    ] = True,
    stop_on_eof: Annotated[
        bool, typer.Option("--stop-on-eof", hidden=True, help="Stop when standard input ends.")
    ] = False,
) -> None:
    """Run a project on this machine: its HTTP API, its background runs, its storage.

    It runs on a local cloud, with the handlers and the stack of AWS.
    Nothing leaves this machine but what the crews themselves send.
    Ctrl-C stops it; the state is kept.
    """
    from crewline.cli import development  # 0.3 s of imports that `--help` does not need

    folder, bundled = _project_folder(project)
    if bundled:
        typer.echo("There is no langgraph.json here, which `crewline init` makes: serving the example crews.")
    state = state or (Path.cwd() if bundled else folder) / ".crewline"
    development.run(
        folder, port=port, state=state, event_bus=event_bus, reload=reload, stop_on_eof=stop_on_eof
    )


def _project_folder(named: Path | None) -> tuple[Path, bool]:
    """Choose the project; the second value says that it is the examples'."""
    from crewline.models.manifests import find_manifest  # pydantic, which `--help` does not need

    if named is None and not find_manifest(Path.cwd()).is_file():
        return locations.EXAMPLES, True
    return named or Path.cwd(), False
