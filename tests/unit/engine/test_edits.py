"""Edits of a thread's state: worked out by its graph, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, cast
from uuid import uuid4

import pytest
from botocore.exceptions import ReadTimeoutError
from langgraph.channels import DeltaChannel
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import ValidationError
from typing_extensions import TypedDict

from crewline.errors import BadRequest, NotFound, ThreadBusy, TooLarge, Unavailable
from crewline.models.runs import CheckpointRef, RunCreate
from crewline.models.states import STATE_NODE, StateEdit, Superstep
from crewline.models.threads import ThreadCreate
from crewline.services.edits import Edited
from tests.unit.engine.places import Counting, Place, chain, step
from tests.unit.store.worlds import TENANT, Calls


def head(place: Place) -> str:
    return str(place.world.lease(place.thread)["head"])


# ------------------------------------------------------------------ what an edit makes of the state


def test_an_edit_writes_what_a_node_would_have_written(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    before = head(place)

    done = place.edit({"n": 50, "log": ["m"]})

    state = place.state()
    assert state["values"] == {"n": 50, "log": ["a", "b", "c", "m"]}
    assert state["metadata"]["source"] == "update"
    assert state["metadata"]["graph_id"] == "steps"
    assert state["parent_checkpoint"]["checkpoint_id"] == before
    assert done["checkpoint"] == state["checkpoint"] == done["configurable"]
    assert done["checkpoint_id"] == head(place) == state["checkpoint_id"]
    assert place.thread_row()["values"] == state["values"]


def test_an_edit_as_a_node_lets_the_nodes_after_it_be_next(place: Place) -> None:
    place.run({"n": 0}, crew="steps")

    place.edit({"n": 7}, as_node="a")

    assert place.state()["next"] == ["b"]
    assert place.thread_row()["status"] == "interrupted"
    assert place.run(None, crew="steps")["n"] == 9
    assert place.thread_row()["status"] == "idle"


def test_an_edit_shows_when_the_state_changed_and_takes_an_old_error_back(place: Place) -> None:
    place.run({"x": "y"}, crew="failing")
    assert place.thread_row()["status"] == "error"
    place.clock.pass_(5_000)

    place.edit({"x": "z"}, as_node="boom")

    row = place.thread_row()
    assert (row["status"], row["error"]) == ("idle", None)
    assert row["state_updated_at"] == row["updated_at"] > row["created_at"]


def test_an_edit_at_an_older_checkpoint_is_a_fork_from_which_the_thread_goes_on(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    older = place.history()[2]
    assert older["next"] == ["b"]

    place.edit({"n": 100}, as_node="a", checkpoint_id=older["checkpoint_id"])

    state = place.state()
    assert state["values"] == {"n": 100, "log": ["a"]}
    assert state["parent_checkpoint"]["checkpoint_id"] == older["checkpoint_id"]
    assert place.run(None, crew="steps") == {"n": 102, "log": ["a", "b", "c"]}


def test_an_edit_gives_a_fresh_thread_its_first_state(place: Place) -> None:
    created = place.world.threads.create(TENANT, ThreadCreate(graph_id="steps"))
    place.thread = created["thread_id"]

    place.edit({"n": 3, "log": ["x"]})

    assert place.state()["values"] == {"n": 3, "log": ["x"]}
    assert place.thread_row()["status"] == "interrupted"
    assert place.run(None, crew="steps") == {"n": 6, "log": ["x", "a", "b", "c"]}


def test_an_edit_as_the_input_begins_the_graph(place: Place) -> None:
    place.run({"n": 0}, crew="steps")

    place.edit({"n": 10, "log": []}, as_node="__input__")

    assert place.state()["metadata"]["source"] == "input"
    assert place.run(None, crew="steps")["n"] == 13


def test_an_edit_as_the_end_clears_what_is_next(place: Place) -> None:
    place.run({"n": 0}, crew="steps", interrupt_before=["b"])
    assert place.thread_row()["status"] == "interrupted"

    place.edit(None, as_node="__end__")

    assert place.state()["next"] == []
    assert place.thread_row()["status"] == "idle"


def test_a_copy_of_a_checkpoint_has_its_values_and_its_parent(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    older = place.history()[2]

    place.edit(None, as_node="__copy__", checkpoint_id=older["checkpoint_id"])

    state = place.state()
    assert (state["values"], state["next"]) == (older["values"], older["next"])
    assert state["metadata"]["source"] == "fork"
    assert state["parent_checkpoint"] == older["parent_checkpoint"]
    assert place.run(None, crew="steps") == {"n": 3, "log": ["a", "b", "c"]}


def test_an_edit_goes_on_with_the_crew_that_wrote_the_state_when_another_one_never_ran(place: Place) -> None:
    place.run({"topic": "tea"}, crew="approval")
    started = place.start(None, crew="approval")
    waiting = place.world.runs.create(
        TENANT,
        place.thread,
        RunCreate.model_validate({"assistant_id": "steps"}),
    )
    place.world.cancellations.cancel(TENANT, place.thread, waiting.run_id)
    place.execute(started)
    assert place.thread_row()["metadata"]["graph_id"] == "steps"

    place.edit({"answer": "yes"}, as_node="ask")

    assert (place.state()["next"], place.state()["metadata"]["graph_id"]) == (["done"], "approval")


def test_an_edit_at_an_open_question_leaves_it_unasked(place: Place) -> None:
    place.run({"topic": "x"}, crew="approval")
    assert place.thread_row()["interrupts"]

    place.edit({"answer": "mine", "log": ["by hand"]}, as_node="ask")

    row = place.thread_row()
    assert (row["interrupts"], row["status"]) == ({}, "interrupted")
    assert place.run(None, crew="approval")["log"] == ["by hand", "done"]


def outer_and_inner() -> Any:
    def ask(state: Counting) -> dict[str, Any]:
        return {"log": [f"{interrupt('more?')} at {state.get('n')}"]}

    return chain(first=step("first"), inner=cast("Any", chain(x=step("x"), ask=ask)))


def test_the_state_of_a_subgraph_can_be_edited_while_it_waits(place: Place) -> None:
    place.serve(outer_and_inner())
    place.run({"n": 0})
    (task,) = place.state(subgraphs=True)["tasks"]
    inner = task["state"]["checkpoint"]
    assert inner["checkpoint_ns"].startswith("inner:")
    before = head(place)

    done = place.edit({"n": 77}, as_node="x", checkpoint={"checkpoint_ns": inner["checkpoint_ns"]})

    assert done["checkpoint"]["checkpoint_ns"] == inner["checkpoint_ns"]
    assert head(place) == before
    (task,) = place.state(subgraphs=True)["tasks"]
    assert task["state"]["values"]["n"] == 77
    assert place.thread_row()["status"] == "interrupted"
    assert "yes at 77" in place.run(crew="echo", command={"resume": "yes"})["log"]


class Delta(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(lambda state, writes: state + [w for one in writes for w in one])]


def deltas() -> Any:
    graph = StateGraph(Delta)
    graph.add_node("a", lambda _state: {"log": ["a"]})
    return graph.add_edge(START, "a").compile()


def test_an_edit_of_a_delta_channel_is_among_the_writes_that_it_lives_in(place: Place) -> None:
    place.serve(deltas())
    place.run({"log": ["given"]})
    earlier = head(place)

    place.edit({"log": ["edited"]}, as_node="a")
    assert place.again().state()["values"]["log"] == ["given", "a", "edited"]
    place.run({"log": ["more"]})
    place.edit({"log": ["forked"]}, as_node="a", checkpoint_id=earlier)

    assert place.again().state()["values"]["log"] == ["given", "a", "forked"]


def test_supersteps_of_one_edit_build_on_one_another(place: Place) -> None:
    place.serve(deltas())
    place.run({"log": ["given"]})
    thread, lease = place.world.threads.read(TENANT, place.thread)
    supersteps = [
        Superstep.model_validate({"updates": [{"values": {"log": [name]}, "as_node": "a"}]})
        for name in ("one", "two", "three")
    ]

    edited = place.editor.edit(TENANT, thread, lease, CheckpointRef(), supersteps)
    assert place.edits()._write(TENANT, thread, lease, edited)

    assert place.again().state()["values"]["log"] == ["given", "a", "one", "two", "three"]
    assert len(place.history()) == 6


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"values": {"n": 1}, "as_node": "nobody"}, "nobody"),
        ({"values": {"log": 5}, "as_node": "a"}, "TypeError"),
        ({"values": {"n": 1}, "as_node": "a", "checkpoint_id": str(uuid4())}, "no checkpoint"),
        ({"values": {"n": 1}, "checkpoint": {"checkpoint_ns": "nobody:1"}}, "not found"),
    ],
)
def test_an_edit_that_the_graph_refuses_leaves_nothing(place: Place, body: Any, words: str) -> None:
    place.run({"n": 0}, crew="steps")
    before = place.world.items()

    with pytest.raises(BadRequest, match=words):
        place.edit(**body)

    assert place.world.items() == before


def test_the_state_of_a_thread_without_a_crew_cannot_be_edited(place: Place) -> None:
    with pytest.raises(BadRequest, match="graph_id"):
        place.edit({"n": 1})


def test_an_edit_names_a_thread_and_a_checkpoint_by_their_ids(place: Place) -> None:
    with pytest.raises(ValidationError):
        place.edit({}, checkpoint_id="nope")
    place.thread = str(uuid4())
    with pytest.raises(NotFound):
        place.edit({})


def test_an_edit_is_refused_while_a_run_is_in_flight(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    started = place.start(crew="steps")
    before = place.world.items()

    with pytest.raises(ThreadBusy, match=started.run.run_id):
        place.edit({"n": 1})

    assert place.world.items() == before


def test_an_edit_that_one_transaction_does_not_hold_is_refused(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    thread, lease = place.world.threads.read(TENANT, place.thread)
    updates = {"updates": [{"values": {"n": 1}, "as_node": "a"}]}
    edited = place.editor.edit(
        TENANT, thread, lease, CheckpointRef(), [Superstep.model_validate(updates)] * 100
    )

    with pytest.raises(TooLarge, match="divide"):
        place.edits()._write(TENANT, thread, lease, edited)


def test_an_edit_of_large_values_is_one_transaction_for_they_are_in_the_bucket(place: Place) -> None:
    thread, lease = place.world.threads.read(TENANT, place.thread)
    thread = replace(thread, metadata={"graph_id": "large"})
    texts = [os.urandom(1_600_000).hex() for _ in range(2)]
    steps = [
        Superstep.model_validate({"updates": [{"values": {"text": text}, "as_node": "grow"}]})
        for text in texts
    ]

    edited = place.editor.edit(TENANT, thread, lease, CheckpointRef(), steps)

    assert sum(len(entry.body) for entry in edited.entries) > 3_000_000
    assert place.edits()._write(TENANT, thread, lease, edited)
    assert place.thread_row()["values"]["text"] == texts[1]


# ------------------------------------------------------------------ at the same time


class Meanwhile:
    """An editor during whose first work something happens."""

    def __init__(self, place: Place, happen: Callable[[], Any]) -> None:
        self._editor, self._happen = place.editor, happen
        self.asked = 0

    def edit(self, *args: Any) -> Edited:
        edited = self._editor.edit(*args)
        self.asked += 1
        if self.asked == 1:
            self._happen()
        return edited


def edit_beside(place: Place, happen: Callable[[], Any], values: Any) -> int:
    """Edit while something happens; tells how often the edit was worked out."""
    meanwhile = Meanwhile(place, happen)
    place.edits(meanwhile).edit(TENANT, place.thread, StateEdit(values=values))
    return meanwhile.asked


def test_of_two_edits_at_once_the_second_builds_on_the_first(place: Place) -> None:
    place.run({"n": 0}, crew="steps")

    asked = edit_beside(place, lambda: place.again().edit({"log": ["first"]}), {"log": ["second"]})

    assert asked == 2
    assert place.state()["values"]["log"] == ["a", "b", "c", "first", "second"]


def test_an_edit_that_always_comes_second_gives_up_in_the_end(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    other = place.again()

    class Always(Meanwhile):
        def edit(self, *args: Any) -> Edited:
            self.asked = 0
            return super().edit(*args)

    always = Always(place, lambda: other.edit({"log": ["other"]}))
    with pytest.raises(Unavailable, match="Other edits"):
        place.edits(always).edit(TENANT, place.thread, StateEdit(values={"log": ["mine"]}))

    assert "mine" not in place.state()["values"]["log"]


def test_a_run_that_starts_meanwhile_keeps_the_edit_out(place: Place) -> None:
    place.run({"n": 0}, crew="steps")

    with pytest.raises(ThreadBusy):
        edit_beside(place, lambda: place.again().start(crew="steps"), {"n": 1})

    assert place.thread_row()["status"] == "busy"


def test_a_thread_that_is_deleted_meanwhile_is_not_found(place: Place) -> None:
    place.run({"n": 0}, crew="steps")

    with pytest.raises(NotFound):
        edit_beside(place, lambda: place.world.threads.delete(TENANT, place.thread), {"n": 1})


def test_a_run_that_ends_before_the_edit_is_what_it_builds_on(place: Place) -> None:
    place.run({"n": 0}, crew="steps")

    edit_beside(place, lambda: place.again().run({"n": 10}, crew="steps"), {"log": ["edited"]})

    assert place.state()["values"] == {"n": 13, "log": ["a", "b", "c", "a", "b", "c", "edited"]}


@pytest.mark.parametrize("warm", ["that made it", "that only knew the state before"])
def test_a_process_that_remembers_the_thread_goes_on_from_the_edit(place: Place, warm: str) -> None:
    place.run({"n": 0}, crew="steps")
    (place if warm == "that made it" else place.again()).edit({"n": 100})

    assert place.run(None, crew="steps", command={"goto": "c"})["n"] == 101


def test_an_edit_whose_answer_was_lost_is_made_once(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.after = [ReadTimeoutError(endpoint_url="http://db")] * 4
        place.edit({"log": ["once"]})

    assert place.state()["values"]["log"] == ["a", "b", "c", "once"]
    assert len(place.history()) == 6


def test_an_edit_that_did_not_land_says_so(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    before = place.world.items()
    with Calls(place.world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [ReadTimeoutError(endpoint_url="http://db")] * 4
        with pytest.raises(Unavailable):
            place.edit({"log": ["never"]})

    assert place.world.items() == before


# ------------------------------------------------------------------ who reads it


def crews_to_read() -> Any:
    return [
        ("steps", {"n": 0}, {"n": 9, "log": ["e"]}, "c"),
        (
            "echo",
            {"messages": [{"type": "human", "content": "hi"}]},
            {"messages": [("ai", "edited")]},
            "reply",
        ),
        ("approval", {"topic": "x"}, {"topic": "y"}, "__start__"),
        ("typed", {"customer": {"name": "Ada"}}, {"kind": "edited"}, "greet"),
        ("large", {"size": 200_000}, {"size": 5}, "grow"),
    ]


@pytest.mark.parametrize(("crew", "given", "edited", "node"), crews_to_read())
def test_every_reader_shows_the_same_state(
    place: Place, crew: str, given: Any, edited: Any, node: str
) -> None:
    """The crew's graph and the projection of the control plane, in a warm process and in a cold one."""
    place.run(given, crew=crew)
    place.edit(edited, as_node=node)
    cold = place.again()

    state = place.state()
    assert cold.state() == place.history()[0] == cold.history()[0] == state
    assert cold.history() == place.history()
    assert place.thread_row() == cold.thread_row()
    assert place.thread_row()["values"] == state["values"]
    asked = [one for task in state["tasks"] for one in task["interrupts"]]
    assert [one for task in place.thread_row()["interrupts"].values() for one in task] == asked


# ------------------------------------------------------------------ a state as it is, and as it was


def test_a_state_can_be_set_with_nothing_next(place: Place) -> None:
    created = place.world.threads.create(TENANT, ThreadCreate(graph_id="steps"))
    place.thread = created["thread_id"]

    place.edit({"n": 3, "log": ["x"]}, as_node=STATE_NODE)

    assert place.state()["next"] == []
    row = place.thread_row()
    assert (row["values"], row["status"]) == ({"n": 3, "log": ["x"]}, "idle")
    assert place.run({"n": 10}, crew="steps") == {"n": 13, "log": ["x", "a", "b", "c"]}


def test_a_state_that_is_set_goes_through_the_reducers_on_top_of_what_is_there(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    place.edit({"log": ["m"]}, as_node=STATE_NODE)
    assert place.thread_row()["values"] == {"n": 3, "log": ["a", "b", "c", "m"]}
    assert place.thread_row()["status"] == "idle"


def test_messages_that_are_set_are_messages(place: Place) -> None:
    place.thread = place.world.threads.create(TENANT, ThreadCreate(graph_id="echo"))["thread_id"]
    place.edit({"messages": [{"role": "user", "content": "hi"}]}, as_node=STATE_NODE)
    assert [one["type"] for one in place.thread_row()["values"]["messages"]] == ["human"]
    said = place.run({"messages": [("user", "again")]}, crew="echo")["messages"]
    assert [one["content"] for one in said] == ["hi", "again", "echo: again"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"m": 1, "n": 2}, "has no m; its state has n, log"),
        ({"__start__": 1}, "has no __start__"),
        ({"log": 5}, "TypeError"),
        ([1], "an object of values"),
        (None, "an object of values"),
    ],
)
def test_a_state_that_is_not_the_crews_is_refused(place: Place, values: Any, words: str) -> None:
    place.run({"n": 0}, crew="steps")
    before = place.world.items()
    with pytest.raises(BadRequest, match=words):
        place.edit(values, as_node=STATE_NODE)
    assert place.world.items() == before


def test_a_thread_is_rolled_back_to_a_new_checkpoint_that_is_equal_to_the_old_one(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    first = head(place)
    place.run({"n": 10}, crew="steps")
    before = place.history(limit=50)

    place.edits().rollback(TENANT, place.thread, first)

    row = place.thread_row()
    assert (row["values"], row["status"]) == ({"n": 3, "log": ["a", "b", "c"]}, "idle")
    now = place.history(limit=50)
    assert (now[0]["checkpoint_id"], now[1:]) == (head(place), before)
    assert now[0]["checkpoint_id"] > before[0]["checkpoint_id"]
    assert place.run({"n": 5}, crew="steps") == {"n": 8, "log": [*"abcabc"]}


def test_a_thread_is_rolled_back_to_its_very_first_checkpoint_and_to_one_amid_a_run(place: Place) -> None:
    place.run({"n": 0}, crew="steps")
    *_, after_a, _, oldest = place.history()
    place.edits().rollback(TENANT, place.thread, after_a["checkpoint_id"])
    assert (place.thread_row()["status"], place.state()["next"]) == ("interrupted", after_a["next"])
    assert place.run(None, crew="steps") == {"n": 3, "log": ["a", "b", "c"]}
    place.edits().rollback(TENANT, place.thread, oldest["checkpoint_id"])
    assert place.state()["next"] == ["__start__"]
    assert place.run(None, crew="steps") == {"n": 3, "log": ["a", "b", "c"]}


def test_a_delta_channel_is_set_and_rolled_back_like_any_other(place: Place) -> None:
    place.serve(deltas())
    place.thread = place.world.threads.create(TENANT, ThreadCreate(graph_id="echo"))["thread_id"]
    place.edit({"log": ["set"]}, as_node=STATE_NODE)
    assert place.again().state()["values"]["log"] == ["set"]
    place.run({"log": ["given"]})
    left = head(place)
    place.run({"log": ["wrong"]})

    place.edits().rollback(TENANT, place.thread, left)

    assert place.again().state()["values"]["log"] == ["set", "given", "a"]
    place.again().run({"log": ["more"]})
    assert place.again().state()["values"]["log"] == ["set", "given", "a", "more", "a"]


def test_a_thread_that_is_rolled_back_to_a_question_takes_another_answer(place: Place) -> None:
    place.run({"topic": "tea"}, crew="approval")
    asked = head(place)
    assert place.run(command={"resume": "yes"}, crew="approval")["answer"] == "yes"

    place.edits().rollback(TENANT, place.thread, asked)

    assert place.thread_row()["status"] == "interrupted"
    assert place.run(command={"resume": "no"}, crew="approval")["answer"] == "no"
    assert place.thread_row()["status"] == "idle"


def test_a_subgraph_that_had_asked_begins_again_after_a_rollback_and_takes_the_answer(place: Place) -> None:
    place.serve(outer_and_inner())
    place.run({"n": 0})
    asked = head(place)
    assert place.run(command={"resume": "yes"})["log"][-1] == "yes at 2"

    place.edits().rollback(TENANT, place.thread, asked)

    assert place.thread_row()["status"] == "interrupted"
    assert place.run(command={"resume": "no"})["log"][-1] == "no at 2"
    assert place.thread_row()["status"] == "idle"


def test_a_thread_is_rolled_back_to_no_checkpoint_that_it_does_not_have_nor_while_it_is_busy(
    place: Place,
) -> None:
    place.run({"n": 0}, crew="steps")
    first, unknown = head(place), str(uuid4())
    before = place.world.items()
    with pytest.raises(NotFound, match=f"Checkpoint {unknown} not found on thread {place.thread}"):
        place.edits().rollback(TENANT, place.thread, unknown)
    with pytest.raises(NotFound, match="Thread with ID"):
        place.edits().rollback(TENANT, unknown, first)
    assert place.world.items() == before
    place.start({"n": 1}, crew="steps")
    with pytest.raises(ThreadBusy):
        place.edits().rollback(TENANT, place.thread, first)
