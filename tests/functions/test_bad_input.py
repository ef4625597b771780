"""Bad input has a status and a sentence, is never an internal error, and leaves no half-made row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.functions.deployments import LIMIT, Deployment, recorded

T = "0199c7a0-0000-7000-8000-00000000abcd"
UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"
STARTS = ("POST /threads/{t}/runs", "POST /threads/{t}/runs/wait", "POST /runs/wait")
ROUTES = (
    *STARTS,
    "POST /threads",
    "PATCH /threads/{t}",
    "POST /threads/search",
    "POST /threads/count",
    "POST /threads/{t}/history",
    "POST /assistants/search",
)
"""Every route that takes a body."""


@pytest.fixture(scope="module", autouse=True)
def _thread(deployment: Deployment) -> None:
    """A thread with state, on which nothing runs."""
    deployment.thread(thread_id=T)
    deployment.request("POST", f"/threads/{T}/runs/wait", {"assistant_id": "steps", "input": {"n": 0}})


def refusal(
    deployment: Deployment, route: str, body: Any, statuses: tuple[int, ...], **more: Any
) -> str | None:
    """Send what must be refused and say what was wrong with the answer; None when all was right."""
    deployment.writes.clear()
    method, _, path = route.format(t=T).partition(" ")
    try:
        answer = deployment.request(method, path, body, **more)
    except Exception as exc:  # noqa: BLE001 (a handler that raises is a 502)
        return f"{route}: raised {exc!r}"
    written = list(deployment.writes)
    if written:
        deployment.work()  # so that nothing stays in flight
    if answer.status not in statuses:
        return f"{route}: {answer.status} {answer.text[:100]}"
    if written:
        return f"{route}: {answer.status}, but there was {', '.join(written)}"
    return None if answer.detail else f"{route}: {answer.status} without a sentence"


def refused_everywhere(
    deployment: Deployment, body: Any, *statuses: int, routes: tuple[str, ...] = ROUTES, **more: Any
) -> None:
    wrong = [refusal(deployment, route, body, statuses, **more) for route in routes]
    assert [one for one in wrong if one] == []


def start(**fields: Any) -> dict[str, Any]:
    return {"assistant_id": "steps", "input": {"n": 0}, **fields}


def raw(value: str, metadata: str = "{}") -> str:
    """A body that starts a run with JSON text as its input."""
    return '{"assistant_id": "steps", "metadata": ' + metadata + ', "input": ' + value + "}"


# ------------------------------------------------------------------ every body


@pytest.mark.parametrize(
    "body",
    ["{bad", "{", "[", '"', "", "nul", "{'a': 1}", '{"a": 1,}', '{"a": 1} x', "\x00", "\ufeff{}"],
    ids=repr,
)
def test_a_body_that_is_no_json_is_refused(deployment: Deployment, body: str) -> None:
    refused_everywhere(deployment, body, 400, 422)


@pytest.mark.parametrize("body", ["null", "[]", "5", '"text"', "true", "[{}]", '[{"assistant_id": "steps"}]'])
def test_a_body_that_is_no_object_is_refused(deployment: Deployment, body: str) -> None:
    refused_everywhere(deployment, body, 422)


@pytest.mark.parametrize(
    "text",
    ['"\\ud800"', '"\\udfff"', "NaN", "Infinity", "-Infinity", "1e999", "[" * 2000 + "]" * 2000],
    ids=["high_surrogate", "low_surrogate", "nan", "infinity", "minus_infinity", "huge_float", "deep"],
)
def test_a_value_that_json_does_not_have_is_refused(deployment: Deployment, text: str) -> None:
    refused_everywhere(deployment, raw(text, '{"m": ' + text + "}"), 400, 422)


def test_a_body_over_the_limit_is_refused_with_the_figures(deployment: Deployment) -> None:
    body = json.dumps({"assistant_id": "steps", "input": {"text": "x" * LIMIT}})
    for sent in (body, body.encode()):
        refused_everywhere(deployment, sent, 413)
        detail = deployment.request("POST", "/threads", sent).detail
        assert f"{len(body):,} bytes" in detail
        assert f"{LIMIT:,}" in detail


def test_the_limit_counts_bytes_and_not_characters(deployment: Deployment) -> None:
    body = json.dumps({"assistant_id": "steps", "input": "é" * (LIMIT // 2)}, ensure_ascii=False)
    assert len(body) < LIMIT
    refused_everywhere(deployment, body, 413)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{\x00}\x00", b"\x80abc", '{"a": "é"}'.encode("latin-1")], ids=repr
)
def test_a_body_that_is_not_utf_8_is_refused(deployment: Deployment, content: bytes) -> None:
    refused_everywhere(deployment, content, 400, 422)


def test_a_body_that_is_no_base64_although_it_says_so_is_refused(deployment: Deployment) -> None:
    event = {**recorded("create_thread"), "body": "a", "isBase64Encoded": True}
    answer = deployment.send(event)
    assert answer.status in (400, 422)
    assert answer.detail


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/xml",
        "x",
    ],
)
def test_a_body_of_another_content_type_is_refused(deployment: Deployment, content_type: str) -> None:
    refused_everywhere(
        deployment, "assistant_id=steps", 400, 415, 422, headers={"Content-Type": content_type}
    )


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", ""])
def test_json_may_be_sent_with_and_without_its_name(deployment: Deployment, content_type: str) -> None:
    answer = deployment.request("POST", "/threads", {}, headers={"Content-Type": content_type})
    assert answer.status == 200


@pytest.mark.parametrize("depth", [100, 240, 260, 400, 1000])
def test_a_deep_value_is_taken_or_refused(deployment: Deployment, depth: int) -> None:
    deep = '{"log": ' + "[" * depth + "]" * depth + "}"
    wrong = []
    for route in ROUTES:
        thread = deployment.thread()
        method, _, path = route.format(t=thread).partition(" ")
        deployment.writes.clear()
        try:
            answer = deployment.request(method, path, raw(deep, deep))
            if answer.status in (400, 413, 422):
                assert answer.detail
                assert deployment.writes == []
            else:
                deployment.work()
                assert answer.status == 200, answer.text
                assert deployment.request("GET", f"/threads/{thread}").json["status"] != "busy"
                assert deployment.request("GET", f"/threads/{thread}/runs").status == 200
                assert deployment.request("GET", f"/threads/{thread}/state").status == 200
        except Exception as exc:  # noqa: BLE001 (all routes are tried)
            wrong.append(f"{route}: {str(exc)[:100]}")
    assert wrong == []


@pytest.mark.parametrize("digits", ["1" * 70, "-" + "9" * 25, str(2**64)])
def test_an_integer_that_no_store_can_hold_is_refused_and_never_rounded(
    deployment: Deployment, digits: str
) -> None:
    refused_everywhere(deployment, raw('{"n": ' + digits + "}"), 400, 422, routes=STARTS)


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_an_integer_that_fits_is_kept_to_its_last_digit(deployment: Deployment, number: int) -> None:
    answer = deployment.request(
        "POST", "/runs/wait", {"assistant_id": "approval", "input": {"topic": number}}
    )
    assert answer.json["topic"] == number


# ------------------------------------------------------------------ runs


@pytest.mark.parametrize(
    ("fields", "statuses", "detail"),
    [
        ({"assistant_id": None}, (422,), "assistant_id"),
        ({"assistant_id": "no-such-graph"}, (422,), "no-such-graph"),
        ({"assistant_id": UNKNOWN}, (404,), f"Assistant with ID {UNKNOWN} not found"),
        ({"stream_mode": ["bogus"]}, (422,), "stream_mode"),
        ({"multitask_strategy": "bogus"}, (422,), "multitask_strategy"),
        ({"durability": "bogus"}, (422,), "durability"),
        ({"config": 5}, (422,), "config"),
        ({"config": {"configurable": []}}, (422,), "configurable"),
        ({"config": {"configurable": {"__pregel_send": 1}}}, (422,), "two underscores"),
        ({"config": {"configurable": {"checkpoint_id": 5}}}, (400, 422), ""),
        ({"config": {"configurable": {"checkpoint_id": ["x"]}}}, (400, 422), ""),
        ({"context": {"a": 1}, "config": {"configurable": {"b": 1}}}, (400,), "not both"),
        ({"interrupt_before": "a"}, (422,), "interrupt_before"),
        ({"command": {"goto": 5}}, (422,), "goto"),
        ({"command": {"goto": [{"input": 1}]}}, (422,), "goto"),
        ({"command": {"update": [1, 2]}}, (422,), "update"),
        ({"after_seconds": "soon"}, (422,), "after_seconds"),
        ({"webhook": "http://10.0.0.1"}, (422,), "webhook"),
        ({"checkpoint_id": "nope"}, (400, 422), "checkpoint"),
        ({"checkpoint_id": UNKNOWN}, (400, 404), "checkpoint"),
        ({"metadata": {"k" * 256: 1}}, (422,), "metadata"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else "",
)
def test_a_run_that_cannot_start_is_refused(
    deployment: Deployment, fields: dict[str, Any], statuses: tuple[int, ...], detail: str
) -> None:
    refused_everywhere(deployment, start(**fields), *statuses, routes=STARTS)
    answer = deployment.request("POST", f"/threads/{T}/runs/wait", start(**fields))
    assert detail.lower() in answer.detail.lower()


def test_the_assistant_must_be_named(deployment: Deployment) -> None:
    refused_everywhere(deployment, {"input": {}}, 422, routes=STARTS)


def test_a_run_on_an_unknown_thread_is_refused(deployment: Deployment) -> None:
    unknown = (f"POST /threads/{UNKNOWN}/runs", f"POST /threads/{UNKNOWN}/runs/wait")
    refused_everywhere(deployment, start(), 404, routes=unknown)
    answer = deployment.request("POST", f"/threads/{UNKNOWN}/runs", start())
    assert answer.detail.startswith("Thread or assistant not found.")
    refused_everywhere(
        deployment, start(), 400, 422, routes=("POST /threads/nope/runs", "POST /threads/nope/runs/wait")
    )


def test_a_resume_needs_a_thread(deployment: Deployment) -> None:
    body = start(command={"resume": "yes"})
    refused_everywhere(deployment, body, 400, routes=("POST /runs/wait",))
    assert (
        deployment.request("POST", "/runs/wait", body).detail == "You must provide a thread_id when resuming."
    )


def test_an_unknown_field_is_ignored(deployment: Deployment) -> None:
    for route in STARTS:
        method, _, path = route.format(t=deployment.thread()).partition(" ")
        assert deployment.request(method, path, start(some_future_field={"a": 1})).status == 200
        deployment.work()


# ------------------------------------------------------------------ threads, state, history, lists


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("POST /threads", {"thread_id": "nope"}),
        ("POST /threads", {"thread_id": 5}),
        ("POST /threads", {"if_exists": "bogus"}),
        ("POST /threads", {"metadata": []}),
        ("POST /threads", {"metadata": {f"k{n}": 1 for n in range(49)}}),
        ("PATCH /threads/{t}", {"metadata": {f"k{n}": 1 for n in range(49)}}),
        ("POST /threads/search", {"limit": 0}),
        ("POST /threads/search", {"select": ["bogus"]}),
        ("POST /threads/search", {"sort_by": "bogus"}),
        ("POST /threads/search", {"ids": ["nope"]}),
        ("POST /threads/search", {"extract": {"a": "bogus"}}),
        ("POST /threads/search", {"metadata": []}),
        ("POST /threads/count", {"status": "bogus"}),
        ("PATCH /threads/{t}", {"metadata": "text"}),
        ("PATCH /threads/{t}", {"metadata": {"": 1}}),
        ("PATCH /threads/nope", {"metadata": {}}),
        ("POST /threads/{t}/history", {"limit": 0}),
        ("POST /threads/{t}/history", {"limit": 1001}),
        ("POST /threads/{t}/history", {"limit": "ten"}),
        ("POST /threads/{t}/history", {"before": "text"}),
        ("POST /threads/{t}/history", {"metadata": []}),
        ("POST /threads/nope/history", {}),
        ("POST /assistants/search", {"limit": 0}),
        ("POST /assistants/search", {"sort_by": "bogus"}),
        ("POST /assistants/search", {"offset": -1}),
        ("GET /threads/{t}/state?subgraphs=perhaps", None),
        ("GET /threads/{t}/history?limit=0", None),
        ("GET /threads/{t}/history?limit=many", None),
        ("GET /threads/{t}/state/nope", None),
        ("GET /threads/nope/state", None),
        ("GET /threads/{t}/runs?limit=1001", None),
        ("GET /threads/{t}/runs?offset=-1", None),
        ("GET /threads/{t}/runs?offset=9999999999999999999999", None),
        ("GET /threads/{t}/runs?status=bogus", None),
        ("GET /threads/{t}/runs?select=bogus", None),
        ("GET /threads/{t}/history?before=nope", None),
        ("GET /threads/{t}?include=bogus", None),
        ("POST /runs/cancel", {"thread_id": "nope", "run_ids": []}),
        ("POST /threads/{t}/runs", {"assistant_id": "echo", "checkpoint_id": ""}),
        ("POST /threads/{t}/history", {"checkpoint": {"checkpoint_id": "nope"}}),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_a_wrong_value_is_refused(deployment: Deployment, route: str, body: Any) -> None:
    refused_everywhere(deployment, body, 422, routes=(route,))


@pytest.mark.parametrize(
    "body",
    [
        {"checkpoint": {"checkpoint_id": "nope"}},
        {"checkpoint": {"checkpoint_id": "x" * 3000}},
        {"checkpoint": {"checkpoint_ns": "nope"}},
        {"checkpoint": {"checkpoint_ns": "a|b:c#d"}},
        {"checkpoint": {"checkpoint_ns": "x" * 3000}},
        {"before": {"configurable": {"checkpoint_id": "nope"}}},
        {"before": {"configurable": {"checkpoint_id": "!"}}},
        {"before": {"configurable": {"checkpoint_id": "\U0010ffff"}}},
        {"before": {"configurable": {"checkpoint_id": "x" * 3000}}},
        {"metadata": {"step": {"$gt": 1}}},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_a_place_in_history_that_does_not_exist_is_refused_or_empty(
    deployment: Deployment, body: Any
) -> None:
    answer = deployment.request("POST", f"/threads/{T}/history", body)
    assert answer.status in (200, 400, 404, 422), answer.text


def test_a_rule_of_our_own_is_told_in_its_own_words(deployment: Deployment) -> None:
    answer = deployment.request("POST", "/runs/cancel", {})
    assert answer.detail == "Invalid request: body: give thread_id and run_ids, or status, and not both."
    answer = deployment.request("POST", f"/threads/{T}/history", {"before": {"checkpoint_id": "x"}})
    assert answer.detail == "Invalid request: before.checkpoint_id: must be a UUID, got 'x'."


def test_unknown_threads_are_not_found(deployment: Deployment) -> None:
    for method, path, body in (
        ("GET", "/state", None),
        ("GET", "/history", None),
        ("POST", "/history", {}),
        ("PATCH", "", {"metadata": {"a": 1}}),
        ("DELETE", "", None),
        ("GET", "/runs", None),
    ):
        refused_everywhere(deployment, body, 404, routes=(f"{method} /threads/{UNKNOWN}{path}",))
        answer = deployment.request(method, f"/threads/{UNKNOWN}{path}", body)
        assert answer.detail == f"Thread with ID {UNKNOWN} not found."


def test_an_unknown_checkpoint_is_an_empty_state(deployment: Deployment) -> None:
    answer = deployment.request("GET", f"/threads/{T}/state/{UNKNOWN}")
    assert (answer.status, answer.json["values"], answer.json["checkpoint"]) == (200, {}, None)
