"""The environment of the functions: what a project says, within what Lambda and Crewline allow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Token

from crewline.errors import BadDeployment
from crewline.models.manifests import Manifest, project_environment

LARGEST_BYTES: Final = 4_096
"""What Lambda allows for all variables of a function, names and values."""

_UNRESOLVED_BYTES: Final = 128
"""For a value that CloudFormation fills in: the name of a table, the URL of a queue."""

_RESERVED: Final = re.compile(
    r"(AWS_|CREWLINE_|LAMBDA_|POWERTOOLS_).*|_HANDLER|_X_AMZN_TRACE_ID|LANGGRAPH_STRICT_MSGPACK|PYTHONPATH"
)
"""Names that Lambda, Crewline or its libraries give a meaning to.

Lambda's are those of "Defined runtime environment variables", AWS Lambda developer guide.
"""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectEnvironment:
    """What a project sets for its functions."""

    crews: Mapping[str, str]
    """Variables of the functions that load crews."""
    webhooks: Mapping[str, str]
    """Those that the headers of webhooks may refer to, for the function that sends them."""
    left_out: Sequence[str]
    """Names that the manifest sets and that are not a project's to set, sorted."""


def check_names(variables: Mapping[str, str]) -> None:
    """Refuse variables that no function can have, or that are not a project's to set.

    Args:
        variables: Name → value.

    Raises:
        BadDeployment: Lambda or Crewline sets such a variable itself, or its name has characters that Lambda
            does not take.
    """
    if reserved := sorted(filter(_RESERVED.fullmatch, variables)):
        raise BadDeployment(
            f"environment cannot set {', '.join(reserved)}: Lambda and Crewline give these variables their values."
        )
    if bad := sorted(name for name in variables if not _NAME.fullmatch(name)):
        raise BadDeployment(
            f"environment cannot set {', '.join(map(repr, bad))}: a name begins with a letter and has "
            "two or more letters, digits and underscores."
        )


def check_size(function: str, variables: Mapping[str, str]) -> None:
    """Refuse more variables than Lambda takes.

    Args:
        function: Name of the function.
        variables: All that it is to have.

    Raises:
        BadDeployment: They are too large; names the largest, and no value.
    """
    sizes = {name: len(name.encode()) + _size(value) for name, value in variables.items()}
    if (total := sum(sizes.values())) > LARGEST_BYTES:
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:3]
        named = ", ".join(f"{name} ({sizes[name]:,} bytes)" for name in largest)
        raise BadDeployment(
            f"The environment of the function {function} has {total:,} bytes; Lambda allows {LARGEST_BYTES:,}. "
            f"The largest are {named}. Keep large values in a file of the project or in Secrets Manager, and let "
            "the crew read them."
        )


def _size(value: str) -> int:
    return _UNRESOLVED_BYTES if Token.is_unresolved(value) else len(value.encode())


def read_environment(manifest: Manifest, more: Mapping[str, str]) -> ProjectEnvironment:
    """Read what a project sets for its functions.

    A file of variables is often that of a laptop as well, with AWS_PROFILE in it: what is not a
    project's to set is left out.

    Args:
        manifest: The project's manifest.
        more: Variables over those of the manifest, checked by `check_names`.

    Raises:
        BadManifest: `env` names a file that is not there.
        BadDeployment: A name has characters that Lambda does not take.
    """
    given = project_environment(manifest)
    kept = {name: value for name, value in given.items() if not _RESERVED.fullmatch(name)}
    check_names(kept)
    crews = {**kept, **more}
    prefix = manifest.webhooks.env_prefix
    return ProjectEnvironment(
        crews=crews,
        webhooks={name: value for name, value in crews.items() if name.startswith(prefix)},
        left_out=sorted(given.keys() - kept.keys()),
    )
