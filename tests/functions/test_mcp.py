"""`/mcp` over API Gateway events: what a transport without sessions answers, and how it refuses."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from crewline.errors import CrewFailedToLoad
from crewline.http import waits
from crewline.http.agents import Agents
from crewline.local.proxy_events import lambda_context
from crewline.models.assistants import Assistant
from crewline.services.cancellations import Cancellations
from crewline.settings import VARIABLES
from tests.functions.deployments import Answer, Deployment, load, recorded

MODERN = "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def ask(deployment: Deployment, method: str, params: Any = None, **headers: str) -> Answer:
    """Ask as a client of the older versions does."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, **({} if params is None else {"params": params})}
    return deployment.request("POST", "/mcp", body, headers=headers)


def ask_modern(deployment: Deployment, method: str, params: Any = None, **headers: str) -> Answer:
    """Ask as a client of the newer version does; a header may be sent otherwise."""
    sent = {"mcp-protocol-version": MODERN, "mcp-method": method, **headers}
    if method == "tools/call":
        sent = {"mcp-name": params["name"], **sent}
    return ask(deployment, method, {**(params or {}), "_meta": ENVELOPE}, **sent)


def call(deployment: Deployment, name: str, arguments: Any) -> Any:
    return ask(deployment, "tools/call", {"name": name, "arguments": arguments}).json["result"]


def test_a_call_leaves_nothing(deployment: Deployment) -> None:
    before = deployment.world.items()
    assert call(deployment, "steps", {"n": 0})["structuredContent"]["n"] == 3
    assert deployment.world.items() == before


def test_a_call_that_is_repeated_under_its_key_has_one_run(deployment: Deployment) -> None:
    params = {"name": "steps", "arguments": {"n": 4}}
    headers = {"idempotency-key": "the same call"}
    first, again = (ask(deployment, "tools/call", params, **headers) for _ in range(2))
    assert first.json == again.json
    other = ask(deployment, "tools/call", {**params, "arguments": {"n": 5}}, **headers)
    assert other.json["error"]["code"] == -32602
    assert "was used for run" in other.json["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "version"),
    [("2024-11-05", "2024-11-05"), ("2025-06-18", "2025-06-18"), ("1999-01-01", "2025-11-25")],
)
def test_a_handshake_agrees_on_a_version(deployment: Deployment, asked: str, version: str) -> None:
    params = {"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    answer = ask(deployment, "initialize", params)
    assert "mcp-session-id" not in answer.headers
    assert answer.json["result"]["protocolVersion"] == version
    assert answer.json["result"]["capabilities"] == {"tools": {"listChanged": False}}
    assert answer.json["result"]["serverInfo"]["name"] == "crewline"


def test_a_client_without_a_handshake_discovers_the_versions(deployment: Deployment) -> None:
    result = ask_modern(deployment, "server/discover").json["result"]
    assert MODERN in result["supportedVersions"]
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "crewline"


def test_notifications_are_taken_and_answered_with_nothing(deployment: Deployment) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    answer = deployment.request("POST", "/mcp/", body)
    assert (answer.status, answer.text) == (202, "")


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
def test_there_is_no_session_to_listen_to_or_to_end(deployment: Deployment, path: str) -> None:
    assert deployment.request("GET", path).status == 405
    assert deployment.request("DELETE", path).status == 404
    assert ask(deployment, "ping").json["result"] == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{", "not valid JSON"),
        ([], "must be a JSON object"),
        ({"jsonrpc": "2.0", "id": 1}, "one JSON-RPC call"),
        ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, "one JSON-RPC call"),
        ({"jsonrpc": "2.0", "id": None, "method": "ping"}, "id: must"),
        ({"jsonrpc": "2.0", "id": True, "method": "ping"}, "id: must"),
        ({"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}, "params: must"),
    ],
)
def test_what_is_no_call_is_refused_in_the_words_of_json_rpc(
    deployment: Deployment, body: Any, message: str
) -> None:
    answer = deployment.request("POST", "/mcp", body)
    error = answer.json["error"]
    assert (answer.status, error["code"]) == (400, -32600)
    assert message in error["message"]


@pytest.mark.parametrize(
    ("method", "params", "old", "new", "code"),
    [
        ("prompts/list", {}, 200, 404, -32601),
        ("tools/call", {"name": "nobody"}, 200, 400, -32602),
        ("tools/call", {"name": "steps", "arguments": 3}, 200, 400, -32602),
    ],
)
def test_a_call_that_cannot_be_answered_is_refused(
    deployment: Deployment, method: str, params: Any, old: int, new: int, code: int
) -> None:
    for status, asking in ((old, ask), (new, ask_modern)):
        answer = asking(deployment, method, params)
        assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (status, code, 1)


def test_a_version_that_nobody_knows_is_refused_with_those_there_are(deployment: Deployment) -> None:
    headers = {"mcp-protocol-version": "1999-01-01"}
    answer = ask(deployment, "tools/list", **headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, -32022)
    assert MODERN in answer.json["error"]["data"]["supported"]


@pytest.mark.parametrize(
    "headers",
    [{"mcp-method": "tools/list"}, {"mcp-name": "echo"}, {"mcp-protocol-version": "2025-11-25"}],
)
def test_headers_that_contradict_the_body_are_refused(
    deployment: Deployment, headers: dict[str, str]
) -> None:
    answer = ask_modern(deployment, "tools/call", {"name": "steps", "arguments": {"n": 0}}, **headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("left_out", ENVELOPE)
def test_a_request_that_says_too_little_of_itself_is_refused(deployment: Deployment, left_out: str) -> None:
    meta = {name: value for name, value in ENVELOPE.items() if name != left_out}
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/list"}
    answer = ask(deployment, "tools/list", {"_meta": meta}, **headers)
    assert (answer.status, answer.json["error"]["code"]) == (400, -32602)


def test_who_may_not_run_calls_nothing_and_who_may_not_read_lists_nothing(deployment: Deployment) -> None:
    _, reads = deployment.world.api_keys.create("default", ["read"])
    answer = ask(deployment, "tools/call", {"name": "steps"}, **{"x-api-key": reads})
    assert (answer.status, answer.json["error"]["data"]) == (403, {"code": "forbidden"})
    _, runs = deployment.world.api_keys.create("default", ["run"])
    assert ask(deployment, "tools/list", **{"x-api-key": runs}).status == 403
    answer = ask(deployment, "tools/call", {"name": "steps", "arguments": {"n": 0}}, **{"x-api-key": runs})
    assert answer.json["result"]["structuredContent"]["n"] == 3


def test_a_factory_that_fails_takes_no_other_tool_along(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = Agents.schemas

    def schemas(agents: Agents, assistant: Assistant) -> dict[str, Any]:
        if assistant.graph_id == "typed":
            raise CrewFailedToLoad("The factory of crew typed gave no graph.")
        return described(agents, assistant)

    monkeypatch.setattr(Agents, "schemas", schemas)
    names = {tool["name"] for tool in ask(deployment, "tools/list").json["result"]["tools"]}
    assert "echo" in names
    assert "typed" not in names


@pytest.mark.parametrize(("asking", "cancelled"), [(ask_modern, True), (ask, False)])
async def test_leaving_cancels_in_the_newer_version_and_means_nothing_in_the_older_ones(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, asking: Any, cancelled: bool
) -> None:
    stopped = threading.Event()
    cancel = Cancellations.cancel

    def note(self: Cancellations, *which: Any) -> None:
        cancel(self, *which)
        stopped.set()

    monkeypatch.setattr(Cancellations, "cancel", note)
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.01)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(Deployment, "send", lambda _, event: sent.append(event))
    asking(deployment, "tools/call", {"name": "slow", "arguments": {"delay": 5}})
    event = {**recorded("create_thread"), **sent[0]}
    event["headers"]["x-api-key"] = deployment.key
    reply = deployment.functions["crew"].answer(event, lambda_context("crew", "r"))
    assert await anext(reply.body) == b"\n"
    await reply.body.aclose()
    assert stopped.wait(5 if cancelled else 0.2) == cancelled


def test_an_answer_is_whole_json_however_long_it_took(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.001)
    answer = ask(deployment, "tools/call", {"name": "slow", "arguments": {"delay": 0.01}})
    assert answer.headers["content-type"] == "application/json"
    assert orjson.loads(answer.text)["result"]["isError"] is False


@pytest.mark.parametrize(("name", "path"), [("disable_mcp", "/mcp"), ("disable_a2a", "/a2a/only")])
def test_a_project_that_wants_none_of_it_has_none_of_it(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str
) -> None:
    (tmp_path / "only.py").write_text(_ONLY)
    manifest = tmp_path / "langgraph.json"
    statuses = []
    for said in (False, True):
        manifest.write_text(json.dumps({"graphs": {"only": "./only.py:graph"}, "http": {name: said}}))
        monkeypatch.setenv(VARIABLES["manifest"], str(manifest))
        monkeypatch.setitem(deployment.functions, "crew", load("crew"))
        body = {"jsonrpc": "2.0", "id": 1, "method": "nothing"}
        statuses.append(deployment.request("POST", path, body).status)
    assert statuses == [200, 404]


_ONLY = """
from langgraph.graph import START, MessagesState, StateGraph

graph = StateGraph(MessagesState).add_node("say", lambda state: {}).add_edge(START, "say").compile()
"""
