"""Runs: executions of a crew."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NotRequired, Self

from pydantic import ConfigDict, Field, RootModel, field_validator, model_validator
from pydantic.config import JsonDict
from typing_extensions import TypedDict

from crewline.errors import BadRequest
from crewline.models.clocks import Id, canonical
from crewline.models.limits import RunMetadata, usd
from crewline.models.threads import WHOLE, OrDefault, Wire
from crewline.settings import UNDEPLOYED

RunStatus = Literal["pending", "running", "success", "error", "timeout", "interrupted"]
RunField = Literal[
    "run_id",
    "thread_id",
    "assistant_id",
    "metadata",
    "status",
    "kwargs",
    "multitask_strategy",
    "error",
    "usage",
    "created_at",
    "updated_at",
]
TERMINAL: frozenset[RunStatus] = frozenset(("success", "error", "timeout", "interrupted"))
LARGEST_BATCH = 1_000
"""Runs of one `POST /runs/batch`."""
StreamMode = Literal[
    "values",
    "updates",
    "messages",
    "messages-tuple",
    "custom",
    "events",
    "debug",
    "tasks",
    "checkpoints",
    "tools",
    "steps",
]
"""Those of LangGraph, and `steps`: tasks without what they were given."""
MultitaskStrategy = Literal["enqueue", "reject", "interrupt", "rollback"]
Durability = Literal["sync", "async", "exit"]
Nodes = list[str] | Literal["*"]
MAX_DELAY_SECONDS = 30 * 86_400
"""How far ahead a run can be put: a thread with a run ahead is busy."""


_VALUES: Final[JsonDict] = {"type": "object", "minProperties": 1}
ONE_CONTEXT: Final = ConfigDict(
    json_schema_extra={
        "not": {
            "properties": {
                "context": _VALUES,
                "config": {
                    "type": "object",
                    "properties": {"configurable": _VALUES},
                    "required": ["configurable"],
                },
            },
            "required": ["context", "config"],
        }
    }
)
"""How a body's schema says that `context` and `config.configurable` exclude each other."""


class CheckpointRef(Wire):
    """A checkpoint as a client names it."""

    checkpoint_id: Id | None = None
    checkpoint_ns: str = ""


class Destination(Wire):
    """A node to go to, with an input of its own."""

    node: str
    input: Any = None


Pair = Annotated[list[Any], Field(min_length=2, max_length=2)]


class Command(Wire):
    """What a client answers to a graph that asked, or tells it to do."""

    resume: Any = None
    """The answer to the open question, or answers by interrupt id."""
    update: dict[str, Any] | list[Pair] | None = None
    """State to write: by channel, or as pairs of channel and value."""
    goto: str | Destination | list[str | Destination] | None = None
    """Nodes to run next."""

    @property
    def parts(self) -> dict[str, Any] | None:
        """What was sent of it; None when it says nothing, which LangGraph does not take for a command."""
        sent = self.model_dump(exclude_unset=True)
        return {name: value for name, value in sent.items() if value or name == "resume"} or None


class RunConfig(Wire):
    """The `config` of a run: LangChain's RunnableConfig as far as it can be sent."""

    tags: list[str] | None = None
    recursion_limit: Annotated[int, Field(ge=1, le=100_000), WHOLE] | None = None
    configurable: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra={
            "properties": {
                "checkpoint_id": {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}
            },
            "propertyNames": {"pattern": "^(?!__)"},
        },
    )
    metadata: dict[str, Any] | None = None

    @field_validator("configurable")
    @classmethod
    def _read(cls, value: dict[str, Any]) -> dict[str, Any]:
        if (checkpoint := value.get("checkpoint_id")) is not None:
            if not isinstance(checkpoint, str):
                raise ValueError("checkpoint_id: must be a UUID as text")
            value = {**value, "checkpoint_id": canonical(checkpoint)}
        if internal := sorted(name for name in value if name.startswith("__")):
            raise ValueError(
                f"{', '.join(internal)}: names that begin with two underscores belong to LangGraph"
            )
        return value


class RunFields(Wire):
    """What a run can be asked for whenever it starts: now, or each time that a cron is due."""

    model_config = ONE_CONTEXT

    input: Any = None
    """The graph's input; None goes on from where the thread stopped."""
    metadata: OrDefault[RunMetadata] = Field(default_factory=dict)
    """Put on the run and on every checkpoint it writes; `crewline_limits` lowers the limits of the run."""
    config: OrDefault[RunConfig] = Field(default_factory=RunConfig)
    context: dict[str, Any] | None = None
    """The graph's runtime context."""
    interrupt_before: Nodes | None = None
    interrupt_after: Nodes | None = None
    stream_mode: OrDefault[list[StreamMode] | StreamMode] = "values"
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    multitask_strategy: OrDefault[MultitaskStrategy] = "enqueue"
    durability: Durability | None = None
    checkpoint_during: bool | None = None
    """Older spelling of durability: False means `exit`."""
    webhook: Annotated[str, Field(json_schema_extra={"format": "uri"})] | None = None
    """Where the run's end is posted."""
    long: bool | None = None
    """Whether the run goes straight to the workflow, in which runs go on that outlive an invocation; as the
    manifest says of its crew when absent."""


class RunCreate(RunFields):
    """Body of every request that starts a run."""

    assistant_id: str
    """The id of an assistant, or the name of a crew."""
    command: Command | None = None
    """Instead of an input: resume, update, goto."""
    checkpoint: CheckpointRef | None = None
    """Where to fork from; the head when absent."""
    checkpoint_id: Id | None = None
    """The same, shorter."""
    feedback_keys: list[str] | None = None
    if_not_exists: OrDefault[Literal["create", "reject"]] = "reject"
    """What to do when the thread does not exist."""
    on_disconnect: Literal["cancel", "continue"] = "continue"
    on_completion: Literal["delete", "keep"] = "delete"
    """What becomes of the private thread of a stateless run."""
    after_seconds: Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)] | None = None
    """Start not before this many seconds from now; background runs only."""

    @property
    def fork(self) -> str | None:
        """The checkpoint to start from, when it is not the head."""
        named: str | None = self.checkpoint_id or (self.checkpoint.checkpoint_id if self.checkpoint else None)
        return named or self.config.configurable.get("checkpoint_id")

    @property
    def resumes(self) -> bool:
        """Whether the run answers an open question."""
        return self.command is not None and "resume" in self.command.model_fields_set

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Ask for the same with other values in some fields."""
        if not changes:
            return self
        return type(self).model_validate({**self.model_dump(exclude_unset=True), **changes})

    def kwargs(self) -> dict[str, Any]:
        """Spell what the run was asked for as the run row shows it.

        Raises:
            BadRequest: `config.configurable` and `context` are both given.
        """
        if self.context and self.config.configurable:
            raise BadRequest("Give either config.configurable or context, not both.")
        durability = self.durability or ("exit" if self.checkpoint_during is False else "async")
        modes = [self.stream_mode] if isinstance(self.stream_mode, str) else list(self.stream_mode)
        return {
            "input": self.input,
            "command": self.command.parts if self.command else None,
            "config": self.config.model_dump(exclude_none=True),
            "context": self.context,
            "stream_mode": modes or ["values"],
            "interrupt_before": self.interrupt_before,
            "interrupt_after": self.interrupt_after,
            "webhook": self.webhook,
            "long": self.long,
            "feedback_keys": self.feedback_keys,
            "temporary": False,
            "on_disconnect": self.on_disconnect,
            "after_seconds": self.after_seconds,
            "subgraphs": self.stream_subgraphs,
            "resumable": self.stream_resumable,
            "checkpoint_during": self.checkpoint_during,
            "durability": durability,
            "checkpoint_id": self.fork,
        }


@functools.cache
def unsaid() -> tuple[str, ...]:
    """Name what a request may leave unsaid: a row has no room for it, and shows it as null."""
    return tuple(name for name, value in RunCreate(assistant_id="").kwargs().items() if value is None)


class RunBatch(RootModel[Annotated[list[RunCreate], Field(min_length=1, max_length=LARGEST_BATCH)]]):
    """Body of `POST /runs/batch`: runs that have nothing to do with one another."""

    model_config = ConfigDict(defer_build=True)


_GIVEN: Final[JsonDict] = {"not": {"type": "null"}}
_ABSENT: Final[JsonDict] = {"type": "null"}


class RunsCancel(Wire):
    """Body of `POST /runs/cancel`: some runs of a thread, or all that have a status."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "properties": {"thread_id": _GIVEN, "run_ids": _GIVEN, "status": _ABSENT},
                    "required": ["thread_id", "run_ids"],
                },
                {
                    "properties": {"thread_id": _ABSENT, "run_ids": _ABSENT, "status": _GIVEN},
                    "required": ["status"],
                },
            ]
        }
    )

    thread_id: Id | None = None
    run_ids: list[Id] | None = None
    status: Literal["pending", "running", "all"] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        by_id = {self.thread_id is not None, self.run_ids is not None}
        if by_id != {self.status is None}:
            raise ValueError("give thread_id and run_ids, or status, and not both")
        return self


class RunErrorWire(TypedDict):
    """How a run failed."""

    error: str
    message: str


class UsageWire(TypedDict):
    """What a run's model calls have used."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    usd: NotRequired[float]
    """What they cost, by the manifest's prices."""


class RunWire(TypedDict):
    """A run as the API answers it."""

    run_id: str
    thread_id: str
    assistant_id: str
    metadata: dict[str, Any]
    status: RunStatus
    kwargs: dict[str, Any]
    multitask_strategy: MultitaskStrategy
    error: RunErrorWire | None
    usage: UsageWire | None
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunError:
    """How a run failed: the class and the text of what the crew's code raised."""

    error: str
    message: str

    def wire(self) -> RunErrorWire:
        """Spell the error as streams, joins and run rows show it."""
        return {"error": self.error, "message": self.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run's model calls have used."""

    input_tokens: int = 0
    output_tokens: int = 0
    micro_usd: int = 0
    """What they cost, by the manifest's prices; in millionths of a dollar."""

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def wire(self) -> UsageWire:
        """Spell the usage as run rows and streams show it."""
        wire: UsageWire = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
        }
        if self.micro_usd:
            wire["usd"] = usd(self.micro_usd)
        return wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run row."""

    run_id: str
    thread_id: str
    assistant_id: str
    graph_id: str
    """The crew that executes it."""
    status: RunStatus
    created_at: str
    updated_at: str
    kwargs: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    multitask_strategy: MultitaskStrategy = "enqueue"
    error: RunError | None = None
    head: str | None = None
    """The checkpoint at which a finished run left the thread."""
    turn: int = 0
    """Its place in the order in which the thread accepted runs."""
    heard: bool = False
    """Somebody listens for its end."""
    assumed: bool = False
    """It was started before its assistant was read: as the default one that the manifest gives."""
    started_at: str | None = None
    """When it was first claimed."""
    ended_at: str | None = None
    usage: Usage | None = None
    """What its model calls used; None until it has ended."""
    build: str = UNDEPLOYED
    """What the process ran that accepted it."""
    user: Mapping[str, Any] | None = None
    """Whom its graph executes for, if that is known; never shown."""

    @property
    def crew(self) -> dict[str, str]:
        """What its thread's metadata is to say of the crew that executes it."""
        return {"graph_id": self.graph_id, "assistant_id": self.assistant_id}

    @property
    def finished(self) -> bool:
        """Whether the status is terminal."""
        return self.status in TERMINAL

    def wire(self) -> RunWire:
        """Spell the run as the API answers it."""
        return {
            "run_id": self.run_id,
            "thread_id": self.thread_id,
            "assistant_id": self.assistant_id,
            "metadata": dict(self.metadata),
            "status": self.status,
            "kwargs": dict(self.kwargs),
            "multitask_strategy": self.multitask_strategy,
            "error": self.error.wire() if self.error else None,
            "usage": self.usage.wire() if self.usage else None,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
