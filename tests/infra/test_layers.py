from __future__ import annotations

import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crewline import locations
from crewline.errors import BadDeployment

if TYPE_CHECKING:
    from aws_cdk import Stack

MB = 1_048_576


@pytest.fixture
def archive(tmp_path: Path, node: None) -> Path:
    """A small zip of large files."""
    path = tmp_path / "layer.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for size, name in enumerate(("one", "two", "three", "four", "five", "six"), 1):
            packed.writestr(f"python/{name}/data", bytes(size * MB))
    return path


def test_a_function_that_lambda_would_not_take_is_refused_with_its_largest_packages(archive: Path) -> None:
    from crewline_cdk.archives import Archive
    from crewline_cdk.layers import check_size

    code = sum(path.stat().st_size for path in (locations.FUNCTIONS / "crew").glob("*.py"))
    layers = [Archive(archive, ""), Archive(archive, "")]

    check_size("crew", layers, largest=42 * MB + code)
    with pytest.raises(BadDeployment) as caught:
        check_size("crew", layers, largest=42 * MB + code - 1)
    assert caught.value.message == (
        "The function crew and its layers are 42.0 MB unpacked, and Lambda takes 42.0 MB. The largest packages are "
        "six 12.0 MB, five 10.0 MB, four 8.0 MB, three 6.0 MB, two 4.0 MB. Require less, or give the crews a "
        "container image (image, or crewline deploy --image URI)."
    )


def test_the_limit_is_that_of_lambda(archive: Path) -> None:
    from crewline_cdk.archives import Archive
    from crewline_cdk.layers import check_size

    check_size("crew", [Archive(archive, "")] * 11)
    with pytest.raises(BadDeployment, match=r"are 252\.0 MB unpacked, and Lambda takes 250\.0 MB"):
        check_size("crew", [Archive(archive, "")] * 12)


@pytest.fixture
def light(node: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dependencies that take no time: a file with the name of the lock."""
    from crewline_cdk import layers

    def fill(lock: Path, _target: object, output: Path, **_: object) -> None:
        (output / "python").mkdir()
        (output / "python" / lock.stem).touch()

    monkeypatch.setattr(layers, "bundle_dependencies", fill)


def synthesise(folder: Path) -> Stack:
    from aws_cdk import App

    from crewline_cdk.stacks import CrewlineStack

    app = App(outdir=str(folder / "cdk.out"))
    stack = CrewlineStack(app, "Crewline")
    app.synth()
    return stack


@pytest.mark.thorough
def test_the_synth_warns_that_layers_are_not_compiled(
    light: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from aws_cdk.assertions import Annotations, Match

    from crewline_cdk import layers

    monkeypatch.setattr(layers, "find_interpreter", lambda python: None)

    stack = synthesise(tmp_path)

    told = Annotations.from_stack(stack).find_warning("*", Match.string_like_regexp("not compiled"))
    assert [one.id for one in told] == ["/Crewline/Service"]
    zips = [zipfile.ZipFile(path).namelist() for path in tmp_path.glob("cdk.out/asset.*.zip")]
    assert zips
    assert not [name for names in zips for name in names if name.endswith(".pyc")]


@pytest.mark.thorough
def test_the_layers_of_every_function_are_weighed(
    light: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from crewline_cdk import layers

    weighed = {}

    def weigh(name: str, archives: list[Any]) -> None:
        weighed[name] = {package for archive in archives for package in archive.packages()}

    monkeypatch.setattr(layers, "check_size", weigh)

    synthesise(tmp_path)

    core = {"crewline", f"crewline-{metadata.version('crewline')}.dist-info"}
    control = {*core, "control", "project"}
    assert weighed == {
        "api": {*control, "streaming"},
        "tail": {*control, "streaming"},
        "sweeper": control,
        "intake": control,
        "crew": {*core, "crew", "project", "streaming"},
        "worker": {*core, "crew", "project"},
    }
