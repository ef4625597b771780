"""The gate: what handlers of every kind make of a request, before any route answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph_sdk import Auth

from crewline.errors import Forbidden, InvalidRequest, NotFound
from crewline.http.authorities import Authority
from crewline.http.authorization import VEIL, Gate, params_of
from crewline.http.rules.table import RULES
from crewline.models.api_keys import Caller
from crewline.models.threads import ThreadCreate
from tests.unit.store.worlds import TENANT, World, basic_manifest, clock, cloud, world

__all__ = ["basic_manifest", "clock", "cloud", "world"]

Handler = Callable[[Any, Any], Any]


async def named(headers: dict[bytes, bytes]) -> str:
    return headers[b"user"].decode()


def gate(world: World, handler: Handler, *, store: Handler | None = None) -> Gate:
    """A gate whose users are whom a header names."""
    auth = Auth()
    auth.authenticate(named)

    async def handle(ctx: Any, value: Any) -> Any:
        return handler(ctx, value)

    auth.on(handle)
    if store:

        async def handle_store(ctx: Any, value: Any) -> Any:
            return store(ctx, value)

        auth.on.store(handle_store)
    return opened_by(world, auth)


def opened_by(world: World, auth: Auth) -> Gate:
    authority = Authority(auth, where="auth")
    return Gate(authority, TENANT, threads=world.threads, runs=world.runs, assistants=world.assistants)


def admit(
    gate: Gate,
    method: str,
    template: str,
    *,
    body: Any = None,
    user: str = "ann",
    query: Any = None,
    **path: str,
) -> tuple[Caller, Any, Any]:
    event = {"httpMethod": method, "path": template.format(**path), "multiValueQueryStringParameters": query}
    return gate.admit((method, template), event, {"user": user}, lambda: body)


def members(ctx: Any, value: Any) -> Any:
    """Whatever is made has its maker as a member, and members see it."""
    value.setdefault("metadata", {}).setdefault("members", [ctx.user.identity])
    return {"members": {"$contains": ctx.user.identity}}


@pytest.fixture
def shared(world: World) -> str:
    """A thread of which ann and bob are members."""
    made = world.threads.create(TENANT, ThreadCreate(metadata={"members": ["ann", "bob"]}))
    return made["thread_id"]


@pytest.mark.parametrize(("user", "sees"), [("ann", True), ("bob", True), ("carl", False)])
def test_members_see_what_they_share_and_for_others_it_is_looked_for_where_nothing_is(
    world: World, shared: str, user: str, sees: bool
) -> None:
    opened = gate(world, members)
    for method, template in RULES:
        if "{thread_id}" in template and method == "GET" and template.startswith("/threads"):
            path = {"thread_id": shared, "run_id": shared, "checkpoint_id": shared}
            assert admit(opened, method, template, user=user, **path)[0].tenant == (TENANT if sees else VEIL)


def test_a_run_on_a_shared_thread_is_started_for_its_members_alone(world: World, shared: str) -> None:
    opened, place = gate(world, members), "/threads/{thread_id}/runs"
    body = {"assistant_id": "steps", "if_not_exists": "create"}
    caller, _, asked = admit(opened, "POST", place, body=body, thread_id=shared, user="bob")
    assert caller.tenant == TENANT
    assert asked["metadata"] == caller.sender.stamps == {"members": ["bob"]}
    assert caller.sender.user is not None
    assert caller.sender.user.identity == "bob"
    with pytest.raises(NotFound, match=shared):
        admit(opened, "POST", place, body=body, thread_id=shared, user="carl")


def test_a_search_asks_for_what_may_be_seen_as_well(world: World) -> None:
    opened = gate(world, lambda ctx, _value: {"members": {"$contains": ctx.user.identity}, "team": "red"})
    for place in ("/threads/search", "/threads/count"):
        _, _, body = admit(opened, "POST", place, body={"metadata": {"members": ["bob"], "x": 1}, "limit": 3})
        assert body == {"metadata": {"members": ["bob", "ann"], "team": "red", "x": 1}, "limit": 3}
        _, _, body = admit(opened, "POST", place, body={"metadata": {"team": "blue"}})
        assert body["ids"] == []


def test_a_handler_that_says_nothing_changes_nothing(world: World, shared: str) -> None:
    opened, body = gate(world, lambda _ctx, _value: None), {"assistant_id": "steps", "input": {"n": 1}}
    caller, _, asked = admit(opened, "POST", "/threads/{thread_id}/runs/wait", body=body, thread_id=shared)
    assert asked == {**body, "metadata": {}}
    assert (caller.tenant, dict(caller.sender.stamps), bool(caller.sender.sees)) == (TENANT, {}, False)


def test_what_is_asked_of_a_run_is_the_handlers_to_change(world: World) -> None:
    def cheaper(_ctx: Any, value: Any) -> None:
        assert value["kwargs"]["input"] == {"n": 1}
        value["kwargs"]["config"] = {"configurable": {"model": "small"}}
        value["kwargs"]["webhook"] = None

    body = {"assistant_id": "steps", "input": {"n": 1}, "webhook": "https://hooks.example/x"}
    _, _, asked = admit(gate(world, cheaper), "POST", "/runs", body=body)
    assert asked["config"] == {"configurable": {"model": "small"}}
    assert asked["webhook"] is None


def test_metadata_that_a_filter_asks_for_is_filled_in_or_refused(world: World) -> None:
    opened = gate(world, lambda ctx, _value: {"owner": ctx.user.identity})
    for place, body in (("/threads", {}), ("/runs", {"assistant_id": "steps"}), ("/assistants", {})):
        caller, _, asked = admit(opened, "POST", place, body=body)
        assert asked["metadata"] == {"owner": "ann"}
        with pytest.raises(Forbidden, match="owner"):
            admit(opened, "POST", place, body={**body, "metadata": {"owner": "bob"}})
    assert caller.sender.sees.wanted == {"owner": "ann"}


def test_what_a_handler_sets_is_a_stamp_even_where_a_client_sent_the_same(world: World) -> None:
    def owned(ctx: Any, value: Any) -> None:
        value["metadata"]["owner"] = ctx.user.identity

    body = {"assistant_id": "steps", "metadata": {"owner": "ann", "title": "t"}}
    caller, _, _ = admit(gate(world, owned), "POST", "/runs", body=body)
    assert caller.sender.stamps == {"owner": "ann"}


def test_each_run_of_a_batch_is_asked_about(world: World) -> None:
    def small(_ctx: Any, value: Any) -> bool:
        value["metadata"]["n"] = value["kwargs"]["input"]
        return bool(value["kwargs"]["input"] < 3)

    bodies = [{"assistant_id": "steps", "input": n} for n in range(3)]
    caller, _, asked = admit(gate(world, small), "POST", "/runs/batch", body=bodies)
    assert [one.stamps for one in caller.senders] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [one["metadata"] for one in asked] == [{"n": 0}, {"n": 1}, {"n": 2}]
    with pytest.raises(Forbidden):
        admit(gate(world, small), "POST", "/runs/batch", body=[*bodies, {**bodies[0], "input": 3}])


@pytest.mark.parametrize("place", [place for place in RULES if place[1].startswith("/store")], ids=" ".join)
def test_a_filter_says_nothing_of_items_so_it_is_refused(world: World, place: tuple[str, str]) -> None:
    opened = gate(world, lambda _ctx, _value: {"owner": "ann"})
    with pytest.raises(Forbidden, match=r"@auth\.on\.store"):
        admit(opened, *place, body={"namespace": ["a"]}, query={"namespace": ["a"], "key": ["k"]})


@pytest.mark.parametrize("place", [place for place in RULES if place[1].startswith("/store")], ids=" ".join)
def test_a_label_that_would_be_read_as_two_is_refused(world: World, place: tuple[str, str]) -> None:
    def by_address(_ctx: Any, value: Any) -> None:
        value["namespace"] = ("ann@example.com", *(value["namespace"] or ()))

    opened = gate(world, lambda _ctx, _value: False, store=by_address)
    with pytest.raises(InvalidRequest, match="period"):
        admit(opened, *place, body={}, query={"namespace": ["a"], "key": ["k"]})


@pytest.mark.parametrize("place", RULES, ids=" ".join)
def test_who_may_do_nothing_can_do_nothing(world: World, place: tuple[str, str]) -> None:
    opened, ident = gate(world, lambda _ctx, _value: False), "00000000-0000-7000-8000-000000000000"
    body: Any = {
        "assistant_id": "steps", "deployment_id": "steps", "thread_ids": [ident], "thread_id": ident, "run_ids": [ident],
        "method": "run.start", "params": {"assistant_id": "steps"},
    }  # fmt: skip
    path = {name: "steps" if name == "assistant_id" else ident for name in params_of(place[1], place[1])}
    body = [body] if place[1] == "/runs/batch" else body
    asks_later = place[1] == "/mcp" or "a2a" in place[1] or "agent-card" in place[1]
    if asks_later:
        rights = admit(opened, *place, body=body, **path)[0].rights
        assert rights is not None
        with pytest.raises(Forbidden):
            rights.find_assistants()
        with pytest.raises(Forbidden):
            rights.start({}, assistant_id="steps", thread_id=None)
        for action in ("read", "update"):
            with pytest.raises(Forbidden):
                rights.reach(action, ident, ident)
    else:
        with pytest.raises(Forbidden):
            admit(opened, *place, body=body, **path)


def test_a_route_that_nobody_has_a_rule_for_is_refused(world: World) -> None:
    with pytest.raises(Forbidden, match="POST /new"):
        admit(gate(world, lambda _ctx, _value: True), "POST", "/new")


def test_metrics_are_for_whom_a_handler_of_their_own_lets_pass(world: World) -> None:
    with pytest.raises(Forbidden, match="metrics"):
        admit(gate(world, lambda _ctx, _value: True), "GET", "/metrics")
    auth = Auth()
    auth.authenticate(named)

    async def operators(ctx: Any, value: Any) -> bool:
        return bool(ctx.user.identity == "ann")

    auth.on(resources="metrics")(operators)
    caller, _, _ = admit(opened_by(world, auth), "GET", "/metrics")
    assert caller.tenant == TENANT
