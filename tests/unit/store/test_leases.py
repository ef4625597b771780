"""The lease: each action's one write, each refused condition, each line of the timelines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crewline.models.leases import GRACE_MS, LEASE_MS, MOST_WAITING, SLICE_GRACE_MS, Claim, Lease
from crewline.models.runs import Usage
from crewline.store import keys, leases, tombstones
from crewline.store.changes import Put, Update
from crewline.store.markers import Marker
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


def ending(held: Claim, head: str | None = None, **more: Any) -> tuple[Update, Lease]:
    given: dict[str, Any] = {"rest": "idle", "now": NOW, **more}
    return leases.finish(held, head=head, chain=head, newest=head, **given)


def finish(world: World, held: Claim, head: str | None, **more: Any) -> Lease:
    update, lease = ending(held, head, **more)
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
    assert lease == Lease(run="a", turn=1, epoch=1, seq=1, until=NOW + GRACE_MS)
    assert not lease.free


def test_a_start_with_an_owner_is_claimed_in_the_same_write(world: World) -> None:
    lease = start(world, owner="me")
    assert lease == Lease(
        run="a", turn=1, owner="me", epoch=1, seq=1, attempt=1, until=NOW + LEASE_MS, started=NOW
    )


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
        run="a", turn=1, owner="w1", epoch=2, seq=1, attempt=1, until=NOW + LEASE_MS, started=NOW
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
        ending(w1, "h")[0],
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
    told = refused(world, ending(w1)[0])
    assert (told.owner, told.seq) == ("w1", 2)


def test_a_finish_is_refused_when_the_number_of_waiting_runs_has_changed(world: World, w1: Claim) -> None:
    change(world, waiting=1)
    assert refused(world, ending(w1)[0]).waiting == 1
    held = replace(w1, lease=replace(w1.lease, waiting=2))
    assert refused(world, ending(held)[0]).waiting == 1


def test_a_finish_is_refused_when_somebody_has_asked_the_run_to_stop_since(world: World, w1: Claim) -> None:
    change(world, cancel="interrupt")
    assert refused(world, ending(w1)[0]).cancel == "interrupt"
    held = replace(w1, lease=replace(w1.lease, cancel="interrupt"))
    change(world, cancel="rollback")
    assert refused(world, ending(held)[0]).cancel == "rollback"


def test_a_finish_that_knows_of_the_cancel_is_not_refused(world: World, w1: Claim) -> None:
    change(world, cancel="interrupt")
    held = replace(w1, lease=replace(w1.lease, cancel="interrupt"))
    assert finish(world, held, None).cancel is None


def test_a_finish_hands_the_thread_over_to_the_run_that_waits(world: World, w1: Claim) -> None:
    held = commit(world, w1, "h5")
    world.table.write(queue(world))
    held = known(world, held)
    marker = Marker(run_id="b", turn=2)
    lease = finish(world, held, "h6", rest="interrupted", following=marker)
    assert lease == Lease(
        run="b", turn=2, epoch=3, until=NOW + GRACE_MS, seq=2, base="h6", was="interrupted",
        head="h6", chain="h6", newest="h6",
    )  # fmt: skip
    assert world.lease(T)[keys.LEASES_IN_FLIGHT.sort] == f"{NOW:015d}"
    assert claim(world, "w2", run_id="b").lease.attempt == 1


def test_a_finish_hands_a_delayed_run_over_for_the_time_it_is_due(world: World, w1: Claim) -> None:
    lease = finish(world, w1, None, following=Marker(run_id="b", turn=2, due=DUE), waiting=4)
    assert (lease.due, lease.until, lease.waiting) == (DUE, DUE + GRACE_MS, 4)
    assert world.lease(T)[keys.LEASES_IN_FLIGHT.sort] == f"{DUE:015d}"
    refused(world, leases.claim(TENANT, T, run_id="b", owner="w2", now=DUE - 1))
    claim(world, "w2", run_id="b", now=DUE)


def test_a_finish_forgets_what_the_lease_said_of_the_run(world: World) -> None:
    held = known(world, full(world))
    finish(world, held, "h6")
    left = {"PK", "SK", "epoch", "seq", "waiting", "head", "chain", "newest", "pruned", "private", "keep_s"}
    assert set(world.lease(T)) == left - {"waiting"}


def test_a_finish_that_does_not_know_the_head_is_refused(world: World, w1: Claim) -> None:
    commit(world, w1, "h5")
    assert refused(world, ending(w1)[0]).head == "h5"


# ------------------------------------------------------------------ queue


def queue(world: World, strategy: Any = "enqueue", lease: Lease | None = None) -> Update:
    return leases.queue(TENANT, T, stored(world) if lease is None else lease, strategy=strategy, now=NOW)


def known(world: World, held: Claim) -> Claim:
    """The claim, with the lease as it is."""
    return replace(held, lease=stored(world))


def full(world: World) -> Claim:
    """A claimed run whose lease has every field set, with ids as long as they get."""
    long = "0" * 36
    fields: dict[str, Any] = {field.name: 10**6 for field in dataclasses.fields(Lease)}
    fields |= dict.fromkeys(("base", "head", "newest", "owner"), long)
    fields |= {"run": long, "until": NOW, "due": NOW, "started": NOW, "cancel": "interrupt"}
    fields |= {"drop": "interrupt", "was": "interrupted", "channel": "workflow", "waiting": 0}
    fields |= {"fed": True, "undoing": True, "private": True, "deleted": None, "purged": False}
    item = {**fields, **keys.in_flight(T, NOW)}
    world.table.write(Put(key=keys.lease(TENANT, T), item=item))
    return Claim(tenant=TENANT, thread_id=T, run_id=long, owner=long, lease=stored(world))


def test_a_queued_run_counts_in_the_lease_and_moves_its_seq(world: World, w1: Claim) -> None:
    world.table.write(queue(world))
    assert stored(world) == replace(w1.lease, seq=2, waiting=1)
    world.table.write(queue(world))
    assert stored(world) == replace(w1.lease, seq=3, waiting=2)


def test_an_interrupt_stops_the_run_in_flight_and_supersedes_those_that_wait(world: World, w1: Claim) -> None:
    world.table.write(queue(world))
    world.table.write(queue(world, "interrupt"))
    assert stored(world) == replace(w1.lease, seq=3, waiting=2, cancel="interrupt", upto=3, drop="interrupt")


def test_a_rollback_is_never_weakened_to_an_interrupt(world: World, w1: Claim) -> None:
    world.table.write(queue(world, "interrupt"))
    world.table.write(queue(world, "rollback"))
    assert (stored(world).cancel, stored(world).drop, stored(world).upto) == ("rollback", "rollback", 3)
    world.table.write(queue(world, "interrupt"))
    assert (stored(world).cancel, stored(world).drop, stored(world).upto) == ("rollback", "interrupt", 4)


def test_a_run_is_not_queued_on_a_thread_that_is_free_since(world: World, w1: Claim) -> None:
    change_ = queue(world)
    finish(world, w1, None)
    assert refused(world, change_).free


def test_a_run_is_not_queued_when_another_one_was_since(world: World, w1: Claim) -> None:
    change_ = queue(world)
    world.table.write(change_)
    assert refused(world, change_).seq == 2


def test_a_run_is_not_queued_on_a_private_thread(world: World) -> None:
    start(world, Lease(private=True, keep_s=300))
    assert refused(world, queue(world)).private


def test_thirty_two_runs_may_wait_and_no_more(world: World, w1: Claim) -> None:
    change(world, waiting=MOST_WAITING - 1)
    world.table.write(queue(world))
    assert refused(world, queue(world)).waiting == MOST_WAITING


def test_a_run_that_leaves_the_queue_counts_one_less(world: World, w1: Claim) -> None:
    world.table.write(queue(world))
    world.table.write(leases.unqueue(TENANT, T))
    assert stored(world).waiting == 0
    assert refused(world, leases.unqueue(TENANT, T)).waiting == 0


def test_no_run_leaves_the_queue_of_a_thread_without_one(world: World, w1: Claim) -> None:
    finish(world, w1, None)
    change(world, waiting=1)
    assert refused(world, leases.unqueue(TENANT, T)).free


def test_a_finish_that_knows_who_waits_is_refused_when_one_left_since(world: World, w1: Claim) -> None:
    world.table.write(queue(world))
    held = known(world, w1)
    world.table.write(leases.unqueue(TENANT, T))
    assert refused(world, ending(held)[0]).waiting == 0


# ------------------------------------------------------------------ cancel, undo


@pytest.mark.parametrize(
    ("asked", "cancel"),
    [
        (["interrupt"], "interrupt"),
        (["rollback"], "rollback"),
        (["interrupt", "rollback"], "rollback"),
        (["rollback", "interrupt"], "rollback"),
    ],
)
def test_a_cancel_is_set_on_the_run_in_flight(world: World, w1: Claim, asked: list[Any], cancel: Any) -> None:
    for action in asked:
        item = world.table.write(leases.cancel(TENANT, T, run_id="a", action=action, now=NOW))
        assert leases.from_item(item) == stored(world)
    assert stored(world) == replace(w1.lease, cancel=cancel)


@pytest.mark.parametrize("action", ["interrupt", "rollback"])
def test_a_cancel_of_a_run_that_is_not_in_flight_is_refused(world: World, w1: Claim, action: Any) -> None:
    assert refused(world, leases.cancel(TENANT, T, run_id="b", action=action, now=NOW)).run == "a"
    finish(world, w1, None)
    assert refused(world, leases.cancel(TENANT, T, run_id="a", action=action, now=NOW)).free


def test_a_cancelled_run_may_be_claimed_before_it_is_due(world: World) -> None:
    start(world, due=DUE)
    world.table.write(leases.cancel(TENANT, T, run_id="a", action="interrupt", now=NOW))
    assert claim(world, "w1").lease.cancel == "interrupt"


def test_a_claim_keeps_the_time_of_the_first(world: World, w1: Claim) -> None:
    assert claim(world, "w2", now=w1.lease.until + 1).lease.started == NOW


def test_undoing_returns_the_head_to_where_it_was_before_the_run(world: World, w1: Claim) -> None:
    finish(world, commit(world, w1, "h1"), "h1")
    start(world, run_id="b")
    held = commit(world, claim(world, "w2", run_id="b"), "h2")
    world.table.write(leases.cancel(TENANT, T, run_id="b", action="rollback", now=NOW))
    held = known(world, held)
    update, lease = leases.undo(held, now=NOW + 7)
    for _ in range(2):
        world.table.write(update)
        assert stored(world) == lease
        assert lease == replace(held.lease, head="h1", chain=None, undoing=True, until=NOW + 7 + LEASE_MS)


def test_undoing_the_first_run_leaves_no_head(world: World, w1: Claim) -> None:
    held = commit(world, w1, "h1")
    world.table.write(leases.cancel(TENANT, T, run_id="a", action="rollback", now=NOW))
    world.table.write(leases.undo(known(world, held), now=NOW)[0])
    assert "head" not in world.lease(T)


def test_undoing_is_refused_without_a_rollback_and_after_a_take_over(world: World, w1: Claim) -> None:
    update, _ = leases.undo(w1, now=NOW)
    assert refused(world, update).cancel is None
    change(world, cancel="interrupt")
    assert refused(world, update).cancel == "interrupt"
    change(world, cancel="rollback", owner="w2")
    assert refused(world, update).owner == "w2"


def test_a_commit_that_ends_a_run_is_not_refused_by_a_cancel(world: World, w1: Claim) -> None:
    change(world, cancel="interrupt")
    update, _ = leases.commit(w1, head="h1", chain=None, newest="h1", steps=1, now=NOW, ending=True)
    world.table.write(update)
    assert (stored(world).head, stored(world).cancel) == ("h1", "interrupt")


def test_a_commit_keeps_what_the_run_has_used(world: World, w1: Claim) -> None:
    update, lease = leases.commit(
        w1,
        head="h1",
        chain=None,
        newest="h1",
        steps=1,
        now=NOW,
        usage=Usage(input_tokens=7, output_tokens=9, micro_usd=11),
    )
    world.table.write(update)
    assert stored(world) == lease
    assert (lease.input_tokens, lease.output_tokens, lease.micro_usd) == (7, 9, 11)


# ------------------------------------------------------------------ end of slice


def test_the_end_of_a_slice_leaves_the_run_to_the_workflow_and_counts_as_progress(
    world: World, w1: Claim
) -> None:
    used = Usage(input_tokens=7, output_tokens=9)
    update, lease = leases.end_slice(w1, longest=1_200, now=NOW + 5, usage=used)
    world.table.write(update)
    assert stored(world) == lease
    assert lease == replace(
        w1.lease,
        owner=None,
        attempt=0,
        until=NOW + 5 + SLICE_GRACE_MS,
        channel="workflow",
        execution=1,
        parted=w1.lease.epoch,
        longest=1_200,
        input_tokens=7,
        output_tokens=9,
    )
    assert not lease.orderly
    following = claim(world, "w2").lease
    assert (following.attempt, following.orderly) == (1, True)


def test_a_claim_after_one_that_died_does_not_go_on_in_order(world: World, w1: Claim) -> None:
    world.table.write(leases.end_slice(w1, longest=0, now=NOW)[0])
    claim(world, "w2")
    change(world, until=NOW - 1)
    assert not claim(world, "w3").lease.orderly


def test_a_slice_of_a_workflow_stays_in_its_execution(world: World, w1: Claim) -> None:
    change(world, channel="workflow", execution=3)
    update, lease = leases.end_slice(known(world, w1), longest=0, now=NOW)
    world.table.write(update)
    assert stored(world) == lease
    assert lease.execution == 3


def test_an_execution_that_was_counted_during_a_slice_stays_counted(world: World, w1: Claim) -> None:
    change(world, channel="workflow", execution=1)
    slow = known(world, w1)
    world.table.write(leases.move(TENANT, T, slow.lease)[0])
    world.table.write(leases.end_slice(slow, longest=0, now=NOW)[0])
    assert stored(world).execution == 2


def test_the_end_of_a_slice_is_refused_after_a_take_over(world: World, w1: Claim) -> None:
    change(world, owner="w2")
    assert refused(world, leases.end_slice(w1, longest=0, now=NOW)[0]).owner == "w2"


# ------------------------------------------------------------------ move


@pytest.fixture
def parted(world: World, w1: Claim) -> Lease:
    """The lease between two slices."""
    update, lease = leases.end_slice(w1, longest=0, now=NOW)
    world.table.write(update)
    return lease


def test_a_run_that_nobody_executes_gets_another_execution(world: World, parted: Lease) -> None:
    update, lease = leases.move(TENANT, T, parted)
    world.table.write(update)
    assert stored(world) == lease == replace(parted, execution=2)


def test_only_one_of_two_sweepers_moves_a_run(world: World, parted: Lease) -> None:
    update, _ = leases.move(TENANT, T, parted)
    world.table.write(update)
    assert refused(world, update).execution == 2


def test_a_run_that_was_claimed_meanwhile_is_not_moved(world: World, parted: Lease) -> None:
    claim(world, "w2")
    assert refused(world, leases.move(TENANT, T, parted)[0]).owner == "w2"


def test_an_execution_that_gave_way_claims_nothing(world: World, parted: Lease) -> None:
    world.table.write(leases.move(TENANT, T, parted)[0])
    first = leases.claim(TENANT, T, run_id="a", owner="w2", now=NOW, execution=1)
    assert refused(world, first).execution == 2
    world.table.write(leases.claim(TENANT, T, run_id="a", owner="w2", now=NOW, execution=2))
    assert stored(world).owner == "w2"


# ------------------------------------------------------------------ entomb, not in flight, edit


def entomb(held: Claim) -> Update:
    return leases.entomb(held, now=NOW, purge_at=DUE)


def test_a_private_thread_ends_as_a_tombstone_that_is_purged_later(world: World) -> None:
    start(world, Lease(private=True, keep_s=60), owner="w1")
    held = Claim(tenant=TENANT, thread_id=T, run_id="a", owner="w1", lease=stored(world))
    world.table.write(entomb(held))
    assert stored(world) == Lease(epoch=2, seq=1, deleted=NOW)
    assert world.lease(T)[keys.THREADS_EXPIRING.sort] == f"{DUE:015d}"
    assert keys.LEASES_IN_FLIGHT.sort not in world.lease(T)
    assert refused(world, leases.cancel(TENANT, T, run_id="a", action="interrupt", now=NOW)).deleted == NOW


@pytest.mark.parametrize("moved", [{"owner": "w2"}, {"seq": 2}, {"cancel": "rollback"}, {"head": "h2"}])
def test_an_entombment_is_refused_when_anything_has_moved(
    world: World, w1: Claim, moved: dict[str, Any]
) -> None:
    change(world, **moved)
    refused(world, entomb(w1))


def in_flight(world: World, run_id: str) -> bool:
    try:
        world.table.transact([leases.not_in_flight(TENANT, T, run_id=run_id)])
    except Refused:
        return True
    return False


def test_only_the_run_in_flight_is_in_flight(world: World) -> None:
    assert not in_flight(world, "a")
    start(world)
    assert in_flight(world, "a")
    assert not in_flight(world, "b")
    finish(world, claim(world, "w1"), None)
    assert not in_flight(world, "a")


def test_an_edit_moves_the_head_of_a_free_thread(world: World, w1: Claim) -> None:
    read = finish(world, commit(world, w1, "h1"), "h1")
    update, lease = leases.edit(TENANT, T, read, head="h2", chain="h", newest="h3")
    world.table.write(update)
    assert stored(world) == lease == replace(read, head="h2", chain="h", newest="h3", epoch=read.epoch + 1)
    start_, _ = leases.start(TENANT, T, read, run_id="b", now=NOW)
    assert refused(world, start_).head == "h2"


def test_a_first_edit_makes_the_lease(world: World) -> None:
    update, lease = leases.edit(TENANT, T, Lease(), head="h1", chain="h", newest="h1")
    world.table.write(update)
    assert stored(world) == lease
    assert refused(world, update).head == "h1"


@pytest.mark.parametrize("moved", [{"run": "a"}, {"deleted": 1}, {"epoch": 9}, {"head": "h2"}])
def test_an_edit_is_refused_when_anything_has_moved(world: World, moved: dict[str, Any]) -> None:
    read = finish(world, commit_(world), "h1")
    update, _ = leases.edit(TENANT, T, read, head="h3", chain="h", newest="h3")
    change(world, **moved)
    refused(world, update)


def commit_(world: World) -> Claim:
    start(world)
    return commit(world, claim(world, "w1"), "h1")


# ------------------------------------------------------------------ bury, lay to rest, unearth


def test_a_burial_takes_the_run_its_owner_and_the_head(world: World, w1: Claim) -> None:
    held = commit(world, w1, "h1")
    world.table.write(tombstones.bury(TENANT, T, now=NOW))
    assert stored(world) == Lease(epoch=3, seq=1, deleted=NOW)
    for write in (
        leases.commit(held, head="h2", chain="h2", newest="h2", steps=1, now=NOW)[0],
        leases.heartbeat(held, now=NOW),
        ending(held, "h2")[0],
        leases.claim(TENANT, T, run_id="a", owner="w2", now=NOW + 90_000),
    ):
        assert refused(world, write).deleted == NOW


def test_a_tombstone_is_shown_to_the_sweeper_until_it_is_purged(world: World) -> None:
    world.table.write(tombstones.bury(TENANT, T, now=NOW))
    assert world.lease(T)[keys.LEASES_IN_FLIGHT.sort] == f"{NOW:015d}"
    world.table.write(tombstones.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    assert not set(FLIGHT) & set(world.lease(T))
    assert (stored(world).purged, world.lease(T)["ttl"]) == (True, 5)


def test_a_thread_is_buried_once(world: World) -> None:
    world.table.write(tombstones.bury(TENANT, T, now=NOW))
    assert refused(world, tombstones.bury(TENANT, T, now=NOW + 1)).deleted == NOW


def test_only_a_tombstone_is_laid_to_rest(world: World) -> None:
    start(world)
    refused(world, tombstones.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))


def test_an_id_is_not_used_again_before_it_is_purged(world: World) -> None:
    world.table.write(tombstones.bury(TENANT, T, now=NOW))
    assert refused(world, tombstones.unearth(TENANT, T)).deleted == NOW


def test_an_id_may_be_used_again_after_the_purge_and_its_epoch_goes_on(world: World, w1: Claim) -> None:
    world.table.write(tombstones.bury(TENANT, T, now=NOW))
    world.table.write(tombstones.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    world.table.write(tombstones.unearth(TENANT, T))
    assert stored(world).epoch > w1.lease.epoch
    assert stored(world).deleted is None
    assert "ttl" not in world.lease(T)
    assert start(world, run_id="b").epoch > w1.lease.epoch + 1


def test_a_duplicate_purge_does_not_bury_an_id_that_is_in_use_again(world: World) -> None:
    world.table.write(tombstones.bury(TENANT, T, now=NOW))
    world.table.write(tombstones.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    world.table.write(tombstones.unearth(TENANT, T))
    refused(world, tombstones.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))


def test_a_purge_of_an_earlier_deletion_does_not_end_a_later_one(world: World) -> None:
    world.table.write(tombstones.bury(TENANT, T, now=NOW))
    world.table.write(tombstones.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    world.table.write(tombstones.unearth(TENANT, T))
    world.table.write(tombstones.bury(TENANT, T, now=NOW + 1))
    assert refused(world, tombstones.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5)).deleted == NOW + 1


def test_a_purge_removes_nothing_once_the_id_is_in_use_again(world: World) -> None:
    def remove() -> None:
        world.table.transact([tombstones.still_buried(TENANT, T, deleted=NOW)])

    world.table.write(tombstones.bury(TENANT, T, now=NOW))
    remove()
    world.table.write(tombstones.lay_to_rest(TENANT, T, deleted=NOW, ends_at_s=5))
    for _ in range(2):
        with pytest.raises(Refused):
            remove()
        world.table.write(tombstones.unearth(TENANT, T))


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
    world.table.write(tombstones.unearth(TENANT, T))
    assert stored(world) == Lease(epoch=1)


def test_a_start_on_a_private_thread_says_so_until_its_end(world: World) -> None:
    lease = start(world, Lease(private=True, keep_s=300), owner="w1")
    assert (lease.private, lease.keep_s) == (True, 300)
    assert (world.lease(T)["private"], world.lease(T)["keep_s"]) == (True, 300)


def test_a_start_remembers_what_the_thread_was(world: World) -> None:
    assert start(world, was="interrupted").was == "interrupted"
    assert world.lease(T)["was"] == "interrupted"


def test_a_lease_stays_under_a_kilobyte_with_every_field_set(world: World) -> None:
    held = full(world)
    assert set(world.lease(T)) >= {
        field.name for field in dataclasses.fields(Lease) if field.name not in ("deleted", "purged")
    }
    change(world, waiting=MOST_WAITING)
    update, _ = leases.commit(
        held, head=held.run_id, chain=None, newest=held.run_id, steps=10**6, now=NOW, ending=True
    )
    world.table.write(update)
    size = sum(len(name) + len(str(value)) for name, value in world.lease(T).items())
    assert size + len(TENANT) + 36 < 1_000
