"""The unmodified client of MCP against the local service, in every way in which it connects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import httpx
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from tests.conftest import KEY

MODES = {
    "auto": LATEST_MODERN_VERSION,
    "legacy": LATEST_HANDSHAKE_VERSION,
    LATEST_MODERN_VERSION: LATEST_MODERN_VERSION,
}
"""How the client connects → the version that it and the service agree on."""

Connect = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture(params=MODES)
def connect(service_url: str, request: pytest.FixtureRequest) -> Connect:
    """Connects to the service; in the task of the test, which the client insists on."""

    @asynccontextmanager
    async def connecting() -> AsyncIterator[Client]:
        async with httpx2.AsyncClient(headers={"x-api-key": KEY} if KEY else {}, timeout=60) as http:
            transport = streamable_http_client(f"{service_url}/mcp", http_client=http)
            async with Client(transport, mode=request.param) as client:
                assert client.session.protocol_version == MODES[request.param]
                yield client

    return connecting


def texts(result: CallToolResult) -> list[str]:
    return [part.text for part in result.content if isinstance(part, TextContent)]


async def test_every_crew_is_a_tool_that_takes_what_its_graph_takes(connect: Connect) -> None:
    async with connect() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"echo", "steps", "approval", "failing", "typed"} <= set(tools)
        assert tools["echo"].description == "Answers with what was said"
        assert tools["steps"].input_schema["properties"].keys() == {"n", "log"}
        assert {tool.input_schema["type"] for tool in tools.values()} == {"object"}


async def test_a_call_runs_a_crew_and_answers_what_it_left(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool("steps", {"n": 1})
        left = {"n": 4, "log": ["a", "b", "c"]}
        assert (result.is_error, result.structured_content) == (False, left)
        assert texts(result) == ['{"n":4,"log":["a","b","c"]}']


async def test_a_crew_that_raises_is_an_error_that_a_model_can_read(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool("failing", {"x": "1"})
        assert (result.is_error, texts(result)) == (True, ["ValueError: boom: 1"])


async def test_a_crew_that_asks_is_told_to_need_a_thread(connect: Connect) -> None:
    async with connect() as client:
        result = await client.call_tool("approval", {"topic": "tea"})
        assert result.is_error
        why, left = texts(result)
        assert "thread" in why
        assert "approve tea?" in left


@pytest.fixture
def short(http: httpx.Client) -> Iterator[str]:
    """The name of an assistant that gives up after two supersteps."""
    body = {"graph_id": "steps", "name": f"Short steps {uuid4().hex}", "config": {"recursion_limit": 2}}
    made = http.post("/assistants", json=body).json()
    yield made["name"]
    http.delete(f"/assistants/{made['assistant_id']}")


async def test_an_assistant_is_a_tool_by_its_own_name(connect: Connect, short: str) -> None:
    async with connect() as client:
        tool = short.replace(" ", "_")
        titles = {one.name: one.title for one in (await client.list_tools()).tools}
        assert titles[tool] == short
        assert texts(await client.call_tool(tool, {"n": 0}))[0].startswith("GraphRecursionError")
        with pytest.raises(MCPError, match="There is no tool"):
            await client.call_tool(f"{tool}-of-nobody", {})


async def test_what_is_not_served_is_said(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(MCPError, match="There is no method 'prompts/list'"):
            await client.list_prompts()
