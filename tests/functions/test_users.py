"""Two users of one tenant, whose project's own authentication shows each only what is theirs: with every operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import orjson
import pytest

from crewline.http import streams
from crewline.http.authentication import NEEDED
from crewline.http.authorities import Authority
from crewline.http.operations import OPERATIONS
from crewline.http.rules.table import RULES
from crewline.http.v2 import streams as events
from crewline.models.assistants import default_assistant_id
from crewline.models.crons import Firing
from crewline.models.runs import LARGEST_BATCH
from crewline.models.threads import LARGEST_PRUNE, ThreadPatch
from crewline.models.users import EVERYTHING, Filters, User
from crewline.store.items import Item
from tests.functions.deployments import TENANT, Answer, Deployment, deployed
from tests.functions.test_tenants import BODIES, QUERIES, TOLD, operations
from tests.unit.store.worlds import BASIC

USERS = BASIC.parent / "users"
MARK = "f1d0-only-anns"
"""Is in everything that Ann has."""
OPEN = {place for place in OPERATIONS if NEEDED.get(place, "admin") is None}
"""What asks nobody who they are."""
RUN = {"assistant_id": "steps", "input": {"n": 0}}
OWN = {
    ("POST", "/assistants/search"): "[]",
    ("POST", "/assistants/count"): "0",
    ("POST", "/threads/search"): "[]",
    ("POST", "/threads/count"): "0",
    ("POST", "/threads/prune"): '{"pruned_count":0}',
    ("GET", "/v1/runs"): '{"runs":[],"next_cursor":null}',
    ("POST", "/runs/crons/search"): "[]",
    ("POST", "/runs/crons/count"): "0",
    ("POST", "/mcp"): '{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}',
    ("GET", "/store/items"): "null",
    ("POST", "/store/items/search"): '{"items":[]}',
    ("POST", "/store/namespaces"): '{"namespaces":[]}',
    ("PUT", "/store/items"): "",
    ("DELETE", "/store/items"): "",
}
"""What answers about one's own, of which Bob has nothing."""
TAKEN = {("POST", "/assistants"), ("POST", "/threads"), ("POST", "/threads/{thread_id}/copy")}
"""What answers 409: the id is taken, or there is nothing to copy."""


@dataclass(frozen=True, slots=True)
class Anns:
    """What Ann has."""

    deployment: Deployment
    ids: dict[str, str]

    def ask(self, place: tuple[str, str], user: str, body: Any = None, **ids: str) -> Answer:
        method, path = place
        names = {**self.ids, **ids}
        body = BODIES.get(place) if body is None else body
        text = orjson.dumps(body).decode()
        for name, value in names.items():
            text = text.replace(f"{{{name}}}", value)
        path = f"{path}{QUERIES.get(place, '')}".format(**names)
        return self.request(method, path, orjson.loads(text), user)

    def request(self, method: str, path: str, body: Any = None, user: str = "ann", **headers: str) -> Answer:
        headers = {"authorization": f"Bearer {user}-token", **headers}
        return self.deployment.request(method, path, body, headers=headers)

    def kept(self) -> dict[tuple[str, str], Item]:
        """All that the table holds for any tenant."""
        found = self.deployment.world.items().items()
        return {key: item for key, item in found if "#" in key[0]}


@pytest.fixture(scope="module")
def anns() -> Iterator[Anns]:
    with deployed(USERS / "langgraph.json") as deployment:
        anns = Anns(deployment, {})
        named = {"graph_id": "steps", "name": MARK, "metadata": {"mark": MARK}, "context": {"key": MARK}}
        assistant = anns.request("POST", "/assistants", named).json["assistant_id"]
        thread = anns.request("POST", "/threads", {"metadata": {"mark": MARK}}).json["thread_id"]
        body = {"assistant_id": "steps", "input": {"n": 0, "log": [MARK]}, "metadata": {"mark": MARK}}
        run = anns.request("POST", f"/threads/{thread}/runs", body).json["run_id"]
        deployment.work()
        batch = anns.request("POST", "/runs/batch", [body]).headers["content-location"].rpartition("/")[2]
        deployment.work()
        state = anns.request("GET", f"/threads/{thread}/state").json
        item = {"namespace": [thread], "key": "k", "value": {"mark": MARK}}
        assert anns.request("PUT", "/store/items", item).status == 204
        timed = {"assistant_id": "steps", "schedule": "0 3 1 1 *", "metadata": {"mark": MARK}}
        cron = anns.request("POST", "/runs/crons", timed).json["cron_id"]
        ids = {
            "cron_id": cron,
            "assistant_id": assistant,
            "thread_id": thread,
            "run_id": run,
            "batch_id": batch,
            "checkpoint_id": state["checkpoint"]["checkpoint_id"],
            "namespace": "a",
            "token": "whk_unknown",
        }
        yield Anns(deployment, ids)


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread on which nothing happens is not followed for a minute."""
    monkeypatch.setattr(streams, "IDLE_S", 0.01)
    monkeypatch.setattr(events, "IDLE_S", 0.01)


def test_every_route_that_is_for_known_users_has_a_rule() -> None:
    assert set(OPERATIONS) - OPEN == set(RULES)


@pytest.mark.parametrize("place", [one for one in operations() if one not in OPEN], ids=" ".join)
def test_nobody_gets_in_unknown(anns: Anns, place: tuple[str, str]) -> None:
    before = anns.kept()
    answer = anns.ask(place, "nobody")
    assert answer.status == 401
    assert "Who are you?" in answer.text
    assert answer.headers["www-authenticate"] == 'Bearer realm="users"'
    assert anns.kept() == before


@pytest.mark.parametrize("place", [one for one in operations() if one not in OPEN], ids=" ".join)
def test_bob_finds_nothing_of_anns_and_changes_nothing(anns: Anns, place: tuple[str, str]) -> None:
    before = anns.kept()
    answer = anns.ask(place, "bob")
    assert MARK not in answer.text
    assert "s3cret" not in answer.text
    if place in OWN:
        assert answer.text == OWN[place]
    elif place in TOLD:
        assert answer.status == 200
        assert TOLD[place] in answer.text
    elif place == ("GET", "/metrics"):
        assert answer.status == 403
    else:
        assert answer.status == (409 if place in TAKEN else 404), answer.text
    anns.deployment.work()
    after = anns.kept()
    if place == ("PUT", "/store/items"):  # of the same name, under Bob's own root
        after = {key: item for key, item in after.items() if key in before}
        anns.ask(("DELETE", "/store/items"), "bob")
    assert after == before
    assert {key.split("#")[1] for key, _ in before} == {TENANT}  # nothing is left where nothing is


@pytest.mark.parametrize(
    "place",
    [
        place
        for place in operations()
        if place[0] == "GET" and place not in OPEN
        and place[1] not in {"/runs/batch/{batch_id}", "/threads/{thread_id}/storage", "/metrics"}
    ],
    ids=" ".join,
)  # fmt: skip
def test_ann_finds_what_is_hers(anns: Anns, place: tuple[str, str]) -> None:
    answer = anns.ask(place, "ann")
    assert answer.status == 200, answer.text
    assert "s3cret" not in answer.text
    drawings = ("graph", "schemas", "subgraphs", "{namespace}", "stream", "threads")
    assert MARK in answer.text or place[1].rpartition("/")[2] in drawings


@pytest.mark.parametrize(
    ("path", "counts"),
    [("/threads/search", False), ("/threads/count", True), ("/assistants/search", False), ("/assistants/count", True)],
)  # fmt: skip
def test_searches_give_ones_own_and_narrow_what_is_asked_for(anns: Anns, path: str, counts: bool) -> None:
    def found(user: str, metadata: dict[str, Any]) -> int:
        answer = anns.request("POST", path, {"metadata": metadata}, user).json
        return int(answer) if counts else len(answer)

    assert found("ann", {"mark": MARK}) == 1
    assert found("bob", {"mark": MARK}) == 0
    assert found("bob", {"owner": "ann"}) == 0


def test_a_batch_is_counted_for_whoever_asked_for_it(anns: Anns) -> None:
    answer = anns.ask(("GET", "/runs/batch/{batch_id}"), "ann")
    assert answer.json["total"] == 1
    assert anns.ask(("GET", "/threads/{thread_id}/storage"), "ann").status == 200


@pytest.mark.parametrize("path", ["/runs/wait", "/threads/{thread_id}/runs/wait"])
def test_a_graph_knows_its_user_and_no_other(anns: Anns, path: str) -> None:
    forged = dict.fromkeys(("langgraph_auth_user", "langgraph_auth_user_id"), "mallory")
    body = {
        "assistant_id": "whoami", "input": {}, "config": {"configurable": forged}, "if_not_exists": "create",
    }  # fmt: skip
    answer = anns.request("POST", path.format(thread_id=uuid4()), body, "bob")
    assert answer.json["told"] == {
        "before": None, "id": "bob", "permissions": ["all"], "name": "Bob", "secret_length": 10, "server": "bob",
        "budget": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "metadata", [{"langgraph_auth_user_id": "mallory"}, {"langgraph_auth_user": "mallory"}]
)
def test_metadata_does_not_say_who_the_user_is(anns: Anns, metadata: dict[str, str]) -> None:
    body = {"assistant_id": "steps", "input": {"n": 0}, "stream_mode": "events"}
    for forged in ({"metadata": metadata}, {"config": {"metadata": metadata}}):
        answer = anns.request("POST", "/runs/stream", {**body, **forged}, "bob")
        assert "on_chain_start" in answer.text  # which has the metadata that a graph finds in its config
        assert "mallory" not in answer.text


SPENT = {"config": {"configurable": {"budget": "anns"}}}
"""What Dora asks for, and the project does not let him have."""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/threads/{}/runs", {"assistant_id": "whoami", "input": {}, **SPENT}),
        (
            "/threads/{}/commands",
            {"id": 1, "method": "run.start", "params": {"assistant_id": "whoami", "input": {}, **SPENT}},
        ),
        ("/v1/threads/{}/runs", {"deployment_id": "whoami", "input": {}}),
        ("/v1/runs", {"deployment_id": "whoami", "input": {}}),
    ],
)
def test_what_a_handler_says_of_a_run_goes_with_it_by_every_route(anns: Anns, path: str, body: Any) -> None:
    thread = anns.request("POST", "/threads", {}, "dora").json["thread_id"]
    assert anns.request("POST", path.format(thread), body, "dora").status in (200, 202)
    anns.deployment.work()
    (run,) = anns.request("GET", "/v1/runs?limit=1", None, "dora").json["runs"]
    assert run["output"]["told"]["budget"] == "doras"


def test_what_a_handler_says_of_a_run_goes_with_those_that_agents_start(anns: Anns) -> None:
    params: dict[str, Any] = {"name": "whoami", "arguments": {}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    told = anns.request("POST", "/mcp", call, "dora").json["result"]["structuredContent"]["told"]
    assert told["budget"] == "doras"
    params = {"message": {"role": "user", "messageId": "m", "parts": [{"kind": "data", "data": {}}]}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params}
    assert '"budget":"doras"' in anns.request("POST", "/a2a/whoami", call, "dora").text


@pytest.mark.parametrize("change", [SPENT, {"config": None}, {"context": {"budget": "anns"}}])
def test_what_a_handler_says_of_the_runs_of_a_cron_is_not_undone_by_changing_it(
    anns: Anns, change: dict[str, Any]
) -> None:
    timed = {"assistant_id": "whoami", "schedule": "0 3 1 1 *", **SPENT}
    cron = anns.request("POST", "/runs/crons", timed, "dora").json
    at = f"/runs/crons/{cron['cron_id']}"
    changed = anns.request("PATCH", at, change, "dora").status
    assert changed in (
        (400, 422) if "context" in change else (200,)
    )  # config and context exclude one another
    kept = anns.request("GET", at, None, "dora").json
    assert kept["payload"]["config"]["configurable"] == {"budget": "doras"}
    assert anns.request("DELETE", at, None, "dora").status == 204


def test_what_a_handler_takes_out_is_not_asked_for(anns: Anns) -> None:
    body = {"assistant_id": "whoami", "input": {}, "webhook": "https://example.com/hook"}
    for user, hook in (("dora", None), ("bob", body["webhook"])):
        assert anns.request("POST", "/runs", body, user).json["kwargs"]["webhook"] == hook
    anns.deployment.work()


def test_a_background_run_knows_its_user_and_nothing_shows_them(anns: Anns) -> None:
    thread = anns.request("POST", "/threads", {}, "bob").json["thread_id"]
    body = {"assistant_id": "whoami", "input": {}, "stream_mode": ["debug", "checkpoints", "messages-tuple"]}
    run = anns.request("POST", f"/threads/{thread}/runs", body, "bob").json
    anns.deployment.work()
    at = f"/threads/{thread}"
    join = anns.request("GET", f"{at}/runs/{run['run_id']}/join", user="bob")
    assert join.json["told"]["id"] == "bob"
    places = [
        f"{at}/runs/{run['run_id']}", f"{at}/runs/{run['run_id']}/stream?stream_mode=debug&stream_mode=checkpoints",
        f"{at}/state", f"{at}/history", at, f"/v1/runs/{run['run_id']}", f"/v1/runs/{run['run_id']}/events",
    ]  # fmt: skip
    headers = {"last-event-id": "0"}
    for place in places:
        answer = anns.request("GET", place, None, "bob", **(headers if "stream" in place else {}))
        assert answer.status == 200
        assert "s3cret" not in answer.text
        assert "langgraph_auth" not in answer.text


def test_the_same_idempotency_key_of_two_users_names_two_requests(anns: Anns) -> None:
    key = {"idempotency-key": "1"}
    for method, path, body in (
        ("POST", "/threads", {}),
        ("POST", "/runs", RUN),
        ("POST", "/runs/batch", [RUN]),
        ("POST", "/v1/runs", {"deployment_id": "steps"}),
    ):
        ann, again, bob = (anns.request(method, path, body, user, **key) for user in ("ann", "ann", "bob"))
        assert _ids(ann) == _ids(again)
        assert set(_ids(ann)).isdisjoint(_ids(bob))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/threads", {}),
        ("/runs", RUN),
        ("/runs/wait", RUN),
        ("/runs/batch", [RUN, RUN]),
        ("/threads/{}/runs", RUN),
        ("/assistants", {"graph_id": "steps"}),
        ("/runs/crons", {"assistant_id": "steps", "schedule": "0 3 1 1 *"}),
        ("/v1/threads", {"deployment_id": "steps"}),
        ("/v1/runs", {"deployment_id": "steps"}),
    ],
)
def test_a_request_that_a_handler_stamps_anew_each_time_is_the_same_request(
    anns: Anns, path: str, body: Any
) -> None:
    key = {"idempotency-key": str(uuid4())}
    path = path.format(anns.request("POST", "/threads", {}, "erin").json["thread_id"])
    first = anns.request("POST", path, body, "erin", **key)
    anns.deployment.work()
    again = anns.request("POST", path, body, "erin", **key)
    assert first.status == again.status < 300
    named = ("content-location", "location")
    assert [first.headers.get(name) for name in named] == [again.headers.get(name) for name in named]
    assert _ids(first, "assistant_id") == _ids(again, "assistant_id")
    other = [{**RUN, "after_seconds": 1}] if isinstance(body, list) else {**body, "metadata": {"other": True}}
    if not path.startswith("/v1/runs"):  # which takes no metadata
        assert anns.request("POST", path, other, "erin", **key).status == 409


@pytest.mark.parametrize(
    ("path", "name", "body"),
    [
        ("/threads", "thread_id", {}),
        ("/assistants", "assistant_id", {"graph_id": "steps"}),
    ],
)
def test_a_request_that_is_repeated_does_not_give_what_somebody_else_has_made_since(
    anns: Anns, path: str, name: str, body: dict[str, Any]
) -> None:
    key, body = {"idempotency-key": str(uuid4())}, {**body, name: str(uuid4())}
    assert anns.request("POST", path, body, "bob", **key).status == 200
    assert anns.request("DELETE", f"{path}/{body[name]}", None, "bob").status == 204
    anns.deployment.work()
    assert anns.request("POST", path, {**body, "metadata": {"mark": MARK}}).status == 200
    again = anns.request("POST", path, body, "bob", **key)
    assert again.status == 404
    assert MARK not in again.text
    assert anns.request("DELETE", f"{path}/{body[name]}").status == 204
    anns.deployment.work()


def _ids(answer: Answer, *more: str) -> list[str]:
    rows = answer.json if isinstance(answer.json, list) else [answer.json]
    names = ("id", "thread_id", "run_id", "cron_id", *more)
    return [row[name] for row in rows for name in names if name in row]


@pytest.mark.parametrize("path", ["/threads/{}", "/v1/threads/{}"])
def test_nobody_hands_over_what_is_theirs_or_takes_what_is_not(anns: Anns, path: str) -> None:
    thread = anns.request("POST", "/threads", {"metadata": {"owner": "ann"}}, "bob").json
    assert thread["metadata"]["owner"] == "bob"
    patched = anns.request("PATCH", path.format(thread["thread_id"]), {"metadata": {"owner": "ann"}}, "bob")
    assert patched.json["metadata"]["owner"] == "bob"


def test_a_thread_that_is_somebody_elses_is_not_given_to_who_would_make_it(anns: Anns) -> None:
    taken = {"thread_id": anns.ids["thread_id"], "if_exists": "do_nothing"}
    assert anns.request("POST", "/threads", taken, "bob").status == 409
    assert anns.request("POST", "/threads", taken).json["thread_id"] == anns.ids["thread_id"]
    at = f"/threads/{anns.ids['thread_id']}"
    made = {**RUN, "if_not_exists": "create"}
    for path in ("runs", "runs/wait", "runs/stream"):
        assert anns.request("POST", f"{at}/{path}", made, "bob").status == 404
    start = {"id": 1, "method": "run.start", "params": RUN}
    assert anns.request("POST", f"{at}/commands", start, "bob").status == 404


def test_threads_that_runs_make_belong_to_who_starts_the_run(anns: Anns) -> None:
    first, second = str(uuid4()), str(uuid4())
    anns.request("POST", f"/threads/{first}/runs", {**RUN, "if_not_exists": "create"})
    anns.request("POST", f"/threads/{second}/commands", {"id": 1, "method": "run.start", "params": RUN})
    kept = anns.request("POST", "/runs", {**RUN, "on_completion": "keep"}).json["thread_id"]
    for thread in (first, second, kept):
        assert anns.request("GET", f"/threads/{thread}").json["metadata"]["owner"] == "ann"
        assert anns.request("GET", f"/threads/{thread}", None, "bob").status == 404
    anns.deployment.work()


def test_another_users_assistant_is_not_run_by_naming_it_in_a_threads_metadata(anns: Anns) -> None:
    named = {"metadata": {"assistant_id": anns.ids["assistant_id"]}}
    thread = anns.request("POST", "/threads", named, "bob").json["thread_id"]
    answer = anns.request("POST", f"/v1/threads/{thread}/runs", {"input": {"n": 0}}, "bob")
    assert answer.status == 404
    respond = {"id": 1, "method": "input.respond", "params": {"interrupt_id": "i", "response": 1}}
    assert anns.request("POST", f"/threads/{thread}/commands", respond, "bob").status == 404
    assert anns.request("POST", "/runs/wait", {"assistant_id": anns.ids["assistant_id"]}, "bob").status == 404


def test_stopping_everything_stops_ones_own_alone(anns: Anns) -> None:
    delayed = {**RUN, "after_seconds": 3600}
    mine, theirs = (
        anns.request("POST", "/v1/runs", {"deployment_id": "steps"}, user).json for user in ("ann", "bob")
    )
    ours = [anns.request("POST", "/runs", delayed, user).json for user in ("ann", "bob")]
    assert anns.request("POST", "/runs/cancel", {"status": "all"}, "bob").status == 204
    statuses = [
        anns.request("GET", f"/v1/runs/{run['run_id']}", None, user).json["status"]
        for run, user in ((mine, "ann"), (theirs, "bob"))
    ]
    assert statuses == ["pending", "canceled"]
    at = "/threads/{thread_id}/runs/{run_id}"
    found = [
        anns.request("GET", at.format(**run), None, user).json["status"]
        for run, user in zip(ours, ("ann", "bob"), strict=True)
    ]
    assert found == ["pending", "interrupted"]
    anns.request("POST", "/runs/cancel", {"status": "all"})
    anns.deployment.work()


def test_lists_of_runs_give_each_user_theirs_page_by_page(anns: Anns) -> None:
    made = {
        user: [
            anns.request("POST", "/v1/runs", {"deployment_id": "steps"}, user).json["run_id"]
            for _ in range(3)
        ]
        for user in ("carl",)
    }
    for _ in range(3):
        anns.request("POST", "/v1/runs", {"deployment_id": "steps"}, "bob")
    anns.deployment.work()  # they have ended: their own metadata says whose they are
    found, cursor = [], ""
    while True:
        page = anns.request("GET", f"/v1/runs?limit=2{cursor}", None, "carl").json
        found += [run["id"] for run in page["runs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == made["carl"][::-1]


def test_deleting_the_threads_of_an_assistant_leaves_those_of_others(anns: Anns) -> None:
    assistant = anns.request("POST", "/assistants", {"graph_id": "steps"}, "bob").json["assistant_id"]
    threads = {
        user: anns.request("POST", "/threads", {"metadata": {"assistant_id": assistant}}, user).json[
            "thread_id"
        ]
        for user in ("ann", "bob")
    }
    assert anns.request("DELETE", f"/assistants/{assistant}?delete_threads=true", None, "bob").status == 204
    assert anns.request("GET", f"/threads/{threads['ann']}").status == 200
    assert anns.request("GET", f"/threads/{threads['bob']}", None, "bob").status == 404


@pytest.mark.parametrize("path", ["/threads/{}/copy", "/v1/threads/{}/copy"])
def test_a_copy_belongs_to_who_makes_it(anns: Anns, path: str) -> None:
    answer = anns.request("POST", path.format(anns.ids["thread_id"]), {})
    assert answer.json["metadata"]["owner"] == "ann"


def test_what_is_told_in_place_of_an_object_is_refused(anns: Anns) -> None:
    assert anns.request("POST", "/threads", {"metadata": "owner"}).status == 422
    assert anns.request("POST", "/runs/wait", {**RUN, "metadata": [1]}).status == 422
    assert anns.request("POST", "/threads/prune", {"thread_ids": "all"}).status == 422
    assert anns.request("GET", "/nowhere").status == 404
    assert anns.request("PUT", "/threads").status == 405


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs/batch", [{}] * (LARGEST_BATCH + 1)),
        ("/threads/prune", {"thread_ids": ["0" * 32] * (LARGEST_PRUNE + 1)}),
        ("/runs/cancel", {"thread_id": "0" * 32, "run_ids": ["0" * 32] * (LARGEST_BATCH + 1)}),
    ],
)
def test_a_long_list_does_not_ask_the_projects_code_about_each_thing_in_it(
    anns: Anns, monkeypatch: pytest.MonkeyPatch, path: str, body: Any
) -> None:
    asked: list[str] = []

    def ask(_: Authority, user: User, resource: str, action: str, value: dict[str, Any]) -> Filters:
        asked.append(action)
        return EVERYTHING

    monkeypatch.setattr(Authority, "ask", ask)
    assert anns.request("POST", path, body, "bob").status == 422
    assert len(asked) <= 1


@pytest.mark.parametrize("namespace", [None, "ann", {"0": "ann"}])
@pytest.mark.parametrize("path", ["/store/items/search", "/store/namespaces"])
def test_what_a_handler_leaves_for_a_namespace_that_is_none_shows_nothing(
    anns: Anns, monkeypatch: pytest.MonkeyPatch, path: str, namespace: Any
) -> None:
    def ask(_: Authority, user: User, resource: str, action: str, value: dict[str, Any]) -> Filters:
        value["namespace"] = namespace
        return EVERYTHING

    monkeypatch.setattr(Authority, "ask", ask)
    answer = anns.request("POST", path, {"namespace_prefix": ["a"], "prefix": ["a"]}, "bob")
    assert answer.status == 500
    assert "ann" not in answer.text


def test_the_store_has_a_root_for_each_user(anns: Anns) -> None:
    item = {"namespace": ["notes"], "key": "k", "value": {"for": "carl"}}
    assert anns.request("PUT", "/store/items", item, "carl").status == 204
    got = anns.request("GET", "/store/items?namespace=notes&key=k", None, "carl").json
    assert (got["namespace"], got["value"]) == (["carl", "notes"], {"for": "carl"})
    found = anns.request("POST", "/store/items/search", {}, "carl").json["items"]
    assert [one["value"] for one in found] == [{"for": "carl"}]
    assert anns.request("POST", "/store/namespaces", {}, "carl").json == {"namespaces": [["carl", "notes"]]}
    assert anns.request("GET", "/store/items?namespace=carl.notes&key=k").json is None
    assert anns.request("PUT", "/store/items", {**item, "namespace": "notes"}, "carl").status == 422


def _firing(cron: dict[str, Any]) -> Firing:
    due = datetime.fromisoformat(cron["next_run_date"])
    return Firing(tenant=TENANT, cron_id=cron["cron_id"], revision=1, part=0, due=due)


def test_a_cron_executes_for_its_maker(anns: Anns) -> None:
    timed = {"assistant_id": "whoami", "input": {}, "schedule": "* * * * *", "on_run_completed": "keep"}
    cron = anns.request("POST", "/runs/crons", timed, "carl").json
    assert cron["metadata"] == {"owner": "carl"}
    assert "s3cret" not in anns.request("GET", f"/runs/crons/{cron['cron_id']}", None, "carl").text
    run = anns.deployment.world.firings.fire(_firing(cron))
    assert run is not None
    anns.deployment.work()
    at = f"/threads/{run.thread_id}"
    assert anns.request("GET", at, None, "carl").json["values"]["told"]["id"] == "carl"
    assert anns.request("GET", at).status == 404


def test_a_cron_on_a_thread_that_became_somebody_elses_is_over(anns: Anns) -> None:
    thread = anns.request("POST", "/threads", {}, "carl").json["thread_id"]
    timed = {"assistant_id": "steps", "input": {}, "schedule": "* * * * *"}
    cron = anns.request("POST", f"/threads/{thread}/runs/crons", timed, "carl").json
    world = anns.deployment.world
    world.threads.patch(TENANT, thread, ThreadPatch(metadata={"owner": "ann"}))
    assert world.firings.fire(_firing(cron)) is None
    assert anns.request("GET", f"/runs/crons/{cron['cron_id']}", None, "carl").json["enabled"] is False


def test_tools_are_the_assistants_that_a_user_sees_and_those_of_others_are_not_called(anns: Anns) -> None:
    def mcp(user: str, method: str, **params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return anns.request("POST", "/mcp", body, user).json

    assert [tool["name"] for tool in mcp("ann", "tools/list")["result"]["tools"]] == [MARK]
    assert mcp("ann", "tools/call", name=MARK, arguments={"n": 0})["result"]["structuredContent"]["n"] == 1
    for name in (MARK, anns.ids["assistant_id"]):
        assert "error" in mcp("bob", "tools/call", name=name, arguments={"n": 0})
    told = mcp("bob", "tools/call", name="whoami", arguments={})
    assert told["result"]["structuredContent"]["told"]["id"] == "bob"


def test_agents_of_another_user_cannot_be_talked_to_nor_their_tasks_and_contexts_used(anns: Anns) -> None:
    def a2a(user: str, assistant: str, method: str, **params: Any) -> Answer:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return anns.request("POST", f"/a2a/{assistant}", body, user)

    def message(**more: str) -> dict[str, Any]:
        part = {"kind": "data", "data": {"n": 0}}
        return {"kind": "message", "role": "user", "messageId": str(uuid4()), "parts": [part], **more}

    steps, hers = default_assistant_id("steps"), anns.ids["assistant_id"]
    assert a2a("bob", hers, "message/send", message=message()).status == 404
    mine = a2a("ann", steps, "message/send", message=message()).json["result"]
    assert a2a("ann", steps, "tasks/get", id=mine["id"]).json["result"]["id"] == mine["id"]
    assert anns.request("GET", f"/threads/{mine['contextId']}").json["metadata"]["owner"] == "ann"
    for answer in (
        a2a("bob", steps, "tasks/get", id=mine["id"]),
        a2a("bob", steps, "tasks/cancel", id=mine["id"]),
        a2a("bob", steps, "message/send", message=message(taskId=mine["id"])),
        a2a("bob", steps, "message/send", message=message(contextId=mine["contextId"])),
        a2a("bob", steps, "message/stream", message=message(contextId=mine["contextId"])),
    ):
        assert "error" in answer.json
        assert "result" not in answer.json
    runs = anns.request("GET", f"/threads/{mine['contextId']}/runs").json
    assert [run["run_id"] for run in runs] == [mine["id"]]


def test_the_document_says_how_users_authenticate(anns: Anns) -> None:
    document = anns.request("GET", "/openapi.json", None, "nobody").json
    assert document["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
    security = {
        (method.upper(), path): operation["security"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert {place for place, asked in security.items() if not asked} == OPEN
    assert all(asked in ([], [{"bearer": []}]) for asked in security.values())
    assert "securitySchemes" not in anns.ask(("GET", "/.well-known/agent-card.json"), "ann").json


def test_a_query_that_says_two_things_is_refused(anns: Anns) -> None:
    hers = anns.ids["thread_id"]
    mine = anns.request("POST", "/threads", {}, "bob").json["thread_id"]
    for query in (f"thread_id={mine}&thread_id={hers}", f'thread_id=["{mine}","{hers}"]'):
        assert anns.request("GET", f"/v1/runs?{query}", None, "bob").status == 400
    assert anns.request("GET", "/store/items?key=k&namespace=a&namespace=ann", None, "bob").status == 422


def test_a_run_without_a_thread_is_its_makers_alone_when_all_but_its_row_has_gone(anns: Anns) -> None:
    run = anns.request("POST", "/runs", {**RUN, "input": {"n": 0, "log": [MARK]}}).json
    anns.deployment.work()
    at = "/threads/{thread_id}/runs/{run_id}".format(**run)
    for path in (
        at,
        f"{at}/join",
        f"{at}/stream",
        f"/v1/runs/{run['run_id']}",
        f"/v1/runs/{run['run_id']}/events",
    ):
        mine, theirs = (
            anns.request("GET", path, None, user, **{"last-event-id": "0"}) for user in ("ann", "bob")
        )
        assert mine.status == 200
        assert MARK in mine.text
        assert MARK not in theirs.text
        assert theirs.status == 404 or "NotFound" in theirs.text
    tree = {"id": 1, "method": "agent.getTree", "params": {"run_id": run["run_id"]}}
    answers = [
        anns.request("POST", f"/threads/{run['thread_id']}/commands", tree, user).json
        for user in ("ann", "bob")
    ]
    assert [answer["type"] for answer in answers] == ["success", "error"]
    assert anns.request("DELETE", at, None, "bob").status == 404


def test_leaving_a_stream_stops_a_run_only_for_who_may_change_it(anns: Anns) -> None:
    at = "/threads/{thread_id}/runs/{run_id}/join?cancel_on_disconnect=true".format(**anns.ids)
    assert anns.request("GET", at).status == 200
    assert "NotFound" in anns.request("GET", at, None, "bob").text
