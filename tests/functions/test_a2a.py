"""`/a2a` and agent cards over API Gateway events: what the official client does not ask, and how it is refused."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from crewline.http.preferences import LONGEST_KEY
from tests.functions.deployments import Answer, Deployment

OLDER, NEWER = "message/send", "SendMessage"


def ask(deployment: Deployment, crew: str, method: str, params: Any, **headers: str) -> Answer:
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    return deployment.request("POST", f"/a2a/{crew}", body, headers=headers)


def said(*parts: dict[str, Any], **where: str) -> dict[str, Any]:
    return {"message": {"messageId": str(uuid4()), "role": "user", "parts": list(parts), **where}}


def error(answer: Answer) -> tuple[int, int, str]:
    assert answer.json["id"] == 7
    return answer.status, answer.json["error"]["code"], answer.json["error"]["message"]


def test_a_message_is_answered_by_a_task_in_the_words_of_its_version(deployment: Deployment) -> None:
    older = ask(deployment, "echo", OLDER, said({"kind": "text", "text": "hi"})).json["result"]
    assert (older["kind"], older["status"]["state"]) == ("task", "completed")
    assert older["artifacts"][0]["parts"] == [{"kind": "text", "text": "echo: hi"}]
    newer = ask(deployment, "echo", NEWER, said({"text": "hi"})).json["result"]["task"]
    assert "kind" not in newer
    assert newer["status"]["state"] == "TASK_STATE_COMPLETED"
    assert newer["artifacts"][0]["parts"] == [{"text": "echo: hi"}]


def test_a_context_is_a_thread_and_a_task_is_a_run_of_it(deployment: Deployment) -> None:
    thread = deployment.thread()
    params = {**said({"data": {"n": 1}}, contextId=thread), "metadata": {"ticket": "T-1"}}
    task = ask(deployment, "steps", NEWER, params).json["result"]["task"]
    assert task["contextId"] == thread
    (run,) = deployment.request("GET", f"/threads/{thread}/runs").json
    assert (run["run_id"], run["metadata"]["ticket"]) == (task["id"], "T-1")
    assert deployment.request("GET", f"/threads/{thread}/state").json["values"]["n"] == 4


def test_a_message_that_does_not_wait_is_worked_on_elsewhere(deployment: Deployment) -> None:
    params = {**said({"kind": "data", "data": {"n": 1}}), "configuration": {"blocking": False}}
    task = ask(deployment, "steps", OLDER, params).json["result"]
    assert task["status"]["state"] == "submitted"
    deployment.work()
    done = ask(deployment, "steps", "tasks/get", {"id": task["id"]}).json["result"]
    assert done["status"]["state"] == "completed"
    assert done["artifacts"][0]["parts"][0]["data"]["n"] == 4


def test_a_message_that_is_repeated_under_its_key_is_one_task(deployment: Deployment) -> None:
    params, headers = said({"text": "once"}), {"idempotency-key": "this message"}
    first, again = (ask(deployment, "echo", NEWER, params, **headers).json for _ in range(2))
    assert first["result"]["task"]["id"] == again["result"]["task"]["id"]
    other = ask(deployment, "echo", NEWER, said({"text": "twice"}), **headers)
    assert error(other)[:2] == (200, -32602)
    too_long = ask(deployment, "echo", NEWER, params, **{"idempotency-key": "k" * (LONGEST_KEY + 1)})
    assert (too_long.status, too_long.json["error"]["code"]) == (400, -32600)


def test_a_question_is_answered_with_text_or_with_data_and_not_with_both(deployment: Deployment) -> None:
    answers = {"yes": {"text": "yes"}, "by data": {"data": "by data"}}
    for expected, part in answers.items():
        asked = ask(deployment, "approval", NEWER, said({"data": {"topic": "tea"}})).json["result"]["task"]
        about = {"taskId": asked["id"], "contextId": asked["contextId"]}
        both = ask(deployment, "approval", NEWER, said({"text": "yes"}, {"data": {}}, **about))
        assert error(both)[:2] == (200, -32602)
        task = ask(deployment, "approval", NEWER, said(part, **about)).json["result"]["task"]
        assert task["artifacts"][0]["parts"][0]["data"]["answer"] == expected


def test_a_message_about_a_task_that_has_ended_goes_on_in_its_context(deployment: Deployment) -> None:
    first = ask(deployment, "echo", NEWER, said({"text": "one"})).json["result"]["task"]
    second = ask(deployment, "echo", NEWER, said({"text": "two"}, taskId=first["id"])).json["result"]["task"]
    assert second["contextId"] == first["contextId"]
    assert second["id"] != first["id"]


@pytest.mark.parametrize(
    ("crew", "params", "code", "message"),
    [
        ("steps", said({"text": "hi"}), -32005, "takes no text"),
        ("echo", said({"url": "https://example.com/a.png"}), -32005, "Only text and data"),
        ("steps", said({"data": [1]}), -32005, "must be an object"),
        ("echo", said(), -32602, "parts"),
        ("echo", {"message": {"parts": [{"text": "hi"}]}}, -32602, "messageid: field required"),
        ("echo", said({"text": "hi"}, contextId="mine"), -32602, "Invalid context ID"),
        ("echo", said({"text": "hi"}, taskId="0199c7a0-0000-7000-8000-00000000dead"), -32001, "not found"),
        ("echo", said({"text": "hi"}, taskId="mine"), -32001, "Invalid run ID"),
    ],
)
def test_a_message_that_cannot_be_taken_is_refused(
    deployment: Deployment, crew: str, params: Any, code: int, message: str
) -> None:
    status, said_code, sentence = error(ask(deployment, crew, NEWER, params))
    assert (status, said_code) == (200, code)
    assert message in sentence.replace("messageId", "messageid")


def test_a_task_belongs_to_one_assistant_and_to_one_context(deployment: Deployment) -> None:
    task = ask(deployment, "echo", NEWER, said({"text": "hi"})).json["result"]["task"]
    assert error(ask(deployment, "chat", "GetTask", {"id": task["id"]}))[1] == -32001
    elsewhere = said({"text": "hi"}, taskId=task["id"], contextId=deployment.thread())
    assert "another context" in error(ask(deployment, "echo", NEWER, elsewhere))[2]


@pytest.mark.parametrize(
    ("method", "headers", "code", "reason"),
    [
        ("SendMessage", {"a2a-version": "2.0"}, -32009, "VERSION_NOT_SUPPORTED"),
        ("ListTasks", {}, -32004, "UNSUPPORTED_OPERATION"),
        ("CreateTaskPushNotificationConfig", {}, -32004, "UNSUPPORTED_OPERATION"),
        ("message/shout", {}, -32601, None),
    ],
)
def test_what_is_not_served_is_said(
    deployment: Deployment, method: str, headers: dict[str, str], code: int, reason: str | None
) -> None:
    answer = ask(deployment, "echo", method, said({"text": "hi"}), **headers)
    assert error(answer)[:2] == (200, code)
    reasons = [one["reason"] for one in answer.json["error"].get("data", [])]
    assert reasons == ([reason] if reason else [])


@pytest.mark.parametrize("version", ["0.3.0", "1.0", "1.0.1", ""])
def test_a_version_that_is_served_may_be_named(deployment: Deployment, version: str) -> None:
    answer = ask(deployment, "echo", NEWER, said({"text": "hi"}), **{"a2a-version": version})
    assert "result" in answer.json


def test_an_assistant_that_is_not_there_is_not_found(deployment: Deployment) -> None:
    answer = ask(deployment, str(uuid4()), NEWER, said({"text": "hi"}))
    assert (answer.status, answer.json["error"]["data"]) == (404, {"code": "not_found"})


def test_who_may_not_run_sends_nothing_and_who_may_not_read_gets_no_task(deployment: Deployment) -> None:
    _, runs = deployment.world.api_keys.create("default", ["run"])
    _, reads = deployment.world.api_keys.create("default", ["read"])
    task = ask(deployment, "echo", NEWER, said({"text": "hi"}), **{"x-api-key": runs}).json["result"]["task"]
    assert ask(deployment, "echo", "GetTask", {"id": task["id"]}, **{"x-api-key": runs}).status == 403
    assert ask(deployment, "echo", NEWER, said({"text": "hi"}), **{"x-api-key": reads}).status == 403


def test_a_stream_tells_a_failure_as_the_answer_of_its_call(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("crewline.http.a2a.routes._Server._read_result", broken)
    answer = ask(deployment, "echo", "message/stream", said({"kind": "text", "text": "hi"}))
    assert "hunter2" not in answer.text
    *_, last = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert (last["id"], last["error"]["code"]) == (7, -32603)


# ---------------------------------------------------------------------- cards


def card(deployment: Deployment, path: str, **headers: str) -> Any:
    answer = deployment.request("GET", path, headers=headers)
    assert answer.status == 200
    return answer.json


WELL_KNOWN = "/.well-known/agent-card.json"


def test_a_card_leads_to_its_assistant_and_asks_for_a_key(deployment: Deployment) -> None:
    shown = card(deployment, f"/a2a/echo{WELL_KNOWN}")
    assert shown["url"].startswith("https://")
    path = shown["url"][shown["url"].index("/a2a/") :]
    assert card(deployment, f"{WELL_KNOWN}?assistant_id={path.rpartition('/')[2]}") == shown
    assert shown["securitySchemes"]["apiKey"]["name"] == "x-api-key"
    body = {"jsonrpc": "2.0", "id": 7, "method": NEWER, "params": said({"text": "hi"})}
    assert deployment.request("POST", path, body).json["result"]["task"]["status"]


def test_a_card_of_nobody_in_particular_has_to_be_asked_for_by_name(deployment: Deployment) -> None:
    answer = deployment.request("GET", WELL_KNOWN)
    assert (answer.status, "assistant_id" in answer.detail) == (422, True)
    assert deployment.request("GET", f"/a2a/{uuid4()}{WELL_KNOWN}").status == 404
