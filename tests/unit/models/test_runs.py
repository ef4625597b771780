"""A request that starts a run: what is taken, what is refused, what it becomes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from crewline.errors import BadRequest
from crewline.models.runs import MAX_DELAY_SECONDS, Run, RunBatch, RunCreate, RunError, RunsCancel, Usage

ID = "1f0c9a4e-0000-6000-8000-00000000000a"


def body(**fields: Any) -> RunCreate:
    return RunCreate.model_validate({"assistant_id": "echo", **fields})


def test_an_unknown_field_is_ignored() -> None:
    assert body(some_future_field=1) == body()


@pytest.mark.parametrize(
    "name", ["metadata", "config", "stream_mode", "multitask_strategy", "if_not_exists", "input", "command"]
)
def test_null_means_the_default(name: str) -> None:
    assert body(**{name: None}).kwargs() == body().kwargs()


def test_the_assistant_must_be_named() -> None:
    with pytest.raises(ValidationError, match="assistant_id"):
        RunCreate.model_validate({"input": {}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"multitask_strategy": "bogus"},
        {"stream_mode": "bogus"},
        {"stream_mode": ["values", "bogus"]},
        {"durability": "bogus"},
        {"if_not_exists": "bogus"},
        {"interrupt_before": "node"},
        {"after_seconds": -1},
        {"after_seconds": MAX_DELAY_SECONDS + 1},
        {"config": {"recursion_limit": 0}},
        {"config": {"tags": "one"}},
        {"config": []},
        {"metadata": []},
        {"metadata": {"": 1}},
        {"command": "resume"},
        {"assistant_id": 5},
        {"checkpoint": "1f0f"},
    ],
)
def test_a_wrong_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        body(**wrong)


@pytest.mark.parametrize(
    "mode", ["values", "updates", "messages", "messages-tuple", "custom", "events", "debug"]
)
def test_one_stream_mode_is_a_list_of_one(mode: str) -> None:
    assert body(stream_mode=mode).kwargs()["stream_mode"] == [mode]


def test_no_stream_mode_at_all_means_values() -> None:
    assert body(stream_mode=[]).kwargs()["stream_mode"] == ["values"]


def test_langgraphs_own_configurable_names_are_refused() -> None:
    with pytest.raises(ValidationError, match="__pregel_read: names that begin with two underscores"):
        body(config={"configurable": {"__pregel_read": 1, "user": "u"}})


def test_context_and_configurable_together_are_a_bad_request() -> None:
    with pytest.raises(BadRequest, match="not both"):
        body(context={"a": 1}, config={"configurable": {"b": 2}}).kwargs()


def test_context_alone_is_kept() -> None:
    assert body(context={"a": None}).kwargs()["context"] == {"a": None}


def test_a_webhook_is_kept_for_the_end_of_the_run() -> None:
    assert body(webhook="https://example.com").kwargs()["webhook"] == "https://example.com"


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"thread_id": ID},
        {"run_ids": [ID]},
        {"thread_id": "nope", "run_ids": [ID]},
        {"thread_id": ID, "run_ids": ["nope"]},
        {"status": "finished"},
        {"status": "all", "thread_id": ID},
        {"status": "all", "run_ids": []},
        {"status": "all", "thread_id": ID, "run_ids": [ID]},
    ],
)
def test_runs_are_cancelled_by_their_ids_or_by_a_status_and_never_by_both(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RunsCancel.model_validate(wrong)
    assert RunsCancel(thread_id=ID, run_ids=[]).run_ids == []
    assert RunsCancel(status="all").status == "all"


def test_a_batch_holds_one_run_to_a_thousand() -> None:
    one = {"assistant_id": "echo"}
    assert len(RunBatch.model_validate([one] * 1_000).root) == 1_000
    for wrong in ([], [one] * 1_001):
        with pytest.raises(ValidationError):
            RunBatch.model_validate(wrong)


def test_a_run_shows_what_its_model_calls_used_once_it_is_known() -> None:
    made = Run(
        run_id="r", thread_id="t", assistant_id="a", graph_id="g", status="success", created_at="c",
        updated_at="u", kwargs={},
    )  # fmt: skip
    assert made.wire()["usage"] is None
    used = replace(made, usage=Usage(input_tokens=3, output_tokens=4)).wire()["usage"]
    assert used == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


@pytest.mark.parametrize(
    "spelling",
    [
        {"checkpoint_id": ID.upper()},
        {"checkpoint": {"checkpoint_id": ID, "checkpoint_ns": "", "checkpoint_map": {}}},
        {"config": {"configurable": {"checkpoint_id": ID.upper()}}},
    ],
)
def test_a_fork_may_be_spelled_in_three_ways(spelling: dict[str, Any]) -> None:
    assert body(**spelling).fork == ID
    assert body(**spelling).kwargs()["checkpoint_id"] == ID


def test_without_a_checkpoint_a_run_starts_at_the_head() -> None:
    assert body(checkpoint={"checkpoint_ns": ""}).fork is None


@pytest.mark.parametrize("wrong", [5, True, [ID], {"id": ID}, "", "nope"])
def test_a_checkpoint_that_is_no_uuid_is_refused_wherever_it_is_spelled(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        _ = body(config={"configurable": {"checkpoint_id": wrong}}).fork


@pytest.mark.parametrize(
    ("given", "durability"),
    [
        ({}, "async"),
        ({"durability": "sync"}, "sync"),
        ({"checkpoint_during": False}, "exit"),
        ({"checkpoint_during": True}, "async"),
        ({"checkpoint_during": False, "durability": "sync"}, "sync"),
    ],
)
def test_durability_has_an_older_spelling(given: dict[str, Any], durability: str) -> None:
    assert body(**given).kwargs()["durability"] == durability


def test_a_command_keeps_only_what_was_sent_even_a_null() -> None:
    assert body(command={"resume": None, "other": 1}).kwargs()["command"] == {"resume": None}


@pytest.mark.parametrize(
    "empty", [{}, {"update": None, "goto": None}, {"update": {}}, {"update": []}, {"goto": []}, {"goto": ""}]
)
def test_a_command_that_says_nothing_is_none(empty: dict[str, Any]) -> None:
    assert body(input={"n": 0}, command=empty).kwargs()["command"] is None
    assert body(command={**empty, "resume": False}).kwargs()["command"] == {"resume": False}


def test_the_kwargs_have_the_names_of_the_wire() -> None:
    assert set(body().kwargs()) == {
        "input",
        "long",
        "command",
        "config",
        "context",
        "stream_mode",
        "interrupt_before",
        "interrupt_after",
        "webhook",
        "feedback_keys",
        "temporary",
        "on_disconnect",
        "after_seconds",
        "subgraphs",
        "resumable",
        "checkpoint_during",
        "durability",
        "checkpoint_id",
    }


def test_a_null_in_configurable_is_the_users_own_and_stays() -> None:
    assert body(config={"configurable": {"user": None}}).kwargs()["config"] == {
        "configurable": {"user": None}
    }


@pytest.mark.parametrize(
    "coerced",
    [
        {"stream_subgraphs": "yes"},
        {"stream_subgraphs": 1},
        {"after_seconds": "5"},
        {"config": {"recursion_limit": "5"}},
        {"config": {"recursion_limit": True}},
    ],
)
def test_values_are_never_coerced_between_kinds(coerced: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        body(**coerced)


@pytest.mark.parametrize(
    ("status", "finished"),
    [
        ("pending", False),
        ("running", False),
        ("success", True),
        ("error", True),
        ("interrupted", True),
        ("timeout", True),
    ],
)
def test_a_run_is_finished_when_its_status_is_terminal(status: Any, finished: bool) -> None:
    assert run(status=status).finished is finished


def test_a_run_row_shows_its_error_and_hides_what_is_ours() -> None:
    row = run(status="error", error=RunError(error="ValueError", message="boom")).wire()
    assert row["error"] == {"error": "ValueError", "message": "boom"}
    assert {
        "run_id",
        "thread_id",
        "assistant_id",
        "metadata",
        "status",
        "kwargs",
        "multitask_strategy",
    } <= set(row)
    assert "head" not in row


def run(**fields: Any) -> Run:
    given: dict[str, Any] = {
        "run_id": "r",
        "thread_id": "t",
        "assistant_id": "a",
        "graph_id": "g",
        "status": "pending",
        "created_at": "now",
        "updated_at": "now",
        "kwargs": {},
    }
    return Run(**{**given, **fields})
