"""What comes from outside and becomes a run: messages of the intake queue, and events of EventBridge."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self
from uuid import UUID, uuid5

import jmespath
from jmespath.exceptions import JMESPathError, ParseError
from jmespath.functions import Functions
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from crewline.errors import BadMessage
from crewline.models.api_keys import TENANT
from crewline.models.clocks import Id
from crewline.models.runs import MultitaskStrategy, RunCreate

_NAMESPACE_KEY: Final = UUID("c5b1a9e2-6f0d-5d6e-9a47-2f4b8c3d1e70")
"""Of the ids of threads that a key names."""
LONGEST_KEY: Final = 255
"""Characters of a thread key and of an idempotency key."""
MOST_EVENTS: Final = 50
"""Entries of a manifest: each is a rule of EventBridge, which the policy of one function must have room for."""

_FUNCTIONS: Final = frozenset(Functions.FUNCTION_TABLE)
"""What JMESPath can call."""
_TELLING: Final = ("value_error", "assertion_error")
"""Kinds of failures whose text may repeat what was sent."""

Tenant = Annotated[str, Field(pattern=f"^{TENANT}$")]
_Key = Annotated[str, Field(min_length=1, max_length=LONGEST_KEY)]


def thread_id_of(tenant: str, thread_key: str) -> str:
    """Derive the id of the thread that a key names, which a producer can derive as well.

    Args:
        tenant: Whose thread.
        thread_key: What the thread is about, in the words of the producer.

    Returns:
        The UUID, version 5, of `<tenant>#<thread_key>`; a tenant has no `#`.
    """
    return str(uuid5(_NAMESPACE_KEY, f"{tenant}#{thread_key}"))


class Message(RunCreate):
    """A message of the intake queue: the body of a run request, and the thread that it is for.

    Nobody is answered, so a field that is not known is refused, and not ignored as in a request.
    """

    model_config = ConfigDict(extra="forbid")

    thread_key: _Key | None = None
    """Names a thread of its own, which is made when it is not there: all runs of one key are on one thread."""
    thread_id: Id | None = None
    """The thread, when its id is known; without it and without a key the run has no thread."""
    tenant: Tenant | None = None
    """Whose run; the deployment's own tenant when absent."""
    idempotency_key: _Key | None = None
    """Names the message, so that sent again it starts no second run; the id that SQS gave it when absent."""

    @model_validator(mode="after")
    def _one_thread(self) -> Self:
        if self.thread_key is not None and self.thread_id is not None:
            raise ValueError("give thread_key or thread_id, and not both")
        return self

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """Read a message.

        Args:
            fields: What it says, as JSON values.

        Raises:
            BadMessage: It is none; says which field, and nothing of what is in it.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as exc:
            # Without the cause, whose text has what was sent.
            raise BadMessage(_describe(exc, cls.model_fields)) from None

    def run(self, tenant: str) -> tuple[str | None, RunCreate]:
        """Give the thread that the run is for, None when it has none, and the run.

        Args:
            tenant: Whose.
        """
        if self.thread_key is None:
            return self.thread_id, self
        return thread_id_of(tenant, self.thread_key), self.model_copy(update={"if_not_exists": "create"})


@functools.cache
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def _check_expression(text: str) -> str:
    """Refuse what is not JMESPath, and say where it is wrong: the first character is 1."""
    try:
        parts = [_compiled(text).parsed]
    except ParseError as exc:
        raise ValueError(f"is not JMESPath, see character {exc.lex_position + 1}") from None
    while parts:
        part = parts.pop()
        if part["type"] == "function_expression" and part["value"] not in _FUNCTIONS:
            raise ValueError(f"JMESPath has no function {part['value']}")
        parts += [child for child in part["children"] if isinstance(child, dict)]
    return text


_Expression = Annotated[str, Field(min_length=1), AfterValidator(_check_expression)]


class EventMapping(BaseModel):
    """How a manifest makes a run of an event: which ones, and where in them what is.

    Paths are JMESPath over the whole event as EventBridge delivers it: `detail.customer.id`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    source: Annotated[str, Field(min_length=1, max_length=256)]
    """The event's `source`, exactly."""
    detail_type: Annotated[str, Field(min_length=1, max_length=128)]
    """The event's `detail-type`, exactly."""
    assistant_id: str
    """The name of a crew, or the id of an assistant."""
    input: _Expression
    """Path to the run's input, or an expression that makes it."""
    thread_key: _Expression | None = None
    """Path to a text or a whole number: one thread for each value of it; without it, runs have no thread."""
    metadata: _Expression | None = None
    """Path to an object: the run's metadata."""
    tenant: Tenant | None = None
    """Whose runs; the deployment's own tenant when absent."""
    multitask_strategy: MultitaskStrategy = "enqueue"
    """What a run does whose thread is busy."""

    @property
    def pattern(self) -> dict[str, list[str]]:
        """What a rule of EventBridge matches."""
        return {"source": [self.source], "detail-type": [self.detail_type]}

    def message(self, event: Mapping[str, Any]) -> Message:
        """Make the message of an event.

        Args:
            event: As EventBridge delivers it.

        Raises:
            BadMessage: A path leads nowhere in this event, or to something else than what is due.
        """
        fields: dict[str, Any] = {
            "assistant_id": self.assistant_id,
            "tenant": self.tenant,
            "multitask_strategy": self.multitask_strategy,
            "input": self._found("input", self.input, event),
        }
        if self.thread_key:
            key = self._found("thread_key", self.thread_key, event)
            fields["thread_key"] = str(key) if isinstance(key, int) and not isinstance(key, bool) else key
        if self.metadata:
            fields["metadata"] = self._found("metadata", self.metadata, event)
        return Message.read(fields)

    @staticmethod
    def _found(name: str, expression: str, event: Mapping[str, Any]) -> Any:
        try:
            value = _compiled(expression).search(event)
        except JMESPathError:
            raise BadMessage(f"The manifest's {name} cannot be applied to the event.") from None
        if value is None:
            raise BadMessage(f"The manifest's {name} leads to nothing in the event.")
        return value


def _describe(error: ValidationError, known: Mapping[str, Any]) -> str:
    """Say which fields are wrong and how, in words of ours and pydantic's alone."""
    said = []
    for item in error.errors(include_input=False, include_context=False, include_url=False):
        field = str(item["loc"][0]) if item["loc"] else ""
        how = "is not what it may be" if item["type"] in _TELLING else item["msg"].lower()
        if not field:
            said.append("its fields contradict each other")
        elif field not in known:
            said.append("it has a field that is not known")
        else:
            said.append(f"{field}: {how}")
    return f"It is no message for a run: {'; '.join(dict.fromkeys(said))}."
