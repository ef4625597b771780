"""Versions of a deployment: each build that was ever deployed has a number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One build, and what it is called."""

    number: int
    """Counts upward from 1; a build that is deployed again keeps its own."""
    build: str
    """The digest of all that was deployed, 32 hex digits."""
    created_at: str
    """When it first ran, as the API spells times."""
