"""`/v1`: runs by the API of Crewship, which are the same runs in other words."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest

from crewline.errors import Unavailable
from crewline.models.assistants import default_assistant_id
from crewline.models.public_ids import parse_public_id, public_id
from crewline.services.versions import Versions
from crewline.settings import UNDEPLOYED
from tests.functions.deployments import TENANT, Answer, Deployment

STEPS = public_id("deployment", default_assistant_id("steps"))
UNKNOWN = "0199c7a0000040008000" + "00000000dead"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture(scope="module", autouse=True)
def _numbered(deployment: Deployment) -> None:
    """The first request that starts a run has numbered the build."""
    assert deployment.world.versions.number(UNDEPLOYED) == 1


def start(deployment: Deployment, **body: Any) -> str:
    """Start a run and give its id."""
    answer = deployment.request("POST", "/v1/runs", {"deployment_id": STEPS, "input": {"n": 0}, **body})
    assert answer.status == 202, answer.text
    run_id: str = answer.json["run_id"]
    return run_id


def get(deployment: Deployment, run_id: str) -> Any:
    answer = deployment.request("GET", f"/v1/runs/{run_id}")
    assert answer.status == 200, answer.text
    return answer.json


def core(deployment: Deployment, run_id: str) -> Any:
    """The run as the core has it."""
    return deployment.world.runs.find(TENANT, parse_public_id("run", run_id))


# ------------------------------------------------------------------ starting


def test_a_run_is_accepted_and_said_to_be_running(deployment: Deployment) -> None:
    answer = deployment.request("POST", "/v1/runs", {"deployment_id": STEPS, "input": {"n": 0}})
    made = answer.json
    assert (answer.status, set(made)) == (202, {"run_id", "version_id", "version_number", "status"})
    assert (made["version_id"], made["version_number"]) == (f"ver_{UNDEPLOYED}", 1)
    assert made["status"] == "running"
    assert core(deployment, made["run_id"]).status == "pending"
    deployment.work()


@pytest.mark.parametrize("deployment_id", [STEPS, "steps", default_assistant_id("steps")])
def test_a_deployment_is_named_by_its_id_or_as_its_crew(deployment: Deployment, deployment_id: str) -> None:
    assert get(deployment, start(deployment, deployment_id=deployment_id))["deployment_id"] == STEPS
    deployment.work()


def test_a_run_without_input_has_an_empty_one(deployment: Deployment) -> None:
    run_id = start(deployment, input=None)
    deployment.work()
    run = get(deployment, run_id)
    assert (run["status"], run["input"], run["output"]["log"]) == ("succeeded", {}, ["a", "b", "c"])


def test_its_log_can_be_told_as_events(deployment: Deployment) -> None:
    asked = core(deployment, start(deployment)).kwargs
    assert (asked["stream_mode"], asked["subgraphs"]) == (["steps", "custom"], True)
    deployment.work()


def test_a_repeated_request_starts_no_second_run(deployment: Deployment) -> None:
    body, key = {"deployment_id": STEPS, "input": {"n": 0}}, {"Idempotency-Key": "crewship-1"}
    first = deployment.request("POST", "/v1/runs", body, headers=key)
    again = deployment.request("POST", "/v1/runs", body, headers=key)
    assert (again.status, again.json) == (202, first.json)
    deployment.work()
    ended = deployment.request("POST", "/v1/runs", body, headers=key)
    assert ended.json == {**first.json, "status": "succeeded"}
    other = deployment.request("POST", "/v1/runs", {**body, "input": {"n": 1}}, headers=key)
    assert (other.status, "with another body" in other.message) == (409, True)


def test_no_run_is_started_whose_version_cannot_be_told(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Unavailable("DynamoDB did not answer.")

    monkeypatch.setattr(Versions, "number", fail)
    thread = thread_of(deployment, "steps")
    _, token = deployment.world.webhook_tokens.create(TENANT, "steps")
    before = deployment.world.items()
    for path in ("/v1/runs", f"/v1/threads/{thread}/runs", f"/webhooks/runs/{token}"):
        answer = deployment.request("POST", path, {"deployment_id": STEPS, "input": {}})
        assert (answer.status, bool(answer.message)) == (503, True)
    assert deployment.world.items() == before


# ------------------------------------------------------------------ reading


def test_a_run_goes_from_pending_to_succeeded(deployment: Deployment) -> None:
    run_id = start(deployment)
    before = get(deployment, run_id)
    assert before == {
        "id": run_id,
        "version_id": f"ver_{UNDEPLOYED}",
        "deployment_id": STEPS,
        "thread_id": None,
        "status": "pending",
        "input": {"n": 0},
        "output": None,
        "error_message": None,
        "usage": None,
        "created_at": before["created_at"],
        "started_at": None,
        "completed_at": None,
    }
    deployment.work()
    after = get(deployment, run_id)
    assert after == {
        **before,
        "status": "succeeded",
        "output": {"n": 3, "log": ["a", "b", "c"]},
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0},
        "started_at": after["started_at"],
        "completed_at": after["completed_at"],
    }
    times = [after[name] for name in ("created_at", "started_at", "completed_at")]
    assert all(TIME.fullmatch(time) for time in times)
    assert times == sorted(times)


def test_a_run_that_fails_says_why_and_has_no_output(deployment: Deployment) -> None:
    run_id = start(deployment, deployment_id="failing", input={"n": 0})
    deployment.work()
    run = get(deployment, run_id)
    assert (run["status"], run["output"]) == ("failed", None)
    assert run["error_message"] == core(deployment, run_id).error.message != ""


def test_a_run_of_a_thread_names_it(deployment: Deployment) -> None:
    thread = deployment.thread()
    body = {"assistant_id": "steps", "input": {"n": 0}}
    run_id = deployment.request("POST", f"/threads/{thread}/runs", body).json["run_id"]
    deployment.work()
    run = get(deployment, run_id)
    assert run == get(deployment, public_id("run", run_id))
    assert run["thread_id"] == public_id("thread", thread)


# ------------------------------------------------------------------ on a thread


def run_on(deployment: Deployment, thread: str, body: Any, **more: Any) -> Answer:
    return deployment.request("POST", f"/v1/threads/{public_id('thread', thread)}/runs", body, **more)


def thread_of(deployment: Deployment, assistant: str) -> str:
    """Make a thread for an assistant."""
    return deployment.thread(metadata={"assistant_id": default_assistant_id(assistant)})


def test_a_run_on_a_thread_is_of_the_threads_deployment(deployment: Deployment) -> None:
    thread = thread_of(deployment, "steps")
    answer = run_on(deployment, thread, {"input": {"n": 0}})
    assert answer.status == 202
    assert answer.json == {
        "run_id": answer.json["run_id"],
        "thread_id": public_id("thread", thread),
        "version_id": f"ver_{UNDEPLOYED}",
        "version_number": 1,
        "status": "running",
    }
    deployment.work()
    run = get(deployment, answer.json["run_id"])
    assert (run["deployment_id"], run["thread_id"]) == (STEPS, public_id("thread", thread))
    assert run["output"]["log"] == ["a", "b", "c"]


def test_the_next_turn_goes_on_from_the_last(deployment: Deployment) -> None:
    thread = thread_of(deployment, "steps")
    for _ in range(2):
        answer = run_on(deployment, thread, {"input": {"n": 0}})
        deployment.work()
    assert get(deployment, answer.json["run_id"])["output"]["log"] == ["a", "b", "c"] * 2


def test_a_thread_without_a_deployment_needs_a_run_that_names_one(deployment: Deployment) -> None:
    for metadata in ({}, {"assistant_id": 7}):
        thread = deployment.thread(metadata=metadata)
        refused = run_on(deployment, thread, {"input": {"n": 0}})
        assert refused.status == 400
        assert refused.message == (
            f"Thread {public_id('thread', thread)} was made for no deployment, so the run has to name one: "
            "send deployment_id."
        )
        assert run_on(deployment, thread, {"input": {"n": 0}, "deployment_id": STEPS}).status == 202
        deployment.work()


def test_a_busy_thread_takes_no_second_run(deployment: Deployment) -> None:
    thread = thread_of(deployment, "steps")
    key = {"Idempotency-Key": "crewship-2"}
    first = run_on(deployment, thread, {"input": {"n": 0}}, headers=key)
    before = deployment.world.items()
    refused = run_on(deployment, thread, {"input": {"n": 0}})
    assert (refused.status, refused.json["error"]["code"]) == (409, "thread_busy")
    assert first.json["run_id"] in refused.message
    assert deployment.world.items() == before
    assert run_on(deployment, thread, {"input": {"n": 0}}, headers=key).json == first.json
    deployment.work()
    assert run_on(deployment, thread, {"input": {"n": 0}}).status == 202
    deployment.work()


def test_an_open_question_is_answered_or_replaced(deployment: Deployment) -> None:
    thread = thread_of(deployment, "approval")
    asked = run_on(deployment, thread, {"input": {"topic": "a"}})
    deployment.work()
    run = get(deployment, asked.json["run_id"])
    assert (run["status"], "__interrupt__" in run["output"]) == ("succeeded", True)
    assert run_on(deployment, thread, {"input": {"topic": "b"}}).status == 202
    deployment.work()
    both = run_on(deployment, thread, {"resume": "yes", "input": {"topic": "c"}})
    assert (both.status, "and not both" in both.message) == (400, True)
    answered = run_on(deployment, thread, {"resume": "yes"})
    deployment.work()
    run = get(deployment, answered.json["run_id"])
    assert (run["status"], run["output"]["topic"]) == ("succeeded", "b")
    assert "__interrupt__" not in run["output"]
    nothing = run_on(deployment, thread, {"resume": None})
    assert (nothing.status, "nothing to resume" in nothing.message) == (400, True)


def test_a_run_that_failed_goes_on_without_input(deployment: Deployment) -> None:
    thread = thread_of(deployment, "failing")
    for body in ({"input": {"n": 0}}, {}):
        run_id = run_on(deployment, thread, body).json["run_id"]
        deployment.work()
        assert get(deployment, run_id)["status"] == "failed"
        state = deployment.request("GET", f"/threads/{thread}/state").json
        assert state["next"] == ["boom"]  # what succeeded before is not done again


def test_a_thread_that_nothing_has_run_on_needs_an_input(deployment: Deployment) -> None:
    thread = thread_of(deployment, "steps")
    for body in ({}, {"input": None}):
        answer = run_on(deployment, thread, body)
        assert answer.status == 400
        assert answer.message.startswith(f"Thread {public_id('thread', thread)} has nothing to go on from")
    begun = run_on(deployment, thread, {"input": {}})
    assert begun.status == 202
    busy = run_on(deployment, thread, {})
    assert (busy.status, "is busy with run" in busy.message) == (409, True)
    deployment.work()
    assert run_on(deployment, thread, {}).status == 202
    deployment.work()


def test_a_thread_that_is_not_there_is_not_found(deployment: Deployment) -> None:
    for body in ({}, {"deployment_id": "steps"}):
        answer = run_on(deployment, str(UUID(UNKNOWN)), body)
        assert answer.status == 404
        assert answer.message == f"There is no thread thr_{UNKNOWN}; POST /v1/threads makes one."
    wrong = deployment.request("POST", f"/v1/threads/run_{UNKNOWN}/runs", {})
    assert (wrong.status, "is a run's id" in wrong.message) == (400, True)
    elsewhere = run_on(deployment, deployment.thread(), {"environment": "staging"})
    assert (elsewhere.status, elsewhere.message) == (
        404,
        "No running version found for staging environment",
    )


# ------------------------------------------------------------------ lists


def listed(deployment: Deployment, query: str = "") -> Any:
    answer = deployment.request("GET", f"/v1/runs?{query}")
    assert answer.status == 200, answer.text
    return answer.json


def test_runs_are_listed_the_newest_first_page_by_page(deployment: Deployment) -> None:
    made = [start(deployment) for _ in range(3)]
    deployment.work()
    page = listed(deployment, "limit=2")
    assert page == {"runs": [get(deployment, one) for one in made[:0:-1]], "next_cursor": made[1]}
    assert listed(deployment, f"limit=1&cursor={page['next_cursor']}")["runs"][0]["id"] == made[0]
    assert page["runs"][0]["output"]["log"] == ["a", "b", "c"]


def test_runs_are_filtered(deployment: Deployment) -> None:
    thread = thread_of(deployment, "failing")
    run_id = run_on(deployment, thread, {"input": {"x": "1"}}).json["run_id"]
    deployment.work()
    public = public_id("thread", thread)
    for query in (
        f"thread_id={public}",
        f"thread_id={thread}&status=failed",
        "status=failed&limit=1",
        "deployment_id=failing&limit=1",
        f"deployment_id={public_id('deployment', default_assistant_id('failing'))}&limit=1",
    ):
        assert [run["id"] for run in listed(deployment, query)["runs"]] == [run_id]
    assert listed(deployment, f"thread_id={public}&status=succeeded") == {"runs": [], "next_cursor": None}
    assert listed(deployment, f"deployment_id=dep_{UNKNOWN}")["runs"] == []


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("limit=0", 400, "limit"),
        ("limit=101", 400, "limit"),
        ("status=success", 400, "status"),
        ("cursor=x", 400, "'x' is no run's id"),
        (f"thread_id=run_{UNKNOWN}", 400, "is a run's id; a thread's id begins with thr_."),
        (f"thread_id={UNKNOWN}", 404, f"There is no thread thr_{UNKNOWN}"),
        ("deployment_id=none", 404, "There is no deployment none"),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(
    deployment: Deployment, query: str, status: int, message: str
) -> None:
    answer = deployment.request("GET", f"/v1/runs?{query}")
    assert (answer.status, message in answer.message) == (status, True), answer.text


# ------------------------------------------------------------------ cancelling


def test_a_run_is_cancelled(deployment: Deployment) -> None:
    run_id = start(deployment)
    answer = deployment.request("POST", f"/v1/runs/{run_id}/cancel")
    run = answer.json
    assert (answer.status, run) == (202, get(deployment, run_id))
    assert (run["id"], run["status"], run["output"], run["error_message"]) == (run_id, "canceled", None, None)
    again = deployment.request("POST", f"/v1/runs/{run_id}/cancel")
    assert (again.status, run_id in again.message) == (409, True)
    deployment.work()
    assert get(deployment, run_id)["status"] == "canceled"
    unknown = deployment.request("POST", f"/v1/runs/run_{UNKNOWN}/cancel")
    assert (unknown.status, "There is no run" in unknown.message) == (404, True)


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "deployment_id is required"),
        ({"deployment_id": 7}, 400, "deployment_id: input should be a valid string"),
        ({"deployment_id": "steps", "input": [1]}, 400, "input: input should be a valid dictionary"),
        ({"deployment_id": "steps", "environment": "moon"}, 404, "No running version found for moon environment"),
        ({"deployment_id": "none"}, 404, "There is no deployment none"),
        ({"deployment_id": f"thr_{UNKNOWN}"}, 400, "is a thread's id; a deployment's id begins with dep_."),
        ({"deployment_id": f"dep_{UNKNOWN}"}, 404, f"There is no deployment dep_{UNKNOWN}; POST /assistants/search"),
        (
            {"deployment_id": "steps", "environment": "staging"},
            404,
            "No running version found for staging environment",
        ),
        ("{", 400, "The body is not valid JSON"),
        ("[]", 400, "The body must be a JSON object"),
    ],
)  # fmt: skip
def test_what_cannot_be_started_is_refused(
    deployment: Deployment, body: Any, status: int, message: str
) -> None:
    before = deployment.world.items()
    answer = deployment.request("POST", "/v1/runs", body)
    assert answer.status == status, answer.text
    assert message in answer.message
    assert deployment.world.items() == before


@pytest.mark.parametrize(
    ("run_id", "status", "message"),
    [
        (f"run_{UNKNOWN}", 404, f"There is no run run_{UNKNOWN}"),
        (UNKNOWN, 404, f"There is no run {UNKNOWN}"),
        (f"thr_{UNKNOWN}", 400, f"'thr_{UNKNOWN}' is a thread's id; a run's id begins with run_."),
        ("latest", 400, "'latest' is no run's id, which is run_ and 32 hexadecimal digits."),
    ],
)
def test_a_run_that_is_not_there_is_not_found(
    deployment: Deployment, run_id: str, status: int, message: str
) -> None:
    answer = deployment.request("GET", f"/v1/runs/{run_id}")
    assert answer.status == status
    assert message in answer.message


def test_every_refusal_has_the_shape_of_this_api(deployment: Deployment) -> None:
    _, reader = deployment.world.api_keys.create(TENANT, ["read"])
    body = {"deployment_id": STEPS}
    refused: list[tuple[int, Answer]] = [
        (404, deployment.request("GET", "/v1/nothing/here")),
        (405, deployment.request("PUT", "/v1/runs", body)),
        (401, deployment.request("POST", "/v1/runs", body, headers={"x-api-key": "hunter2"})),
        (403, deployment.request("POST", "/v1/runs", body, headers={"x-api-key": reader})),
        (413, deployment.request("POST", "/v1/runs", {**body, "input": {"topic": "x" * 60_000}})),
    ]
    for status, answer in refused:
        assert answer.status == status
        assert answer.message
