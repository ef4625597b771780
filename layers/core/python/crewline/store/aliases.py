"""The functions of a deployment as Lambda keeps them: a version for each build, and the alias that says which is live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from crewline.errors import Conflict, Forbidden, NotFound
from crewline.settings import VARIABLES
from crewline.store.clients import deferred
from crewline.store.deployments import LIVE, resources, told

_ALIAS: Final = "AWS::Lambda::Alias"
_LATEST: Final = "$LATEST"
"""What Lambda calls that of which no version was published."""
_NAME: Final = "POWERTOOLS_SERVICE_NAME"
"""The variable by which the constructs tell each function its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function, and what could be live of it."""

    name: str
    """What the constructs call it: `api`, `worker`."""
    physical_name: str
    """What Lambda calls it."""
    live: str
    """The build that its alias points at."""
    deployed: str
    """The build that the last deploy brought, live or not."""
    kept: Mapping[str, str]
    """Build → the newest version of Lambda that has it."""
    revision: str
    """What the alias is now, for a change of it."""


class Aliases:
    """The aliases of the functions of one deployment.

    Args:
        stack: The name of its CloudFormation stack.
    """

    def __init__(self, stack: str) -> None:
        self._stack = stack
        self._client = deferred("lambda")

    def list(self) -> list[Function]:
        """Read the functions, in the order of their names.

        Raises:
            NotFound: There is no such stack, or it has no versions.
            Conflict: An alias points at what no deploy has made.
            Unauthenticated: There are no AWS credentials, or AWS does not know them.
            Forbidden: They do not allow this.
            Unavailable: AWS did not answer.
        """
        with told(f"A function of stack {self._stack} is not in this account and region"):
            arns = [
                one["PhysicalResourceId"]
                for one in resources(self._stack)
                if one["ResourceType"] == _ALIAS and one["PhysicalResourceId"].endswith(f":{LIVE}")
            ]
            found = [function for arn in arns if (function := self._read(arn.split(":")[-2]))]
        if not found:
            raise NotFound(
                f"Stack {self._stack} has no versions: what deployed it made none; deploy it again with this release."
            )
        return sorted(found, key=lambda function: function.name)

    def point(self, function: Function, build: str) -> None:
        """Make another build of a function live: one write, on the condition that its alias is what was read.

        ```
        A: reads alias at 3 ── points it at 2 ──▶ 2
        B: reads alias at 3 ── points it at 1 ──✗ the alias has changed: B reads again
        D (a deploy): points it at 4 ──▶ 4       A: ✗ likewise
        ```

        Args:
            function: The function, which keeps a version of the build.
            build: The build.

        Raises:
            Conflict: Somebody else has changed the alias since it was read.
            Forbidden: The credentials do not allow this.
            Unavailable: AWS did not answer; the alias may or may not point at it.
        """
        with told(f"The function {function.physical_name} is not there any more"):
            self._client.update_alias(
                FunctionName=function.physical_name,
                Name=LIVE,
                FunctionVersion=function.kept[build],
                RevisionId=function.revision,
            )

    def _read(self, physical_name: str) -> Function | None:
        """Read one function; None when it is none of ours: a stack of a team's own may have others."""
        pages = self._client.get_paginator("list_versions_by_function").paginate(FunctionName=physical_name)
        variables = {
            one["Version"]: _variables(physical_name, one) for page in pages for one in page["Versions"]
        }
        name = VARIABLES["build"]
        builds = {version: own[name] for version, own in variables.items() if name in own}
        if _LATEST not in builds:
            return None
        kept = {builds[version]: version for version in sorted(builds.keys() - {_LATEST}, key=int)}
        alias = self._client.get_alias(FunctionName=physical_name, Name=LIVE)
        if (at := alias["FunctionVersion"]) not in builds:
            raise Conflict(
                f"The alias {LIVE} of function {physical_name} points at version {at}, which no deploy has made; point it "
                f"at one of {', '.join(kept.values())}: aws lambda update-alias --function-name {physical_name} "
                f"--name {LIVE} --function-version N."
            )
        return Function(
            name=variables[_LATEST][_NAME],
            physical_name=physical_name,
            live=builds[at],
            deployed=builds[_LATEST],
            kept=kept,
            revision=alias["RevisionId"],
        )


def _variables(physical_name: str, configuration: Mapping[str, Any]) -> dict[str, str]:
    environment = configuration.get("Environment", {})
    if refused := environment.get("Error"):
        raise Forbidden(
            f"Lambda does not show the variables of function {physical_name} ({refused['ErrorCode']}); with an "
            "encryption key of your own, these credentials need kms:Decrypt for it."
        )
    variables: dict[str, str] = environment.get("Variables", {})
    return variables
