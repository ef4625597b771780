"""Runs that execute in place, state and history, over API Gateway events."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functions.deployments import Deployment, recorded

T = "0199c7a0-0000-7000-8000-00000000abcd"


def wait(deployment: Deployment, thread: str, crew: str, given: Any = None, **more: Any) -> Any:
    answer = deployment.request(
        "POST", f"/threads/{thread}/runs/wait", {"assistant_id": crew, "input": given, **more}
    )
    assert answer.status == 200
    return answer.json


def state(deployment: Deployment, thread: str) -> Any:
    return deployment.request("GET", f"/threads/{thread}/state").json


def test_recorded_requests_run_a_crew_and_read_its_state(deployment: Deployment) -> None:
    deployment.send(recorded("create_thread"))
    answer = deployment.send(recorded("wait_for_run"))
    assert (answer.status, answer.json) == (200, {"n": 3, "log": ["a", "b", "c"]})
    (row,) = deployment.request("GET", f"/threads/{T}/runs").json
    path = f"/threads/{T}/runs/{row['run_id']}"
    assert answer.headers["content-location"] == path
    assert answer.headers["location"] == f"{path}/join"
    assert answer.headers["content-type"] == "application/json"
    read = deployment.send(recorded("get_state"))
    assert read.json["values"] == answer.json
    assert deployment.request("GET", f"/threads/{T}").json["values"] == answer.json


def test_a_thread_without_a_run_has_an_empty_state(deployment: Deployment) -> None:
    thread = deployment.thread()
    empty = state(deployment, thread)
    assert (empty["values"], empty["next"], empty["checkpoint"]) == ({}, [], None)
    assert deployment.request("POST", f"/threads/{thread}/history", {}).json == []


def test_a_thread_goes_on_over_three_turns(deployment: Deployment) -> None:
    thread = deployment.thread()
    for turn in range(3):
        messages = [{"role": "user", "content": f"turn {turn}"}]
        answer = wait(deployment, thread, "echo", {"messages": messages})
    assert [message["content"] for message in answer["messages"]] == [
        text for turn in range(3) for text in (f"turn {turn}", f"echo: turn {turn}")
    ]
    history = deployment.request("GET", f"/threads/{thread}/history?limit=2").json
    assert [len(one["values"]["messages"]) for one in history] == [6, 5]


def test_a_question_is_asked_and_answered(deployment: Deployment) -> None:
    thread = deployment.thread()
    asked = wait(deployment, thread, "approval", {"topic": "tea"})
    assert asked["__interrupt__"][0]["value"] == {"question": "approve tea?"}
    read = state(deployment, thread)
    assert (read["next"], read["tasks"][0]["interrupts"]) == (["ask"], asked["__interrupt__"])
    row = deployment.request("GET", f"/threads/{thread}").json
    assert row["status"] == "interrupted"
    assert wait(deployment, thread, "approval", command={"resume": "yes"})["log"] == ["ask", "done"]


def test_a_crew_that_raises_answers_its_error_and_the_next_run_is_accepted(deployment: Deployment) -> None:
    thread = deployment.thread()
    answer = wait(deployment, thread, "failing", {"x": "1"})
    assert answer == {"__error__": {"error": "ValueError", "message": "boom: 1"}}
    row = deployment.request("GET", f"/threads/{thread}").json
    (run,) = deployment.request("GET", f"/threads/{thread}/runs").json
    assert (row["status"], run["status"], run["error"]) == ("error", "error", answer["__error__"])
    joined = deployment.request("GET", f"/threads/{thread}/runs/{run['run_id']}/join")
    assert joined.json == answer
    assert wait(deployment, thread, "failing", {"x": "2"})["__error__"]["message"] == "boom: 2"


def test_a_stateless_run_answers_and_leaves_nothing(deployment: Deployment) -> None:
    before = deployment.world.items()
    answer = deployment.request("POST", "/runs/wait", {"assistant_id": "steps", "input": {"n": 0}})
    assert (answer.status, answer.json["n"]) == (200, 3)
    assert answer.headers["content-location"].startswith("/threads/")
    assert deployment.world.items() == before


def test_a_first_run_may_make_its_thread(deployment: Deployment) -> None:
    thread = "0199c7a0-0000-7000-8000-000000000001"
    body = {"assistant_id": "steps", "input": {"n": 0}, "if_not_exists": "create"}
    assert deployment.request("POST", f"/threads/{thread}/runs/wait", body).json["n"] == 3
    assert deployment.request("GET", f"/threads/{thread}").json["thread_id"] == thread


def test_a_run_forks_from_a_checkpoint_of_its_thread(deployment: Deployment) -> None:
    thread = deployment.thread()
    wait(deployment, thread, "steps", {"n": 0})
    history = deployment.request("POST", f"/threads/{thread}/history", {}).json
    at = history[2]["checkpoint"]
    assert wait(deployment, thread, "steps", checkpoint=at)["log"] == ["a", "b", "c"]
    read = deployment.request("GET", f"/threads/{thread}/state/{at['checkpoint_id']}").json
    assert (read["values"]["log"], read["next"]) == (["a"], ["b"])


@pytest.mark.parametrize("crew", ["typed", "large"])
def test_what_is_stored_is_what_was_answered(deployment: Deployment, crew: str) -> None:
    thread = deployment.thread()
    given = {"customer": {"name": "Ada"}} if crew == "typed" else {"size": 1_000_000}
    answer = wait(deployment, thread, crew, given)
    assert state(deployment, thread)["values"] == answer
    assert deployment.request("GET", f"/threads/{thread}").json["values"] == answer


def test_an_unexpected_failure_is_told_by_a_request_id_and_never_by_its_text(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the password is hunter2")

    thread = deployment.thread()
    monkeypatch.setattr("crewline.store.threads.read", broken)
    for path in ("", "/state", "/runs"):
        event = {**recorded("get_thread"), "path": f"/threads/{thread}{path}"}
        answer = deployment.send(event, request_id="0d1e2f3a-request")
        assert answer.status == 500
        assert "0d1e2f3a-request" in answer.detail
        assert "hunter2" not in answer.text


def test_an_unexpected_failure_after_the_status_was_sent_is_json_and_hides_its_text(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the password is hunter2")

    thread = deployment.thread()
    monkeypatch.setattr("crewline.services.endings.Endings.finish", broken)
    answer = deployment.request(
        "POST", f"/threads/{thread}/runs/wait", {"assistant_id": "steps", "input": {"n": 0}}
    )
    assert answer.status == 200
    assert answer.json["__error__"]["error"]
    assert "hunter2" not in answer.text
