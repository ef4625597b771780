"""The manifest of a project: `langgraph.json`, read as LangGraph reads it, or else `crewship.toml`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crewline.errors import BadManifest
from crewline.models.clocks import is_id
from crewline.models.cors import CorsPolicy
from crewline.models.intake import MOST_EVENTS, EventMapping
from crewline.models.limits import Guards, LimitsPolicy, Price
from crewline.models.store_policies import StorePolicy
from crewline.models.threads import LONGEST_TTL, Expiry, Strategy, Ttl
from crewline.models.webhooks import WebhookPolicy

FILENAME = "langgraph.json"
CREWSHIP = "crewship.toml"
FILENAMES = (FILENAME, CREWSHIP)
"""What a manifest may be called; where there are both, the first counts."""


class Chat(BaseModel):
    """Where a chat's text goes in, and where its answer is."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    input_key: str = "messages"
    """The field of the input that takes what was typed."""
    output_key: str = "messages"
    """The field of the output that answers it."""


class GraphEntry(BaseModel):
    """A graph that is described."""

    model_config = ConfigDict(defer_build=True)

    path: str
    description: str | None = None


class _Serde(BaseModel):
    allowed_msgpack_modules: list[tuple[str, ...]] = Field(default_factory=list)


class _Ttl(BaseModel):
    # sweep_interval_minutes is read by nobody: the sweeper looks every minute, at what is due alone.
    strategy: Strategy = "delete"
    default_ttl: Annotated[float, Field(gt=0, le=LONGEST_TTL)] | None = None


class _Checkpointer(BaseModel):
    serde: _Serde = Field(default_factory=_Serde)
    ttl: _Ttl = Field(default_factory=_Ttl)


class _Auth(BaseModel):
    # disable_studio_auth is read by nobody: no request comes from a user of LangGraph's Studio here.
    path: str | None = None
    openapi: dict[str, Any] = Field(default_factory=dict)


class _Http(BaseModel):
    cors: CorsPolicy | None = None
    disable_mcp: bool = False
    disable_a2a: bool = False


class _Ours(BaseModel):
    """What a manifest says to Crewline alone; LangGraph does not look at it."""

    model_config = ConfigDict(extra="forbid")

    long: list[str] = Field(default_factory=list)
    limits: LimitsPolicy = LimitsPolicy()
    prices: dict[str, Price] = Field(default_factory=dict)
    events: list[EventMapping] = Field(default_factory=list, max_length=MOST_EVENTS)


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    graphs: dict[str, str | GraphEntry] = Field(min_length=1)
    dependencies: list[str] = Field(default_factory=list)
    env: dict[str, str] | str = Field(default_factory=dict)
    checkpointer: _Checkpointer = Field(default_factory=_Checkpointer)
    store: StorePolicy = StorePolicy()
    webhooks: WebhookPolicy | None = None
    http: _Http = Field(default_factory=_Http)
    auth: _Auth = Field(default_factory=_Auth)
    crewline: _Ours = Field(default_factory=_Ours)
    chat: Chat | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a manifest names in a project's code, as `path/to/file.py:name`."""

    path: Path
    """The file."""
    attribute: str
    """The name in that file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewEntry(Reference):
    """One crew of a manifest: its graph, builder or factory."""

    graph_id: str
    """The name under which clients know it."""
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthEntry(Reference):
    """The project's own authentication: a `langgraph_sdk.Auth`."""

    openapi: Mapping[str, Any] = field(default_factory=dict)
    """What the API's document is to say of it: `securitySchemes` and `security`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a project says of itself; every path is absolute."""

    path: Path
    crews: Mapping[str, CrewEntry]
    local_folders: tuple[Path, ...] = ()
    """Local folders among the dependencies: they may name requirements of their own."""
    requirements: tuple[str, ...] = ()
    """The other dependencies, as pip spells requirements; only a deploy installs them."""
    import_folders: tuple[Path, ...] = ()
    """Where the local folders' modules lie: on `sys.path` before a crew is imported."""
    env: Mapping[str, str] | Path = field(default_factory=dict)
    """Variables for the crews' process, or the file that lists them; see `project_environment`."""
    allowed_types: tuple[tuple[str, ...], ...] = ()
    """Types (module, name) that checkpoints may bring back as objects, beside the state schemas'."""
    expiry: Expiry | None = None
    """When threads that nobody said more of end by themselves."""
    store: StorePolicy = field(default_factory=StorePolicy)
    """How long items of the store live, and how they are found by their meaning."""
    embed: Reference | None = None
    """What makes vectors of texts, when that is the project's own."""
    webhooks: WebhookPolicy = field(default_factory=WebhookPolicy)
    """Where webhooks may go, and what is sent along."""
    cors: CorsPolicy | None = None
    """Which web pages may call the API, if the project says so."""
    mcp: bool = True
    """Whether the clients of MCP are answered."""
    a2a: bool = True
    """Whether the clients of A2A are answered."""
    long_crews: frozenset[str] = frozenset()
    """Crews whose runs go straight to the workflow."""
    guards: Guards = field(default_factory=Guards)
    """How far runs may go, and what models cost."""
    events: tuple[EventMapping, ...] = ()
    """Which events of EventBridge become runs, and how; no two are for the same ones."""
    chat: Chat | None = None
    """Where a chat's text goes in, and where its answer is, if the project says so."""
    auth: AuthEntry | None = None
    """What says who sends a request and what they may do, in place of API keys."""

    @property
    def folder(self) -> Path:
        """The project."""
        return self.path.parent


def find_manifest(folder: Path) -> Path:
    """Find the manifest of a project.

    Args:
        folder: The project.

    Returns:
        The file; where there is none, what it would be called.
    """
    found = (folder / name for name in FILENAMES if (folder / name).is_file())
    return next(found, folder / FILENAME)


def read_manifest(path: Path) -> Manifest:
    """Read a project's `langgraph.json` or `crewship.toml`.

    Args:
        path: The file.

    Returns:
        The manifest, with paths resolved against the file's folder.

    Raises:
        BadManifest: The file is missing, is not JSON or TOML, lacks graphs, or names a file that is not there.
    """
    path = path.resolve()
    try:
        content = path.read_bytes()
        said = _read_toml(path, content) if path.suffix == ".toml" else orjson.loads(content)
        parsed = _File.model_validate(said)
    except FileNotFoundError:
        raise BadManifest(
            f"There is no {path.name} in {path.parent}; name the project's folder with --project, "
            "or make a project with `crewline init`."
        ) from None
    except OSError as exc:
        raise BadManifest(f"{path} cannot be read: {exc.strerror}.") from exc
    except orjson.JSONDecodeError as exc:
        raise BadManifest(f"{path} is not valid JSON: {exc}.") from exc
    except ValidationError as exc:
        raise BadManifest(f"{path}: {describe(exc)}.") from exc
    ttl = parsed.checkpointer.ttl
    local_folders = _local_folders(path, parsed.dependencies)
    crews = {name: _entry(path, name, graph) for name, graph in parsed.graphs.items()}
    return Manifest(
        path=path,
        crews=crews,
        local_folders=tuple(local_folders),
        requirements=tuple(item for item in parsed.dependencies if not item.startswith(".")),
        import_folders=tuple(
            folder for local in local_folders for folder in _import_folders(local, path.parent)
        ),
        env=parsed.env if isinstance(parsed.env, dict) else path.parent / parsed.env,
        allowed_types=tuple(parsed.checkpointer.serde.allowed_msgpack_modules),
        expiry=Ttl(ttl=ttl.default_ttl, strategy=ttl.strategy).expiry if ttl.default_ttl else None,
        store=parsed.store,
        embed=_embed(path, parsed.store),
        webhooks=parsed.webhooks or WebhookPolicy(),
        cors=parsed.http.cors,
        mcp=not parsed.http.disable_mcp,
        a2a=not parsed.http.disable_a2a,
        long_crews=frozenset(_known(path, "long", parsed.crewline.long, crews)),
        guards=_guards(path, parsed.crewline, crews),
        events=_events(path, parsed.crewline.events, crews),
        chat=parsed.chat,
        auth=_auth(path, parsed.auth),
    )


def project_environment(manifest: Manifest) -> dict[str, str]:
    """Read the variables that a project sets for its crews.

    Only a laptop or a deploy reads the file; the functions get its variables as their environment.

    Args:
        manifest: The project's manifest.

    Returns:
        Name → value.

    Raises:
        BadManifest: `env` names a file that is not there.
    """
    if not isinstance(manifest.env, Path):
        return dict(manifest.env)
    if not manifest.env.is_file():
        raise BadManifest(
            f"{manifest.path}: env names {manifest.env.name}, which is not in {manifest.folder}."
        )
    from dotenv import dotenv_values  # noqa: PLC0415  no function reads the file: its layer has no such package

    return {name: value or "" for name, value in dotenv_values(manifest.env, interpolate=False).items()}


def _known(manifest: Path, part: str, names: Iterable[str], crews: Mapping[str, CrewEntry]) -> Iterable[str]:
    if unknown := [name for name in names if name not in crews]:
        raise BadManifest(
            f"{manifest}: crewline.{part} names {', '.join(unknown)}, which is not among the graphs."
        )
    return names


def _guards(manifest: Path, ours: _Ours, crews: Mapping[str, CrewEntry]) -> Guards:
    limits = ours.limits
    _known(manifest, "limits.crews", limits.crews, crews)
    if not ours.prices and any(one.usd for one in (limits, *limits.crews.values())):
        raise BadManifest(
            f"{manifest}: crewline.limits has dollars, and crewline.prices does not say what a model costs."
        )
    return Guards(limits=limits, prices=ours.prices)


def _read_toml(path: Path, content: bytes) -> dict[str, Any]:
    from crewline.models import tomls  # noqa: PLC0415  most projects have none, and each cold start would pay

    return tomls.parse(path, content)


def describe(error: ValidationError) -> str:
    """Say in one sentence which fields are wrong and how."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg'].lower()}"
        for item in error.errors()
    )


def _entry(manifest: Path, name: str, graph: str | GraphEntry) -> CrewEntry:
    spec = graph if isinstance(graph, str) else graph.path
    found = _reference(manifest, f"graph {name!r}", spec)
    description = None if isinstance(graph, str) else graph.description
    return CrewEntry(graph_id=name, path=found.path, attribute=found.attribute, description=description)


def _auth(manifest: Path, auth: _Auth) -> AuthEntry | None:
    if auth.path is None:
        return None
    found = _reference(manifest, "auth.path", auth.path)
    return AuthEntry(path=found.path, attribute=found.attribute, openapi=auth.openapi)


def _reference(manifest: Path, what: str, spec: str) -> Reference:
    file, colon, attribute = spec.rpartition(":")
    if not colon or not file or not attribute:
        raise BadManifest(f"{manifest}: {what} must be spelled 'path/to/file.py:name', not {spec!r}.")
    path = (manifest.parent / file).resolve()
    if not path.is_file():
        raise BadManifest(f"{manifest}: {what} names {file}, which is not in {manifest.parent}.")
    return Reference(path=path, attribute=attribute)


def _embed(manifest: Path, store: StorePolicy) -> Reference | None:
    spec = store.index.embed if store.index else ""
    return _reference(manifest, "store.index.embed", spec) if ".py:" in spec else None


def _events(
    manifest: Path, mappings: Sequence[EventMapping], crews: Mapping[str, CrewEntry]
) -> tuple[EventMapping, ...]:
    for mapping in mappings:
        if mapping.assistant_id not in crews and not is_id(mapping.assistant_id):
            raise BadManifest(
                f"{manifest}: crewline.events names {mapping.assistant_id!r}, which is neither a graph of "
                "this manifest nor the id of an assistant."
            )
    named = [(mapping.source, mapping.detail_type) for mapping in mappings]
    if twice := [pair for pair, count in Counter(named).items() if count > 1]:
        source, detail_type = twice[0]
        raise BadManifest(
            f"{manifest}: crewline.events has two entries for source {source!r} and detail_type {detail_type!r}; "
            "an event starts one run."
        )
    return tuple(mappings)


def _local_folders(manifest: Path, dependencies: list[str]) -> list[Path]:
    project = manifest.parent
    local = [project / item for item in dependencies if item.startswith(".")]
    if missing := [str(folder) for folder in local if not folder.exists()]:
        raise BadManifest(f"{manifest}: the dependencies name {', '.join(missing)}, which does not exist.")
    return [folder.resolve() for folder in local if folder.is_dir()]


def _import_folders(folder: Path, project: Path) -> list[Path]:
    """Find where the modules of a local dependency lie, as if it were installed to be edited.

    A folder that is a distribution has its packages in itself or in `src`; another folder either is
    a package, under its own name, or holds modules.
    """
    if any((folder / name).is_file() for name in ("pyproject.toml", "setup.py")):
        return [folder / "src", folder] if (folder / "src").is_dir() else [folder]
    # The project's own folder has another name where it is deployed.
    is_package = (folder / "__init__.py").is_file() and folder != project
    return [folder.parent] if is_package else [folder]
