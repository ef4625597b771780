"""Tokens of incoming webhooks: each URL that starts runs of one assistant, for whoever knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crewline.models.api_keys import Prefix

PREFIX: Final[Prefix] = "whk"
"""How the text of a token begins."""
PATH: Final = "/webhooks/runs/"
"""What comes before the token in its URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookToken:
    """A token as it is kept: all but its secret."""

    tenant: str
    token_id: str
    deployment: str
    """What it starts runs of: the id of an assistant, or the name of a crew."""
    label: str
    """What its maker calls it."""
    created_at: str
    rotated_at: str | None = None
    """Since when it has the secret that it has now, if that is not its first."""
    revoked_at: str | None = None
    """Since when it starts nothing any more."""
