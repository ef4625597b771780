"""Protocol v2: `client.threads.stream` of the unmodified langgraph-sdk against the local service."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

ALL = ["values", "updates", "checkpoints", "messages", "tools", "custom", "lifecycle", "input", "tasks"]


@pytest.fixture
async def client(service_url: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=service_url) as client:
        yield client


def _say(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def _events_until(thread: Any, terminal: str, times: int = 1) -> list[dict[str, Any]]:
    """Read events until the thread's root has come to an end so many times."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        async for event in thread.events:
            events.append(event)
            params = event["params"]
            if event["method"] == "lifecycle" and not params["namespace"]:
                times -= params["data"]["event"] == terminal
            if not times:
                return events
    raise AssertionError(f"the stream ended before {terminal!r}")


def _known(event: dict[str, Any]) -> dict[str, Any]:
    """What is the same whenever an event is read: all but a time that the log tells only roughly."""
    return {**event, "params": {**event["params"], "timestamp": None}}


async def test_a_thread_that_does_not_exist_begins_with_its_first_run(client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="steps") as thread:
        run = await thread.run.start(input={"n": 0})
        async with asyncio.timeout(60):
            seen = [values async for values in thread.values]
            assert await thread.output == {"n": 3, "log": ["a", "b", "c"]}

    assert seen[-1] == {"n": 3, "log": ["a", "b", "c"]}
    assert (await client.runs.get(thread.thread_id, run["run_id"]))["status"] == "success"


async def test_messages_arrive_token_by_token(client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="metered") as thread:
        await thread.run.start(input=_say("hello"))
        async with asyncio.timeout(60):
            [told] = [one async for one in thread.messages]
            tokens = [token async for token in told.text]

    assert tokens == ["so", " ", "be", " ", "it"]


async def test_a_tool_that_is_called_is_told_with_its_call(client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="tooled") as thread:
        await thread.run.start(input=_say("1 + 2?"))
        events = await _events_until(thread, "completed")

    tools = [event["params"]["data"] for event in events if event["method"] == "tools"]
    assert [(data["event"], data["tool_call_id"]) for data in tools] == [
        ("tool-started", "call-1"),
        ("tool-finished", "call-1"),
    ]
    assert (tools[0]["tool_name"], tools[0]["input"]) == ("add", {"a": 1, "b": 2})
    assert tools[1]["output"]["content"] == "3"
    said = [event["params"]["data"] for event in events if event["method"] == "messages"]
    blocks = [data["content"] for data in said if data["event"] == "content-block-finish"]
    assert blocks == [
        {"type": "tool_call", "id": "call-1", "name": "add", "args": {"a": 1, "b": 2}},
        {"type": "text", "text": "3"},
    ]
    starts = [(data["role"], data.get("tool_call_id")) for data in said if data["event"] == "message-start"]
    assert starts == [("ai", None), ("tool", "call-1")]


async def test_a_second_run_is_streamed_without_the_first(client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="echo") as thread:
        await thread.run.start(input=_say("one"))
        async with asyncio.timeout(60):
            await thread.output

    async with client.threads.stream(thread.thread_id, assistant_id="echo") as again:
        await again.run.start(input=_say("two"))
        async with asyncio.timeout(60):
            [told] = [one async for one in again.messages]

    assert await told.text == "echo: two"


async def test_a_question_is_asked_answered_and_replayed_the_same(client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="approval") as thread:
        await thread.run.start(input={"topic": "lunch"})
        first = await _events_until(thread, "interrupted")
        async with asyncio.timeout(60):
            while not thread.interrupted:  # noqa: ASYNC110 (the SDK has nothing to wait for)
                await asyncio.sleep(0.02)
            assert thread.interrupts[0]["value"] == {"question": "approve lunch?"}
            await thread.run.respond({"yes": [1]})
            assert await thread.output == {"topic": "lunch", "answer": {"yes": [1]}, "log": ["ask", "done"]}
        second = await _events_until(thread, "completed")

    assert [event["method"] for event in first[-2:]] == ["input.requested", "lifecycle"]
    assert [_known(event) for event in second[: len(first)]] == [_known(event) for event in first]
    assert len({event["event_id"] for event in second}) == len(second)
    numbers = [event["seq"] for event in second]
    assert numbers == sorted(set(numbers))


async def test_an_input_for_a_thread_that_asks_is_the_answer(client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="approval") as thread:
        await thread.run.start(input={"topic": "lunch"})
        await _events_until(thread, "interrupted")
        await thread.run.start(input="fine")
        await _events_until(thread, "completed")

    state: Any = await client.threads.get_state(thread.thread_id)
    assert state["values"]["answer"] == "fine"


async def test_a_failure_is_the_error_of_its_output(client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="failing") as thread:
        await thread.run.start(input={"x": "x"})
        with pytest.raises(RuntimeError, match="boom"):
            async with asyncio.timeout(60):
                await thread.output


async def test_a_checkpoint_is_forked(client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="steps") as thread:
        await thread.run.start(input={"n": 0})
        events = await _events_until(thread, "completed")
        steps = {
            event["params"]["data"]["step"]: event["params"]["data"]["id"]
            for event in events
            if event["method"] == "checkpoints"
        }
        await thread.run.start(input=None, config={"configurable": {"checkpoint_id": steps[1]}})
        await _events_until(thread, "completed", times=2)

    history: Any = await client.threads.get_history(thread.thread_id, limit=100)
    parents = [(state["parent_checkpoint"] or {}).get("checkpoint_id") for state in history]
    assert parents.count(steps[1]) == 2


async def test_runs_of_the_older_protocol_are_heard_as_far_as_they_tell(client: LangGraphClient) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    async for _ in client.runs.stream(thread_id, "echo", input=_say("one"), stream_mode=["values"]):
        pass
    async with client.threads.stream(thread_id, assistant_id="echo") as thread:
        events = await _events_until(thread, "completed")

    assert {event["method"] for event in events} == {"lifecycle", "values"}
    last = [event for event in events if event["method"] == "values"][-1]["params"]["data"]["messages"]
    assert [message["content"] for message in last] == ["one", "echo: one"]


async def test_a_connection_goes_on_behind_what_it_has(service_url: str, client: LangGraphClient) -> None:
    async with client.threads.stream(assistant_id="steps") as thread:
        await thread.run.start(input={"n": 0})
        events = await _events_until(thread, "completed")
        since = events[3]["seq"]
        transport: Any = thread._transport
        handle = transport.open_event_stream({"channels": ["lifecycle"], "since": since})
        left = await anext(handle.events)

    assert left == events[-1]


def test_what_is_no_command_is_refused(http: httpx.Client) -> None:
    thread_id = uuid4()
    url = f"/threads/{thread_id}/commands"

    for body in ({}, {"id": "1", "method": "run.start"}, {"id": 1}, {"id": 1, "method": "x", "params": []}):
        answer = http.post(url, json=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_argument"), body
    cases = {
        "bogus": "unknown_command",
        "subscription.subscribe": "unsupported",
        "agent.getTree": "no_such_run",
        "run.start": "invalid_argument",
        "input.respond": "invalid_argument",
    }
    for method, code in cases.items():
        body = http.post(url, json={"id": 1, "method": method, "params": {}}).json()
        assert (body["type"], body["id"], body["error"]) == ("error", 1, code)
    params = {"interrupt_id": "nope", "response": 1}
    body = http.post(url, json={"id": 2, "method": "input.respond", "params": params}).json()
    assert body["error"] == "no_such_interrupt"
    assert http.get(f"/threads/{thread_id}").status_code == 404


def test_what_is_no_subscription_is_refused(http: httpx.Client) -> None:
    url = f"/threads/{uuid4()}/stream/events"
    bodies: list[dict[str, Any]] = [
        {},
        {"channels": []},
        {"channels": ["bogus"]},
        {"channels": ["custom:"]},
        {"channels": ALL, "namespaces": ["x"]},
        {"channels": ALL, "depth": -1},
        {"channels": ALL, "since": "1"},
    ]
    for body in bodies:
        answer = http.post(url, json=body)
        assert (answer.status_code, list(answer.json())) == (400, ["detail", "code"]), body
