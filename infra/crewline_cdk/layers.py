"""The layers: the library, its dependencies and the crews' project; and the runtime of functions that stream."""

from __future__ import annotations

from collections.abc import Callable
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
    bundle_core,
    bundle_dependencies,
    bundle_project,
    bundle_streaming,
    dependencies_hash,
)

RUNTIME: Final = lambda_.Runtime.PYTHON_3_13
ARCHITECTURE: Final = lambda_.Architecture.ARM_64


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
        compatible_runtimes=[RUNTIME],
        compatible_architectures=[ARCHITECTURE],
    )


def make_layers(scope: Construct, *, project: Path) -> list[lambda_.LayerVersion]:
    """Make the layers that every function gets.

    Args:
        scope: The construct that owns them.
        project: The folder of the manifest; `PROJECT_EXCLUDES` stays out.

    Returns:
        The library, its dependencies and the crews' project.
    """
    library = locations.IMPORT_ROOT / "crewline"
    lock_folder = locations.DEPENDENCY_LOCK.parent
    return [
        _make_layer(scope, "CoreLayer", library, bundle_core, excludes=CORE_EXCLUDES),
        _make_layer(scope, "DepsLayer", lock_folder, bundle_dependencies, asset_hash=dependencies_hash()),
        _make_layer(
            scope,
            "CrewsLayer",
            project,
            lambda output: bundle_project(project, output),
            excludes=PROJECT_EXCLUDES,
        ),
    ]


def make_streaming_layer(scope: Construct) -> lambda_.LayerVersion:
    """Make the layer of functions that stream their answers.

    Args:
        scope: The construct that owns it.

    Returns:
        The runtime that `AWS_LAMBDA_EXEC_WRAPPER` starts.
    """
    return _make_layer(
        scope, "StreamingLayer", locations.STREAMING, bundle_streaming, excludes=STREAMING_EXCLUDES
    )
