"""The lease: each action's one write, each refused condition, each line of the timelines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crewline.models.leases import GRACE_MS, LEASE_MS, Claim, Lease
from crewline.store import keys, leases
from crewline.store.changes import Update
from crewline.store.table import Refused
from tests.unit.store.worlds import NOW, TENANT, World

T = "t"
FLIGHT = (keys.LEASES_IN_FLIGHT.partition, keys.LEASES_IN_FLIGHT.sort)
DUE = NOW + 60_000
Started = Callable[..., Claim]


def stored(world: World) -> Lease:
    return leases.from_item(world.table.get(keys.lease(TENANT, T)))


def refused(world: World, change: Update) -> Lease:
    """Carry out a write that must be refused; what it is told instead of what it knew."""
    before = world.items()
    with pytest.raises(Refused) as caught:
        world.table.write(change)
    assert world.items() == before
    told = leases.from_item(caught.value.items[0])
    assert told == stored(world)
    return told


def start(world: World, lease: Lease | None = None, **more: Any) -> Lease:
    """Start run a on the thread as it is, or as `lease` says that it was read."""
    given: dict[str, Any] = {"run_id": "a", "now": NOW, **more}
    update, after = leases.start(TENANT, T, stored(world) if lease is None else lease, **given)
    world.table.write(update)
    assert stored(world) == after
    return after


def claim(world: World, owner: str, *, run_id: str = "a", now: int = NOW) -> Claim:
    item = world.table.write(leases.claim(TENANT, T, run_id=run_id, owner=owner, now=now))
    lease = leases.from_item(item)
    assert lease == stored(world)
    return Claim(tenant=TENANT, thread_id=T, run_id=run_id, owner=owner, lease=lease)


def commit(world: World, held: Claim, head: str, *, now: int = NOW, steps: int = 1) -> Claim:
    update, lease = leases.commit(held, head=head, chain=head, newest=head, steps=steps, now=now)
    world.table.write(update)
    assert stored(world) == lease
    return replace(held, lease=lease)


def finish(world: World, held: Claim, head: str | None) -> Lease:
    update, lease = leases.finish(held, head=head, chain=head, newest=head)
    world.table.write(update)
    assert stored(world) == lease
    return lease


def change(world: World, **attributes: Any) -> None:
    """Play somebody whose action is not built yet."""
    world.table.write(Update(key=keys.lease(TENANT, T), set=attributes))


@pytest.fixture
def w1(world: World) -> Claim:
    start(world)
    return claim(world, "w1")


# ------------------------------------------------------------------ reading


def test_a_thread_that_never_ran_has_the_empty_lease(world: World) -> None:
    assert stored(world) == Lease() == leases.from_item(None)
    assert Lease().free


# ------------------------------------------------------------------ start


def test_a_start_puts_a_run_in_flight_unclaimed(world: World) -> None:
    lease = start(world)
    assert lease == Lease(run="a", epoch=1, seq=1, until=NOW + GRACE_MS)
    assert not lease.free


def test_a_start_with_an_owner_is_claimed_in_the_same_write(world: World) -> None:
    lease = start(world, owner="me")
    assert lease == Lease(run="a", owner="me", epoch=1, seq=1, attempt=1, until=NOW + LEASE_MS)


def test_a_start_shows_the_lease_to_the_sweeper_by_the_time_it_becomes_due(world: World) -> None:
    start(world, due=DUE)
    assert world.lease(T)[keys.LEASES_IN_FLIGHT.sort] == f"{DUE:015d}"
    assert stored(world).until == DUE + GRACE_MS


def test_a_start_returns_to_the_head_it_read_and_forgets_the_run_before(world: World, w1: Claim) -> None:
    held = commit(world, w1, "h1", steps=3)
    finish(world, held, "h1")
    lease = start(world, run_id="b")
    assert (lease.base, lease.head, lease.epoch, lease.seq) == ("h1", "h1", 3, 2)
    assert (lease.fed, lease.steps, lease.attempt, lease.owner) == (False, 0, 0, None)


def test_a_start_is_refused_while_a_run_is_in_flight(world: World) -> None:
    read = stored(world)
    start(world)
    update, _ = leases.start(TENANT, T, read, run_id="b", now=NOW)
    assert refused(world, update).run == "a"


def test_a_start_is_refused_when_the_head_has_moved(world: World, w1: Claim) -> None:
    finish(world, commit(world, w1, "h1"), "h1")
    read = stored(world)
    change(world, head="h2")
    update, _ = leases.start(TENANT, T, read, run_id="b", now=NOW)
    assert refused(world, update).head == "h2"


def test_a_start_is_refused_when_a_head_has_appeared(world: World, w1: Claim) -> None:
    finish(world, w1, None)
    read = stored(world)
    change(world, head="h1")
    update, _ = leases.start(TENANT, T, read, run_id="b", now=NOW)
    assert refused(world, update).head == "h1"


def test_a_start_is_refused_when_another_run_has_come_and_gone(world: World) -> None:
    read = stored(world)
    start(world)
    finish(world, claim(world, "w1"), None)
    update, _ = leases.start(TENANT, T, read, run_id="b", now=NOW)
    assert refused(world, update).free


def test_a_start_is_refused_on_a_deleted_thread(world: World, w1: Claim) -> None:
    lease = finish(world, w1, None)
    change(world, deleted=NOW)
    update, _ = leases.start(TENANT, T, lease, run_id="b", now=NOW)
    assert refused(world, update).deleted == NOW


# ------------------------------------------------------------------ claim


def test_a_claim_brings_the_whole_lease(world: World) -> None:
    start(world)
    assert claim(world, "w1").lease == Lease(
        run="a", owner="w1", epoch=2, seq=1, attempt=1, until=NOW + LEASE_MS
    )


def test_a_second_claim_is_refused_while_the_first_holds(world: World, w1: Claim) -> None:
    for now in (NOW, w1.lease.until):
        told = refused(world, leases.claim(TENANT, T, run_id="a", owner="w2", now=now))
        assert told.owner == "w1"


def test_an_expired_claim_is_taken_over_and_everything_of_the_first_is_refused(
    world: World, w1: Claim
) -> None:
    late = w1.lease.until + 1
    w2 = claim(world, "w2", now=late)
    assert (w2.lease.epoch, w2.lease.attempt) == (w1.lease.epoch + 1, 2)
    for write in (
        leases.commit(w1, head="h", chain="h", newest="h", steps=1, now=late)[0],
        leases.heartbeat(w1, now=late),
        leases.finish(w1, head="h", chain="h", newest="h")[0],
    ):
        assert refused(world, write).owner == "w2"


def test_a_claim_of_a_run_that_is_not_in_flight_is_refused(world: World) -> None:
    with pytest.raises(Refused):
        world.table.write(leases.claim(TENANT, T, run_id="a", owner="w1", now=NOW))
    start(world)
    assert refused(world, leases.claim(TENANT, T, run_id="b", owner="w1", now=NOW)).owner is None


def test_a_run_that_is_not_yet_due_is_not_claimed(world: World) -> None:
    start(world, due=DUE)
    assert refused(world, leases.claim(TENANT, T, run_id="a", owner="w1", now=DUE - 1)).owner is None
    assert claim(world, "w1", now=DUE).owner == "w1"


def test_a_message_that_comes_after_the_end_claims_nothing(world: World, w1: Claim) -> None:
    finish(world, w1, None)
    assert refused(world, leases.claim(TENANT, T, run_id="a", owner="w2", now=NOW)).free


# ------------------------------------------------------------------ commit


def test_a_commit_moves_the_head_feeds_the_run_and_counts_as_progress(world: World, w1: Claim) -> None:
    late = NOW + 20_000
    lease = commit(world, w1, "h5", now=late, steps=2).lease
    assert (lease.head, lease.newest, lease.steps, lease.fed) == ("h5", "h5", 2, True)
    assert (lease.attempt, lease.until) == (0, late + LEASE_MS)
    assert (lease.base, lease.epoch, lease.seq, lease.owner) == (None, w1.lease.epoch, 1, "w1")


def test_a_commit_does_not_move_the_index_of_leases_in_flight(world: World, w1: Claim) -> None:
    before = {name: world.lease(T)[name] for name in FLIGHT}
    commit(world, w1, "h1", now=NOW + 20_000)
    assert {name: world.lease(T)[name] for name in FLIGHT} == before


def test_a_commit_leaves_alone_what_others_have_written_since(world: World, w1: Claim) -> None:
    change(world, seq=9, waiting=2)
    update, _ = leases.commit(w1, head="h1", chain="h1", newest="h1", steps=1, now=NOW)
    world.table.write(update)
    assert (stored(world).seq, stored(world).waiting) == (9, 2)


def test_a_commit_of_a_worker_that_stalled_is_refused(world: World, w1: Claim) -> None:
    held = commit(world, w1, "h5")
    claim(world, "w2", now=held.lease.until + 1)
    told = refused(world, leases.commit(held, head="h6", chain="h6", newest="h6", steps=2, now=NOW)[0])
    assert (told.owner, told.head) == ("w2", "h5")


def test_a_commit_after_a_cancel_is_refused_and_told_so(world: World, w1: Claim) -> None:
    change(world, cancel="interrupt")
    told = refused(world, leases.commit(w1, head="h", chain="h", newest="h", steps=1, now=NOW)[0])
    assert (told.owner, told.cancel) == ("w1", "interrupt")


# ------------------------------------------------------------------ heartbeat


def test_a_heartbeat_renews_the_claim_and_nothing_else(world: World, w1: Claim) -> None:
    item = world.table.write(leases.heartbeat(w1, now=NOW + 10_000))
    assert leases.from_item(item) == replace(w1.lease, until=NOW + 10_000 + LEASE_MS)


def test_a_heartbeat_brings_a_cancel(world: World, w1: Claim) -> None:
    change(world, cancel="rollback")
    item = world.table.write(leases.heartbeat(w1, now=NOW))
    assert leases.from_item(item).cancel == "rollback"


def test_a_heartbeat_is_refused_once_somebody_else_has_the_run(world: World, w1: Claim) -> None:
    claim(world, "w2", now=w1.lease.until + 1)
    assert refused(world, leases.heartbeat(w1, now=NOW)).owner == "w2"


def test_a_heartbeat_after_the_end_brings_nothing_back(world: World, w1: Claim) -> None:
    finish(world, w1, None)
    assert refused(world, leases.heartbeat(w1, now=NOW)).free


# ------------------------------------------------------------------ finish


def test_a_finish_frees_the_thread_and_keeps_only_what_outlives_a_run(world: World, w1: Claim) -> None:
    lease = finish(world, commit(world, w1, "h5"), "h6")
    assert lease == Lease(epoch=2, seq=1, head="h6", chain="h6", newest="h6")
    assert set(world.lease(T)) == {"PK", "SK", "epoch", "seq", "head", "chain", "newest"}


def test_a_finish_is_refused_when_a_run_was_queued_since(world: World, w1: Claim) -> None:
    change(world, seq=2)
    told = refused(world, leases.finish(w1, head=None, chain=None, newest=None)[0])
    assert (told.owner, told.seq) == ("w1", 2)


def test_a_finish_is_refused_when_the_number_of_waiting_runs_has_changed(world: World, w1: Claim) -> None:
    change(world, waiting=1)
    assert refused(world, leases.finish(w1, head=None, chain=None, newest=None)[0]).waiting == 1
    held = replace(w1, lease=replace(w1.lease, waiting=2))
    assert refused(world, leases.finish(held, head=None, chain=None, newest=None)[0]).waiting == 1


def test_a_finish_after_a_cancel_is_not_refused(world: World, w1: Claim) -> None:
    change(world, cancel="interrupt")
    assert finish(world, w1, None).cancel is None


# ------------------------------------------------------------------ bury, lay to rest, unearth


def test_a_burial_takes_the_run_its_owner_and_the_head(world: World, w1: Claim) -> None:
    held = commit(world, w1, "h1")
    world.table.write(leases.bury(TENANT, T, now=NOW))
    assert stored(world) == Lease(epoch=3, seq=1, deleted=NOW)
    for write in (
        leases.commit(held, head="h2", chain="h2", newest="h2", steps=1, now=NOW)[0],
        leases.heartbeat(held, now=NOW),
        leases.finish(held, head="h2", chain="h2", newest="h2")[0],
        leases.claim(TENANT, T, run_id="a", owner="w2", now=NOW + 90_000),
    ):
        assert refused(world, write).deleted == NOW


def test_a_tombstone_is_shown_to_the_sweeper_until_it_is_purged(world: World) -> None:
    world.table.write(leases.bury(TENANT, T, now=NOW))
    assert world.lease(T)[keys.LEASES_IN_FLIGHT.sort] == f"{NOW:015d}"
    world.table.write(leases.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    assert not set(FLIGHT) & set(world.lease(T))
    assert (stored(world).purged, world.lease(T)["ttl"]) == (True, 5)


def test_a_thread_is_buried_once(world: World) -> None:
    world.table.write(leases.bury(TENANT, T, now=NOW))
    assert refused(world, leases.bury(TENANT, T, now=NOW + 1)).deleted == NOW


def test_only_a_tombstone_is_laid_to_rest(world: World) -> None:
    start(world)
    refused(world, leases.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))


def test_an_id_is_not_used_again_before_it_is_purged(world: World) -> None:
    world.table.write(leases.bury(TENANT, T, now=NOW))
    assert refused(world, leases.unearth(TENANT, T)).deleted == NOW


def test_an_id_may_be_used_again_after_the_purge_and_its_epoch_goes_on(world: World, w1: Claim) -> None:
    world.table.write(leases.bury(TENANT, T, now=NOW))
    world.table.write(leases.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    world.table.write(leases.unearth(TENANT, T))
    assert stored(world).epoch > w1.lease.epoch
    assert stored(world).deleted is None
    assert "ttl" not in world.lease(T)
    assert start(world, run_id="b").epoch > w1.lease.epoch + 1


def test_a_duplicate_purge_does_not_bury_an_id_that_is_in_use_again(world: World) -> None:
    world.table.write(leases.bury(TENANT, T, now=NOW))
    world.table.write(leases.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    world.table.write(leases.unearth(TENANT, T))
    refused(world, leases.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))


def test_a_purge_of_an_earlier_deletion_does_not_end_a_later_one(world: World) -> None:
    world.table.write(leases.bury(TENANT, T, now=NOW))
    world.table.write(leases.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    world.table.write(leases.unearth(TENANT, T))
    world.table.write(leases.bury(TENANT, T, now=NOW + 1))
    assert refused(world, leases.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5)).deleted == NOW + 1


def test_a_purge_removes_nothing_once_the_id_is_in_use_again(world: World) -> None:
    def remove() -> None:
        world.table.transact([leases.still_buried(TENANT, T, deleted=NOW)])

    world.table.write(leases.bury(TENANT, T, now=NOW))
    remove()
    world.table.write(leases.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    for _ in range(2):
        with pytest.raises(Refused):
            remove()
        world.table.write(leases.unearth(TENANT, T))


def test_a_thread_may_be_taken_for_a_checkpointer_that_is_used_alone(world: World) -> None:
    owned = leases.from_item(world.table.write(leases.own(TENANT, T, owner="alone")))
    assert (owned.owner, owned.run) == ("alone", None)
    held = Claim(tenant=TENANT, thread_id=T, run_id="", owner="alone", lease=owned)
    assert commit(world, held, "h1").lease.head == "h1"
    world.table.write(leases.own(TENANT, T, owner="another"))
    assert (
        refused(world, leases.commit(held, head="h2", chain="h2", newest="h2", steps=2, now=NOW)[0]).owner
        == "another"
    )


def test_a_thread_on_which_a_run_is_in_flight_is_not_taken(world: World, w1: Claim) -> None:
    assert refused(world, leases.own(TENANT, T, owner="alone")).owner == "w1"


def test_an_id_that_was_never_used_may_be_used(world: World) -> None:
    world.table.write(leases.unearth(TENANT, T))
    assert stored(world) == Lease(epoch=1)


def test_a_lease_stays_under_a_kilobyte(world: World) -> None:
    long = "0" * 36
    start(world, run_id=long, owner=long, due=DUE)
    change(
        world,
        head=long,
        chain=long,
        newest=long,
        base=long,
        cancel="rollback",
        drop="rollback",
        upto=10**6,
        waiting=32,
    )
    size = sum(len(name) + len(str(value)) for name, value in world.lease(T).items())
    assert size < 1_000
