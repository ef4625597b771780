"""`crewline runs`: what it asks of a service and prints."""

from __future__ import annotations

import pytest

from tests.cli import stories
from tests.cli.commands import Command
from tests.cli.servers import Answer, ScriptedService
from tests.cli.stories import DEPLOYMENT, RUN, STORY, THREAD

OTHER_RUN = "run_0198c0de000070008000000000000009"


@pytest.fixture(autouse=True)
def service(scripted_service: ScriptedService, monkeypatch: pytest.MonkeyPatch) -> ScriptedService:
    stories.tell(scripted_service)
    monkeypatch.setenv("CREWLINE_URL", scripted_service.url)
    return scripted_service


def newest(service: ScriptedService, run_id: str) -> None:
    service.answer("GET /v1/runs", Answer(200, {"runs": [stories.run(id=run_id)], "next_cursor": None}))


def test_a_list_is_a_table_and_says_how_to_go_on(command: Command, service: ScriptedService) -> None:
    found = {"runs": [stories.run(), stories.run(status="running", completed_at=None, started_at=None)]}
    service.answer("GET /v1/runs", Answer(200, {**found, "next_cursor": "abc"}))
    done = command("runs", "list", "--deployment", "planner", "--status", "succeeded")
    assert [line.split() for line in done.out.splitlines()] == [
        ["run", "status", "took", "created", "thread"],
        [RUN, "succeeded", "45.2s", "2026-11-21", "12:00:00", "-"],
        [RUN, "running", "-", "2026-11-21", "12:00:00", "-"],
    ]
    assert done.err == "There are more: --cursor abc\n"
    asked = service.asked[-1].path
    assert asked == f"/v1/runs?deployment_id={DEPLOYMENT}&status=succeeded&limit=20"


def test_a_run_is_shown_with_what_came_of_it(command: Command) -> None:
    shown = command("runs", "get", RUN).out
    assert "status      succeeded\n" in shown
    assert "took        45.2s\n" in shown
    assert '"report": "tea"' in shown
    assert command("runs", "get", RUN, "--json").json == stories.run()


def test_events_of_a_run_are_its_tree_or_lines_of_json(command: Command) -> None:
    assert command("runs", "events", RUN).out.splitlines()[-1] == "Run completed in 45.2s · 1,204 tokens"
    told = [one for _, one in STORY if one["type"] != "heartbeat"]
    assert command("runs", "events", RUN, "--json").json_lines == told


def test_a_run_is_canceled_and_one_that_ended_is_a_conflict(
    command: Command, service: ScriptedService
) -> None:
    path = f"POST /v1/runs/{RUN}/cancel"
    service.answer(
        path, Answer(202, stories.run(status="running")), Answer(409, {"error": {"message": "No."}})
    )
    assert command("runs", "cancel", RUN).out == f"Run {RUN} is being canceled.\n"
    assert command.refused(4, "runs", "cancel", RUN) == "No."


def test_a_failed_run_without_a_thread_begins_again_with_its_input(
    command: Command, service: ScriptedService
) -> None:
    service.answer(
        f"GET /v1/runs/{RUN}", Answer(200, stories.run(status="failed")), Answer(200, stories.run())
    )
    assert command("runs", "retry", RUN).json == {"report": "tea"}
    [started] = [one.body for one in service.asked if one.method == "POST"]
    assert started == {"deployment_id": DEPLOYMENT, "input": {"topic": "tea"}}


def test_a_failed_run_in_a_thread_goes_on_where_it_stopped(
    command: Command, service: ScriptedService
) -> None:
    newest(service, RUN)
    service.answer(f"GET /v1/runs/{RUN}", Answer(200, stories.run(status="failed", thread_id=THREAD)))
    assert command("runs", "retry", RUN, "--no-wait").out == RUN + "\n"
    [started] = [one for one in service.asked if one.method == "POST"]
    assert (started.path, started.body) == (f"/v1/threads/{THREAD}/runs", {"deployment_id": DEPLOYMENT})


def test_what_succeeded_or_was_followed_by_another_is_not_retried(
    command: Command, service: ScriptedService
) -> None:
    assert "is succeeded" in command.refused(4, "runs", "retry", RUN)
    newest(service, OTHER_RUN)
    service.answer(f"GET /v1/runs/{RUN}", Answer(200, stories.run(status="failed", thread_id=THREAD)))
    assert "has gone on since" in command.refused(4, "runs", "retry", RUN)
    assert not [one for one in service.asked if one.method == "POST"]


@pytest.mark.parametrize("verb", ["get", "events", "cancel", "retry"])
def test_the_id_of_something_else_is_refused_before_anything_is_asked(
    command: Command, service: ScriptedService, verb: str
) -> None:
    said = command.refused(2, "runs", verb, THREAD)
    assert said == f"'{THREAD}' is a thread's id; a run's id begins with run_."
    assert service.asked == []
