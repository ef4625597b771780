"""Every function that answers requests asks for a key by itself, and again while it streams."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import orjson
import pytest

from crewline.errors import Unauthenticated
from crewline.http import streams
from crewline.http.replies import Reply
from crewline.http.resources import resource_for
from crewline.http.sse import HEARTBEAT
from crewline.local.proxy_events import lambda_context
from crewline.models.api_keys import Credential, Scope
from crewline.services.api_keys import FRESH_MS
from crewline.store import api_keys
from crewline.store.api_keys import Row
from crewline.store.functions import Answered, Functions
from crewline.store.table import Table
from tests.functions.deployments import LIMIT, TENANT, Answer, Deployment, recorded, whole
from tests.unit.store.worlds import FakeClock

UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"
PLACES = {"api": "/threads/{}", "crew": "/threads/{}/state", "tail": "/threads/{}/runs/" + UNKNOWN + "/join"}
"""A path that each function answers for whoever may read."""


@pytest.fixture
def clock(deployment: Deployment) -> Iterator[FakeClock]:
    """The time by which the functions know keys."""
    clock = FakeClock()
    with pytest.MonkeyPatch.context() as patch:
        for name in PLACES:
            app = deployment.functions[name].answer.__self__
            patch.setattr(app._authentication._keys, "_clock", clock)
            patch.setattr(app._authentication._keys, "_known", type(app._authentication._keys._known)())
        yield clock


def made(deployment: Deployment, *scopes: Scope, tenant: str = TENANT) -> tuple[str, str]:
    """Make a key; its id and its text."""
    key, text = deployment.world.api_keys.create(tenant, scopes)
    return key.key_id, text


def ask(deployment: Deployment, key: str, method: str, path: str, body: Any = None) -> Answer:
    return deployment.request(method, path, body, headers={"x-api-key": key})


# ------------------------------------------------------------------ each function


@pytest.mark.parametrize("name", PLACES)
def test_a_function_answers_nobody_without_a_good_key(deployment: Deployment, name: str) -> None:
    thread = deployment.thread()
    path = PLACES[name].format(thread)
    assert resource_for(path)[1] == name
    _, good = made(deployment, "read")
    for wrong in (
        "",
        "hunter2",
        Credential.draw(TENANT).spell(),
        good[:-2] + "xx",
        good.replace("default", "globex"),
    ):
        before = list(deployment.writes)
        answer = ask(deployment, wrong, "GET", path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "`crewline keys create` makes one." in answer.detail
        assert deployment.writes == before
    assert ask(deployment, good, "GET", path).status == 200


@pytest.mark.parametrize("name", PLACES)
def test_a_function_asks_for_the_scope(deployment: Deployment, name: str) -> None:
    path = PLACES[name].format(deployment.thread())
    key_id, text = made(deployment, "run", "admin")
    answer = ask(deployment, text, "GET", path)
    assert answer.status == 403
    assert answer.detail.startswith(f"This needs a key with scope read; key {key_id} has run, admin.")


@pytest.mark.parametrize("name", PLACES)
def test_a_function_refuses_a_revoked_key_within_a_minute(
    deployment: Deployment, name: str, clock: FakeClock
) -> None:
    path = PLACES[name].format(deployment.thread())
    key_id, text = made(deployment, "read")
    assert ask(deployment, text, "GET", path).status == 200
    deployment.world.api_keys.revoke(TENANT, key_id)
    clock.pass_(FRESH_MS - 1)
    assert ask(deployment, text, "GET", path).status == 200
    clock.pass_(1)
    answer = ask(deployment, text, "GET", path)
    assert answer.status == 401
    assert f"API key {key_id} was revoked at" in answer.detail


def test_a_body_of_nobody_is_not_read(deployment: Deployment) -> None:
    assert ask(deployment, "", "POST", "/threads", "{" * (LIMIT + 1)).status == 401
    assert ask(deployment, deployment.key, "POST", "/threads", "{" * (LIMIT + 1)).status == 413


def test_a_key_is_looked_up_once_for_many_requests(
    deployment: Deployment, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    get = api_keys.get

    def look(table: Table, tenant: str, key_id: str) -> Row | None:
        looked.append(key_id)
        return get(table, tenant, key_id)

    monkeypatch.setattr(api_keys, "get", look)
    thread = deployment.thread()
    clock.pass_(1)
    looked.clear()
    body = {"assistant_id": "steps", "input": {"n": 0}}
    for _ in range(3):
        assert deployment.request("POST", f"/threads/{thread}/runs/wait", body).status == 200
    assert len(looked) == 1
    clock.pass_(FRESH_MS)
    deployment.request("POST", f"/threads/{thread}/runs/wait", body)
    assert len(looked) == 2


def test_who_only_reads_does_not_cancel_by_leaving(deployment: Deployment) -> None:
    thread = deployment.thread()
    run = deployment.request("POST", f"/threads/{thread}/runs", {"assistant_id": "steps", "input": {"n": 0}})
    deployment.work()
    _, text = made(deployment, "read")
    for place in ("join", "stream"):
        path = f"/threads/{thread}/runs/{run.json['run_id']}/{place}"
        assert ask(deployment, text, "GET", path).status == 200
        assert ask(deployment, text, "GET", f"{path}?cancel_on_disconnect=0").status == 200
        assert ask(deployment, text, "GET", f"{path}?cancel_on_disconnect=1").status == 403
        assert ask(deployment, deployment.key, "GET", f"{path}?cancel_on_disconnect=1").status == 200


def test_what_is_handed_over_is_asked_for_its_key_again(
    deployment: Deployment, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def invoke(_: Functions, __: str, event: Any) -> Answered:
        reply = deployment.functions["crew"].answer(event, lambda_context("crew", "r"))
        return Answered(status=reply.status, headers=reply.headers, body=asyncio.run(whole(reply)))

    monkeypatch.setattr(Functions, "ask", invoke)
    _, text = made(deployment, "run", tenant="globex")
    steps = {
        "metadata": {"graph_id": "steps"},
        "supersteps": [{"updates": [{"values": {"n": 1}, "as_node": "a"}]}],
    }
    answer = ask(deployment, text, "POST", "/threads", steps)
    assert answer.status == 200, answer.text
    thread = answer.json["thread_id"]
    assert deployment.request("GET", f"/threads/{thread}").status == 404
    _, reader = made(deployment, "read", tenant="globex")
    assert ask(deployment, reader, "GET", f"/threads/{thread}").json["values"]["n"] == 1


# ------------------------------------------------------------------ streams


def begun(deployment: Deployment, key: str, path: str, body: Any) -> Any:
    """Begin a stream; its chunks."""
    event = copy.deepcopy(recorded("create_thread"))
    resource, function = resource_for(path)
    event |= {"path": path, "resource": resource, "body": orjson.dumps(body).decode()}
    event["headers"]["x-api-key"] = key
    reply: Reply = deployment.functions[function].answer(event, lambda_context(function, str(uuid4())))
    assert reply.status == 200
    return reply.body


async def test_who_follows_a_thread_is_cut_off_when_the_key_is_revoked(
    deployment: Deployment, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.01)
    thread = await asyncio.to_thread(deployment.thread)
    key_id, text = made(deployment, "read")
    chunks = begun(deployment, text, f"/threads/{thread}/stream/events", {"channels": ["values"]})
    deployment.world.api_keys.revoke(TENANT, key_id)
    clock.pass_(FRESH_MS - 1)
    assert [await anext(chunks) for _ in range(2)] == [HEARTBEAT, HEARTBEAT]
    clock.pass_(1)
    with pytest.raises(Unauthenticated, match=f"API key {key_id} was revoked"):
        await anext(chunks)


@pytest.mark.parametrize(("on_disconnect", "ends"), [("cancel", "interrupted"), ("continue", "success")])
async def test_a_run_in_place_is_left_as_by_any_client_when_the_key_is_revoked(
    deployment: Deployment, clock: FakeClock, on_disconnect: str, ends: str
) -> None:
    thread = await asyncio.to_thread(deployment.thread)
    key_id, text = made(deployment, "run")
    body = {
        "assistant_id": "slow",
        "input": {"delay": 0.05},
        "stream_mode": "updates",
        "on_disconnect": on_disconnect,
    }
    chunks = begun(deployment, text, f"/threads/{thread}/runs/stream", body)
    assert b"event: metadata" in await anext(chunks)
    deployment.world.api_keys.revoke(TENANT, key_id)
    clock.pass_(FRESH_MS)
    with pytest.raises(Unauthenticated):
        await anext(chunks)
    async with asyncio.timeout(20):
        while True:
            (run,) = (await asyncio.to_thread(deployment.request, "GET", f"/threads/{thread}/runs")).json
            if run["status"] not in {"pending", "running"}:
                break
            await asyncio.sleep(0.05)
    assert run["status"] == ends
