"""What becomes of runs on a busy thread, of cancelled and deleted ones, and of requests that come twice."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from uuid import uuid4

import httpx
import pytest

STEPS = ["s0", "s1", "s2", "s3", "s4"]


def _thread(http: httpx.Client) -> str:
    return str(http.post("/threads", json={}).raise_for_status().json()["thread_id"])


def _start(http: httpx.Client, thread_id: str, crew: str = "slow", **body: Any) -> Any:
    body = {"assistant_id": crew, "input": {"delay": 0.1}, **body}
    return http.post(f"/threads/{thread_id}/runs", json=body).raise_for_status().json()


def _join(http: httpx.Client, run: Any) -> Any:
    return http.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}/join").raise_for_status().json()


def _row(http: httpx.Client, run: Any) -> Any:
    answer = http.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}")
    return answer.json() if answer.status_code == 200 else None


def _log(http: httpx.Client, thread_id: str) -> list[str]:
    values = http.get(f"/threads/{thread_id}/state").raise_for_status().json()["values"] or {}
    return list(values.get("log", []))


def _until(fact: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (found := fact()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)  # polls the world outside; the deadline decides, not the pause
    return found


def _busy(http: httpx.Client, *, delay: float = 0.4) -> tuple[str, Any]:
    """Give a thread with a run that has made progress and has more to do."""
    thread_id = _thread(http)
    run = _start(http, thread_id, input={"delay": delay})
    _until(lambda: _log(http, thread_id), "progress")
    return thread_id, run


def test_runs_that_wait_execute_one_after_the_other_in_the_order_of_acceptance(http: httpx.Client) -> None:
    thread_id = _thread(http)
    runs = [_start(http, thread_id, "steps", input={"log": [f"run {count}"]}) for count in range(6)]
    log = _join(http, runs[-1])["log"]
    assert log == [line for count in range(6) for line in (f"run {count}", "a", "b", "c")]
    assert [_row(http, run)["status"] for run in runs] == ["success"] * 6


def test_a_caller_who_waits_on_a_busy_thread_gets_the_answer_of_its_own_run(http: httpx.Client) -> None:
    thread_id, _ = _busy(http)
    body = {"assistant_id": "steps", "input": {"log": ["mine"]}}
    answer = http.post(f"/threads/{thread_id}/runs/wait", json=body).raise_for_status()
    assert answer.json()["log"] == [*STEPS, "mine", "a", "b", "c"]
    assert answer.headers["location"].endswith("/join")


def test_a_rejected_run_leaves_no_trace(http: httpx.Client) -> None:
    thread_id, run = _busy(http)
    body = {"assistant_id": "slow", "input": {}, "multitask_strategy": "reject"}
    refused = http.post(f"/threads/{thread_id}/runs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "thread_busy")
    assert run["run_id"] in refused.json()["detail"]
    _join(http, run)
    assert len(http.get(f"/threads/{thread_id}/runs").json()) == 1


def test_an_interrupt_keeps_finished_supersteps_and_the_new_run_goes_on_from_them(
    http: httpx.Client,
) -> None:
    thread_id, first = _busy(http)
    waiting = _start(http, thread_id, "steps", input={"log": ["waits"]})
    second = _start(http, thread_id, "steps", input={"log": ["next"]}, multitask_strategy="interrupt")
    log = _join(http, second)["log"]
    done = log.index("next")
    assert 1 <= done < 5
    assert log == [*STEPS[:done], "next", "a", "b", "c"], "what waited before the interrupt is superseded"
    assert [_row(http, run)["status"] for run in (first, waiting, second)] == [
        "interrupted",
        "interrupted",
        "success",
    ]


def test_a_rollback_leaves_neither_row_nor_checkpoint_and_the_state_from_before(http: httpx.Client) -> None:
    thread_id = _thread(http)
    _join(http, _start(http, thread_id, "steps", input={"log": ["kept"]}))
    before = http.get(f"/threads/{thread_id}/history", params={"limit": 100}).json()
    undone = _start(http, thread_id, input={"delay": 0.4, "log": ["undone"]})
    _until(lambda: "s0" in _log(http, thread_id), "progress")

    last = _start(http, thread_id, "steps", input={"log": ["last"]}, multitask_strategy="rollback")

    assert _join(http, last)["log"] == ["kept", "a", "b", "c", "last", "a", "b", "c"]
    assert _row(http, undone) is None
    assert len(http.get(f"/threads/{thread_id}/runs").json()) == 2
    history = http.get(f"/threads/{thread_id}/history", params={"limit": 100}).json()
    assert history[-len(before) :] == before
    assert not any("undone" in (state["values"] or {}).get("log", []) for state in history)


def test_a_cancelled_run_keeps_what_it_did_and_a_run_without_input_goes_on(http: httpx.Client) -> None:
    thread_id, run = _busy(http)
    path = f"/threads/{thread_id}/runs/{run['run_id']}/cancel"
    assert http.post(path, params={"wait": True}).json() == {}
    assert _row(http, run)["status"] == "interrupted"
    assert http.get(f"/threads/{thread_id}").json()["status"] == "interrupted"
    assert 1 <= len(_log(http, thread_id)) < 5
    assert _join(http, _start(http, thread_id, input=None))["log"] == STEPS


def test_a_cancel_with_rollback_leaves_the_thread_as_it_was(http: httpx.Client) -> None:
    thread_id, run = _busy(http)
    path = f"/threads/{thread_id}/runs/{run['run_id']}/cancel"
    http.post(path, params={"wait": True, "action": "rollback"}).raise_for_status()
    assert _row(http, run) is None
    thread = http.get(f"/threads/{thread_id}").json()
    assert (thread["status"], thread["values"]) == ("idle", None)
    assert http.get(f"/threads/{thread_id}/history").json() == []


def test_a_delayed_run_is_cancelled_at_once_although_no_worker_may_begin_it_yet(http: httpx.Client) -> None:
    thread_id = _thread(http)
    run = _start(http, thread_id, after_seconds=3600)
    assert http.post(f"/threads/{thread_id}/runs/{run['run_id']}/cancel").status_code == 202
    assert _row(http, run)["status"] == "interrupted"
    assert http.get(f"/threads/{thread_id}").json()["status"] == "idle"


def test_runs_are_cancelled_by_status(http: httpx.Client) -> None:
    thread_id = _thread(http)
    runs = [_start(http, thread_id, after_seconds=3600) for _ in range(3)]
    assert http.post("/runs/cancel", json={"status": "pending"}).status_code == 204
    assert [_row(http, run)["status"] for run in runs] == ["interrupted"] * 3


def test_a_run_is_deleted_when_it_has_ended_or_waits_and_not_in_flight(http: httpx.Client) -> None:
    thread_id, run = _busy(http)
    waiting = _start(http, thread_id)
    assert http.delete(f"/threads/{thread_id}/runs/{waiting['run_id']}").status_code == 204
    refused = http.delete(f"/threads/{thread_id}/runs/{run['run_id']}")
    assert (refused.status_code, "cancel it first" in refused.json()["detail"]) == (409, True)
    _join(http, run)
    assert http.delete(f"/threads/{thread_id}/runs/{run['run_id']}").status_code == 204
    assert [_row(http, one) for one in (run, waiting)] == [None, None]
    assert _log(http, thread_id) == STEPS, "the state that it left stays"


def test_the_thirty_third_run_that_would_wait_is_refused(http: httpx.Client) -> None:
    thread_id = _thread(http)
    first = _start(http, thread_id, after_seconds=3600)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _start(http, thread_id, "steps", input={}), range(32)))
    body = {"assistant_id": "steps", "input": {}}
    refused = http.post(f"/threads/{thread_id}/runs", json=body)
    assert (refused.status_code, "retry-after" in refused.headers) == (429, True)
    http.post("/runs/cancel", json={"status": "all"}).raise_for_status()
    assert _row(http, first)["status"] == "interrupted"


def test_the_same_key_gives_the_same_run_also_after_it_was_rolled_back(http: httpx.Client) -> None:
    thread_id = _thread(http)
    headers = {"Idempotency-Key": uuid4().hex}
    body = {"assistant_id": "slow", "input": {"delay": 0.01}}

    def send(**more: Any) -> httpx.Response:
        return http.post(f"/threads/{thread_id}/runs", json={**body, **more}, headers=headers)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: send(), range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    run = answers[0].json()
    assert _join(http, run)["log"] == STEPS
    assert send().json()["status"] == "success"
    other = send(metadata={"another": "body"})
    assert (other.status_code, run["run_id"] in other.json()["detail"]) == (409, True)
    http.delete(f"/threads/{thread_id}/runs/{run['run_id']}").raise_for_status()
    assert send().json()["run_id"] == run["run_id"]
    assert http.get(f"/threads/{thread_id}/runs").json() == []


def test_the_same_key_makes_one_thread(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": uuid4().hex}
    answers = [http.post("/threads", json={"metadata": {"a": 1}}, headers=headers).json() for _ in range(3)]
    assert len({answer["thread_id"] for answer in answers}) == 1


def test_who_prefers_to_wait_gets_the_finished_run_and_what_it_used(http: httpx.Client) -> None:
    body = {"assistant_id": "metered", "input": {"messages": [{"role": "user", "content": "well?"}]}}
    answer = http.post(f"/threads/{_thread(http)}/runs", json=body, headers={"Prefer": "wait"})
    assert (answer.status_code, answer.json()["status"]) == (200, "success")
    assert answer.headers["x-tokens-used"] == "12"
    assert answer.json()["usage"] == {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}


def test_who_prefers_to_wait_for_less_than_the_run_takes_gets_the_background_answer(
    http: httpx.Client,
) -> None:
    thread_id = _thread(http)
    body = {"assistant_id": "slow", "input": {"delay": 0.6}}
    answer = http.post(f"/threads/{thread_id}/runs", json=body, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"] in ("pending", "running")) == (202, True)
    assert _join(http, answer.json())["log"] == STEPS


def test_a_stateless_background_run_can_be_joined_and_its_thread_is_gone(http: httpx.Client) -> None:
    run = http.post("/runs", json={"assistant_id": "steps", "input": {"n": 1}}).raise_for_status().json()
    assert _join(http, run)["n"] == 4
    assert http.get(f"/threads/{run['thread_id']}").status_code == 404


def test_a_batch_starts_every_run_and_counts_them(http: httpx.Client) -> None:
    bodies = [{"assistant_id": "steps", "input": {"n": count}} for count in range(3)]
    answer = http.post("/runs/batch", json=bodies).raise_for_status()
    assert [_join(http, run)["n"] for run in answer.json()] == [3, 4, 5]
    told = http.get(answer.headers["content-location"]).raise_for_status().json()
    assert (told["total"], told["counts"]) == (3, {"success": 3})
    assert http.post("/runs/batch", json=[*bodies, {"assistant_id": "nobody"}]).status_code == 422


def test_each_of_two_questions_of_a_node_gets_its_own_answer(http: httpx.Client) -> None:
    thread_id = _thread(http)
    _join(http, _start(http, thread_id, "interview", input={}))
    second = _join(http, _start(http, thread_id, "interview", input=None, command={"resume": "Ada"}))
    assert [one["value"] for one in second["__interrupt__"]] == ["age?"]
    values = _join(http, _start(http, thread_id, "interview", input=None, command={"resume": 36}))
    assert values["answers"] == ["Ada", 36]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/threads/{t}/runs", {"multitask_strategy": "queue"}, 422, "multitask_strategy"),
        ("/threads/{t}/runs", {"command": {"resume": 1}}, 400, "nothing to resume"),
        ("/threads/{t}/runs", {"checkpoint_id": "01a1fde7-415d-7487-a2d4-78b036ee1435"}, 404, "history"),
        ("/threads/{t}/runs", {"after_seconds": 30 * 86_400 + 1}, 422, "after_seconds"),
        ("/threads/{t}/runs", {"webhook": "http://10.0.0.1/hook"}, 422, "10.0.0.1"),
        ("/runs", {"command": {"resume": 1}}, 400, "thread_id"),
        ("/runs/wait", {"command": {"resume": 1}}, 400, "thread_id"),
        ("/threads/{t}/runs/01a1fde7-415d-7487-a2d4-78b036ee1435/cancel", {}, 404, "not found"),
        ("/runs/cancel", {"status": "bogus"}, 422, "status"),
        ("/runs/cancel", {}, 422, "thread_id and run_ids"),
    ],
)
def test_a_bad_request_is_refused_with_a_sentence_that_says_what_to_do(
    http: httpx.Client, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    thread_id = _thread(http)
    answer = http.post(path.format(t=thread_id), json={"assistant_id": "steps", **body})
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
    assert http.get(f"/threads/{thread_id}/runs").json() == []


def test_a_run_that_has_ended_cannot_be_cancelled(http: httpx.Client) -> None:
    run = _start(http, _thread(http), "steps", input={})
    _join(http, run)
    answer = http.post(f"/threads/{run['thread_id']}/runs/{run['run_id']}/cancel")
    assert (answer.status_code, "ended with status success" in answer.json()["detail"]) == (404, True)


class _Hook(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    got: ClassVar[list[tuple[dict[str, str], bytes]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_who_listens_is_told_once_of_each_end_also_of_a_run_that_never_began(http: httpx.Client) -> None:
    _Hook.got = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/hook?token=secret"
        thread_id, first = _busy(http)
        waiting = _start(http, thread_id, "steps", webhook=url)
        last = _start(http, thread_id, "steps", input={}, webhook=url, multitask_strategy="interrupt")
        _until(lambda: len(_Hook.got) >= 2, "two webhooks")
        server.shutdown()
    payloads = {payload["run_id"]: payload for payload in (json.loads(body) for _, body in _Hook.got)}
    assert {run_id: payload["status"] for run_id, payload in payloads.items()} == {
        waiting["run_id"]: "interrupted",
        last["run_id"]: "success",
    }
    assert payloads[last["run_id"]]["values"]["log"][-3:] == ["a", "b", "c"]
    assert all(payload["run_ended_at"] and payload["webhook_sent_at"] for payload in payloads.values())
    headers = _Hook.got[0][0]
    assert headers["webhook-signature"].startswith("v1,")
    assert first["run_id"] not in payloads
