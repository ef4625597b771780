"""What a manifest says of the store: how long items live, and how they are found by their meaning."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from crewline.models.threads import LONGEST_TTL

MOST_DIMS: Final = 16_000
"""Numbers of a vector; one of as many takes 64 KB of its item."""


class Lifetime(BaseModel):
    """How long items live, where nobody says more."""

    # sweep_interval_minutes is read by nobody: DynamoDB removes what has expired, and nobody is shown it before.
    model_config = ConfigDict(frozen=True)

    default_ttl: Annotated[float, Field(gt=0, le=LONGEST_TTL)] | None = None
    """Minutes that an item lives unused; None: for ever."""
    refresh_on_read: bool = True
    """Whether an item that is read lives on from then."""


class IndexPolicy(BaseModel):
    """How texts become vectors."""

    model_config = ConfigDict(frozen=True)

    embed: str
    """A function of the project, `path/to/file.py:name`, or a model as LangChain names it, `provider:model`."""
    dims: Annotated[int, Field(gt=0, le=MOST_DIMS)]
    """Numbers of each vector."""
    fields: Annotated[list[str], Field(min_length=1)] | None = None
    """Paths into a value, whose texts are embedded; all of it as one text when absent."""


class StorePolicy(BaseModel):
    """What a manifest says of the store."""

    model_config = ConfigDict(frozen=True)

    index: IndexPolicy | None = None
    ttl: Lifetime = Lifetime()
