"""What a client of A2A sends: a message, about a task, and what a graph is given of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from crewline.http.jsonrpc import INVALID_PARAMS, RpcError
from crewline.models.limits import RunMetadata
from crewline.models.threads import Wire

TASK_NOT_FOUND: Final = -32001
TASK_NOT_CANCELABLE: Final = -32002
UNSUPPORTED: Final = -32004
CONTENT_TYPE: Final = -32005
VERSION: Final = -32009


class _Sent(Wire):
    model_config = ConfigDict(alias_generator=to_camel)


class Part(_Sent):
    """A part of a message; what else it may be is not taken."""

    text: str | None = None
    data: Any = None
    metadata: dict[str, Any] | None = None

    @property
    def is_data(self) -> bool:
        """Whether it is JSON."""
        return "data" in self.model_fields_set

    @property
    def value(self) -> Any:
        """Its JSON; the official client of the older version wraps what is no object, and says so."""
        wrapped = (self.metadata or {}).get("data_part_compat") and isinstance(self.data, dict)
        return self.data.get("value") if wrapped else self.data


class Message(_Sent):
    """What is said."""

    message_id: Annotated[str, Field(min_length=1, max_length=255)]
    context_id: str | None = None
    task_id: str | None = None
    parts: Annotated[list[Part], Field(min_length=1)]


class Configuration(_Sent):
    """How it is to be answered."""

    blocking: bool | None = None
    """Of the older version."""
    return_immediately: bool = False
    """Of the newer one."""


class Send(_Sent):
    """Parameters of a call that sends a message."""

    message: Message
    configuration: Configuration | None = None
    metadata: RunMetadata | None = None

    @property
    def at_once(self) -> bool:
        """Whether the answer is not to wait for the end."""
        asked = self.configuration
        return asked is not None and (asked.return_immediately or asked.blocking is False)


class Named(_Sent):
    """Parameters of a call about a task."""

    id: Annotated[str, Field(max_length=64)]


def given(message: Message, schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Make the input of a graph from a message: data as it is, text as a message of a chat.

    Args:
        message: The message.
        schema: What the graph takes.

    Raises:
        RpcError: It has a part that the graph has no place for.
    """
    made: dict[str, Any] = {}
    for part in message.parts:
        if part.is_data:
            if not isinstance(part.value, dict):
                raise RpcError(CONTENT_TYPE, "A data part must be an object: fields of the graph's input.")
            made |= part.value
    if text := _text(message):
        if not takes_text(schema):
            raise RpcError(
                CONTENT_TYPE, "This assistant takes no text, for its input has no messages; send a data part."
            )
        said = {"role": "user", "content": text, "id": message.message_id}
        before = made.get("messages") or []  # one alone need not be in a list
        made["messages"] = [*(before if isinstance(before, list) else [before]), said]
    return made


def replied(message: Message) -> Any:
    """Make the answer to a question from a message: its text, or its data.

    Raises:
        RpcError: It has both, or several data parts.
    """
    text, data = _text(message), [part.value for part in message.parts if part.is_data]
    if len(data) + bool(text) != 1:
        raise RpcError(INVALID_PARAMS, "An answer is text, or one data part.")
    return data[0] if data else text


def takes_text(schema: Mapping[str, Any] | None) -> bool:
    """Tell whether a graph takes the messages of a chat."""
    return "messages" in ((schema or {}).get("properties") or {})


def _text(message: Message) -> str:
    texts = []
    for part in message.parts:
        if part.text is None and not part.is_data:
            raise RpcError(CONTENT_TYPE, "Only text and data parts are taken; send a reference to a file.")
        if part.text is not None:
            texts.append(part.text)
    return "\n".join(texts)
