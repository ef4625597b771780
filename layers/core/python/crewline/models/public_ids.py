"""Ids as `/v1` spells them: what they name, and the id of the core without dashes.

Nothing is looked up: the two spellings are read back into one another, and the core's own is taken too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from crewline.errors import BadRequest
from crewline.models.clocks import canonical, is_id

Kind = Literal["deployment", "thread", "run", "version"]
PREFIXES: Final[Mapping[Kind, str]] = {
    "deployment": "dep_",
    "thread": "thr_",
    "run": "run_",
    "version": "ver_",
}
"""How the id of each begins; a deployment is an assistant of the core."""

_SPELLED: Final = re.compile("([a-z]{3}_)([0-9a-fA-F]{32})")


def public_id(kind: Kind, core_id: str) -> str:
    """Spell an id of the core as `/v1` does.

    Args:
        kind: What it names.
        core_id: A UUID, or the digest that names a build.
    """
    return PREFIXES[kind] + core_id.replace("-", "")


def parse_public_id(kind: Kind, text: str) -> str:
    """Read an id that a caller sent.

    Args:
        kind: What it has to name.
        text: The id as it came: as `/v1` spells it, or a UUID in any spelling.

    Returns:
        The UUID in lower case with dashes.

    Raises:
        BadRequest: It names something else, or is no id.
    """
    if found := _SPELLED.fullmatch(text):
        _check_prefix(kind, *found.groups())
        return canonical(found[2])
    if is_id(text):
        return canonical(text)
    raise BadRequest(f"{text[:60]!r} is no {kind}'s id, which is {PREFIXES[kind]} and 32 hexadecimal digits.")


def parse_deployment(text: str) -> str:
    """Read what a caller names a deployment by: its id, or the name of a crew.

    Returns:
        The UUID of the assistant, or the name as it came.

    Raises:
        BadRequest: It is the id of something else.
    """
    if _SPELLED.fullmatch(text) or is_id(text):
        return parse_public_id("deployment", text)
    return text


def _check_prefix(kind: Kind, prefix: str, digits: str) -> None:
    if prefix == PREFIXES[kind]:
        return
    for other, begins in PREFIXES.items():
        if prefix == begins:
            raise BadRequest(
                f"'{prefix}{digits}' is a {other}'s id; a {kind}'s id begins with {PREFIXES[kind]}."
            )
    raise BadRequest(f"'{prefix}{digits}' is no {kind}'s id; one begins with {PREFIXES[kind]}.")
