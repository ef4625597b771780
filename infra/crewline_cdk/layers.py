"""The layers: the library, dependencies, the crews' project, and the runtime of functions that stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, IgnoreMode, ILocalBundling
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from crewline import locations
from crewline_cdk.bundles import (
    CORE_EXCLUDES,
    PROJECT_EXCLUDES,
    STREAMING_EXCLUDES,
    Target,
    bundle_core,
    bundle_dependencies,
    bundle_project,
    bundle_streaming,
    dependencies_hash,
)

ARCHITECTURES: Final = {"arm64": lambda_.Architecture.ARM_64, "x86_64": lambda_.Architecture.X86_64}
"""Architecture of a `Target` → CDK's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Every layer of a deployment."""

    core: lambda_.LayerVersion
    """The library."""
    dependencies: lambda_.LayerVersion
    """What the functions import that load no crew."""
    crew_dependencies: lambda_.LayerVersion | None
    """What the functions import that load crews: theirs, and what the project requires; None when they are
    in an image."""
    project: lambda_.LayerVersion
    """The project's source and manifest."""
    streaming: lambda_.LayerVersion
    """The runtime of functions that stream, which `AWS_LAMBDA_EXEC_WRAPPER` starts."""

    @property
    def all(self) -> tuple[lambda_.LayerVersion, ...]:
        """All of them."""
        crew_dependencies = [self.crew_dependencies] if self.crew_dependencies else []
        return (self.core, self.dependencies, *crew_dependencies, self.project, self.streaming)

    def of(self, *, crews: bool, streams: bool) -> list[lambda_.LayerVersion]:
        """Choose the layers of a function.

        Args:
            crews: Whether it loads the crews.
            streams: Whether it streams its answers.
        """
        dependencies = self.crew_dependencies if crews and self.crew_dependencies else self.dependencies
        return [self.core, dependencies, self.project, *([self.streaming] if streams else [])]


def runtime(target: Target) -> lambda_.Runtime:
    """Give the managed runtime of a target."""
    return lambda_.Runtime(f"python{target.python}", lambda_.RuntimeFamily.PYTHON)


@jsii.implements(ILocalBundling)
class _Local:
    """Fills a layer's folder on this machine; CDK falls back to Docker only if this says False."""

    def __init__(self, fill: Callable[[Path], None]) -> None:
        self._fill = fill

    def try_bundle(self, output_dir: str, *_options: Any, **_named: Any) -> bool:
        # jsii hands the options over by position, whatever the interface says.
        self._fill(Path(output_dir))
        return True


def _make_layer(
    scope: Construct,
    construct_id: str,
    source: Path,
    fill: Callable[[Path], None],
    *,
    target: Target,
    excludes: tuple[str, ...] = (),
    asset_hash: str | None = None,
) -> lambda_.LayerVersion:
    """Make one layer; its version changes with the source's content, or with `asset_hash` if given."""
    bundling = BundlingOptions(image=DockerImage.from_registry("none"), local=_Local(fill))
    code = lambda_.Code.from_asset(
        str(source),
        bundling=bundling,
        exclude=list(excludes),
        ignore_mode=IgnoreMode.GIT,
        asset_hash=asset_hash,
        asset_hash_type=AssetHashType.CUSTOM if asset_hash else AssetHashType.SOURCE,
    )
    return lambda_.LayerVersion(
        scope,
        construct_id,
        code=code,
        compatible_runtimes=[runtime(target)],
        compatible_architectures=[ARCHITECTURES[target.architecture]],
    )


def make_layers(scope: Construct, *, project: Path, target: Target, crews: bool = True) -> Layers:
    """Make the layers of a deployment.

    Args:
        scope: The construct that owns them.
        project: The folder of the manifest; `PROJECT_EXCLUDES` stays out.
        target: What they are made for.
        crews: Whether functions that load crews need layers; in an image they do not.
    """
    library = locations.IMPORT_ROOT / "crewline"

    def dependencies(construct_id: str, lock: Path) -> lambda_.LayerVersion:
        return _make_layer(
            scope,
            construct_id,
            lock.parent,
            partial(bundle_dependencies, lock, target),
            target=target,
            asset_hash=dependencies_hash(lock, target),
        )

    return Layers(
        core=_make_layer(scope, "CoreLayer", library, bundle_core, target=target, excludes=CORE_EXCLUDES),
        dependencies=dependencies("DepsLayer", locations.CONTROL_LOCK),
        crew_dependencies=dependencies("CrewDepsLayer", locations.CREW_LOCK) if crews else None,
        project=_make_layer(
            scope,
            "ProjectLayer",
            project,
            partial(bundle_project, project),
            target=target,
            excludes=PROJECT_EXCLUDES,
        ),
        streaming=_make_layer(
            scope,
            "StreamingLayer",
            locations.STREAMING,
            bundle_streaming,
            target=target,
            excludes=STREAMING_EXCLUDES,
        ),
    )
