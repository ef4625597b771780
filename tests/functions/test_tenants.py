"""Two tenants over one table: with every operation of the API, neither sees or changes what the other has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from crewline.http import streams, system
from crewline.http.v2 import streams as events
from crewline.models.api_keys import SCOPES
from crewline.models.assistants import default_assistant_id
from crewline.store.items import Item
from tests.functions.deployments import TENANT, Answer, Deployment

MARK = "f1d0-only-ours"
"""Is in everything that the first tenant has."""
OTHER = "globex"
STEPS = default_assistant_id("steps")
RUN = {"assistant_id": "steps", "input": {"n": 0}}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/assistants"): {"graph_id": "steps", "assistant_id": "{assistant_id}", "if_exists": "do_nothing"},
    ("POST", "/assistants/search"): {"limit": 100},
    ("POST", "/assistants/count"): {},
    ("PATCH", "/assistants/{assistant_id}"): {"metadata": {"seen": True}},
    ("POST", "/assistants/{assistant_id}/versions"): {},
    ("POST", "/assistants/{assistant_id}/latest"): {"version": 1},
    ("POST", "/threads"): {"thread_id": "{thread_id}", "if_exists": "do_nothing"},
    ("POST", "/threads/prune"): {"thread_ids": ["{thread_id}"]},
    ("POST", "/threads/search"): {"limit": 100},
    ("POST", "/threads/count"): {},
    ("PATCH", "/threads/{thread_id}"): {"metadata": {"seen": True}},
    ("POST", "/threads/{thread_id}/copy"): {},
    ("POST", "/threads/{thread_id}/state/checkpoint"): {"checkpoint": {"checkpoint_id": "{checkpoint_id}"}},
    ("POST", "/threads/{thread_id}/state"): {"values": {"n": 5}, "as_node": "a"},
    ("POST", "/threads/{thread_id}/history"): {},
    ("POST", "/threads/{thread_id}/runs"): RUN,
    ("POST", "/threads/{thread_id}/runs/wait"): RUN,
    ("POST", "/threads/{thread_id}/runs/stream"): RUN,
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): {},
    ("POST", "/runs"): {"assistant_id": "{assistant_id}", "input": {"n": 0}},
    ("POST", "/runs/batch"): [{"assistant_id": "{assistant_id}", "input": {"n": 0}}],
    ("POST", "/runs/cancel"): {"thread_id": "{thread_id}", "run_ids": ["{run_id}"]},
    ("POST", "/runs/wait"): {"assistant_id": "{assistant_id}", "input": {"n": 0}},
    ("POST", "/runs/stream"): {"assistant_id": "{assistant_id}", "input": {"n": 0}},
    ("PUT", "/store/items"): {"namespace": ["{thread_id}"], "key": "k", "value": {"theirs": True}},
    ("DELETE", "/store/items"): {"namespace": ["{thread_id}"], "key": "k"},
    ("POST", "/store/items/search"): {},
    ("POST", "/store/namespaces"): {},
    ("POST", "/runs/crons"): {"assistant_id": "{assistant_id}", "schedule": "0 3 1 1 *"},
    ("POST", "/threads/{thread_id}/runs/crons"): {"assistant_id": "steps", "schedule": "0 3 1 1 *"},
    ("POST", "/runs/crons/search"): {"limit": 100},
    ("POST", "/runs/crons/count"): {},
    ("PATCH", "/runs/crons/{cron_id}"): {"enabled": False},
    ("POST", "/threads/{thread_id}/commands"): {
        "id": 1, "method": "input.respond", "params": {"interrupt_id": "i", "response": 1},
    },
    ("POST", "/threads/{thread_id}/stream/events"): {"channels": ["values"]},
    ("POST", "/mcp"): {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    ("POST", "/a2a/{assistant_id}"): {
        "jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": "{run_id}"},
    },
    ("POST", "/v1/runs"): {"deployment_id": "{assistant_id}", "input": {"n": 0}},
    ("POST", "/v1/runs/{run_id}/cancel"): {},
    ("POST", "/webhooks/runs/{token}"): {"n": 0},
    ("POST", "/v1/threads/{thread_id}/runs"): {"deployment_id": "steps", "input": {"n": 0}},
    ("POST", "/v1/threads"): {"deployment_id": "{assistant_id}"},
    ("PATCH", "/v1/threads/{thread_id}"): {"metadata": {"seen": True}},
    ("POST", "/v1/threads/{thread_id}/copy"): {},
    ("POST", "/v1/threads/{thread_id}/rollback"): {"checkpoint_id": "{checkpoint_id}"},
}  # fmt: skip
"""A body for every operation that takes one, about what the first tenant has."""
QUERIES = {
    ("GET", "/v1/threads"): "?deployment_id={assistant_id}",
    ("GET", "/store/items"): "?namespace={thread_id}&key=k",
    ("GET", "/.well-known/agent-card.json"): "?assistant_id={assistant_id}",
}
"""The query of every operation that needs one."""
OWN = {
    ("GET", "/store/items"),
    ("POST", "/store/items/search"),
    ("POST", "/store/namespaces"),
    ("GET", "/ok"),
    ("GET", "/info"),
    ("GET", "/metrics"),
    ("POST", "/assistants"),  # makes one of the second tenant, of the same id
    ("POST", "/assistants/search"),
    ("POST", "/assistants/count"),
    ("POST", "/threads"),
    ("POST", "/threads/prune"),  # passes over what is not there
    ("POST", "/threads/search"),
    ("POST", "/threads/count"),
    ("POST", "/runs/crons/search"),
    ("POST", "/runs/crons/count"),
    ("POST", "/mcp"),
    ("GET", "/v1/runs"),
}
"""What answers the second tenant about its own, with 200."""
TOLD = {
    ("GET", "/threads/{thread_id}/runs/{run_id}/join"): '{"__error__":{"error":"NotFound"',
    ("GET", "/threads/{thread_id}/runs/{run_id}/stream"): "event: error\r\ndata: {\"error\":\"NotFound\"",
    ("POST", "/threads/{thread_id}/commands"): '"error":"no_such_interrupt"',
    ("POST", "/threads/{thread_id}/stream/events"): "retry: 1000",
}  # fmt: skip
"""What answers with 200, as the LangGraph API does, and says that nothing is there."""
SILENT = {
    ("PUT", "/store/items"),  # makes an item of the second tenant, in a namespace of the same name
    ("DELETE", "/store/items"),  # removes what is there
}
"""What answers with 204 about the second tenant's own."""
COPY = ("POST", "/threads/{thread_id}/copy")
"""Answers 409 when there is nothing to copy, as the LangGraph API does."""


def operations() -> list[tuple[str, str]]:
    paths = orjson.loads(system.DOCUMENT.read_bytes())["paths"]
    # What makes or removes a thing of the second tenant comes last: until then it has none of these ids.
    found = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    return sorted(found, key=lambda place: place in {("POST", "/threads"), ("POST", "/assistants")})


@dataclass(frozen=True, slots=True)
class Ours:
    """What the first tenant has."""

    deployment: Deployment
    ids: dict[str, str]
    theirs: str
    """A key of the second tenant, which allows everything."""

    def ask(self, place: tuple[str, str], key: str) -> Answer:
        method, path = place
        body = self._filled(BODIES[place]) if place in BODIES else None
        path = f"{path}{QUERIES.get(place, '')}".format(**self.ids)
        return self.deployment.request(method, path, body, headers={"x-api-key": key})

    def _filled(self, body: Any) -> Any:
        text = orjson.dumps(body).decode()
        for name, value in self.ids.items():
            text = text.replace(f"{{{name}}}", value)
        return orjson.loads(text)

    def kept(self) -> dict[tuple[str, str], Item]:
        """All that the table holds for the first tenant."""
        return {
            key: item
            for key, item in self.deployment.world.items().items()
            if key[0].split("#")[1:2] == [TENANT]
        }


@pytest.fixture(scope="module")
def ours(deployment: Deployment) -> Ours:
    named = {"graph_id": "steps", "name": MARK, "metadata": {"mark": MARK}}
    assistant = deployment.request("POST", "/assistants", named).json["assistant_id"]
    thread = deployment.thread(metadata={"mark": MARK})
    body = {"assistant_id": "steps", "input": {"n": 0, "log": [MARK]}, "metadata": {"mark": MARK}}
    run = deployment.request("POST", f"/threads/{thread}/runs", body).json["run_id"]
    deployment.work()
    batch = deployment.request("POST", "/runs/batch", [body]).headers["content-location"].rpartition("/")[2]
    deployment.work()
    checkpoint = deployment.request("GET", f"/threads/{thread}/state").json["checkpoint"]["checkpoint_id"]
    item = {"namespace": [thread], "key": "k", "value": {"mark": MARK}}
    assert deployment.request("PUT", "/store/items", item).status == 204
    timed = {"assistant_id": "steps", "schedule": "0 3 1 1 *", "metadata": {"mark": MARK}}
    cron = deployment.request("POST", "/runs/crons", timed).json["cron_id"]
    _, theirs = deployment.world.api_keys.create(OTHER, SCOPES)
    _, token = deployment.world.webhook_tokens.create(TENANT, "steps", MARK)
    ids = {
        "assistant_id": assistant,
        "thread_id": thread,
        "run_id": run,
        "batch_id": batch,
        "checkpoint_id": checkpoint,
        "cron_id": cron,
        "namespace": "a",
        "token": token.replace(f"_{TENANT}_", f"_{OTHER}_"),
    }
    return Ours(deployment, ids, theirs)


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread on which nothing happens is not followed for a minute."""
    monkeypatch.setattr(streams, "IDLE_S", 0.01)
    monkeypatch.setattr(events, "IDLE_S", 0.01)


def test_there_is_a_body_for_every_operation_that_takes_one() -> None:
    taking = {place for place in operations() if place[0] in {"POST", "PATCH", "PUT"}}
    assert set(BODIES) == taking | {("DELETE", "/store/items")}


@pytest.mark.parametrize("place", operations(), ids=" ".join)
def test_another_tenant_finds_nothing_of_ours_and_changes_nothing(ours: Ours, place: tuple[str, str]) -> None:
    before = ours.kept()
    answer = ours.ask(place, ours.theirs)
    assert MARK not in answer.text
    if place in TOLD:
        assert answer.status == 200
        assert TOLD[place] in answer.text
    else:
        others = 204 if place in SILENT else 409 if place == COPY else 404
        assert answer.status == (200 if place in OWN else others), answer.text
    ours.deployment.work()
    assert ours.kept() == before


@pytest.mark.parametrize(
    "place",
    [
        ("GET", "/assistants/{assistant_id}"),
        ("POST", "/assistants/search"),
        ("GET", "/threads/{thread_id}"),
        ("POST", "/threads/search"),
        ("GET", "/threads/{thread_id}/state"),
        ("GET", "/threads/{thread_id}/state/{checkpoint_id}"),
        ("POST", "/threads/{thread_id}/history"),
        ("GET", "/threads/{thread_id}/runs"),
        ("GET", "/threads/{thread_id}/runs/{run_id}"),
        ("GET", "/threads/{thread_id}/runs/{run_id}/join"),
        ("POST", "/threads/{thread_id}/stream/events"),
        ("GET", "/runs/crons/{cron_id}"),
        ("POST", "/runs/crons/search"),
        ("POST", "/mcp"),
        ("GET", "/.well-known/agent-card.json"),
        ("GET", "/a2a/{assistant_id}/.well-known/agent-card.json"),
        ("GET", "/v1/runs"),
        ("GET", "/v1/runs/{run_id}"),
        ("GET", "/v1/runs/{run_id}/events"),
        ("GET", "/v1/threads/{thread_id}"),
        ("GET", "/v1/threads/{thread_id}/history"),
        ("GET", "/store/items"),
        ("POST", "/store/items/search"),
    ],
    ids=" ".join,
)
def test_we_find_what_is_ours(ours: Ours, place: tuple[str, str]) -> None:
    answer = ours.ask(place, ours.deployment.key)
    assert answer.status == 200
    assert MARK in answer.text


def test_the_default_assistants_of_a_tenant_are_its_own(ours: Ours) -> None:
    path = f"/assistants/{STEPS}"
    headers = {"x-api-key": ours.theirs}
    ours.deployment.request("PATCH", path, {"metadata": {"theirs": True}}, headers=headers)
    assert "theirs" not in ours.deployment.request("GET", path).json["metadata"]
    assert ours.deployment.request("GET", path, headers=headers).json["metadata"]["theirs"] is True
