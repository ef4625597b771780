"""Releases: which versions of a deployment there are, and which one is live."""

from __future__ import annotations

from dataclasses import dataclass

from crewline.models.versions import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A version, and where it is."""

    version: Version
    live: tuple[str, ...]
    """The functions whose live build it is, by name; all of them but while a rollback is not complete."""
    complete: bool
    """Whether every function keeps it, so that it can be made live."""
