"""What API keys and the tokens of webhooks have in common when they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from crewline.errors import InvalidRequest
from crewline.models.api_keys import Credential, Prefix
from crewline.store.table import Refused

LONGEST_LABEL: Final = 255
"""Characters of a label."""
_DRAWS: Final = 8

T = TypeVar("T")


def check_label(label: str) -> None:
    """Refuse what is too long to call anything.

    Raises:
        InvalidRequest: It is.
    """
    if len(label) > LONGEST_LABEL:
        raise InvalidRequest(f"A label has at most {LONGEST_LABEL} characters, not {len(label)}.")


def draw(tenant: str, keep: Callable[[Credential], T], *, prefix: Prefix = "crewline") -> tuple[T, str]:
    """Make a credential that no other one has the id of.

    Args:
        tenant: Whose it is.
        keep: Writes it, on the condition that its id is free.
        prefix: How its text begins.

    Returns:
        What `keep` gave, and the text, which is kept nowhere.

    Raises:
        CrewlineError: What `keep` raises, but for a refusal: then another one is drawn.
    """
    for _ in range(_DRAWS):
        drawn = Credential.draw(tenant, prefix=prefix)
        try:
            return keep(drawn), drawn.spell()
        except Refused:
            continue
    raise AssertionError("62 random bits met an id that was taken, eight times")
