"""A manifest spelled as `crewship.toml`: the same facts as in `langgraph.json`, under other names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field, ValidationError

from crewline.errors import BadManifest
from crewline.models.manifests import Chat

_SERVED: Final = "langgraph"
_FRAMEWORKS: Final = ("crewai", _SERVED, "langgraph-js")
_NAMELESS: Final = frozenset({"graph", "app", "agent", "main", "workflow", "src", "__init__"})
"""Names that say nothing of what a graph is for."""


class _Deployment(BaseModel):
    # `python` is read by nobody: the functions have one version, which what is installed for them fits.
    framework: str
    entrypoint: str
    name: str | None = None
    description: str | None = None


class _File(BaseModel):
    deployment: _Deployment | None = None
    deployments: dict[str, _Deployment] = Field(default_factory=dict)
    chat: Chat | None = None


def parse(path: Path, content: bytes) -> dict[str, Any]:
    """Read a `crewship.toml`.

    Args:
        path: The file, which errors name, and in whose folder modules are looked for.
        content: What it says.

    Returns:
        The same as a `langgraph.json` says it.

    Raises:
        BadManifest: It is not TOML, lacks a field, or asks for what is not served.
    """
    try:
        said = _File.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadManifest(f"{path} is not valid TOML: {exc}.") from exc
    except ValidationError as exc:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in exc.errors())
        raise BadManifest(f"{path}: {wrong}.") from exc
    graphs = {name: _graph(path, field, one) for name, field, one in _deployments(path, said)}
    return {
        "dependencies": ["."],
        "graphs": graphs,
        **({"env": ".env"} if (path.parent / ".env").is_file() else {}),
        **({"chat": said.chat} if said.chat else {}),
    }


def _deployments(path: Path, said: _File) -> list[tuple[str, str, _Deployment]]:
    if said.deployment and said.deployments:
        raise BadManifest(
            f"{path} has [deployment] and [deployments.<name>]; keep the one, or give it a name among the others."
        )
    if said.deployment:
        one = said.deployment
        return [(one.name or _name_of(one.entrypoint), "deployment", one)]
    if not said.deployments:
        raise BadManifest(f"{path}: [deployment] is missing; it says framework and entrypoint.")
    return [(name, f"deployments.{name}", one) for name, one in said.deployments.items()]


def _name_of(entrypoint: str) -> str:
    """Name what has no name by its module; the project's folder has another name where it is deployed."""
    module, _, attribute = entrypoint.rpartition(":")
    parts = [*module.removesuffix(".py").replace("/", ".").split("."), attribute]
    return next((part for part in reversed(parts) if part and part not in _NAMELESS), "default")


def _graph(path: Path, field: str, one: _Deployment) -> dict[str, str | None]:
    if one.framework not in _FRAMEWORKS:
        raise BadManifest(
            f"{path}: {field}.framework must be one of {', '.join(_FRAMEWORKS)}, not {one.framework!r}."
        )
    if one.framework != _SERVED:
        raise BadManifest(
            f"{path}: {field}.framework is {one.framework!r}, which this version does not support; it serves {_SERVED}."
        )
    module, colon, attribute = one.entrypoint.rpartition(":")
    if not colon or not module or not attribute:
        raise BadManifest(
            f"{path}: {field}.entrypoint must be spelled 'src.my_agent.graph:graph', not {one.entrypoint!r}."
        )
    return {"path": f"{_file_of(path, field, module)}:{attribute}", "description": one.description}


def _file_of(path: Path, field: str, module: str) -> str:
    """Find the file of a module that is named by its path, or with dots from the project's folder or its `src`."""
    if "/" in module or module.endswith(".py"):
        tried = [module]
    else:
        stem = module.replace(".", "/")
        tried = [f"{root}{stem}{end}" for root in ("", "src/") for end in (".py", "/__init__.py")]
    found = next((name for name in tried if (path.parent / name).is_file()), None)
    if found is None:
        raise BadManifest(
            f"{path}: {field}.entrypoint names {module}, which is not in {path.parent}; looked for {', '.join(tried)}."
        )
    return found
