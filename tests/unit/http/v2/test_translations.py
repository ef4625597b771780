"""The log of a run as events of protocol v2."""

from typing import Any

import orjson
import pytest

from crewline.http.v2.events import Event, first_seq
from crewline.http.v2.translations import Translator
from crewline.models.events import END, ERROR, LAST_EPOCH, METADATA, Frame, Position
from crewline.models.runs import Run, RunStatus

RUN_ID = "01a1fe32-9f8e-778a-a31a-e05ee5a637f4"
FIRST, SECOND = "1f1e5aba-d06a-64d1-bfff-988604657a43", "1f1e5aba-d06c-6876-8000-b106948852c1"
INNER = ("inner:t1",)


def _run(
    *, modes: tuple[str, ...] = ("values", "checkpoints"), status: RunStatus = "running", started: bool = True
) -> Run:
    return Run(
        run_id=RUN_ID,
        thread_id="t",
        assistant_id="a",
        graph_id="crew",
        status=status,
        created_at="2026-11-21T13:00:00.000000+00:00",
        updated_at="2026-11-21T13:00:00.000000+00:00",
        started_at="2026-11-21T13:00:01.000000+00:00" if started else None,
        kwargs={"stream_mode": list(modes)},
        turn=3,
    )


def _frames(*told: tuple[Any, ...], epoch: int = 5) -> list[Frame]:
    """Make frames of (mode, data) or (mode, data, namespace), as an execution numbers them."""
    frames = []
    for seq, (mode, data, *place) in enumerate(told, 1):
        namespace = place[0] if place else ()
        frames.append(
            Frame(position=Position(epoch, seq), mode=mode, data=orjson.dumps(data), namespace=namespace)
        )
    return frames


def _end(status: str = "success") -> tuple[str, Any]:
    return END, {"run_id": RUN_ID, "status": status, "usage": None}


BEGIN = (METADATA, {"run_id": RUN_ID, "attempt": 1})


def _told(*told: tuple[Any, ...], **run: Any) -> list[Event]:
    return Translator(_run(**run)).translate(_frames(*told))


def _short(events: list[Event]) -> list[Any]:
    return [
        (event.method, *event.namespace, event.data["event"] if event.method == "lifecycle" else event.data)
        for event in events
    ]


def _checkpoint(ident: str, parent: str | None = None, step: int = 0) -> dict[str, Any]:
    return {
        "config": {"configurable": {"checkpoint_id": ident, "checkpoint_ns": ""}},
        "parent_config": {"configurable": {"checkpoint_id": parent}} if parent else None,
        "metadata": {"step": step, "source": "loop", "parents": {}},
        "values": {},
        "tasks": [],
    }


def test_a_run_begins_and_ends_with_its_lifecycle() -> None:
    events = _told(BEGIN, ("values", {"n": 1}), _end())

    assert _short(events) == [("lifecycle", "running"), ("values", {"n": 1}), ("lifecycle", "completed")]
    assert events[0].data == {"event": "running", "graph_name": "crew"}


def test_events_are_numbered_within_the_turn_and_named_by_their_place() -> None:
    events = _told(BEGIN, ("values", {"n": 1}), _end())

    assert [event.seq for event in events] == [first_seq(3) + place for place in (1, 2, 3)]
    assert [event.event_id for event in events] == [
        f"synth:{RUN_ID}:5-1.0",
        f"synth:{RUN_ID}:5-2.0",
        f"synth:{RUN_ID}:5-3.0",
    ]


def test_batches_make_no_difference() -> None:
    told = (BEGIN, ("values", {"n": 1}), ("checkpoints", _checkpoint(FIRST)), ("custom", 1, INNER), _end())
    whole, piecemeal = Translator(_run()), Translator(_run())

    assert whole.translate(_frames(*told)) == [
        event for frame in _frames(*told) for event in piecemeal.translate([frame])
    ]


def test_a_checkpoint_is_told_before_its_values() -> None:
    events = _told(
        BEGIN,
        ("checkpoints", _checkpoint(FIRST, step=-1)),
        ("values", {"n": 1}),
        ("checkpoints", _checkpoint(SECOND, FIRST)),
        ("values", {"n": 2}),
        ("tasks", {"id": "t", "name": "a"}),
        _end(),
    )

    assert _short(events)[1:5] == [
        ("checkpoints", {"id": FIRST, "step": -1, "source": "loop"}),
        ("checkpoints", {"id": SECOND, "parent_id": FIRST, "step": 0, "source": "loop"}),
        ("values", {"n": 1}),
        ("values", {"n": 2}),  # nothing is held longer than until the next frame
    ]
    assert [event.seq for event in events] == sorted(event.seq for event in events)


def test_a_time_is_that_of_the_last_checkpoint_or_of_the_last_reading() -> None:
    translator = Translator(_run())
    first, second = _frames(("checkpoints", _checkpoint(FIRST)), ("custom", 1))
    [running, checkpoint] = translator.translate([first])
    assert running.timestamp < checkpoint.timestamp == 1795266093025
    translator.move_to(checkpoint.timestamp - 1)
    assert translator.translate([second])[0].timestamp == checkpoint.timestamp
    translator.move_to(checkpoint.timestamp + 1)
    assert translator.translate([second])[0].timestamp == checkpoint.timestamp + 1


def test_a_question_is_told_when_it_can_be_answered() -> None:
    asked = [{"id": "i1", "value": {"ok": "?"}, "response_schema": None}]
    events = _told(
        BEGIN,
        ("values", {"n": 1}),
        ("updates", {"__interrupt__": asked}),
        ("values", {"n": 1, "__interrupt__": asked}),
        ("tasks", {"id": "t", "name": "a", "result": {}, "error": None, "interrupts": asked}),
        _end(),
    )

    assert [event.method for event in events] == [
        "lifecycle",
        "values",
        "tasks",
        "input.requested",
        "lifecycle",
    ]
    assert events[-2].data == {"interrupt_id": "i1", "payload": {"ok": "?"}, "value": {"ok": "?"}}
    assert events[-1].data["event"] == "interrupted"


def test_a_question_is_known_from_the_values_alone() -> None:
    asked = [{"id": "i1", "value": 1}]
    events = _told(BEGIN, ("values", {"n": 1, "__interrupt__": asked}), _end(), modes=("values",))

    assert _short(events)[1] == ("values", {"n": 1})
    assert [event.method for event in events[2:]] == ["input.requested", "lifecycle"]


def test_a_question_of_a_subgraph_is_told_once_and_from_there() -> None:
    asked = {"__interrupt__": [{"id": "i1", "value": 1}]}
    events = _told(BEGIN, ("updates", asked, INNER), ("updates", asked), _end())

    assert _short(events)[1:] == [
        ("lifecycle", *INNER, "started"),
        ("lifecycle", *INNER, "interrupted"),
        ("input.requested", *INNER, {"interrupt_id": "i1", "payload": 1, "value": 1}),
        ("lifecycle", "interrupted"),
    ]


def test_a_breakpoint_interrupts_without_a_question() -> None:
    events = _told(BEGIN, ("updates", {"__interrupt__": []}), _end())
    assert _short(events)[-1] == ("lifecycle", "interrupted")
    assert len(events) == 2


@pytest.mark.parametrize("status", ["error", "timeout"])
def test_a_failure_says_why(status: str) -> None:
    events = _told(BEGIN, (ERROR, {"error": "ValueError", "message": "boom"}), _end(status))
    assert events[-1].data == {"event": "failed", "graph_name": "crew", "error": "boom"}


def test_a_cancelled_run_is_interrupted() -> None:
    assert _short(_told(BEGIN, _end("interrupted")))[-1] == ("lifecycle", "interrupted")


def test_a_subgraph_begins_with_its_first_event_and_ends_with_its_task() -> None:
    deep = (*INNER, "deep:t2")
    events = _told(
        BEGIN,
        ("custom", {"at": 1}, deep),
        ("tasks", {"id": "t2", "name": "deep", "result": {}, "error": None, "interrupts": []}, INNER),
        ("tasks", {"id": "t1", "name": "inner", "result": None, "error": "bad", "interrupts": []}),
        _end(),
    )

    lifecycle = [event for event in events if event.method == "lifecycle"]
    assert [(event.namespace, event.data["event"]) for event in lifecycle] == [
        ((), "running"),
        (INNER, "started"),
        (deep, "started"),
        (deep, "completed"),
        (INNER, "failed"),
        ((), "completed"),
    ]
    assert lifecycle[4].data == {"event": "failed", "graph_name": "inner", "error": "bad"}
    assert ("custom", *deep, {"payload": {"at": 1}}) in _short(events)


def test_a_subgraph_whose_task_says_nothing_ends_with_the_run() -> None:
    events = _told(BEGIN, ("values", {}, INNER), _end(), modes=("values",))
    assert _short(events)[-2:] == [("lifecycle", *INNER, "completed"), ("lifecycle", "completed")]


def test_every_update_names_its_node() -> None:
    events = _told(BEGIN, ("updates", {"a": {"n": 1}, "b": None}))
    assert [(event.node, event.data) for event in events[1:]] == [
        ("a", {"node": "a", "values": {"n": 1}}),
        ("b", {"node": "b", "values": None}),
    ]


def test_what_a_node_writes_may_have_a_name() -> None:
    events = _told(BEGIN, ("custom", {"name": "a", "payload": 1}), ("custom", {"name": "a"}), ("custom", 1))
    assert [event.channel for event in events[1:]] == ["custom:a", "custom", "custom"]


def test_tools_are_told_as_langgraph_tells_them() -> None:
    data = {"event": "tool-started", "tool_call_id": "c", "tool_name": "add", "input": {"a": 1}}
    assert _short(_told(BEGIN, ("tools", data)))[1] == ("tools", data)


def test_a_lost_attempt_takes_back_what_it_had_not_finished() -> None:
    chunk = [{"type": "AIMessageChunk", "id": "lc_run--1", "content": "a"}, {"langgraph_node": "model"}]
    translator = Translator(_run())
    translator.translate(_frames(BEGIN, ("messages", chunk)))
    events = translator.translate(_frames((METADATA, {"run_id": RUN_ID, "attempt": 2}), epoch=6))

    assert [(event.method, event.node, event.data["event"]) for event in events] == [
        ("messages", "model", "error")
    ]


def test_a_run_that_never_began_only_ends() -> None:
    frame = Frame(position=Position(LAST_EPOCH, 2), mode=END, data=orjson.dumps(_end("interrupted")[1]))
    events = Translator(_run(status="interrupted", started=False)).translate([frame])
    assert _short(events) == [("lifecycle", "interrupted")]

    begun = Translator(_run(status="interrupted")).translate([frame])
    assert _short(begun) == [("lifecycle", "running"), ("lifecycle", "interrupted")]


def test_a_run_that_vanishes_is_interrupted_if_it_was_seen() -> None:
    seen, unseen = Translator(_run()), Translator(_run())
    seen.translate(_frames(BEGIN, ("values", {"n": 1})))

    assert _short(seen.vanish()) == [("values", {"n": 1}), ("lifecycle", "interrupted")]
    assert unseen.vanish() == []
