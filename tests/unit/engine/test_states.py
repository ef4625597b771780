"""States and history: what they show, and whose graph reads them."""

from __future__ import annotations

from crewline.models.runs import CheckpointRef, RunCreate
from crewline.models.threads import ThreadPatch
from tests.unit.engine.places import Place
from tests.unit.store.worlds import TENANT, Calls, uuid6


def test_a_state_is_what_the_api_answers(place: Place) -> None:
    assert place.state()["values"] == {}
    assert place.history() == []
    place.run({"n": 0}, crew="steps", metadata={"m": 1})
    state = place.state()
    run = place.last()
    assert (state["values"], state["next"], state["tasks"], state["interrupts"]) == (
        {"n": 3, "log": ["a", "b", "c"]}, [], [], [],
    )  # fmt: skip
    assert state["checkpoint"] == {
        "checkpoint_id": run.head, "thread_id": place.thread, "checkpoint_ns": "",
    }  # fmt: skip
    assert state["metadata"]["step"] == 3
    wanted = {"run_id": run.run_id, "graph_id": "steps", "assistant_id": run.assistant_id, "m": 1}
    assert {name: state["metadata"][name] for name in wanted} == wanted
    assert state["parent_checkpoint_id"] == place.history()[1]["checkpoint_id"]


def test_an_unknown_checkpoint_has_an_empty_state(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    state = place.state(CheckpointRef(checkpoint_id=uuid6(1)))
    assert (state["values"], state["next"], state["checkpoint"]) == ({}, [], None)


def test_history_is_newest_first_with_limit_before_and_filter(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    history = place.history()
    assert [state["metadata"]["step"] for state in history] == [3, 2, 1, 0, -1]
    assert [state["checkpoint_id"] for state in place.history(limit=2)] == [
        state["checkpoint_id"] for state in history[:2]
    ]
    before = {"configurable": history[1]["checkpoint"]}
    assert [state["metadata"]["step"] for state in place.history(before=before)] == [1, 0, -1]
    assert [state["metadata"]["step"] for state in place.history(metadata={"step": 1})] == [1]


def test_a_state_costs_a_query_beside_that_of_the_thread(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    with Calls(place.world.cloud.dynamodb, "Query") as queries:
        assert place.state()["values"]["n"] == 3
    assert len(queries.requests) == 2


# ------------------------------------------------------------------ several crews on one thread


def test_a_state_is_read_with_the_crew_that_wrote_it_while_another_one_waits(place: Place) -> None:
    place.run({"n": 0}, crew="steps", interrupt_before=["c"])
    alone, before = place.state(), place.history()
    assert (alone["next"], alone["values"]) == (["c"], {"n": 2, "log": ["a", "b"]})
    place.start(crew="steps")
    waiting = place.world.runs.create(
        TENANT,
        place.thread,
        RunCreate.model_validate({"assistant_id": "approval", "input": {"topic": "tea"}}),
    )
    assert place.thread_row()["metadata"]["graph_id"] == "approval"
    assert (place.state(), place.history()) == (alone, before)
    place.world.cancellations.cancel(TENANT, place.thread, waiting.run_id)
    assert (place.state(), place.history()) == (alone, before)


def test_every_state_of_a_history_is_read_with_the_crew_that_wrote_it(place: Place) -> None:
    place.run({"n": 0}, crew="steps", interrupt_before=["c"])
    steps = place.history()
    place.run({"topic": "tea"}, crew="approval")
    history = place.history(limit=100)
    assert (history[0]["metadata"]["graph_id"], history[0]["next"]) == ("approval", ["ask"])
    assert history[-len(steps) :] == steps
    at = CheckpointRef(checkpoint_id=steps[0]["checkpoint_id"])
    assert place.state(at)["next"] == ["c"]


def test_the_state_of_a_crew_that_is_gone_is_read_with_that_of_the_thread(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    place.crews["renamed"] = place.crews.pop("steps")
    place.world.threads.patch(TENANT, place.thread, ThreadPatch(metadata={"graph_id": "renamed"}))
    assert place.state()["values"] == {"n": 3, "log": ["a", "b", "c"]}
    assert len(place.history()) == 5
