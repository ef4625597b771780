"""Bodies and answers that are no row of anything, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Whole = Annotated[int, Field(ge=0)]
Channel = Literal[
    "values", "updates", "checkpoints", "messages", "tools", "custom", "lifecycle", "input", "tasks"
]
CallName = Annotated[int | str, Field(title="CallName")]
CustomChannel = Annotated[str, Field(pattern="^custom:.+")]


class ErrorAnswer(TypedDict):
    """What went wrong: a sentence for a person, a word for a program."""

    detail: str
    code: str


class EventAnswer(TypedDict):
    """A server-sent event."""

    event: str
    data: str
    """JSON."""
    id: NotRequired[str]
    """What `Last-Event-ID` names to go on behind it."""


class Okay(TypedDict):
    """The service is there."""

    ok: bool


class Flags(TypedDict):
    """What the service has."""

    assistants: bool
    crons: bool
    langsmith: bool


class Host(TypedDict):
    """Where the service is, in the words of LangGraph's platform."""

    kind: Literal["self-hosted"]
    project_id: None
    revision_id: str | None
    """The build that is deployed; null on a laptop."""
    tenant_id: None


class Information(TypedDict):
    """Which service this is."""

    version: str
    langgraph_py_version: str | None
    """Of the crews; null when they are in a container image."""
    flags: Flags
    host: Host
    metadata: dict[str, Any]


class CommandRequest(TypedDict):
    """What a client tells a thread to do."""

    id: Whole
    method: str
    params: NotRequired[dict[str, Any] | None]


class EventsRequest(TypedDict):
    """Which events of a thread a connection wants."""

    channels: Annotated[list[Channel | CustomChannel], Field(min_length=1)]
    namespaces: NotRequired[list[list[str]] | None]
    depth: NotRequired[Whole | None]
    since: NotRequired[Whole | None]


class CommandMeta(TypedDict):
    """Where the thread's events were when the command was carried out."""

    applied_through_seq: int


class CommandDone(TypedDict):
    """A command that was carried out."""

    type: Literal["success"]
    id: Any
    result: dict[str, Any]
    meta: NotRequired[CommandMeta]


class CommandRefused(TypedDict):
    """A command that was not carried out."""

    type: Literal["error"]
    id: Any
    error: str
    message: str


CommandAnswer = CommandDone | CommandRefused


class AgentCard(TypedDict):
    """What an assistant is to clients of A2A, in both of its versions."""

    name: str
    description: str
    version: str
    protocolVersion: str
    url: str
    """Where it is called."""
    preferredTransport: Literal["JSONRPC"]
    supportedInterfaces: list[dict[str, str]]
    capabilities: dict[str, bool]
    defaultInputModes: list[str]
    defaultOutputModes: list[str]
    skills: list[dict[str, Any]]
    securitySchemes: NotRequired[dict[str, Any]]
    security: NotRequired[list[dict[str, list[str]]]]
    securityRequirements: NotRequired[list[dict[str, Any]]]


class RpcCall(TypedDict):
    """A JSON-RPC call."""

    jsonrpc: Literal["2.0"]
    method: str
    id: NotRequired[CallName]
    """Names the call in its answer; one without is not answered."""
    params: NotRequired[dict[str, Any] | None]


class RpcError(TypedDict):
    """Why a JSON-RPC call has failed."""

    code: int
    message: str
    data: NotRequired[Any]


class RpcAnswer(TypedDict):
    """The answer of a JSON-RPC call: a result or an error."""

    jsonrpc: Literal["2.0"]
    id: CallName | None
    result: NotRequired[Any]
    error: NotRequired[RpcError]
