"""`crewline deploy`: a project into an AWS account, by the CDK's command line.

The constructs are a program of their own, which the CDK starts: nothing here imports them.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crewline.cli import releases, screens
from crewline.errors import BadDeployment, Forbidden
from crewline.models.manifests import find_manifest, read_manifest
from crewline.models.versions import Version
from crewline.settings import Stage

_CDK: Final = "aws-cdk@2"
"""The command line's package on npm; 3 refuses what the library of version 2 makes."""

_PLAIN: Final = ("--no-version-reporting", "--no-path-metadata", "--no-asset-metadata")
"""What keeps a template the same on every machine."""

_ASSEMBLY: Final = "cdk.out"
_PRIVATE: Final = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is to be deployed."""

    project: Path
    """The folder of the project's manifest."""
    stack: str
    """Name of the CloudFormation stack."""
    architecture: str
    """`arm64` or `x86_64`."""
    image: str | None = None
    """URI of a container image for the crews."""
    stage: Stage = "production"
    """What it is for."""
    ask: bool = True
    """Whether the CDK asks before it widens permissions."""


def deploy(deployment: Deployment, *, as_json: bool = False) -> int:
    """Deploy a project, make it live, and say where its API is.

    Args:
        deployment: What is to be deployed.
        as_json: Whether standard output is for a program; what the CDK says goes to standard error then.

    Returns:
        0, or what the CDK ended with; it has said why.

    Raises:
        BadManifest: The manifest cannot be read, or names something that is not there.
        BadDeployment: The constructs, Node or the CDK's command line are missing.
        CrewlineError: It is deployed, and AWS refuses to say or to change which version is live.
    """
    read_manifest(find_manifest(deployment.project))
    cdk = _find_cdk()
    folder = _working_folder(deployment.project)
    outputs = folder / "outputs.json"
    outputs.unlink(missing_ok=True)
    console = screens.notes() if as_json else screens.console()
    ended = subprocess.run(  # noqa: S603
        _command(cdk, deployment, outputs), cwd=folder, check=False, stdout=sys.stderr if as_json else None
    )
    if ended.returncode:
        console.print(f"\nNothing was deployed by this, or not all; the CDK ended with {ended.returncode}.")
        console.print(
            f"If it says that the environment is not bootstrapped, which every account and region is once: "
            f"{shlex.join(cdk)} bootstrap",
            markup=False,
        )
        return ended.returncode
    url, version = _url(outputs, deployment.stack), _settled(deployment.stack)
    if as_json:
        row = releases.version_row(version) if version else None
        screens.print_json({"stack": deployment.stack, "url": url, "version": row})
        return 0
    number = f", version {version.number}" if version else ""
    console.print(f"\nCrewline is deployed as {deployment.stack}{number}: {url}")
    console.print("Its API takes keys alone. Make one:")
    console.print(f"  crewline keys create --stack {deployment.stack}", markup=False)
    return 0


def _settled(stack: str) -> Version | None:
    """Make what was deployed live where a rollback was before; None when these credentials may only deploy."""
    try:
        return releases.settle(stack)
    except Forbidden as exc:
        screens.notes().print(
            f"It is deployed, but which version is live is not known: {exc.message} If a rollback was before, its "
            f"version may still be: see crewline versions --stack {stack}.",
            markup=False,
        )
        return None


def _working_folder(project: Path) -> Path:
    """Make a folder of our own: where the project has a cdk.json, that is of another app.

    The template that the CDK writes there has the project's variables, so nobody else may read it, and git passes it over.
    """
    folder = project.resolve() / ".crewline"
    folder.mkdir(mode=_PRIVATE, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    (folder / _ASSEMBLY).mkdir(exist_ok=True)
    (folder / _ASSEMBLY).chmod(_PRIVATE)
    return folder


def _find_cdk() -> list[str]:
    """Find the CDK's command line, and what it needs.

    Raises:
        BadDeployment: Something is missing; the message says how to get it.
    """
    if missing := [name for name in ("aws_cdk", "uv") if importlib.util.find_spec(name) is None]:
        raise BadDeployment(
            f"A deployment needs the constructs, and {' and '.join(missing)} cannot be imported; "
            "pip install 'crewline[cdk]'."
        )
    if not shutil.which("node"):
        raise BadDeployment("A deployment needs Node, which the CDK runs on; install it from nodejs.org.")
    if (found := shutil.which("cdk")) and _is_version_2(found):
        return [found]
    if found := shutil.which("npx"):
        return [found, "--yes", _CDK]
    raise BadDeployment(
        f"A deployment needs the CDK's command line, version 2, and there is neither cdk nor npx; npm install -g {_CDK}."
    )


def _is_version_2(cdk: str) -> bool:
    asked = subprocess.run([cdk, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return asked.returncode == 0 and asked.stdout.startswith("2.")


def _command(cdk: list[str], deployment: Deployment, outputs: Path) -> list[str]:
    context = {
        "project": str(deployment.project.resolve()),
        "stack": deployment.stack,
        "architecture": deployment.architecture,
        "stage": deployment.stage,
        **({"image": deployment.image} if deployment.image else {}),
    }
    return [
        *(*cdk, "deploy", deployment.stack),
        *("--app", shlex.join([sys.executable, "-m", "crewline_cdk"])),
        *("--output", str(outputs.parent / _ASSEMBLY)),
        *("--outputs-file", str(outputs)),
        *("--require-approval", "broadening" if deployment.ask else "never"),
        *_PLAIN,
        *(part for name, value in context.items() for part in ("-c", f"{name}={value}")),
    ]


def _url(outputs: Path, stack: str) -> str:
    written: dict[str, Any] = json.loads(outputs.read_text())
    return str(written[stack]["ApiUrl"])
