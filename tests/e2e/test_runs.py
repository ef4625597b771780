"""Threads and runs through the front door, the queue and the worker, on the local cloud."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest


def _thread(http: httpx.Client, **body: Any) -> str:
    return str(http.post("/threads", json=body).raise_for_status().json()["thread_id"])


def _wait(http: httpx.Client, thread_id: str, crew: str, **body: Any) -> Any:
    answer = http.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": crew, **body})
    return answer.raise_for_status().json()


def _background(http: httpx.Client, thread_id: str, crew: str, **body: Any) -> Any:
    run = (
        http.post(f"/threads/{thread_id}/runs", json={"assistant_id": crew, **body}).raise_for_status().json()
    )
    return http.get(f"/threads/{thread_id}/runs/{run['run_id']}/join").raise_for_status().json()


def _until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not fact():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)  # polls the world outside; the deadline decides, not the pause


def _logged(log: Path, message: str, run_id: str) -> bool:
    return any(message in line and run_id in line for line in log.read_text().splitlines())


def test_a_crew_with_pydantic_state_works_across_two_processes_without_listing_its_types(
    http: httpx.Client,
) -> None:
    thread_id = _thread(http)

    in_front_door = _wait(http, thread_id, "typed", input={"customer": {"name": "Ada"}})
    in_worker = _background(http, thread_id, "typed", input={"kind": ""})
    again = _wait(http, thread_id, "typed", input={"kind": ""})

    assert [one["customer"] for one in (in_front_door, in_worker, again)] == [
        {"name": "Ada", "orders": count} for count in (1, 2, 3)
    ]
    assert {one["kind"] for one in (in_front_door, in_worker, again)} == {"Customer"}, "never a plain dict"


def test_both_processes_have_the_environment_of_the_manifest(http: httpx.Client) -> None:
    given = {"customer": {"name": "Ada"}}
    assert _wait(http, _thread(http), "typed", input=given)["greeting"] == "hello from the manifest"
    assert _background(http, _thread(http), "typed", input=given)["greeting"] == "hello from the manifest"


def test_a_value_over_the_item_limit_is_kept_and_read_back_whole(http: httpx.Client) -> None:
    thread_id = _thread(http)

    answered = _wait(http, thread_id, "large", input={"size": 1_500_000})

    assert len(answered["text"]) == 1_500_000
    assert http.get(f"/threads/{thread_id}").json()["values"] == answered
    assert http.get(f"/threads/{thread_id}/state").json()["values"] == answered
    history = http.get(f"/threads/{thread_id}/history").json()
    assert history[0]["values"] == answered


def test_an_input_over_the_item_limit_reaches_the_worker(http: httpx.Client) -> None:
    words = " ".join(uuid4().hex for _ in range(20_000))
    thread_id = _thread(http)
    answered = _background(http, thread_id, "echo", input={"messages": [{"role": "user", "content": words}]})
    assert answered["messages"][-1]["content"] == f"echo: {words}"
    [run] = http.get(f"/threads/{thread_id}/runs").json()
    assert run["kwargs"]["input"]["messages"][0]["content"] == words


def test_a_crew_that_raises_leaves_an_error_and_a_thread_that_accepts_the_next_run(
    http: httpx.Client,
) -> None:
    thread_id = _thread(http)

    for failed in (
        _wait(http, thread_id, "failing", input={"x": "1"}),
        _background(http, thread_id, "failing", input={"x": "2"}),
    ):
        assert failed["__error__"]["error"] == "ValueError"
    runs = http.get(f"/threads/{thread_id}/runs").json()
    assert [run["error"] for run in runs] == [
        {"error": "ValueError", "message": f"boom: {x}"} for x in (2, 1)
    ]
    thread = http.get(f"/threads/{thread_id}").json()
    assert (thread["status"], thread["error"]["message"]) == ("error", "boom: 2")

    assert _wait(http, thread_id, "steps", input={"n": 0})["n"] == 3
    thread = http.get(f"/threads/{thread_id}").json()
    assert (thread["status"], thread["error"]) == ("idle", None)


def test_of_many_runs_at_once_that_will_not_wait_exactly_one_executes_and_the_others_are_told(
    http: httpx.Client,
) -> None:
    thread_id = _thread(http)

    def attempt(_: int) -> httpx.Response:
        body = {"assistant_id": "slow", "input": {"delay": 0.1}, "multitask_strategy": "reject"}
        return httpx.post(f"{http.base_url}/threads/{thread_id}/runs/wait", json=body, timeout=30)

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(attempt, range(12)))

    winners = [answer for answer in answers if answer.status_code == 200]
    assert [answer.status_code for answer in answers if answer not in winners] == [409] * (12 - len(winners))
    assert all("already running" in answer.json()["detail"] for answer in answers if answer not in winners)
    assert len(winners) >= 1
    state = http.get(f"/threads/{thread_id}/state").json()["values"]
    assert state["log"] == ["s0", "s1", "s2", "s3", "s4"] * len(winners), "supersteps of two runs never mix"
    assert len(http.get(f"/threads/{thread_id}/runs", params={"limit": 100}).json()) == len(winners)


def test_a_thread_is_busy_from_the_moment_its_run_is_accepted(http: httpx.Client) -> None:
    thread_id = _thread(http)
    run = http.post(
        f"/threads/{thread_id}/runs", json={"assistant_id": "slow", "input": {"delay": 0.05}}
    ).json()
    assert http.get(f"/threads/{thread_id}").json()["status"] == "busy"
    http.get(f"/threads/{thread_id}/runs/{run['run_id']}/join").raise_for_status()
    assert http.get(f"/threads/{thread_id}").json()["status"] == "idle"


def test_nothing_that_a_run_writes_after_its_thread_was_deleted_is_ever_seen(
    http: httpx.Client, worker_log: Path
) -> None:
    thread_id = _thread(http)
    started = http.post(
        f"/threads/{thread_id}/runs", json={"assistant_id": "slow", "input": {"delay": 0.3}}
    ).json()
    _until(
        lambda: bool((http.get(f"/threads/{thread_id}/state").json()["values"] or {}).get("log")),
        "the run has progress",
    )

    assert http.delete(f"/threads/{thread_id}").status_code == 204

    for path in ("", "/state", "/history", "/runs"):
        assert http.get(f"/threads/{thread_id}{path}").status_code == 404
    assert http.delete(f"/threads/{thread_id}").status_code == 404
    # The id can be used again once everything of the old thread has been removed.
    _until(
        lambda: http.post("/threads", json={"thread_id": thread_id}).status_code == 200, "the purge is done"
    )
    _until(
        lambda: _logged(worker_log, "run taken over", started["run_id"]), "the old run's worker has stopped"
    )
    fresh = http.get(f"/threads/{thread_id}").json()
    assert (fresh["status"], fresh["values"]) == ("idle", None)
    assert http.get(f"/threads/{thread_id}/history").json() == []
    assert http.get(f"/threads/{thread_id}/runs").json() == []
    assert http.get(f"/threads/{thread_id}/runs/{started['run_id']}").status_code == 404


def test_a_stateless_run_answers_and_leaves_nothing(http: httpx.Client) -> None:
    answer = http.post("/runs/wait", json={"assistant_id": "steps", "input": {"n": 1}})
    assert answer.json() == {"n": 4, "log": ["a", "b", "c"]}
    _, _, thread_id, _, run_id = answer.headers["content-location"].split("/")
    assert http.get(f"/threads/{thread_id}").status_code == 404
    assert http.get(f"/threads/{thread_id}/runs/{run_id}").status_code == 404


def test_a_stateless_run_that_is_kept_is_a_thread_like_any_other(http: httpx.Client) -> None:
    body = {"assistant_id": "steps", "input": {"n": 1}, "on_completion": "keep"}
    thread_id = http.post("/runs/wait", json=body).headers["content-location"].split("/")[2]
    assert http.get(f"/threads/{thread_id}/state").json()["values"]["n"] == 4
    assert _wait(http, thread_id, "steps", input={"n": 10})["n"] == 13


@pytest.mark.thorough
def test_two_thousand_requests_at_once_each_get_their_own_answer(service_url: str) -> None:
    def ask(client: httpx.Client, number: int) -> bool:
        token = str(uuid4())
        if number % 3 == 0:
            return token in client.get(f"/assistants/{token}").json()["detail"]
        if number % 3 == 1:
            return token[:30] in client.get(f"/threads/not-{token}").json()["detail"]
        made = client.post("/threads", json={"metadata": {"token": token}}).json()
        return bool(made["metadata"] == {"token": token})

    limits = httpx.Limits(max_connections=100)
    with (
        httpx.Client(base_url=service_url, timeout=60, limits=limits) as client,
        ThreadPoolExecutor(100) as pool,
    ):
        right = list(pool.map(lambda number: ask(client, number), range(2_000)))

    assert right.count(False) == 0
