"""Idempotency items: a request takes effect once, as long as it is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crewline.store import idempotency, keys
from crewline.store.idempotency import KEPT_S, Made, Once
from crewline.store.table import Refused
from tests.unit.store.worlds import NOW, TENANT, World

ONCE = Once(scope="POST /runs", key="k", digest="d")
MADE = Made(thread_id="t", run_id="r", digest="d", created_at="c")
AFTER = NOW + (KEPT_S + 1) * 1000


def remember(world: World, once: Once = ONCE, made: Made = MADE, *, now: int = NOW) -> None:
    world.table.write(idempotency.put(TENANT, once, made, now=now))


def test_a_request_is_remembered_with_what_it_made(world: World) -> None:
    remember(world)
    assert idempotency.get(world.table, TENANT, ONCE, now=NOW) == MADE
    for other in (replace(ONCE, key="l"), replace(ONCE, scope="POST /threads")):
        assert idempotency.get(world.table, TENANT, other, now=NOW) is None
    assert idempotency.get(world.table, "other", ONCE, now=NOW) is None


def test_a_thread_is_remembered_without_a_run(world: World) -> None:
    remember(world, made=replace(MADE, run_id=None))
    assert idempotency.get(world.table, TENANT, ONCE, now=NOW) == replace(MADE, run_id=None)


def test_a_repeated_request_is_refused_and_told_what_the_first_made(world: World) -> None:
    remember(world)
    with pytest.raises(Refused) as caught:
        remember(world, made=replace(MADE, run_id="other"))
    assert idempotency.from_item(caught.value.items[0] or {}) == MADE


def test_an_expired_key_may_be_used_again_before_dynamodb_has_removed_it(world: World) -> None:
    remember(world)
    assert idempotency.get(world.table, TENANT, ONCE, now=AFTER - 1000) == MADE
    assert idempotency.get(world.table, TENANT, ONCE, now=AFTER) is None
    again = replace(MADE, run_id="again")
    with pytest.raises(Refused):
        remember(world, made=again, now=AFTER - 1000)
    remember(world, made=again, now=AFTER)
    assert idempotency.get(world.table, TENANT, ONCE, now=AFTER) == again


def test_a_key_ends_by_ttl(world: World) -> None:
    remember(world)
    item = world.table.get(keys.idempotency(TENANT, ONCE.scope, ONCE.key)) or {}
    assert item[keys.TTL] == NOW // 1000 + KEPT_S
