"""The checker of the torture finds each kind of wrong in a history that has it, and nothing in one that has not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from crewline import locations
from crewline.models.leases import Lease
from crewline.store.items import Item
from tests.faults.torture import clouds
from tests.faults.torture.checker import check
from tests.faults.torture.facts import Accepted, Entry, Facts, Kept, ThreadEnd
from tests.faults.torture.streams import Change
from tests.faults.torture.timelines import tell

THREAD = "t"
RECORD = "C##"


def entry(run: str, step: int, node: str = "work", answer: str = "") -> Entry:
    return Entry(run, step, node, f"{run}-{step}-{node}" if step >= 0 else "", answer)


def good() -> Facts:
    """Two runs, one after the other; the second one asks, and a third one answers."""
    a = (entry("ask-a", -1, "input"), entry("a", 0, "left"), entry("a", 0, "right"))
    b = (*a, entry("ask-b", -1, "input"), entry("b", 0))
    c = (*b, entry("c", 1, "ask", "ask-c"))
    kept = [
        Kept(checkpoint_id="1", parent_id=None, turn=1, plan=("fork",), at=1, log=a),
        Kept(checkpoint_id="2", parent_id="1", turn=2, plan=("work", "ask"), at=1, log=b),
        Kept(checkpoint_id="3", parent_id="2", turn=3, plan=("work", "ask"), at=2, log=c),
    ]
    runs = {name: row(name, turn, "success") for turn, name in enumerate("abc", 1)}
    end = ThreadEnd(
        thread=THREAD,
        lease=Lease(head="3", seq=3, epoch=6),
        row={"status": "idle"},
        runs=runs,
        kept={one.checkpoint_id: one for one in kept},
        shown=c,
    )
    accepted = {
        "a": Accepted(
            run_id="a",
            thread=THREAD,
            turn=1,
            mark="ask-a",
            strategy="enqueue",
            resume=False,
            plan=("fork",),
        ),
        "b": Accepted(
            run_id="b",
            thread=THREAD,
            turn=2,
            mark="ask-b",
            strategy="enqueue",
            resume=False,
            plan=("work", "ask"),
        ),
        "c": Accepted(run_id="c", thread=THREAD, turn=3, mark="ask-c", strategy="enqueue", resume=True),
    }
    facts = Facts(threads={THREAD: end}, accepted=accepted)
    for turn, name in enumerate("abc", 1):
        noted(facts, turn * 100, "ask", ask=f"ask-{name}", kind="start", thread=THREAD)
        noted(facts, turn * 100 + 10, "told", ask=f"ask-{name}", kind="start", run=name, error=None)
        starts_and_ends(facts, name, turn)
    return facts


def row(name: str, turn: int, status: str) -> Item:
    return {"run_id": name, "turn": turn, "status": status}


def noted(facts: Facts, at: int, what: str, **more: Any) -> None:
    facts.noted.append({"at": at, "who": "p", "what": what, **more})


def change(facts: Facts, sort: str, old: Item | None, new: Item | None) -> None:
    place = len(facts.changes)
    facts.changes.append(Change(place=place, at_ms=place, thread=THREAD, sort=sort, old=old, new=new))


def starts_and_ends(facts: Facts, name: str, turn: int) -> None:
    free: Item = {"epoch": turn * 2 - 2, "seq": turn - 1}
    claimed: Item = {"epoch": turn * 2, "seq": turn, "run": name, "turn": turn, "owner": f"owner-{name}"}
    change(facts, "!LEASE", free, claimed)
    change(facts, f"R#{name}", None, row(name, turn, "running"))
    noted(facts, turn * 100 + 20, "node", owner=f"owner-{name}", thread=THREAD, run=name, step=0, node="work")
    put(facts, f"owner-{name}", str(turn), turn)
    change(facts, "!LEASE", claimed, {"epoch": turn * 2, "seq": turn})
    ended = {**row(name, turn, "success"), "ended_by": f"owner-{name}"}
    change(facts, f"R#{name}", row(name, turn, "running"), ended)


def put(facts: Facts, owner: str, checkpoint_id: str, turn: int) -> None:
    noted(facts, turn * 100 + 30, "put", owner=owner, thread=THREAD, records=[f"{RECORD}{checkpoint_id}"])
    change(facts, f"{RECORD}{checkpoint_id}", None, {"turn": turn})


def end_of(facts: Facts) -> ThreadEnd:
    return facts.threads[THREAD]


def keep(facts: Facts, checkpoint_id: str, **fields: Any) -> None:
    end = end_of(facts)
    end.kept[checkpoint_id] = replace(end.kept[checkpoint_id], **fields)


# ------------------------------------------------------------------ what is wrong


def still_in_flight(facts: Facts) -> None:
    end_of(facts).lease = Lease(head="3", run="c", owner="owner-c")


def marker_left(facts: Facts) -> None:
    end_of(facts).markers.append({"run_id": "c", "turn": 3})


def shown_as_busy(facts: Facts) -> None:
    end_of(facts).row = {"status": "busy"}


def shown_as_interrupted(facts: Facts) -> None:
    end_of(facts).row = {"status": "interrupted"}


def not_terminal(facts: Facts) -> None:
    end_of(facts).runs["b"]["status"] = "running"


def our_own_failure(facts: Facts) -> None:
    end_of(facts).runs["b"] |= {"status": "error", "error": '{"error": "KeyError"}'}


def gone_for_nothing(facts: Facts) -> None:
    del end_of(facts).runs["c"]
    facts.deleted.add("c")


def interrupted_for_nothing(facts: Facts) -> None:
    end_of(facts).runs["c"]["status"] = "interrupted"


def left_by_a_rollback(facts: Facts) -> None:
    del end_of(facts).runs["c"]


def late_writes_left(facts: Facts) -> None:
    end_of(facts).late.append((f"{RECORD}3#W#x", 9))


def beside_the_line(facts: Facts) -> None:
    end_of(facts).kept["2x"] = replace(end_of(facts).kept["2"], checkpoint_id="2x")


def missing_parent(facts: Facts) -> None:
    del end_of(facts).kept["1"]


def lost_superstep(facts: Facts) -> None:
    keep(facts, "3", log=end_of(facts).kept["3"].log[1:])


def doubled_superstep(facts: Facts) -> None:
    log = end_of(facts).kept["3"].log
    keep(facts, "3", log=(*log, log[-1]))
    end_of(facts).shown = (*log, log[-1])


def half_a_superstep(facts: Facts) -> None:
    for one in ("1", "2", "3"):
        log = end_of(facts).kept[one].log
        keep(facts, one, log=(*log[:2], *log[3:]))
    end_of(facts).shown = end_of(facts).kept["3"].log


def input_twice(facts: Facts) -> None:
    for one in ("1", "2", "3"):
        log = end_of(facts).kept[one].log
        keep(facts, one, log=(log[0], *log))
    end_of(facts).shown = end_of(facts).kept["3"].log


def success_half_way(facts: Facts) -> None:
    facts.accepted["b"] = replace(facts.accepted["b"], plan=("work", "work"))


def anothers_answer(facts: Facts) -> None:
    facts.accepted["c"] = replace(facts.accepted["c"], mark="ask-d")


def other_state_read(facts: Facts) -> None:
    end_of(facts).shown = ()


def wrote_in_anothers_time(facts: Facts) -> None:
    put(facts, "owner-a", "4", 1)


def wrote_while_stale(facts: Facts) -> None:
    held = {"epoch": 9, "seq": 3, "run": "d", "turn": 4, "owner": "second"}
    change(facts, "!LEASE", {"epoch": 6, "seq": 3}, {**held, "epoch": 8, "owner": "first"})
    change(facts, "!LEASE", {**held, "epoch": 8, "owner": "first"}, held)
    put(facts, "first", "4", 4)


def ended_while_stale(facts: Facts) -> None:
    change(facts, "R#d", row("d", 4, "running"), {**row("d", 4, "success"), "ended_by": "first"})


def older_turn_in_flight(facts: Facts) -> None:
    change(facts, "!LEASE", {"epoch": 6}, {"epoch": 7, "run": "a", "turn": 1, "owner": "x"})


def overtaken(facts: Facts) -> None:
    change(facts, "!LEASE", {"epoch": 6}, {"epoch": 7, "run": "d", "turn": 4, "waiting": 2})
    change(facts, "Q#5", None, {"turn": 5, "run_id": "e"})
    change(facts, "Q#6", None, {"turn": 6, "run_id": "f"})
    change(facts, "!LEASE", {"epoch": 7, "run": "d", "waiting": 2}, {"epoch": 8, "run": "f", "turn": 6})


def miscounted(facts: Facts) -> None:
    change(facts, "Q#9", None, {"turn": 9, "run_id": "x"})
    change(facts, "!LEASE", {"epoch": 6}, {"epoch": 7, "run": "x", "turn": 10})


def free_with_a_queue(facts: Facts) -> None:
    change(facts, "!LEASE", {"epoch": 6}, {"epoch": 6, "waiting": 1})


def epoch_back(facts: Facts) -> None:
    change(facts, "!LEASE", {"epoch": 6}, {"epoch": 5})


def claim_without_epoch(facts: Facts) -> None:
    old = {"epoch": 7, "run": "d", "turn": 4}
    change(facts, "!LEASE", {"epoch": 6}, old)
    change(facts, "!LEASE", old, {**old, "owner": "x"})


def resurrected(facts: Facts) -> None:
    change(facts, "R#a", row("a", 1, "success"), row("a", 1, "running"))


def record_changed(facts: Facts) -> None:
    change(facts, f"{RECORD}3", {"turn": 3}, {"turn": 3, "blob": "x"})


def gone_before_its_records(facts: Facts) -> None:
    change(facts, "R#c", row("c", 3, "running"), None)


def node_twice(facts: Facts) -> None:
    facts.noted.append(dict(next(fact for fact in facts.noted if fact["what"] == "node")))


def went_on_while_stale(facts: Facts) -> None:
    noted(facts, 1_000, "stale", owner="owner-c")
    for step in (1, 2):
        at = 10**9 * step
        noted(facts, at, "node", owner="owner-c", thread=THREAD, run="c", step=step, node="work")


def two_runs_of_a_request(facts: Facts) -> None:
    facts.accepted["d"] = replace(facts.accepted["c"], run_id="d", turn=4)


def told_of_another(facts: Facts) -> None:
    noted(facts, 999, "told", ask="ask-a", kind="start", run="z", error=None)


def refused_and_made(facts: Facts) -> None:
    for fact in facts.noted:
        if fact["what"] == "told" and fact["ask"] == "ask-a":
            fact |= {"run": None, "error": "ThreadBusy"}


def accepted_out_of_order(facts: Facts) -> None:
    for fact in facts.noted:
        if fact.get("ask") == "ask-a":
            fact["at"] += 1_000


def cancelled_and_done(facts: Facts) -> None:
    stop = {"ask": "stop", "kind": "cancel"}
    noted(facts, 500, "ask", **stop, thread=THREAD, runs=["c"], action="interrupt")
    noted(facts, 501, "told", **stop, run=None, error=None)


def answered_something_else(facts: Facts) -> None:
    noted(facts, 600, "answered", run="c", thread=THREAD, error=None, log=[])


def crashed(facts: Facts) -> None:
    noted(facts, 700, "crash", text="Traceback …")


WRONGS: dict[Callable[[Facts], None], str] = {
    still_in_flight: "every thread becomes free",
    marker_left: "nothing waits on a free thread",
    shown_as_busy: "a free thread is not shown as busy",
    shown_as_interrupted: "a thread is shown as it is",
    not_terminal: "every accepted run ends",
    our_own_failure: "no run fails of us",
    gone_for_nothing: "every accepted run ends",
    interrupted_for_nothing: "every accepted run ends",
    left_by_a_rollback: "a rolled back run leaves nothing",
    late_writes_left: "a rolled back run leaves nothing",
    beside_the_line: "no write of a stale owner is visible",
    missing_parent: "no committed superstep is lost",
    lost_superstep: "no committed superstep is lost",
    doubled_superstep: "no committed superstep is doubled",
    half_a_superstep: "each superstep once, in order",
    input_twice: "each superstep once, in order",
    success_half_way: "each superstep once, in order",
    anothers_answer: "each superstep once, in order",
    other_state_read: "the state is the replay",
    wrote_in_anothers_time: "two runs never write at once",
    wrote_while_stale: "no write of a stale owner is visible",
    ended_while_stale: "no write of a stale owner is visible",
    older_turn_in_flight: "runs begin in the order of acceptance",
    overtaken: "runs begin in the order of acceptance",
    miscounted: "waiting is the number of markers",
    free_with_a_queue: "nothing waits on a free thread",
    epoch_back: "the epoch never goes back",
    claim_without_epoch: "every claim has an epoch",
    resurrected: "the end of a run is its end",
    record_changed: "a record is written once",
    gone_before_its_records: "a rolled back run leaves nothing",
    node_twice: "a claim starts a node once",
    went_on_while_stale: "no node starts more than once after its worker became stale",
    two_runs_of_a_request: "a repeated request gives one run",
    told_of_another: "a client is told what is",
    refused_and_made: "a client is told what is",
    accepted_out_of_order: "runs begin in the order of acceptance",
    cancelled_and_done: "a client is told what is",
    answered_something_else: "a client is told what is",
    crashed: "every failure is one of ours",
}


def test_nothing_is_found_in_a_good_history() -> None:
    assert check(good()) == []


@pytest.mark.parametrize("wrong", WRONGS, ids=lambda wrong: wrong.__name__)
def test_each_wrong_is_found(wrong: Callable[[Facts], None]) -> None:
    facts = good()
    wrong(facts)
    assert WRONGS[wrong] in {one.rule for one in check(facts)}


def test_nodes_that_had_finished_before_an_interrupt_are_carried_over_by_the_run_that_resumes() -> None:
    facts, end = good(), end_of(good())
    log = end.kept["2"].log
    more = (*log, entry("b", 1, "left"), entry("c", 1, "right"))
    facts.accepted["b"] = replace(facts.accepted["b"], plan=("work", "fork"))
    keep(facts, "3", log=more)
    end_of(facts).shown = more
    end_of(facts).runs["b"]["status"] = "interrupted"
    facts.accepted["c"] = replace(facts.accepted["c"], strategy="interrupt")
    assert check(facts) == []


def test_the_story_of_a_thread_has_its_changes_and_what_was_noted() -> None:
    story = list(tell(good(), THREAD))
    assert any("!LEASE changed" in line and "owner=owner-a" in line for line in story)
    assert any("p told" in line and "ask-a" in line for line in story)


def test_the_stack_of_a_torture_has_every_output_of_the_packaged_one() -> None:
    """Whoever deploys it asks for them all."""
    packaged = json.loads(locations.TEMPLATE.read_bytes())
    assert set(clouds._template()["Outputs"]) == set(packaged["Outputs"])
