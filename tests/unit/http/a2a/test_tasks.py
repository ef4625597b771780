"""What a run has come to, as a task says it, whatever a graph has left."""

from __future__ import annotations

from typing import Any

import pytest

from crewline.http.a2a.dialects import Artifact, Dialect, Part
from crewline.http.a2a.messages import Send, given, replied
from crewline.http.a2a.tasks import Result
from crewline.models.runs import Run, RunError, RunStatus

CHAT: dict[str, Any] = {"properties": {"messages": {}}}


def run(status: RunStatus, error: RunError | None = None) -> Run:
    return Run(
        run_id="r",
        thread_id="t",
        assistant_id="a",
        graph_id="g",
        status=status,
        created_at="2026-01-01T00:00:00.000000+00:00",
        updated_at="2026-01-01T00:00:01.000000+00:00",
        kwargs={},
        error=error,
    )


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("pending", "submitted"),
        ("running", "working"),
        ("success", "completed"),
        ("error", "failed"),
        ("timeout", "failed"),
        ("interrupted", "canceled"),
    ],
)
def test_a_task_is_where_its_run_is(status: RunStatus, state: str) -> None:
    assert Result(run(status), {}).state == state


def test_a_question_is_said_and_leaves_no_artifact() -> None:
    asked = Result(run("success"), {"n": 1, "__interrupt__": [{"value": "sure?"}, {"value": {"n": 2}}]})
    assert (asked.state, asked.artifact) == ("input-required", None)
    assert asked.parts == [Part(text="sure?"), Part(data={"n": 2})]


@pytest.mark.parametrize(
    ("outcome", "artifact"),
    [
        ({"messages": [{"type": "ai", "id": "m", "content": "hi"}]}, Artifact("m", [Part(text="hi")])),
        ({"messages": [{"type": "ai", "content": "hi"}]}, Artifact("r", [Part(text="hi")])),
        (
            {"messages": [{"type": "ai", "id": "m", "content": ["a", {"type": "text", "text": "b"}, 3]}]},
            Artifact("m", [Part(text="ab")]),
        ),
    ],
)
def test_what_a_chat_left_is_its_last_word(outcome: Any, artifact: Artifact) -> None:
    assert Result(run("success"), outcome).artifact == artifact


@pytest.mark.parametrize(
    "outcome",
    [
        {"messages": [{"type": "human", "content": "hi"}]},
        {"messages": [{"type": "ai", "content": 3}]},
        {"messages": [{"type": "ai", "content": ""}]},
        {"messages": []},
        {"messages": "hi"},
        {"n": 1},
        ["a"],
        None,
    ],
)
def test_what_is_no_answer_of_a_chat_is_left_as_data(outcome: Any) -> None:
    assert Result(run("success"), outcome).artifact == Artifact("r", [Part(data=outcome)])


def test_data_that_is_no_object_is_wrapped_where_only_objects_are_data() -> None:
    left = Result(run("success"), ["a"])
    older, newer = (left.task(Dialect(one))["artifacts"][0]["parts"] for one in (False, True))
    assert older == [{"kind": "data", "data": {"value": ["a"]}, "metadata": {"data_part_compat": True}}]
    assert newer == [{"data": ["a"]}]
    sent = Send.model_validate({"message": {"messageId": "m", "parts": older}})
    assert replied(sent.message) == ["a"]


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, []), ([], []), ("hello", ["hello"]), ([{"role": "user"}], [{"role": "user"}]), (5, [5])],
)
def test_text_goes_behind_the_messages_of_a_data_part(before: Any, after: list[Any]) -> None:
    parts = [{"data": {"messages": before, "n": 1}}, {"text": "one"}, {"text": "two"}]
    message = Send.model_validate({"message": {"messageId": "m", "parts": parts}}).message
    said = {"role": "user", "content": "one\ntwo", "id": "m"}
    assert given(message, CHAT) == {"n": 1, "messages": [*after, said]}
