"""The unmodified client of A2A against the local service, in both versions, streaming and not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from a2a.client import Client, ClientConfig, ClientFactory
from a2a.client.card_resolver import A2ACardResolver
from a2a.types.a2a_pb2 import (
    AgentCard,
    CancelTaskRequest,
    GetTaskRequest,
    Message,
    Part,
    Role,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
    Task,
    TaskState,
)
from a2a.utils.errors import ContentTypeNotSupportedError, TaskNotCancelableError, TaskNotFoundError
from google.protobuf import json_format, struct_pb2

from tests.conftest import KEY

KEYS = {"x-api-key": KEY} if KEY else {}
Connect = Callable[[str], AbstractAsyncContextManager[Client]]


@dataclass
class Heard:
    """What a client was told of one task."""

    task: Task
    states: list[str] = field(default_factory=list)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    """Every text of an artifact, as it came."""
    data: Any = None
    said: list[Any] = field(default_factory=list)
    """What was said beside the last state."""


async def get_card(url: str, path: str) -> AgentCard:
    """Get a card as from behind a proxy: the local cloud's own address is none that an API knows of."""
    service = urlsplit(url)
    forwarded = {
        "x-forwarded-proto": service.scheme,
        "x-forwarded-host": service.netloc,
        "x-forwarded-prefix": service.path,
    }
    async with httpx.AsyncClient(headers={**KEYS, **forwarded}, timeout=60) as http:
        return await A2ACardResolver(http, url).get_agent_card(path)


@pytest.fixture(params=["0.3", "1.0"])
def version(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@asynccontextmanager
async def connected(url: str, assistant: str, version: str, *, streaming: bool) -> AsyncIterator[Client]:
    """Connect to an assistant by its card, in one of the versions that this offers."""
    card = await get_card(url, f"/a2a/{assistant}/.well-known/agent-card.json")
    chosen = [one for one in card.supported_interfaces if one.protocol_version == version]
    del card.supported_interfaces[:]
    card.supported_interfaces.extend(chosen)
    async with httpx.AsyncClient(headers=KEYS, timeout=60) as http:
        yield ClientFactory(ClientConfig(streaming=streaming, httpx_client=http)).create(card)


@pytest.fixture(params=[True, False], ids=["streaming", "waiting"])
def connect(service_url: str, version: str, request: pytest.FixtureRequest) -> Connect:
    """Connects to an assistant, in each version and either way."""
    return lambda assistant: connected(service_url, assistant, version, streaming=request.param)


def message(
    text: str | None = None, data: Any = None, *, about: Task | None = None, **more: str
) -> SendMessageRequest:
    parts = [] if text is None else [Part(text=text)]
    if data is not None:
        value = struct_pb2.Value()
        json_format.ParseDict(data, value)
        parts.append(Part(data=value))
    where = {"context_id": about.context_id, "task_id": about.id} if about else more
    sent = Message(message_id=str(uuid4()), role=Role.ROLE_USER, parts=parts, **where)
    return SendMessageRequest(message=sent)


async def say(client: Client, request: SendMessageRequest) -> Heard:
    """Send a message, and listen to the end."""
    heard = Heard(Task())
    async for event in client.send_message(request):
        if event.HasField("task"):
            heard.task = event.task
            _note_state(heard, event.task.status)
            for artifact in event.task.artifacts:
                _note_artifact(heard, artifact, append=False)
        elif event.HasField("artifact_update"):
            _note_artifact(heard, event.artifact_update.artifact, append=event.artifact_update.append)
        else:
            _note_state(heard, event.status_update.status)
    return heard


def _note_state(heard: Heard, status: Any) -> None:
    heard.states.append(TaskState.Name(status.state).removeprefix("TASK_STATE_"))
    heard.said = [_value(part) for part in status.message.parts]


def _note_artifact(heard: Heard, artifact: Any, *, append: bool) -> None:
    (value,) = map(_value, artifact.parts)
    if isinstance(value, str):
        before = heard.artifacts.get(artifact.artifact_id, []) if append else []
        heard.artifacts[artifact.artifact_id] = [*before, value]
    else:
        heard.data = value


def _value(part: Part) -> Any:
    return part.text if part.HasField("text") else json_format.MessageToDict(part.data)


async def test_a_chat_answers_with_text_and_remembers_its_context(connect: Connect) -> None:
    async with connect("echo") as client:
        first = await say(client, message("hello"))
        assert first.states[-1] == "COMPLETED"
        assert list(first.artifacts.values()) == [["echo: hello"]]
        again = await say(client, message("and again", context_id=first.task.context_id))
        assert again.task.context_id == first.task.context_id
        assert list(again.artifacts.values()) == [["echo: and again"]]
        kept = await client.get_task(GetTaskRequest(id=first.task.id))
        assert [part.text for part in kept.artifacts[0].parts] == ["echo: hello"]


async def test_tokens_come_as_they_are_said_and_then_the_whole(connect: Connect) -> None:
    async with connect("chat") as client:
        events = [event async for event in client.send_message(message("hello"))]
        *tokens, whole = [
            *(artifact.parts[0].text for event in events for artifact in event.task.artifacts),
            *(event.artifact_update.artifact.parts[0].text for event in events[1:-1]),
        ]
        assert whole == "You said: hello"
        assert tokens == list(whole if len(events) > 1 else "")
        appended = [event.artifact_update.append for event in events[1:-1]]
        assert appended == [place not in {0, len(tokens)} for place in range(len(appended))]


async def test_data_goes_in_as_it_is_and_comes_back(connect: Connect) -> None:
    async with connect("steps") as client:
        heard = await say(client, message(data={"n": 1}))
        assert (heard.states[-1], heard.data) == ("COMPLETED", {"n": 4.0, "log": ["a", "b", "c"]})
        with pytest.raises(ContentTypeNotSupportedError, match="takes no text"):
            await say(client, message("hello"))


async def test_a_crew_that_raises_is_a_task_that_failed(connect: Connect) -> None:
    async with connect("failing") as client:
        heard = await say(client, message(data={"x": "1"}))
        assert (heard.states[-1], heard.said) == ("FAILED", ["ValueError: boom: 1"])


async def test_a_crew_that_asks_is_answered_by_a_message_about_its_task(connect: Connect) -> None:
    async with connect("approval") as client:
        asked = await say(client, message(data={"topic": "tea"}))
        assert (asked.states[-1], asked.said) == ("INPUT_REQUIRED", [{"question": "approve tea?"}])
        kept = await client.get_task(GetTaskRequest(id=asked.task.id))
        assert kept.status.state == TaskState.TASK_STATE_INPUT_REQUIRED
        answered = await say(client, message("yes", about=asked.task))
        assert answered.states[-1] == "COMPLETED"
        assert answered.data["answer"] == "yes"
        assert answered.task.context_id == asked.task.context_id


async def begin(client: Client, delay: float) -> Task:
    """Send a message without waiting for what comes of it."""
    request = message(data={"delay": delay})
    request.configuration.CopyFrom(SendMessageConfiguration(return_immediately=True))
    (event,) = [event async for event in client.send_message(request)]
    assert event.task.status.state == TaskState.TASK_STATE_SUBMITTED
    return event.task


async def test_a_task_that_works_is_cancelled_once(service_url: str, version: str) -> None:
    async with connected(service_url, "slow", version, streaming=False) as client:
        task = await begin(client, 2)
        cancelled = await client.cancel_task(CancelTaskRequest(id=task.id))
        assert cancelled.status.state == TaskState.TASK_STATE_CANCELED
        with pytest.raises(TaskNotCancelableError):
            await client.cancel_task(CancelTaskRequest(id=task.id))


async def test_a_task_that_works_elsewhere_is_followed_to_its_end(service_url: str, version: str) -> None:
    async with (
        connected(service_url, "slow", version, streaming=False) as waiting,
        connected(service_url, "slow", version, streaming=True) as streaming,
    ):
        task = await begin(waiting, 0.05)
        followed = [event async for event in streaming.subscribe(SubscribeToTaskRequest(id=task.id))]
        assert followed[0].task.id == task.id
        assert followed[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED
        kept = await waiting.get_task(GetTaskRequest(id=task.id))
        assert kept.status.state == TaskState.TASK_STATE_COMPLETED


async def test_a_task_that_nobody_has_is_not_found(connect: Connect) -> None:
    async with connect("echo") as client:
        with pytest.raises(TaskNotFoundError):
            await client.get_task(GetTaskRequest(id=str(uuid4())))


async def test_a_card_says_what_an_assistant_is_and_takes(service_url: str) -> None:
    path = "/.well-known/agent-card.json"
    echo, steps = [await get_card(service_url, f"/a2a/{crew}{path}") for crew in ("echo", "steps")]
    assert (echo.name, echo.description) == ("echo", "Answers with what was said")
    assert echo.capabilities.streaming
    assert list(echo.default_input_modes) == ["text/plain", "application/json"]
    assert list(steps.default_input_modes) == ["application/json"]
    assert {one.url.startswith(f"{service_url}/a2a/") for one in echo.supported_interfaces} == {True}
    assert bool(echo.security_schemes) == bool(KEY)
    assert await get_card(service_url, f"{path}?assistant_id=echo") == echo
