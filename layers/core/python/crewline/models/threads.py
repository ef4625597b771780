"""Threads: durable conversations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NotRequired, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticUseDefault, core_schema
from typing_extensions import TypedDict

from crewline.models.clocks import Id, iso, milliseconds

ThreadStatus = Literal["idle", "busy", "interrupted", "error"]
Strategy = Literal["delete", "keep_latest"]
"""What becomes of a thread that is pruned or expires: it goes, or keeps its newest state alone."""
LARGEST_PRUNE = 1_000
"""Threads of one `POST /threads/prune`: 90 seconds of work for the control plane at most."""
LONGEST_TTL = 10 * 366 * 24 * 60
"""Minutes that a thread may live unused: ten years."""
Metadata = Annotated[dict[Annotated[str, Field(min_length=1, max_length=255)], Any], Field(max_length=100)]
MOST_METADATA_KEYS: Final = 48
"""Of a thread, beside the two that its runs set, and of a patch: 100 writes replace or remove every entry."""
ThreadMetadata = Annotated[Metadata, Field(max_length=MOST_METADATA_KEYS)]
CREW_KEYS: Final = frozenset(("graph_id", "assistant_id"))
"""What the first run on a thread writes into its metadata."""


class Wire(BaseModel):
    """Base of request bodies: unknown fields are ignored, values are never coerced between kinds."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, defer_build=True)


def whole(value: Any) -> Any:
    """Read a number without a fraction as the integer that it is to JSON Schema: 10.0 is 10."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE: Final = BeforeValidator(whole)
"""Of an integer in a body."""


class _NullMeansDefault:
    """Reads null as the default of a field, and describes the field so."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_use_default, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _use_default(value: Any) -> Any:
    if value is None:
        raise PydanticUseDefault
    return value


_T = TypeVar("_T")
OrDefault = Annotated[_T, _NullMeansDefault()]
"""A field with a default, which a client may also ask for with null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """When a thread ends by itself, and how."""

    after_s: int
    """Seconds after it was last used."""
    strategy: Strategy = "delete"


class Ttl(Wire):
    """A time to live as a client names it."""

    ttl: Annotated[float, Field(gt=0, le=LONGEST_TTL)]
    """Minutes after the thread was last used."""
    strategy: Strategy = "delete"
    """What becomes of it then."""

    @property
    def expiry(self) -> Expiry:
        """The same in seconds, one at least."""
        return Expiry(after_s=max(1, round(self.ttl * 60)), strategy=self.strategy)


TtlBody = Ttl | Annotated[float, Field(gt=0, le=LONGEST_TTL)]
"""A time to live, or its minutes alone."""


def expiry_of(ttl: Ttl | float | None) -> Expiry | None:
    """Read a time to live in either form."""
    if isinstance(ttl, int | float):
        ttl = Ttl(ttl=ttl)
    return ttl.expiry if ttl else None


class ThreadCreate(Wire):
    """Body of `POST /threads`."""

    thread_id: Id | None = None
    """A UUID of the caller's choice; a new uuid7 when absent."""
    metadata: ThreadMetadata | None = None
    """Facts about the thread, apart from its state."""
    if_exists: Literal["raise", "do_nothing"] = "raise"
    """What to do when the id is taken: 409, or answer with the thread that is there."""
    graph_id: str | None = None
    """The crew whose state the thread will hold, before its first run."""
    ttl: TtlBody | None = None
    """When the thread ends by itself; what the manifest says when absent."""


class ThreadPatch(Wire):
    """Body of `PATCH /threads/{thread_id}`."""

    metadata: ThreadMetadata = Field(default_factory=dict)
    """Merged into the metadata that is there, key by key."""
    ttl: TtlBody | None = None
    """When the thread ends by itself from now on; as before when absent."""


class QuestionWire(TypedDict):
    """A question that a graph has stopped at."""

    id: str
    value: Any


class TtlWire(TypedDict):
    """When a thread ends by itself."""

    strategy: Strategy
    ttl_minutes: float
    expires_at: str
    """Unless it is used before."""


class ThreadWire(TypedDict):
    """A thread as the API answers it."""

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
    ttl: NotRequired[TtlWire | None]
    """Only where it was asked for with `include=ttl`."""


class PartWire(TypedDict):
    """How much there is of one kind."""

    count: int
    bytes: int


class StorageWire(TypedDict):
    """What a thread's checkpoints take, as they are stored: compressed."""

    thread_id: str
    total_bytes: int
    checkpoints: PartWire
    """Records in the table; each holds what is new in its checkpoint, with small values."""
    channel_values: PartWire
    """Records that are large, in S3."""
    pending_writes: PartWire
    """Writes of tasks that no record carries."""


class PruneWire(TypedDict):
    """What was pruned."""

    pruned_count: int


class ThreadPrune(Wire):
    """Body of `POST /threads/prune`."""

    thread_ids: Annotated[list[Id], Field(max_length=LARGEST_PRUNE)]
    """The threads; those that are not there are passed over."""
    strategy: Strategy = "delete"
    """Remove them, or everything of them but their newest state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """One thread row."""

    thread_id: str
    created_at: str
    updated_at: str
    state_updated_at: str
    status: ThreadStatus
    metadata: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    listed: bool = True
    """Whether lists and searches show it: not so the private thread of a stateless run."""
    expiry: Expiry | None = None

    @property
    def expires_ms(self) -> int:
        """When it ends if nobody uses it any more; milliseconds since the epoch."""
        return milliseconds(self.updated_at) + (self.expiry.after_s * 1000 if self.expiry else 0)

    def ttl(self) -> TtlWire | None:
        """Spell as the API does when it ends by itself."""
        if self.expiry is None:
            return None
        return {
            "strategy": self.expiry.strategy,
            "ttl_minutes": self.expiry.after_s / 60,
            "expires_at": iso(self.expires_ms),
        }

    def wire(self, values: Any, interrupts: Mapping[str, list[QuestionWire]]) -> ThreadWire:
        """Spell the thread as the API answers it.

        Args:
            values: The state at the head, None when nothing has set it.
            interrupts: Open questions by task id.
        """
        return {
            "thread_id": self.thread_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "state_updated_at": self.state_updated_at,
            "metadata": dict(self.metadata),
            "status": self.status,
            "config": dict(self.config),
            "error": self.error,
            "values": values,
            "interrupts": dict(interrupts),
        }
