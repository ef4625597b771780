"""Searches for threads: what they filter by, how they are sorted and what they show."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, field_validator
from typing_extensions import TypedDict

from crewline.models.clocks import Id
from crewline.models.threads import WHOLE, OrDefault, QuestionWire, ThreadStatus, Wire

SortBy = Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"]
SortOrder = Literal["asc", "desc"]
SelectField = Literal[
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "config",
    "context",
    "status",
    "error",
    "values",
    "interrupts",
]
Step: TypeAlias = str | int
"""One step into a value: the name of a member, or the place in an array; the last one is -1."""

MOST_IDS: Final = 1_000
MOST_PATHS: Final = 10
_ROOTS: Final = ("values", "metadata", "config", "interrupts")
_PATH: Final = rf"(?:{'|'.join(_ROOTS)})(?:\.[^.\[\]]+|\[-?[0-9]{{1,9}}\])*"
_STEP: Final = re.compile(r"\[(-?\d+)\]|([^.\[\]]+)")
ExtractPath = Annotated[str, Field(json_schema_extra={"pattern": f"^{_PATH}$"})]


class ThreadCount(Wire):
    """Body of `POST /threads/count`."""

    ids: Annotated[list[Id], Field(max_length=MOST_IDS)] | None = None
    """Only these threads."""
    metadata: dict[str, Any] | None = None
    """Only threads whose metadata contains this, as `@>` of jsonb tells."""
    values: dict[str, Any] | None = None
    """Only threads whose state contains this."""
    status: ThreadStatus | None = None
    """Only threads with this status."""


class ThreadSearch(ThreadCount):
    """Body of `POST /threads/search`."""

    limit: OrDefault[Annotated[int, Field(ge=1, le=1000), WHOLE]] = 10
    """How many threads a page has."""
    offset: OrDefault[Annotated[int, Field(ge=0), WHOLE]] = 0
    """How many come before the page."""
    sort_by: OrDefault[SortBy] = "created_at"
    sort_order: OrDefault[SortOrder] = "desc"
    select: list[SelectField] | None = None
    """Show only these fields; without `values` and `interrupts` no state is read."""
    extract: Annotated[dict[str, ExtractPath], Field(max_length=MOST_PATHS)] | None = None
    """Alias → path into the thread, like `values.messages[-1].content`; shown under `extracted`."""

    @field_validator("extract")
    @classmethod
    def _paths(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for path in (value or {}).values():
            if not re.fullmatch(_PATH, path):
                raise ValueError(
                    f"{path[:100]!r}: a path begins with {', '.join(_ROOTS)}, "
                    "then .name for a member and [0] or [-1] for an element"
                )
        return value

    @property
    def needs_state(self) -> bool:
        """Whether the answer shows something of the threads' state."""
        roots = {path_steps(path)[0] for path in (self.extract or {}).values()}
        shown = {"values", "interrupts"}
        return self.select is None or bool(shown & (roots | set(self.select)))


class FoundThread(TypedDict, total=False):
    """A thread as a search answers it: what was selected, and what was extracted."""

    thread_id: str
    created_at: str
    updated_at: str
    state_updated_at: str
    metadata: dict[str, Any]
    status: ThreadStatus
    config: dict[str, Any]
    error: Any
    values: Any
    interrupts: dict[str, list[QuestionWire]]
    extracted: dict[str, Any]


def path_steps(path: str) -> list[Step]:
    """Split the path of an extraction."""
    return [int(place) if place else name for place, name in _STEP.findall(path)]


def look_up(value: Any, steps: list[Step]) -> Any:
    """Follow a path into a value; None where it leads nowhere."""
    for step in steps:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value
