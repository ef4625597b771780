"""Limits: how far a run may go, as the manifest and whoever starts it say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic_core import CoreSchema, core_schema

from crewline.models.threads import WHOLE, Metadata

NAME: Final = "crewline_limits"
"""The key in a run's metadata under which its request lowers limits: every SDK can send metadata, beside a config as
well as beside a context, and an assistant can have some for its runs."""
OTHERS: Final = "*"
"""Stands for every model without a price of its own."""

_MILLION: Final = 1_000_000
_Count = Annotated[int, Field(gt=0, le=2**53), WHOLE]


class Limits(BaseModel):
    """How far a run may go; all of it counts over slices, and over workers that take it over."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seconds: _Count | None = None
    """From its first claim on."""
    supersteps: _Count | None = None
    """Of the run's own graph; one call of a subgraph may make as many."""
    tokens: _Count | None = None
    """Input and output of the models that it calls through LangChain, together."""
    usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What those calls may cost, by the manifest's prices."""

    def replaced(self, by: Limits) -> Limits:
        """Give these limits, with those of others in their place where they say something."""
        return self.model_copy(update=by.model_dump(include=set(Limits.model_fields), exclude_none=True))

    def lowered(self, by: Limits) -> Limits:
        """Give the lower of each two limits: nobody who asks gets more than there is."""
        both = {name: (getattr(self, name), getattr(by, name)) for name in Limits.model_fields}
        return Limits(
            **{name: min((one for one in pair if one), default=None) for name, pair in both.items()}
        )


BOUNDS: Final = Limits(supersteps=1_000, tokens=10_000_000)
"""Where a project says nothing; for the time there is a setting. A crew that works makes tens of supersteps, and LangGraph
would let a loop make 10,000: at a model call each that is a night. Ten million tokens are some ten to a hundred
dollars with the large models of today: an accident, and not a disaster."""


class LimitsPolicy(Limits):
    """The limits of a manifest."""

    crews: Mapping[str, Limits] = Field(default_factory=dict)
    """Crews that have others; what is not said here is as for all."""


class Price(BaseModel):
    """What a model costs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    input: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Dollars for a million input tokens, cached ones too."""
    output: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Dollars for a million output tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What keeps the runs of a project from going on for ever."""

    limits: LimitsPolicy = field(default_factory=LimitsPolicy)
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By model, as the model calls itself, without a date at its end; `*` for all others."""

    def limits_of(self, crew: str, metadata: Mapping[str, Any], *, longest_s: int) -> Limits:
        """Tell how far a run may go.

        Args:
            crew: What it executes.
            metadata: Of the run: it may lower limits.
            longest_s: How long runs may take in this deployment.
        """
        project = BOUNDS.replaced(self.limits)
        own = self.limits.crews.get(crew, Limits())
        return project.replaced(own).lowered(_asked(metadata)).lowered(Limits(seconds=longest_s))


def micro_usd(dollars: float) -> int:
    """Spell dollars as millionths, in which costs are counted."""
    return round(dollars * _MILLION)


def usd(millionths: int) -> float:
    """Spell millionths as dollars."""
    return millionths / _MILLION


class _Limited:
    """Checks the limits in a run's metadata, and describes them."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        limits = Limits.model_json_schema()
        return {**handler(schema), "properties": {NAME: {"anyOf": [limits, {"type": "null"}]}}}


def _asked(metadata: Mapping[str, Any]) -> Limits:
    asked = metadata.get(NAME)
    return Limits() if asked is None else Limits.model_validate(asked)


def _check(metadata: dict[str, Any]) -> dict[str, Any]:
    try:
        _asked(metadata)
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join((NAME, *(str(part) for part in first["loc"])))
        raise ValueError(f"{place}: {first['msg'].lower()}") from None
    return metadata


RunMetadata = Annotated[Metadata, _Limited()]
"""Metadata of a run, or of an assistant for its runs."""
