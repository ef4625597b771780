"""Expiry: a thread that nobody uses for its time goes, or keeps its newest state; one that is used stays."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from crewline.errors import NotFound
from crewline.models.clocks import iso
from crewline.models.runs import RunCreate
from crewline.models.threads import Expiry, ThreadCreate, ThreadPatch
from crewline.services.endings import Outcome
from crewline.services.expiries import Expiries
from crewline.services.threads import Threads
from crewline.store import keys
from crewline.store.keys import Key
from tests.unit.store.worlds import NOW, TENANT, World, claimed

HOUR_MS = 3_600_000


def thread(world: World, **body: Any) -> str:
    return world.threads.create(TENANT, ThreadCreate.model_validate(body))["thread_id"]


def ttl_of(world: World, thread_id: str) -> Any:
    return world.threads.get(TENANT, thread_id, ttl=True)["ttl"]


def due(world: World) -> list[Key]:
    """The threads that the sweeper looks at now."""
    latest = keys.flight_time(world.clock())
    return [
        key
        for shard in keys.expiry_shards()
        for key in world.table.query_index(keys.THREADS_EXPIRING, shard, at_most=latest)
    ]


def sweep(world: World) -> list[bool]:
    expiries = Expiries(world.table, world.queue, world.clock, threads=world.threads)
    return [expiries.expire(key) for key in due(world)]


def is_there(world: World, thread_id: str) -> bool:
    try:
        world.threads.get(TENANT, thread_id)
    except NotFound:
        return False
    return True


# ------------------------------------------------------------------ what is said and shown


@pytest.mark.parametrize("ttl", [60, 60.0, {"ttl": 60}, {"ttl": 60, "strategy": "delete"}])
def test_a_time_to_live_is_minutes_alone_or_with_a_strategy(world: World, ttl: Any) -> None:
    assert ttl_of(world, thread(world, ttl=ttl)) == {
        "strategy": "delete",
        "ttl_minutes": 60.0,
        "expires_at": iso(NOW + HOUR_MS),
    }


@pytest.mark.parametrize("ttl", [0, -1, "60", {"ttl": 5, "strategy": "burn"}, {"strategy": "delete"}, 1e9])
def test_a_time_to_live_that_means_nothing_is_refused(ttl: Any) -> None:
    with pytest.raises(ValidationError):
        ThreadCreate.model_validate({"ttl": ttl})
    with pytest.raises(ValidationError):
        ThreadPatch.model_validate({"ttl": ttl})


def test_it_is_shown_only_where_it_was_asked_for(world: World) -> None:
    assert "ttl" not in world.threads.get(TENANT, thread(world, ttl=60))
    assert ttl_of(world, thread(world)) is None


def test_the_manifest_says_it_for_threads_of_which_nobody_said_more(world: World) -> None:
    expiry = Expiry(after_s=60, strategy="keep_latest")
    threads = Threads(world.table, world.blobs, world.records, world.queue, world.clock, expiry=expiry)
    plain = threads.create(TENANT, ThreadCreate())["thread_id"]
    own = threads.create(TENANT, ThreadCreate(ttl=5))["thread_id"]

    assert ttl_of(world, plain)["strategy"] == "keep_latest"
    assert ttl_of(world, own) == {"strategy": "delete", "ttl_minutes": 5, "expires_at": iso(NOW + 300_000)}


def test_a_patch_sets_it_anew(world: World) -> None:
    thread_id = thread(world, ttl=60)
    world.threads.patch(TENANT, thread_id, ThreadPatch(metadata={"a": 1}))
    assert ttl_of(world, thread_id)["ttl_minutes"] == 60

    world.threads.patch(TENANT, thread_id, ThreadPatch.model_validate({"ttl": {"ttl": 1}}))

    assert ttl_of(world, thread_id)["ttl_minutes"] == 1
    world.clock.pass_(60_000)
    assert sweep(world) == [True]


# ------------------------------------------------------------------ when its time is over


def test_a_thread_that_nobody_uses_is_deleted_when_its_time_is_over(world: World) -> None:
    thread_id, other = thread(world, ttl=60), thread(world)
    world.clock.pass_(HOUR_MS - 1)
    assert due(world) == []

    world.clock.pass_(1)

    assert sweep(world) == [True]
    assert not is_there(world, thread_id)
    assert is_there(world, other)
    assert world.messages() == [{"kind": "purge", "tenant": TENANT, "thread_id": thread_id}]
    assert due(world) == []


def use_by_patch(world: World, thread_id: str) -> None:
    world.threads.patch(TENANT, thread_id, ThreadPatch(metadata={"used": True}))


def use_by_run(world: World, thread_id: str) -> None:
    claim = claimed(world.runs.start(TENANT, thread_id, RunCreate(assistant_id="echo")))
    world.endings.finish(claim, Outcome(status="success", thread_status="idle"), [])


@pytest.mark.parametrize("use", [use_by_patch, use_by_run])
def test_a_thread_that_was_used_lives_as_long_again(world: World, use: Any) -> None:
    thread_id = thread(world, ttl=60)
    world.clock.pass_(HOUR_MS // 2)
    use(world, thread_id)
    assert ttl_of(world, thread_id)["expires_at"] == iso(world.clock() + HOUR_MS)
    world.clock.pass_(HOUR_MS // 2)

    assert sweep(world) == [False]
    assert due(world) == []
    world.clock.pass_(HOUR_MS // 2)
    assert sweep(world) == [True]
    assert not is_there(world, thread_id)


def test_a_run_in_flight_keeps_its_thread(world: World) -> None:
    thread_id = thread(world, ttl=60)
    claim = claimed(world.runs.start(TENANT, thread_id, RunCreate(assistant_id="echo")))
    world.clock.pass_(2 * HOUR_MS)

    assert sweep(world) == [False]
    assert due(world) == []

    world.endings.finish(claim, Outcome(status="success", thread_status="idle"), [])
    world.clock.pass_(HOUR_MS)
    assert sweep(world) == [True]
    assert not is_there(world, thread_id)


@pytest.mark.parametrize(
    "use",
    [
        use_by_patch,
        lambda world, thread_id: world.runs.start(TENANT, thread_id, RunCreate(assistant_id="echo")),
    ],
)
def test_a_thread_that_is_used_while_it_is_swept_stays(
    world: World, monkeypatch: pytest.MonkeyPatch, use: Any
) -> None:
    thread_id = thread(world, ttl=60)
    world.clock.pass_(HOUR_MS)
    expire = world.threads.expire

    def expire_late(tenant: str, row: Any) -> None:
        world.clock.pass_(1)
        use(world, thread_id)
        expire(tenant, row)

    monkeypatch.setattr(world.threads, "expire", expire_late)

    assert sweep(world) == [False]
    assert is_there(world, thread_id)


def test_a_thread_that_keeps_its_newest_state_expires_again_and_again(world: World) -> None:
    thread_id = thread(world, ttl={"ttl": 60, "strategy": "keep_latest"})
    for _ in range(3):
        world.clock.pass_(HOUR_MS)
        assert sweep(world) == [True]
        assert world.messages() == [{"kind": "prune", "tenant": TENANT, "thread_id": thread_id}]
        assert due(world) == []
    assert is_there(world, thread_id)


def test_an_entry_of_a_thread_that_is_gone_is_nothing(world: World) -> None:
    expiries = Expiries(world.table, world.queue, world.clock, threads=world.threads)
    assert not expiries.expire(keys.thread(TENANT, str(uuid4())))
    with pytest.raises(ValueError, match="no thread"):
        expiries.expire(keys.lease(TENANT, str(uuid4())))
