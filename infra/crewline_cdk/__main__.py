"""The CDK app of one project: `cdk deploy --app "python -m crewline_cdk" -c project=DIR`.

Context: `project` is the folder of the project's langgraph.json, `stack` the stack's name,
`architecture` arm64 or x86_64, `image` the URI of a container image for the crews, `stage`
production or staging. A team that decides on more writes an app of its own around `CrewlineStack` or
`CrewlineService`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final, get_args

from aws_cdk import App

from crewline.errors import BadDeployment, CrewlineError
from crewline.models.manifests import find_manifest
from crewline_cdk.bundles import Architecture
from crewline_cdk.packaging import STACK_NAME
from crewline_cdk.props import CrewlineProps
from crewline_cdk.stacks import CrewlineStack

_NAME: Final = re.compile("[A-Za-z][A-Za-z0-9-]*")
"""What CloudFormation takes for the name of a stack; how long it may be is for the construct to say."""


def main(project: Path | None = None) -> None:
    """Synthesise the stack that the context asks for; what a person can repair is one line, exit 2.

    Args:
        project: The project if the context names none.
    """
    app = App(analytics_reporting=False)
    try:
        CrewlineStack(app, _stack_name(app), props=_props(app, project))
    except CrewlineError as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201  the CDK shows it as it is
        sys.exit(2)
    app.synth()


def _stack_name(app: App) -> str:
    """Read what the stack is called.

    Raises:
        BadDeployment: Nothing can be called so.
    """
    name = _read(app, "stack") or STACK_NAME
    if not _NAME.fullmatch(name):
        raise BadDeployment(
            f"No stack can be called {name!r}: a name has letters, digits and hyphens, and begins with a letter."
        )
    return name


def _props(app: App, project: Path | None) -> CrewlineProps:
    """Read what the context decides.

    Raises:
        BadDeployment: It names no project, or an architecture that there is none of.
    """
    named = _read(app, "project") or project
    if named is None:
        raise BadDeployment(
            "The context names no project; add -c project=DIR, the folder of its langgraph.json or crewship.toml."
        )
    chosen: dict[str, Any] = {}
    if architecture := _read(app, "architecture"):
        if architecture not in get_args(Architecture):
            raise BadDeployment(f"There is no architecture {architecture!r}; choose arm64 or x86_64.")
        chosen["architecture"] = architecture
    for name in ("image", "stage"):
        if value := _read(app, name):
            chosen[name] = value
    return CrewlineProps(manifest=find_manifest(Path(named)), **chosen)


def _read(app: App, name: str) -> str | None:
    value = app.node.try_get_context(name)
    return str(value) if value else None


if __name__ == "__main__":
    main()
