"""How commands name things: ids are checked here before anything is sent, names are looked up."""

from __future__ import annotations

from typing import Any, Final

from crewline.cli.clients import Service
from crewline.cli.failures import CliError, ExitCode
from crewline.models.clocks import is_id
from crewline.models.public_ids import PREFIXES, Kind, parse_public_id, public_id

_MOST: Final = 1_000
"""The most that a search answers with."""
_LISTED: Final = 10


def identify(kind: Kind, text: str) -> str:
    """Check an id and spell it as `/v1` does.

    Args:
        kind: What it has to name.
        text: The id: prefix and digits, or a UUID.

    Raises:
        BadRequest: It names something else, or is no id.
    """
    return public_id(kind, parse_public_id(kind, text))


def find_deployment(service: Service, text: str | None, *, named: str | None = None) -> str:
    """Find the deployment that a command means.

    Args:
        service: Where it is.
        text: Its id or its name; None when none was given.
        named: Its name, however it looks.

    Returns:
        Its public id. Without anything given, that of the only one there is.

    Raises:
        BadRequest: The id is of something else.
        CliError: None or several have the name, there are several to choose from, or the service does
            not answer.
    """
    if text is not None and named is not None:
        raise CliError(f"Name the deployment once: either {text} or --name {named}.")
    if text and (is_id(text) or text.startswith(tuple(PREFIXES.values()))):
        return identify("deployment", text)
    name = text if named is None else named
    there = service.search("/assistants/search", {"limit": _MOST, "sort_by": "name", "sort_order": "asc"})
    found = [one for one in there if one["name"] == name] if name is not None else there
    if len(found) == 1:
        return public_id("deployment", found[0]["assistant_id"])
    listed = _list(found or there)
    if not there:
        raise CliError("The service has no deployments; deploy a project with a graph.", ExitCode.NOT_FOUND)
    if name is not None and not found:
        raise CliError(f"There is no deployment named {name!r}; there are: {listed}.", ExitCode.NOT_FOUND)
    if name is not None:
        raise CliError(f"Several deployments are named {name!r}; give the id of one: {listed}.")
    raise CliError(f"There are several deployments; say which one: {listed}.")


def _list(assistants: list[dict[str, Any]]) -> str:
    shown = [
        f"{one['name']} ({public_id('deployment', one['assistant_id'])})" for one in assistants[:_LISTED]
    ]
    more = len(assistants) - _LISTED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
