"""What a run does, in the words of `/v1`: real graphs, from their logs, from any position on."""

from __future__ import annotations

import asyncio
import math
import re
import tracemalloc
from typing import Any, cast
from uuid import uuid4

import orjson
import pytest
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from crewline.errors import Unavailable
from crewline.http import followers
from crewline.http.sse import parse_id
from crewline.http.streams import guarded
from crewline.http.v1 import events as events_
from crewline.http.v1.events import Tape
from crewline.http.v1.translations import Translator
from crewline.models.crewship import EVENT_MODES
from crewline.models.events import Batch, Frame, Position
from crewline.models.public_ids import public_id
from crewline.models.runs import Run, RunCreate
from crewline.services.events import Events
from crewline.services.runs import Admitted, Runs
from tests.unit.engine.places import Counting, Place, chain, step
from tests.unit.store.worlds import SILENT, TENANT, claimed

Told = list[tuple[str, Any, str]]
_EVENT = re.compile(r"data: (?P<data>.*)\r\nid: (?P<id>\S+)\r\n\r\n")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followers, "FIRST_POLL_S", 0.0)


def log(place: Place) -> Events:
    return Events(place.world.table, place.world.blobs, place.world.records, place.clock)


def start(place: Place, given: Any, **body: Any) -> Admitted:
    return place.start(given, stream_mode=list(EVENT_MODES), stream_subgraphs=True, **body)


def told(place: Place, run: Run, last_event_id: str | None = None) -> Told:
    """What a client gets of a run: types, data, ids."""

    async def play() -> bytes:
        tape = Tape(place.world.runs, log(place), TENANT, place.row(run), parse_id(last_event_id))
        return b"".join([chunk async for chunk in tape.play()])

    text = asyncio.run(play()).decode()
    found = [(orjson.loads(one["data"]), one["id"]) for one in _EVENT.finditer(text)]
    assert _EVENT.sub("", text) == ""
    return [(one["type"], one["data"], ident) for one, ident in found]


def types(events: Told) -> list[str]:
    return [type_ for type_, _, _ in events]


def of(events: Told, type_: str) -> list[Any]:
    return [data for one, data, _ in events if one == type_]


def done(place: Place, given: Any, **body: Any) -> Told:
    """Execute a run, and give what it tells."""
    started = start(place, given, **body)
    place.execute(started)
    return told(place, started.run)


# ------------------------------------------------------------------ what happens


def test_a_run_begins_does_its_tasks_and_ends_with_what_it_left(place: Place) -> None:
    started = start(place, {"n": 0}, crew="steps")
    place.execute(started)
    events = told(place, started.run)

    assert types(events) == ["run.started", *["task.started", "task.completed"] * 3, "run.completed"]
    run = started.run
    assert events[0][1] == {
        "run_id": public_id("run", run.run_id),
        "deployment_id": public_id("deployment", run.assistant_id),
        "thread_id": public_id("thread", run.thread_id),
    }
    first, end = of(events, "task.started")[0], of(events, "task.completed")[0]
    assert (first["task"], first["agent"], first["path"]) == ("a", "steps", [])
    assert (end["id"], end["output"], end["usage"]) == (first["id"], {"n": 1, "log": ["a"]}, None)
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    output = {"n": 3, "log": ["a", "b", "c"]}
    assert events[-1][1] == {"status": "succeeded", "output": output, "duration_ms": 0, "usage": usage}


def test_tasks_and_runs_say_how_long_they_took(place: Place) -> None:
    def slow(state: Counting) -> dict[str, Any]:
        place.clock.pass_(1_500)
        return {"n": 1}

    place.serve(chain(slow=slow, quick=step("quick")))
    events = done(place, {"n": 0})
    assert [one["duration_ms"] for one in of(events, "task.completed")] == [1_500, 0]
    assert of(events, "run.completed")[0]["duration_ms"] == 1_500


def test_tasks_of_a_subgraph_are_told_within_the_task_that_runs_it(place: Place) -> None:
    place.serve(chain(first=step("first"), inner=cast("Any", chain(x=step("x")))))
    events = done(place, {"n": 0})
    names = [(type_, data["task"], data["agent"]) for type_, data, _ in events if type_.startswith("task")]
    assert names == [
        ("task.started", "first", "echo"),
        ("task.completed", "first", "echo"),
        ("task.started", "inner", "echo"),
        ("task.started", "x", "inner"),
        ("task.completed", "x", "inner"),
        ("task.completed", "inner", "echo"),
    ]
    (inner,) = (one for one in of(events, "task.started") if one["task"] == "inner")
    (x,) = (one for one in of(events, "task.started") if one["task"] == "x")
    assert x["path"] == [f"inner:{inner['id']}"]


def test_tools_are_told_once_also_when_a_graph_repeats_what_its_subgraph_said(
    place: Place, basic: Any
) -> None:
    place.crews["tooled"] = basic.get("tooled")
    called = {"name": "add", "input": {"a": 1, "b": 2}, "id": "call-1"}
    events = done(place, {"messages": [("user", "x")]}, crew="tooled")
    assert types(events)[1:5] == ["task.started", "tool_use", "task.completed", "task.started"]
    (told_,) = of(events, "tool_use")
    assert {name: told_[name] for name in called} == called
    assert (told_["task"], told_["task_id"]) == ("model", of(events, "task.started")[0]["id"])

    place.thread = place.new_thread()
    outer = StateGraph(MessagesState).add_node("team", basic.get("tooled").target).add_edge(START, "team")
    place.serve(outer.compile())
    assert types(done(place, {"messages": [("user", "x")]})).count("tool_use") == 1


def test_a_task_says_what_its_model_calls_used_and_not_those_before_it(place: Place, basic: Any) -> None:
    place.crews["metered"] = basic.get("metered")
    for _ in range(2):
        events = done(place, {"messages": [("user", "x")]}, crew="metered")
        (task,) = of(events, "task.completed")
        assert task["usage"] == {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
        assert of(events, "run.completed")[0]["usage"] == task["usage"]


def test_a_subgraph_that_gives_back_the_whole_conversation_counts_what_it_has_added(
    place: Place, basic: Any
) -> None:
    team = StateGraph(MessagesState).add_node("team", basic.get("metered").target).add_edge(START, "team")
    place.serve(team.compile())
    for turn in range(1, 3):
        events = done(place, {"messages": [("user", "x")]})
        inner, outer = of(events, "task.completed")
        assert (inner["task"], outer["task"], len(outer["output"]["messages"])) == ("model", "team", 2 * turn)
        assert inner["usage"]["total_tokens"] == outer["usage"]["total_tokens"] == 12


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("half way", ("log", {"level": "info", "message": "half way"})),
        ({"done": 0.5}, ("log", {"level": "info", "message": '{"done":0.5}'})),
        ({"type": "log", "message": "hm"}, ("log", {"level": "info", "message": "hm"})),
        ({"type": "log", "level": "error"}, ("log", {"level": "error", "message": ""})),
        ({"type": "artifact", "name": "plan.md"}, ("artifact", {"name": "plan.md"})),
        ({"type": "artifact", "data": {"name": "a"}}, ("artifact", {"name": "a"})),
        ({"type": "agent.action", "tool": "web"}, ("agent.action", {"tool": "web"})),
        ({"type": "tool_use", "name": "web", "input": 1}, ("tool_use", {"name": "web", "input": 1})),
        ({"type": "run.completed"}, ("log", {"level": "info", "message": '{"type":"run.completed"}'})),
        ({"type": ["log"]}, ("log", {"level": "info", "message": '{"type":["log"]}'})),
        ({"type": {"log": 1}}, ("log", {"level": "info", "message": '{"type":{"log":1}}'})),
    ],
)
def test_a_node_says_what_it_likes_and_ends_no_run_with_it(place: Place, said: Any, heard: Any) -> None:
    def talk(state: Counting) -> dict[str, Any]:
        get_stream_writer()(said)
        return {"n": 1}

    place.serve(chain(talk=talk))
    _, _, (type_, data, _), _, _ = done(place, {"n": 0})
    assert (type_, data) == heard


def test_what_a_turn_says_is_no_longer_in_a_long_conversation(place: Place) -> None:
    def logged(run_id: str) -> int:
        items = place.world.items().items()
        return sum(
            len(item["body"])
            for (partition, _), item in items
            if partition.endswith(run_id) and "body" in item
        )

    sizes = []
    for turn in range(30):
        given = {"messages": [("user", f"{turn}: {uuid4().hex * 20}")]}
        started = start(place, given, crew="echo")
        place.execute(started)
        sizes.append(logged(started.run.run_id))
    assert max(sizes) < 1.2 * sizes[0]


# ------------------------------------------------------------------ how it ends


def test_a_run_that_fails_says_so_and_which_task_did(place: Place) -> None:
    events = done(place, {"x": "y"}, crew="failing")
    assert types(events)[-2:] == ["task.completed", "run.failed"]
    boom = of(events, "task.completed")[-1]
    assert (boom["task"], boom["output"], boom["error"]) == ("boom", None, "ValueError('boom: y')")
    failed = of(events, "run.failed")[0]
    assert (failed["status"], failed["error"]) == ("failed", "boom: y")


def test_a_run_that_asks_has_succeeded_with_its_question(place: Place) -> None:
    events = done(place, {"topic": "tea"}, crew="approval")
    asked = {"question": "approve tea?"}
    (task,) = of(events, "task.completed")
    assert (task["output"], [one["value"] for one in task["interrupts"]]) == (None, [asked])
    (end,) = of(events, "run.completed")
    assert (end["status"], [one["value"] for one in end["output"]["__interrupt__"]]) == ("succeeded", [asked])


def test_a_run_that_is_cancelled_before_it_begins_says_only_that(place: Place) -> None:
    body = RunCreate.model_validate({"assistant_id": "steps", "input": {"n": 0}, "stream_mode": ["steps"]})
    run = place.world.runs.create(TENANT, place.thread, body)
    place.world.cancellations.cancel(TENANT, place.thread, run.run_id)
    ((type_, data, ident),) = told(place, run)
    assert (type_, data["status"], data["duration_ms"]) == ("run.canceled", "canceled", 0)
    assert told(place, run, ident) == []


def test_a_run_that_is_cancelled_while_it_executes_ends_as_canceled(place: Place) -> None:
    def cancel(state: Counting) -> dict[str, Any]:
        place.world.cancellations.cancel(TENANT, place.thread, started.run.run_id)
        return {"n": 1}

    place.serve(chain(cancel=cancel, never=step("never")))
    started = start(place, {"n": 0}, durability="sync")
    place.execute(started)
    events = told(place, started.run)
    assert types(events)[-1] == "run.canceled"
    assert types(events)[0] == "run.started"
    assert of(events, "run.completed") == []


def test_a_run_that_is_rolled_back_while_it_is_followed_is_canceled(place: Place) -> None:
    started = start(place, {"n": 0}, crew="steps")
    row = place.row(started.run)
    place.world.cancellations.cancel(TENANT, place.thread, started.run.run_id, "rollback")
    place.execute(started)

    async def play() -> bytes:
        tape = Tape(place.world.runs, log(place), TENANT, row, None)
        return b"".join([chunk async for chunk in tape.play()])

    assert asyncio.run(play()).endswith(
        b'data: {"type":"run.canceled","data":{"status":"canceled"}}\r\nid: 9999999999-2\r\n\r\n'
    )


# ------------------------------------------------------------------ once each


def test_a_client_that_has_a_part_gets_the_rest_once(place: Place, basic: Any) -> None:
    place.crews["tooled"] = basic.get("tooled")
    started = start(place, {"messages": [("user", "x")]}, crew="tooled")
    place.execute(started)
    events = told(place, started.run)
    ids = [ident for _, _, ident in events]
    assert len(set(ids)) == len(ids)
    for count, ident in enumerate(ids, 1):
        assert told(place, started.run, ident) == events[count:]
    assert told(place, started.run, "-1") == events


def test_a_run_that_was_taken_over_begins_once_and_says_that_its_worker_was_lost(place: Place) -> None:
    started = start(place, {"n": 0}, crew="steps")
    epoch = claimed(started).lease.epoch
    said = [("metadata", {"attempt": 1}), ("steps", {"id": "lost", "name": "a"})]
    frames = tuple(
        Frame(position=Position(epoch, seq), mode=mode, data=orjson.dumps(data))
        for seq, (mode, data) in enumerate(said, 1)
    )
    log(place).write(TENANT, place.thread, started.run.run_id, Batch(frames=frames))
    other = place.again()
    other.execute(other.take_over(started))

    events = told(other, started.run)
    tasks = ["task.started", "task.completed"] * 3
    assert types(events) == ["run.started", "task.started", "log", *tasks, "run.completed"]
    (warning,) = of(events, "log")
    assert (warning["level"], warning["attempt"]) == ("warning", 2)
    for count, (_, _, ident) in enumerate(events, 1):
        assert told(other, started.run, ident) == events[count:]


def test_a_task_whose_result_was_kept_is_told_once_and_one_that_was_done_again_twice(place: Place) -> None:
    begun = {"id": "t", "name": "a"}
    ended: dict[str, Any] = {**begun, "error": None, "interrupts": [], "tool_calls": [], "usage": None}
    first, other = ({**ended, "result": {"n": n}} for n in (1, 2))
    repeated = _translated(place, ("steps", begun), ("steps", first), ("steps", begun), ("steps", first))
    assert repeated == ["task.started", "task.completed"]
    again = _translated(place, ("steps", begun), ("steps", first), ("steps", begun), ("steps", other))
    assert again == ["task.started", "task.completed"] * 2


def test_a_run_that_goes_on_in_another_slice_does_not_say_so(place: Place) -> None:
    slices = [("metadata", {"attempt": 1})] * 2
    assert _translated(place, *slices) == ["run.started"]


def test_what_tasks_have_said_is_not_kept_in_memory(place: Place) -> None:
    translator = Translator(place.start({"n": 0}, crew="steps").run)
    ended: dict[str, Any] = {
        "name": "a",
        "result": "x" * 100_000,
        "error": None,
        "interrupts": [],
        "tool_calls": [],
        "usage": None,
    }
    tracemalloc.start()
    for seq in range(1, 51):
        data = orjson.dumps({**ended, "id": str(seq)})
        frame = Frame(position=Position(1, seq), mode="steps", data=data)
        assert [event["type"] for event in translator.translate(frame)] == ["task.completed"]
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2_000_000  # of five


def _translated(place: Place, *said: tuple[str, Any]) -> list[str]:
    translator = Translator(place.start({"n": 0}, crew="steps").run)
    frames = (
        Frame(position=Position(seq, 1), mode=mode, data=orjson.dumps(data))
        for seq, (mode, data) in enumerate(said, 1)
    )
    return [event["type"] for frame in frames for event in translator.translate(frame)]


# ------------------------------------------------------------------ in between


async def test_a_silent_run_is_said_to_live_with_the_id_of_its_last_event(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_, "HEARTBEAT_S", 0.0)
    started = start(place, {"n": 0}, crew="steps")
    tape = Tape(place.world.runs, log(place), TENANT, started.run, parse_id("1-7.2"))
    chunks = guarded(tape.play(), SILENT, until=math.inf, manner=tape.manner)
    assert await anext(chunks) == b'data: {"type":"heartbeat","data":{}}\r\nid: 1-7.2\r\n\r\n'
    await chunks.aclose()  # type: ignore[attr-defined]


async def test_a_log_that_cannot_be_read_is_said_without_its_reason(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("hunter2")

    started = start(place, {"n": 0}, crew="steps")
    monkeypatch.setattr(Events, "after", fails)
    tape = Tape(place.world.runs, log(place), TENANT, started.run, None)
    (chunk,) = [one async for one in guarded(tape.play(), SILENT, until=math.inf, manner=tape.manner)]
    assert chunk.startswith(b'data: {"type":"log","data":{"level":"error","message":"Internal error;')
    assert chunk.endswith(b"id: 0-0\r\n\r\n")
    assert b"hunter2" not in chunk


def test_an_end_that_cannot_be_read_takes_no_event_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start(place, {"n": 0}, crew="steps")
    place.execute(started)
    whole = told(place, started.run)

    def fails(*_args: Any, **_more: Any) -> None:
        raise Unavailable("S3 did not answer.")

    async def play() -> bytes:
        tape = Tape(place.world.runs, log(place), TENANT, place.row(started.run), None)
        chunks = guarded(tape.play(), SILENT, until=math.inf, manner=tape.manner)
        return b"".join([chunk async for chunk in chunks])

    monkeypatch.setattr(Runs, "outcome", fails)
    found = list(_EVENT.finditer(asyncio.run(play()).decode()))
    assert [orjson.loads(one["data"])["type"] for one in found] == [*types(whole)[:-1], "log"]
    monkeypatch.undo()
    assert told(place, started.run, found[-1]["id"]) == whole[-1:]
