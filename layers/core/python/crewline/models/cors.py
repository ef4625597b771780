"""Which web pages may call the API: the section `http.cors` of a manifest, as LangGraph spells it."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

STUDIO: Final = "https://smith.langchain.com"
_LAPTOP: Final = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


class CorsPolicy(BaseModel):
    """Which origins may read answers in a browser; every caller outside of one may anyway."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    allow_origins: tuple[str, ...] = ("*",)
    """Origins (scheme, host, port), or `*` for any."""
    allow_origin_regex: str | None = None
    """A regular expression that a whole origin may match instead."""
    allow_methods: tuple[str, ...] = ("DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT")
    allow_headers: tuple[str, ...] = ("*",)
    """Headers that a page may send; `*` for whatever it asks for."""
    allow_credentials: bool = False
    """Whether cookies may come along; then origins must be named."""
    expose_headers: tuple[str, ...] = ()
    """Headers that a page may read beside ours."""
    max_age: Annotated[int, Field(ge=0)] = 600
    """Seconds for which a browser remembers what it may."""

    @field_validator("allow_origin_regex")
    @classmethod
    def _regex(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as exc:
            raise ValueError(f"{value!r} is no regular expression: {exc}") from exc
        return value

    @model_validator(mode="after")
    def _credentials(self) -> CorsPolicy:
        if self.allow_credentials and "*" in self.allow_origins:
            raise ValueError(
                "with allow_credentials, allow_origins must name the origins: any page could act for a user"
            )
        return self

    def allows(self, origin: str) -> bool:
        """Tell whether pages of an origin may read answers."""
        if "*" in self.allow_origins or origin in self.allow_origins:
            return True
        return bool(self.allow_origin_regex and re.fullmatch(self.allow_origin_regex, origin))


LOOPBACK: Final = CorsPolicy(allow_origins=(STUDIO,), allow_origin_regex=_LAPTOP)
"""For a server on a laptop, which asks nobody for a key: the laptop's own pages and the Studio."""
