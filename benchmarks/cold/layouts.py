"""Functions as Lambda lays them out: what a deployment's zips hold, unpacked, and the variables that it sets."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crewline_cdk.bundles import Architecture

ARCHITECTURE: Final[Architecture] = "arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64"
"""The processor of this machine: what is in the layers runs here."""

_STREAMING: Final = "StreamingLayer"
_STACK: Final = "Crewline"
_OPT: Final = "/opt/"
_ACCESS: Final = {
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One function, unpacked."""

    name: str
    task: Path
    """What Lambda has at `/var/task`."""
    opt: Path
    """What Lambda has at `/opt`."""
    environment: dict[str, str]
    """Its variables, with paths as they are here."""
    streams: bool
    """Whether the streaming bootstrap runs it."""
    size: int
    """Bytes of its code and its layers, unpacked."""


@dataclass(frozen=True, slots=True)
class Synthesised:
    """A synthesised deployment."""

    folder: Path
    template: dict[str, Any]
    assets: frozenset[str]
    """The hashes of everything that a deploy uploads; the template is among it."""

    def functions(self) -> list[str]:
        """Name the functions, as their folders are."""
        resources = self.template["Resources"].items()
        return [
            name.removesuffix("Function").lower()
            for name, resource in resources
            if resource["Type"] == "AWS::Lambda::Function"
        ]

    def unpack(self, name: str, folder: Path) -> Layout:
        """Lay out a function.

        Functions with the same dependencies share what is unpacked, the streaming bootstrap included.

        Args:
            name: The function's.
            folder: Where everything is unpacked.
        """
        function = self.template["Resources"][f"{name.capitalize()}Function"]["Properties"]
        layers = [layer["Ref"] for layer in function["Layers"]]
        shared = [layer for layer in layers if layer != _STREAMING]
        opt = folder / "-".join(shared)
        if not opt.exists():
            for layer in (*shared, _STREAMING):
                zipfile.ZipFile(self._layer(layer)).extractall(opt)
        task = self._asset(function["Code"])
        return Layout(
            name=name,
            task=task,
            opt=opt,
            environment=_ACCESS
            | {"LAMBDA_TASK_ROOT": str(task)}
            | {key: _here(value, opt) for key, value in function["Environment"]["Variables"].items()},
            streams=_STREAMING in layers,
            size=sum(path.stat().st_size for path in task.rglob("*.py"))
            + sum(_unpacked(self._layer(layer)) for layer in layers),
        )

    def _layer(self, name: str) -> Path:
        return self._asset(self.template["Resources"][name]["Properties"]["Content"])

    def _asset(self, content: dict[str, str]) -> Path:
        name = content["S3Key"]
        folder = self.folder / f"asset.{name.removesuffix('.zip')}"
        return folder if folder.is_dir() else self.folder / f"asset.{name}"


def synthesise(python: Path | str, project: Path, folder: Path) -> Synthesised:
    """Make a deployment of a project for this machine's processor, as the CDK's command line does.

    Args:
        python: The interpreter that has the constructs.
        project: The folder of the manifest.
        folder: Where everything is put; zips that are there already are used again.

    Raises:
        RuntimeError: It cannot be made; the message says why.
    """
    context = {"project": str(project), "architecture": ARCHITECTURE}
    environ = {
        **os.environ,
        "CDK_OUTDIR": str(folder),
        "CDK_CONTEXT_JSON": json.dumps(context),
    }
    command = [str(python), "-m", "crewline_cdk"]
    ended = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    assets = json.loads((folder / f"{_STACK}.assets.json").read_text())
    template = json.loads((folder / f"{_STACK}.template.json").read_text())
    return Synthesised(folder, template, frozenset(assets["files"]))


def _here(value: Any, opt: Path) -> str:
    if isinstance(value, dict):
        return json.dumps(value)  # a resource that is only known once it is deployed
    return str(opt / value.removeprefix(_OPT)) if value.startswith(_OPT) else str(value)


def _unpacked(archive: Path) -> int:
    with zipfile.ZipFile(archive) as content:
        return sum(entry.file_size for entry in content.infolist())
