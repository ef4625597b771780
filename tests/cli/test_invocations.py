"""`crewline invoke`: what it asks of a service, what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crewline.cli import clients
from tests.cli import stories
from tests.cli.commands import Command
from tests.cli.servers import SSE, Answer, ScriptedService, sse
from tests.cli.stories import DEPLOYMENT, RUN, STORY, THREAD, event

EVENTS = f"GET /v1/runs/{RUN}/events"


@pytest.fixture
def service(scripted_service: ScriptedService, monkeypatch: pytest.MonkeyPatch) -> ScriptedService:
    stories.tell(scripted_service)
    monkeypatch.setenv("CREWLINE_URL", scripted_service.url)
    monkeypatch.setattr(clients, "_PAUSES", (0, 0, 0))
    return scripted_service


def body(service: ScriptedService, path: str = "/v1/runs") -> Any:
    [found] = [one for one in service.asked if (one.method, one.path) == ("POST", path)]
    return found.body


def test_the_output_of_the_only_deployment_is_printed_as_json(
    command: Command, service: ScriptedService
) -> None:
    done = command("invoke", "-i", '{"topic": "tea"}')
    assert (done.code, done.err) == (0, "")
    assert done.json == {"report": "tea"}
    assert body(service) == {"deployment_id": DEPLOYMENT, "input": {"topic": "tea"}}


@pytest.mark.parametrize("named", [DEPLOYMENT, stories.ASSISTANT["assistant_id"], "planner"])
def test_a_deployment_is_named_by_id_or_name(command: Command, service: ScriptedService, named: str) -> None:
    service.answer("POST /assistants/search", Answer(200, [stories.ASSISTANT, stories.OTHER]))
    assert command("invoke", named, "-i", "{}").code == 0
    assert body(service)["deployment_id"] == DEPLOYMENT


def test_without_a_name_several_deployments_are_listed(command: Command, service: ScriptedService) -> None:
    service.answer("POST /assistants/search", Answer(200, [stories.ASSISTANT, stories.OTHER]))
    said = command.refused(2, "invoke", "-i", "{}")
    assert f"planner ({DEPLOYMENT}), reviewer (dep_0198c0de000070008000000000000004)" in said
    assert command("invoke", "--name", "planner", "-i", "{}").code == 0
    missing = command.refused(3, "invoke", "writer", "-i", "{}")
    assert missing.startswith("There is no deployment named 'writer'; there are: planner")
    assert "Name the deployment once" in command.refused(2, "invoke", "a", "--name", "b")


def test_a_service_without_deployments_says_so(command: Command, service: ScriptedService) -> None:
    service.answer("POST /assistants/search", Answer(200, []))
    assert "no deployments" in command.refused(3, "invoke")


def test_a_thread_goes_on_with_its_own_deployment(command: Command, service: ScriptedService) -> None:
    done = command("invoke", "--thread", THREAD, "-i", '{"message": "more"}')
    assert done.code == 0
    assert body(service, f"/v1/threads/{THREAD}/runs") == {"input": {"message": "more"}}
    assert not any(one.path == "/assistants/search" for one in service.asked)


def test_the_environment_is_passed_on(command: Command, service: ScriptedService) -> None:
    command("invoke", "-i", "{}", "--environment", "staging")
    assert body(service)["environment"] == "staging"


def test_input_comes_from_standard_input_or_a_file(
    command: Command, service: ScriptedService, tmp_path: Path
) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"from": "file"}')
    command("invoke", "-i", "-", stdin='{"from": "stdin"}')
    command("invoke", "-i", f"@{file}")
    sent = [one.body["input"] for one in service.asked if one.path == "/v1/runs"]
    assert sent == [{"from": "stdin"}, {"from": "file"}]


def test_every_run_is_started_once(command: Command, service: ScriptedService) -> None:
    command("invoke", "-i", "{}")
    command("invoke", "-i", "{}")
    keys = [one.headers["idempotency-key"] for one in service.asked if one.path == "/v1/runs"]
    assert len(set(keys)) == 2


def test_json_is_the_run_as_the_api_answers_it(command: Command, service: ScriptedService) -> None:
    assert command("invoke", "-i", "{}", "--json").json == stories.run()
    assert command("invoke", "-i", "{}", "--json", "--no-wait").json == stories.STARTED


def test_without_waiting_the_id_is_all(command: Command, service: ScriptedService) -> None:
    done = command("invoke", "-i", "{}", "--no-wait")
    assert done.out == RUN + "\n"
    assert f"crewline runs events {RUN}" in done.err


def test_a_stream_in_a_pipe_is_plain_lines(command: Command, service: ScriptedService) -> None:
    done = command("invoke", "-i", "{}", "--stream")
    assert done.code == 0
    assert done.out == (
        "task.started    research\n"
        "task.started    research / search\n"
        "log             research / search / warning: few sources\n"
        'tool_use        research / search / ⚒ find {"query": "tea"}\n'
        "task.completed  research / search  1.2s · 1,204 tokens\n"
        "task.completed  research  1.3s\n"
        "Run completed in 45.2s · 1,204 tokens\n"
        "{\n"
        '  "report": "tea"\n'
        "}\n"
    )
    assert "\x1b" not in done.out


def test_a_stream_as_json_is_its_events(command: Command, service: ScriptedService) -> None:
    told = [one for _, one in STORY if one["type"] != "heartbeat"]
    assert command("invoke", "-i", "{}", "--stream", "--json").json_lines == told


def test_a_stream_that_is_cut_goes_on_where_it_was(command: Command, service: ScriptedService) -> None:
    service.answer(
        EVENTS,
        Answer(200, sse(STORY[:3]), SSE),
        Answer(503, {"error": {"message": "Later."}}),
        Answer(200, sse(STORY[3:6]) + b"id: 1-7\ndata: {", SSE),
        Answer(200, sse(STORY[6:]), SSE),
    )
    told = [one for _, one in STORY if one["type"] != "heartbeat"]
    assert command("invoke", "-i", "{}", "--stream", "--json").json_lines == told
    asked = [one.headers.get("last-event-id") for one in service.asked if one.path.endswith("/events")]
    assert asked == [None, "1-3", "1-3", "1-6"]


def test_a_stream_that_never_comes_back_is_given_up(command: Command, service: ScriptedService) -> None:
    service.answer(EVENTS, Answer(200, sse(STORY[:3]), SSE), Answer(200, b"", SSE))
    done = command("invoke", "-i", "{}")
    assert done.code == 6
    assert "was lost" in done.err


def test_a_stream_that_says_the_same_again_is_given_up(command: Command, service: ScriptedService) -> None:
    trouble = ("1-3", event("log", level="error", message="The log cannot be read."))
    service.stream(EVENTS, STORY[:3], [trouble])
    assert command("invoke", "-i", "{}").code == 6
    assert sum(one.path.endswith("/events") for one in service.asked) == 4  # once, and after each pause


def test_a_stream_may_say_that_it_lives(command: Command, service: ScriptedService) -> None:
    service.answer(EVENTS, Answer(200, sse(STORY[:3]) + b": alive\n\nretry: 10\n\n" + sse(STORY[3:]), SSE))
    assert command("invoke", "-i", "{}").code == 0


def test_what_streams_something_else_is_no_crewline(command: Command, service: ScriptedService) -> None:
    for body in (b"data: [1]\n\n", b"data: {\n\n"):
        service.answer(EVENTS, Answer(200, body, SSE))
        assert "no Crewline service" in command.refused(6, "invoke", "-i", "{}")


def test_a_failed_run_is_its_error_and_exit_1(command: Command, service: ScriptedService) -> None:
    stories.tell(service, status="failed", output=None, error_message="ValueError: no tea\nleft.")
    service.stream(EVENTS, [*STORY[:2], ("1-3", event("run.failed", error="no tea"))])
    done = command("invoke", "-i", "{}")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"Error: Run {RUN} failed: ValueError: no tea left. Try it again with `crewline runs retry {RUN}`.\n"
    )
    shown = command("invoke", "-i", "{}", "--json")
    assert (shown.code, shown.json["status"]) == (1, "failed")
    streamed = command("invoke", "-i", "{}", "--stream")
    assert streamed.out.endswith("Run failed after 45.2s\n")


def test_a_canceled_run_is_exit_1(command: Command, service: ScriptedService) -> None:
    stories.tell(service, status="canceled", output=None)
    service.stream(EVENTS, [*STORY[:2], ("1-3", event("run.canceled"))])
    assert f"Run {RUN} was canceled" in command.refused(1, "invoke", "-i", "{}")


def test_a_question_is_printed_with_how_to_answer_it(command: Command, service: ScriptedService) -> None:
    question = {"question": "publish?", "findings": ["x" * 500]}
    output = {
        "report": "tea",
        "__interrupt__": [{"value": question, "id": "q"}, {"value": "Sure?", "id": "r"}],
    }
    stories.tell(service, thread_id=THREAD, output=output)
    done = command("invoke", "--thread", THREAD, "-i", "{}")
    assert done.code == 0
    assert done.json == output
    assert f'The crew asks:\n  question: publish?\n  findings: ["{"x" * 197}…\n' in done.err
    assert "The crew asks: Sure?\n" in done.err
    assert f"""crewline invoke --thread {THREAD} --resume '"yes"'""" in done.err


def test_a_question_without_a_thread_cannot_be_answered(command: Command, service: ScriptedService) -> None:
    stories.tell(service, output={"__interrupt__": [{"value": 1, "id": "q"}]})
    said = command("invoke", "-i", "{}").err
    assert "The crew asks: 1\n" in said
    assert "`crewline thread create` makes one" in said


def test_an_answer_may_be_any_json_and_needs_a_thread(command: Command, service: ScriptedService) -> None:
    assert command("invoke", "--thread", THREAD, "--resume", "null").code == 0
    assert body(service, f"/v1/threads/{THREAD}/runs") == {"resume": None}
    assert "--thread" in command.refused(2, "invoke", "--resume", '"yes"')
    assert "no --input" in command.refused(2, "invoke", "--thread", THREAD, "--resume", "1", "-i", "{}")
    assert "--resume JSON" in command.refused(2, "invoke", "--thread", THREAD)


def test_bad_input_is_refused_before_anything_is_asked(command: Command, service: ScriptedService) -> None:
    assert "not valid JSON" in command.refused(2, "invoke", "-i", "tea")
    assert "must be a JSON object" in command.refused(2, "invoke", "-i", '"tea"')
    said = command.refused(2, "invoke", THREAD, "-i", "{}")
    assert said == f"'{THREAD}' is a thread's id; a deployment's id begins with dep_."
    assert "a thread's id begins with thr_" in command.refused(2, "invoke", "--thread", RUN, "-i", "{}")
    assert "is no thread's id" in command.refused(2, "invoke", "--thread", "", "-i", "{}")
    assert service.asked == []
    assert "named ''" in command.refused(3, "invoke", "", "-i", "{}")


def test_a_busy_thread_is_exit_4(command: Command, service: ScriptedService) -> None:
    message = "Thread x already has an active run."
    service.answer(f"POST /v1/threads/{THREAD}/runs", Answer(409, {"error": {"message": message}}))
    assert command.refused(4, "invoke", "--thread", THREAD, "-i", "{}") == message
