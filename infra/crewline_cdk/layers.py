"""The layers: the library, dependencies, the crews' project, and the runtime of functions that stream."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from aws_cdk import Annotations, AssetHashType, Stack, Stage
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from crewline import locations
from crewline.errors import BadDeployment
from crewline.models.manifests import Manifest
from crewline.store.clients import SERVICES
from crewline_cdk.archives import Archive, make_archive
from crewline_cdk.bundles import (
    Target,
    adapter_source,
    bundle_adapter,
    bundle_core,
    bundle_dependencies,
    bundle_project,
    bundle_streaming,
    dependencies_source,
)
from crewline_cdk.interpreters import Interpreter, find_interpreter
from crewline_cdk.requirements import lock_requirements, locked_version

ARCHITECTURES: Final = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}
"""Architecture of a `Target` → CDK's."""

_LARGEST: Final = 262_144_000
"""What a function and its layers may be together, unpacked, in bytes: a limit of Lambda."""

_NAMED: Final = 5
"""How many packages an error about size names."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer and what it was made from."""

    version: lambda_.LayerVersion
    archive: Archive | None
    """None where the stack is synthesised without its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Every layer of a deployment."""

    core: Layer
    """The library."""
    dependencies: Layer
    """What the functions import that load no crew."""
    crew_dependencies: Layer | None
    """What the functions import that load crews: theirs, and what the project requires; None when they are
    in an image."""
    project: Layer
    """The project's source and manifest."""
    streaming: Layer
    """What functions that stream are served by, and `AWS_LAMBDA_EXEC_WRAPPER` starts."""
    adapter: lambda_.ILayerVersion | None
    """AWS Lambda Web Adapter, where it sends the answers."""
    langgraph: str | None
    """The version of LangGraph that is among what crews import; None when they are in an image."""

    @property
    def all(self) -> tuple[lambda_.LayerVersion, ...]:
        """All of them."""
        layers = (self.core, self.dependencies, self.crew_dependencies, self.project, self.streaming)
        return tuple(layer.version for layer in layers if layer)

    def of(self, name: str, *, crews: bool, streams: bool) -> list[lambda_.ILayerVersion]:
        """Choose the layers of a function, and see that Lambda takes them.

        Args:
            name: The function's.
            crews: Whether it loads the crews.
            streams: Whether it streams its answers.

        Raises:
            BadDeployment: They are larger than Lambda takes, unpacked.
        """
        dependencies = self.crew_dependencies if crews and self.crew_dependencies else self.dependencies
        layers = [self.core, dependencies, self.project, *([self.streaming] if streams else [])]
        check_size(name, [layer.archive for layer in layers if layer.archive])
        adapter = [self.adapter] if self.adapter and streams else []
        return [*(layer.version for layer in layers), *adapter]


def check_size(name: str, archives: Sequence[Archive], *, largest: int = _LARGEST) -> None:
    """See that a function and its layers are not larger than Lambda takes.

    Args:
        name: The function's.
        archives: Its layers.
        largest: The limit, in bytes, unpacked.

    Raises:
        BadDeployment: They are larger; the message names the largest packages.
    """
    sizes = sum((archive.packages() for archive in archives), Counter[str]())
    code = sum(path.stat().st_size for path in (locations.FUNCTIONS / name).glob("*.py"))
    if (total := sizes.total() + code) > largest:
        packages = ", ".join(f"{package} {_mb(size)}" for package, size in sizes.most_common(_NAMED))
        raise BadDeployment(
            f"The function {name} and its layers are {_mb(total)} unpacked, and Lambda takes {_mb(largest)}. "
            f"The largest packages are {packages}. Require less, or give the crews a container image "
            "(image, or crewline deploy --image URI)."
        )


def _mb(size: int) -> str:
    return f"{size / 1_048_576:.1f} MB"


def runtime(target: Target) -> lambda_.Runtime:
    """Give the managed runtime of a target."""
    return lambda_.Runtime(f"python{target.python}", lambda_.RuntimeFamily.PYTHON)


def make_layers(
    scope: Construct,
    *,
    manifest: Manifest,
    target: Target,
    crews: bool = True,
    adapter: lambda_.ILayerVersion | None = None,
) -> Layers:
    """Make the layers of a deployment.

    Their zips are made here and not by CDK: what goes wrong is one sentence, and their versions
    depend on their sources alone, so that a checkout and an installed wheel deploy the same.

    Args:
        scope: The construct that owns them.
        manifest: The project's manifest; its folder is deployed.
        target: What they are made for.
        crews: Whether functions that load crews need layers; in an image they do not.
        adapter: AWS Lambda Web Adapter, if it sends the answers of functions that stream.

    Raises:
        BadManifest: A dependency lies outside of the project.
        BadDeployment: What the project requires has no version or no wheel for the target.
    """
    bundling = Stack.of(scope).bundling_required
    press = _Press(scope, target, find_interpreter(target.python) if bundling else None)
    crew_lock = lock_requirements(manifest, target) if bundling and crews else locations.CREW_LOCK
    return Layers(
        core=press.make("CoreLayer", bundle_core),
        # No code but ours is there, to call other services.
        dependencies=press.install("DepsLayer", locations.CONTROL_LOCK, services=SERVICES),
        crew_dependencies=press.install("CrewDepsLayer", crew_lock) if crews else None,
        project=press.make("ProjectLayer", partial(bundle_project, manifest)),
        streaming=press.make(
            "AdapterLayer", partial(bundle_adapter, target), made_from=adapter_source(target)
        )
        if adapter
        else press.make("StreamingLayer", bundle_streaming),
        adapter=adapter,
        langgraph=locked_version(crew_lock, "langgraph") if crews else None,
    )


class _Press:
    """Makes layers, all for one target and with one interpreter.

    Args:
        scope: The construct that owns them.
        target: What they are made for.
        interpreter: What compiles them; None leaves that to Lambda.
    """

    def __init__(self, scope: Construct, target: Target, interpreter: Interpreter | None) -> None:
        self._scope = scope
        self._target = target
        self._interpreter = interpreter
        self._bundling = Stack.of(scope).bundling_required
        stage = Stage.of(scope)
        if stage is None:
            raise AssertionError(f"{scope.node.path} lies in no app.")
        self._cache = Path(stage.asset_outdir) / "layers"
        if self._bundling and not interpreter:
            Annotations.of(scope).add_warning_v2(
                "crewline:notCompiled",
                f"There is no Python {target.python} on this machine, so the layers are not compiled and every cold "
                f"start takes three times as long; install it (uv python install {target.python}) and "
                "deploy again.",
            )

    def install(self, construct_id: str, lock: Path, *, services: Collection[str] | None = None) -> Layer:
        """Make a layer of locked dependencies; see `bundle_dependencies`."""
        fill = partial(bundle_dependencies, lock, self._target, services=services)
        source = dependencies_source(lock, self._target, services=services)
        return self.make(construct_id, fill, made_from=source)

    def make(self, construct_id: str, fill: Callable[[Path], None], *, made_from: str | None = None) -> Layer:
        """Make a layer; see `make_archive`."""
        if self._bundling:
            archive = make_archive(
                construct_id, self._cache, fill, interpreter=self._interpreter, made_from=made_from
            )
            return Layer(self._version(construct_id, archive.path, archive.digest), archive)
        empty = self._cache / "empty.zip"
        self._cache.mkdir(parents=True, exist_ok=True)
        zipfile.ZipFile(empty, "w").close()
        return Layer(self._version(construct_id, empty, f"{construct_id} without its code"), None)

    def _version(self, construct_id: str, path: Path, digest: str) -> lambda_.LayerVersion:
        code = lambda_.Code.from_asset(str(path), asset_hash=digest, asset_hash_type=AssetHashType.CUSTOM)
        return lambda_.LayerVersion(
            self._scope,
            construct_id,
            code=code,
            compatible_runtimes=[runtime(self._target)],
            compatible_architectures=[ARCHITECTURES[self._target.architecture]],
        )
