"""The API of Crewship, through the front door: words and ids, conventions, runs, and webhooks in and out.

Keys are not asked for on a laptop; what happens without a good one is shown in tests/functions.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import httpx
import pytest

from crewline.local.children import ChildService
from crewline.local.clouds import CREDENTIALS, REGION
from crewline.models.assistants import default_assistant_id
from crewline.models.clocks import system_clock
from crewline.services.webhook_tokens import WebhookTokens
from crewline.store import keys
from crewline.store.clients import client
from crewline.store.table import Table

TENANT = "default"
NOBODY = "0" * 32
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
RUN = {
    *("id", "version_id", "deployment_id", "status", "input", "output", "error_message"),
    *("created_at", "started_at", "completed_at", "thread_id", "usage"),
}
ENDED = ("succeeded", "failed", "canceled")


def start(http: httpx.Client, deployment: str = "steps", **body: Any) -> Any:
    answer = http.post("/v1/runs", json={"deployment_id": deployment, "input": {"n": 0}, **body})
    assert answer.status_code == 202, answer.text
    return answer.json()


def thread_of(http: httpx.Client, deployment: str) -> str:
    answer = http.post("/v1/threads", json={"deployment_id": deployment})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["thread_id"])


def turn(http: httpx.Client, thread: str, **body: Any) -> Any:
    answer = http.post(f"/v1/threads/{thread}/runs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def until(fact: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 60
    while not (found := fact()):
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)  # polls the world outside; the deadline decides, not the pause
    return found


def get(http: httpx.Client, run_id: str) -> Any:
    return http.get(f"/v1/runs/{run_id}").raise_for_status().json()


def ended(http: httpx.Client, run_id: str) -> Any:
    """Poll a run until it has ended."""

    def look() -> Any:
        run = get(http, run_id)
        return run if run["status"] in ENDED else None

    return until(look, f"{run_id} has ended")


def refusal(answer: httpx.Response) -> str:
    """The sentence of an error."""
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "code"}
    message: str = body["error"]["message"]
    return message


def uuid(public_id: str) -> str:
    return str(UUID(public_id.partition("_")[2]))


# ------------------------------------------------------------------ words and ids


def test_an_id_is_a_prefix_and_the_digits_of_the_cores_id(http: httpx.Client) -> None:
    thread = thread_of(http, "steps")
    started = turn(http, thread, input={"n": 0})
    run = ended(http, started["run_id"])
    assert uuid(run["deployment_id"]) == default_assistant_id("steps")
    core = http.get(f"/threads/{uuid(thread)}/runs/{uuid(run['id'])}").raise_for_status().json()
    assert core["run_id"] == uuid(run["id"])
    for public_id, prefix in (
        (run["deployment_id"], "dep"),
        (run["thread_id"], "thr"),
        (run["id"], "run"),
        (run["version_id"], "ver"),
    ):
        assert re.fullmatch(f"{prefix}_[0-9a-f]{{32}}", public_id)


def test_the_cores_own_ids_are_taken_too(http: httpx.Client) -> None:
    run = ended(http, start(http)["run_id"])
    assert get(http, uuid(run["id"])) == run
    assert start(http, uuid(run["deployment_id"]))["status"] == "running"


def test_the_id_of_something_else_is_a_bad_parameter(http: httpx.Client) -> None:
    answer = http.get(f"/v1/runs/thr_{NOBODY}")
    assert answer.status_code == 400
    assert refusal(answer) == f"'thr_{NOBODY}' is a thread's id; a run's id begins with run_."


def test_a_version_is_the_build_that_took_the_run(http: httpx.Client) -> None:
    first, second = start(http), start(http)
    assert isinstance(first["version_number"], int)
    assert first["version_number"] >= 1
    for name in ("version_id", "version_number"):
        assert first[name] == second[name]
    assert get(http, first["run_id"])["version_id"] == first["version_id"]


def test_a_run_that_stops_at_a_question_has_succeeded_and_its_thread_is_interrupted(
    http: httpx.Client,
) -> None:
    thread = thread_of(http, "approval")
    run = ended(http, turn(http, thread, input={"topic": "lunch"})["run_id"])
    assert run["status"] == "succeeded"
    assert http.get(f"/v1/threads/{thread}").json()["status"] == "interrupted"


# ------------------------------------------------------------------ conventions


def test_an_answer_is_the_bare_object_and_a_list_has_a_name(http: httpx.Client) -> None:
    run_id = start(http)["run_id"]
    assert set(get(http, run_id)) == RUN
    listed = http.get("/v1/runs?limit=1")
    assert listed.status_code == 200
    assert set(listed.json()) == {"runs", "next_cursor"}
    assert set(listed.json()["runs"][0]) == RUN


def test_a_parameter_that_is_missing_is_named(http: httpx.Client) -> None:
    answer = http.post("/v1/runs", json={"input": {}})
    assert (answer.status_code, refusal(answer)) == (400, "deployment_id is required")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/runs", {"deployment_id": "steps", "input": "text"}, 400),
        ("POST", "/v1/runs", {"deployment_id": "nobody"}, 404),
        ("GET", "/v1/runs?limit=101", None, 400),
        ("GET", "/v1/runs/latest", None, 400),
        ("GET", f"/v1/runs/run_{NOBODY}", None, 404),
        ("POST", f"/v1/runs/run_{NOBODY}/cancel", None, 404),
        ("POST", f"/v1/threads/thr_{NOBODY}/runs", {}, 404),
        ("POST", "/v1/runs", {"deployment_id": f"dep_{NOBODY}"}, 404),
        ("GET", "/v1/nothing", None, 404),
        ("DELETE", "/v1/runs", None, 405),
        ("POST", "/webhooks/runs/nothing", {}, 404),
    ],
)
def test_a_refusal_is_a_status_a_sentence_and_a_code(
    http: httpx.Client, method: str, path: str, body: Any, status: int
) -> None:
    answer = http.request(method, path, json=body)
    assert answer.status_code == status
    assert refusal(answer)


def test_a_body_that_is_too_large_is_told_in_the_same_shape(http: httpx.Client) -> None:
    answer = http.post("/v1/runs", json={"deployment_id": "steps", "input": {"text": "x" * 6_000_000}})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"
    assert refusal(answer)


def test_times_are_of_utc_and_say_so(http: httpx.Client) -> None:
    run = ended(http, start(http)["run_id"])
    times = [run[name] for name in ("created_at", "started_at", "completed_at")]
    assert all(TIME.fullmatch(one) for one in times)
    assert times == sorted(times)


# ------------------------------------------------------------------ runs


def test_a_run_is_accepted_and_said_to_be_running(http: httpx.Client) -> None:
    made = start(http, environment="production")
    assert set(made) == {"run_id", "version_id", "version_number", "status"}
    assert made["status"] == "running"


def test_there_is_one_environment(http: httpx.Client) -> None:
    for path in ("/v1/runs", f"/v1/threads/{thread_of(http, 'steps')}/runs"):
        answer = http.post(path, json={"deployment_id": "steps", "environment": "staging"})
        assert answer.status_code == 404
        assert refusal(answer) == "No running version found for staging environment"


def test_a_run_that_has_succeeded_has_its_output(http: httpx.Client) -> None:
    made = start(http)
    run = ended(http, made["run_id"])
    assert (run["id"], run["status"], run["thread_id"]) == (made["run_id"], "succeeded", None)
    assert (run["input"], run["output"]) == ({"n": 0}, {"n": 3, "log": ["a", "b", "c"]})
    assert run["error_message"] is None
    assert run["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


def test_a_run_that_has_failed_says_why_and_has_no_output(http: httpx.Client) -> None:
    run = ended(http, start(http, "failing", input={"x": "paper"})["run_id"])
    assert (run["status"], run["output"]) == ("failed", None)
    assert "boom: paper" in run["error_message"]


def test_a_run_shows_what_its_models_have_used(http: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}]}
    run = ended(http, start(http, "metered", input=body)["run_id"])
    assert run["usage"]["total_tokens"] > 0


def test_a_run_goes_from_pending_over_running_to_its_end(http: httpx.Client) -> None:
    run_id = start(http, "slow", input={"delay": 0.2})["run_id"]
    seen = ["pending"]
    while seen[-1] not in ENDED:
        run = get(http, run_id)
        if run["status"] != seen[-1]:
            seen.append(run["status"])
        if run["status"] not in ENDED:
            assert (run["output"], run["error_message"], run["completed_at"]) == (None, None, None)
    assert seen == ["pending", "running", "succeeded"]


def test_runs_execute_side_by_side_and_share_nothing(http: httpx.Client) -> None:
    numbers = range(0, 30, 10)
    with ThreadPoolExecutor(len(numbers)) as pool:
        made = list(pool.map(lambda n: start(http, input={"n": n})["run_id"], numbers))
    outputs = [ended(http, run_id)["output"] for run_id in made]
    assert outputs == [{"n": n + 3, "log": ["a", "b", "c"]} for n in numbers]


def test_runs_are_listed_the_newest_first_in_pages(http: httpx.Client) -> None:
    made = [start(http)["run_id"] for _ in range(3)][::-1]
    first = http.get("/v1/runs?limit=2").json()
    assert [run["id"] for run in first["runs"]] == made[:2]
    second = http.get("/v1/runs", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [run["id"] for run in second["runs"]] == made[2:]


def test_runs_are_listed_by_deployment_thread_and_status(http: httpx.Client) -> None:
    thread = thread_of(http, "failing")
    failed = ended(http, turn(http, thread, input={"x": "1"})["run_id"])
    for query in (
        {"thread_id": thread},
        {"thread_id": thread, "status": "failed", "deployment_id": failed["deployment_id"]},
        {"deployment_id": failed["deployment_id"], "limit": 1},
    ):
        assert http.get("/v1/runs", params=query).json()["runs"] == [failed]
    none = http.get("/v1/runs", params={"thread_id": thread, "status": "succeeded"}).json()
    assert none == {"runs": [], "next_cursor": None}


def test_a_run_is_cancelled_once(http: httpx.Client) -> None:
    run_id = start(http, "slow", input={"delay": 0.2})["run_id"]
    answer = http.post(f"/v1/runs/{run_id}/cancel")
    assert (answer.status_code, answer.json()["id"]) == (202, run_id)
    assert set(answer.json()) == RUN
    run = ended(http, run_id)
    assert (run["status"], run["output"], run["error_message"]) == ("canceled", None, None)
    again = http.post(f"/v1/runs/{run_id}/cancel")
    assert (again.status_code, run_id in refusal(again)) == (409, True)


def test_a_request_that_is_sent_again_has_no_second_effect(http: httpx.Client) -> None:
    thread = thread_of(http, "steps")
    for path, body in (
        ("/v1/runs", {"deployment_id": "steps", "input": {"n": 0}}),
        (f"/v1/threads/{thread}/runs", {"input": {"n": 0}}),
    ):
        key = {"Idempotency-Key": f"once on {path}"}
        first, again = (http.post(path, json=body, headers=key) for _ in range(2))
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json()["run_id"] == again.json()["run_id"]
        other = http.post(path, json={**body, "input": {"n": 7}}, headers=key)
        assert (other.status_code, bool(refusal(other))) == (409, True)
    assert len(http.get("/v1/runs", params={"thread_id": thread}).json()["runs"]) == 1


# ------------------------------------------------------------------ runs on a thread


def test_a_run_on_a_thread_names_it(http: httpx.Client) -> None:
    thread = thread_of(http, "steps")
    made = turn(http, thread, input={"n": 0}, environment="production")
    assert set(made) == {"run_id", "thread_id", "version_id", "version_number", "status"}
    assert (made["thread_id"], made["status"]) == (thread, "running")
    assert ended(http, made["run_id"])["thread_id"] == thread


def test_a_busy_thread_takes_no_other_run_until_its_run_has_ended(http: httpx.Client) -> None:
    thread = thread_of(http, "slow")
    first = turn(http, thread, input={"delay": 0.2})["run_id"]
    assert http.get(f"/v1/threads/{thread}").json()["status"] == "busy"
    second = http.post(f"/v1/threads/{thread}/runs", json={"input": {"delay": 0}})
    assert (second.status_code, first in refusal(second)) == (409, True)
    assert ended(http, first)["status"] == "succeeded"
    run = ended(http, turn(http, thread, input={"delay": 0})["run_id"])
    assert run["output"]["log"] == ["s0", "s1", "s2", "s3", "s4"] * 2


def test_a_thread_whose_run_has_failed_takes_the_next(http: httpx.Client) -> None:
    thread = thread_of(http, "failing")
    for _ in range(2):
        assert ended(http, turn(http, thread, input={"x": "1"})["run_id"])["status"] == "failed"
        assert http.get(f"/v1/threads/{thread}").json()["status"] == "error"


def test_an_open_question_is_replaced_by_an_input_and_answered_by_resume(http: httpx.Client) -> None:
    thread = thread_of(http, "approval")
    ended(http, turn(http, thread, input={"topic": "lunch"})["run_id"])
    ended(http, turn(http, thread, input={"topic": "dinner"})["run_id"])
    run = ended(http, turn(http, thread, resume="yes")["run_id"])
    assert (run["output"]["topic"], run["output"]["answer"]) == ("dinner", "yes")
    assert http.get(f"/v1/threads/{thread}").json()["status"] == "idle"


# ------------------------------------------------------------------ webhooks


@pytest.fixture
def table(service: ChildService) -> Table:
    """The table of the service."""
    cloud = re.search(r" at (http://127\.0\.0\.1:\d+)\n", service.log.read_text())
    assert cloud is not None
    dynamodb = client("dynamodb", endpoint_url=cloud[1], region=REGION, credentials=CREDENTIALS)
    (name,) = dynamodb.list_tables()["TableNames"]
    return Table(dynamodb, name)


def test_whoever_knows_the_url_starts_runs_with_the_body_as_their_input(
    http: httpx.Client, table: Table
) -> None:
    tokens = WebhookTokens(table, system_clock)
    made, token = tokens.create(TENANT, "steps")
    answer = http.post(f"/webhooks/runs/{token}", json={"n": 4})
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert set(answer.json()) == {"run_id", "version_id", "version_number", "status"}
    run = ended(http, answer.json()["run_id"])
    assert (run["input"], run["output"]["n"], run["thread_id"]) == ({"n": 4}, 7, None)
    tokens.revoke(TENANT, made.token_id)
    assert http.post(f"/webhooks/runs/{token}", json={"n": 4}).status_code == 404


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it: headers by lower-case name, and the body."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), _Hook)

    def about(self, run_id: str) -> tuple[dict[str, str], bytes] | None:
        return next((one for one in self.got if json.loads(one[1])["run_id"] == uuid(run_id)), None)


class _Hook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_end_of_a_deployments_runs_is_posted_and_signed(
    http: httpx.Client, table: Table, receiver: Receiver
) -> None:
    url = f"http://127.0.0.1:{receiver.server_port}/hook"

    def deployment(graph_id: str) -> str:
        body = {"graph_id": graph_id, "metadata": {"crewline_webhook": url}}
        made = http.post("/assistants", json=body).raise_for_status().json()
        return str(made["assistant_id"])

    good = start(http, deployment("steps"))["run_id"]
    bad = start(http, deployment("failing"))["run_id"]
    stopped = start(http, deployment("slow"), input={"delay": 0.2})["run_id"]
    http.post(f"/v1/runs/{stopped}/cancel")
    for run_id, event in ((good, "run.succeeded"), (bad, "run.failed"), (stopped, "run.canceled")):
        headers, body = until(partial(receiver.about, run_id), f"{event} of {run_id}")
        assert headers["x-crewship-event"] == event
        secret = table.get(keys.webhook_secret(TENANT))
        assert secret is not None
        key = base64.b64decode(secret["secret"].removeprefix("whsec_"))
        signed = f"{headers['x-crewship-delivery']}.{headers['x-crewship-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["x-crewship-signature"] == headers["webhook-signature"] == f"v1,{expected}"
        assert headers["x-crewship-delivery"] == headers["webhook-id"]
        assert headers["x-crewship-timestamp"] == headers["webhook-timestamp"]
