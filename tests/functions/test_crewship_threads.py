"""`/v1`: threads by the API of Crewship, over API Gateway events."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from crewline.local.proxy_events import lambda_context
from crewline.models.assistants import default_assistant_id
from crewline.models.public_ids import parse_public_id, public_id
from crewline.models.threads import MOST_METADATA_KEYS
from crewline.services import histories
from crewline.store.functions import Answered, Functions
from tests.functions.deployments import TENANT, Answer, Deployment, whole
from tests.functions.test_crewship_runs import STEPS, TIME, UNKNOWN

FIELDS = {"thread_id", "deployment_id", "status", "metadata", "values", "created_at", "updated_at"}


@pytest.fixture(autouse=True)
def _handed_over(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `api` hands over is answered by the crew function of this process."""

    def invoke(_: Functions, __: str, event: Any) -> Answered:
        reply = deployment.functions["crew"].answer(event, lambda_context("crew", "r"))
        return Answered(status=reply.status, headers=reply.headers, body=asyncio.run(whole(reply)))

    monkeypatch.setattr(Functions, "ask", invoke)


def made(deployment: Deployment, *, deployment_id: str = STEPS, **body: Any) -> Any:
    answer = deployment.request("POST", "/v1/threads", {"deployment_id": deployment_id, **body})
    assert answer.status == 201, answer.text
    return answer.json


def get(deployment: Deployment, thread_id: str) -> Any:
    answer = deployment.request("GET", f"/v1/threads/{thread_id}")
    assert answer.status == 200, answer.text
    return answer.json


def run(deployment: Deployment, thread_id: str, given: Any, *, crew: str = "steps", **body: Any) -> str:
    """Execute a run on a thread; its id."""
    path = f"/threads/{parse_public_id('thread', thread_id)}/runs"
    answer = deployment.request("POST", path, {"assistant_id": crew, "input": given, **body})
    assert answer.status == 200, answer.text
    deployment.work()
    return public_id("run", answer.json["run_id"])


def history(deployment: Deployment, thread_id: str, query: str = "") -> Any:
    answer = deployment.request("GET", f"/v1/threads/{thread_id}/history{query}")
    assert answer.status == 200, answer.text
    return answer.json


def found(deployment: Deployment, query: str, deployment_id: str = STEPS) -> list[str]:
    answer = deployment.request("GET", f"/v1/threads?deployment_id={deployment_id}{query}")
    assert answer.status == 200, answer.text
    assert set(answer.json) == {"threads"}
    return [one["thread_id"] for one in answer.json["threads"]]


def rollback(deployment: Deployment, thread_id: str, checkpoint_id: str) -> Answer:
    body = {"checkpoint_id": checkpoint_id}
    return deployment.request("POST", f"/v1/threads/{thread_id}/rollback", body)


# ------------------------------------------------------------------ make, read, change, delete


def test_a_thread_is_made_for_a_deployment_with_metadata_and_no_values(deployment: Deployment) -> None:
    thread = made(deployment, metadata={"user_id": "user_42", "channel": "web", "priority": "high"})
    assert set(thread) == FIELDS
    assert parse_public_id("thread", thread["thread_id"])
    assert thread == {
        "thread_id": thread["thread_id"],
        "deployment_id": STEPS,
        "status": "idle",
        "metadata": {"user_id": "user_42", "channel": "web", "priority": "high"},
        "values": None,
        "created_at": thread["created_at"],
        "updated_at": thread["updated_at"],
    }
    assert all(TIME.fullmatch(thread[name]) for name in ("created_at", "updated_at"))
    assert get(deployment, thread["thread_id"]) == thread
    assert get(deployment, parse_public_id("thread", thread["thread_id"])) == thread


@pytest.mark.parametrize("deployment_id", ["steps", default_assistant_id("steps")])
def test_a_threads_deployment_is_named_as_a_runs_is(deployment: Deployment, deployment_id: str) -> None:
    assert made(deployment, deployment_id=deployment_id)["deployment_id"] == STEPS


def test_a_thread_may_begin_with_values_and_waits_for_nothing(deployment: Deployment) -> None:
    thread = made(deployment, values={"n": 3, "log": ["x"]}, metadata={"user_id": "u"})
    assert (thread["status"], thread["values"]) == ("idle", {"n": 3, "log": ["x"]})
    assert (thread["metadata"], thread["deployment_id"]) == ({"user_id": "u"}, STEPS)
    assert get(deployment, thread["thread_id"]) == thread
    ((turn),) = history(deployment, thread["thread_id"])["checkpoints"]
    assert (turn["run_id"], turn["values"]) == (None, thread["values"])
    run(deployment, thread["thread_id"], {"n": 5})
    assert get(deployment, thread["thread_id"])["values"] == {"n": 8, "log": ["x", "a", "b", "c"]}


def test_a_repeated_request_makes_no_second_thread(deployment: Deployment) -> None:
    for values in (None, {"n": 1}):
        key = {"Idempotency-Key": str(uuid4())}
        body = {"deployment_id": STEPS, "values": values, "metadata": {"repeated": True}}
        first, again = (deployment.request("POST", "/v1/threads", body, headers=key) for _ in range(2))
        assert first.status == again.status == 201
        assert first.json == again.json
        other = deployment.request("POST", "/v1/threads", {**body, "metadata": {}}, headers=key)
        assert (other.status, other.json["error"]["code"]) == (409, "key_reused")


def test_a_thread_may_have_as_much_metadata_as_in_the_other_api(deployment: Deployment) -> None:
    metadata = {f"k{number}": number for number in range(MOST_METADATA_KEYS)}
    for values in (None, {"n": 1}):
        assert made(deployment, metadata=metadata, values=values)["metadata"] == metadata


def test_metadata_is_merged_and_what_names_the_crew_is_not_among_it(deployment: Deployment) -> None:
    thread_id = made(deployment, metadata={"a": 1, "b": 1})["thread_id"]
    answer = deployment.request("PATCH", f"/v1/threads/{thread_id}", {"metadata": {"b": 2}})
    assert (answer.status, answer.json["metadata"]) == (200, {"a": 1, "b": 2})
    assert answer.json == get(deployment, thread_id)
    body = {"metadata": {"assistant_id": "x"}}
    for refused in (
        deployment.request("PATCH", f"/v1/threads/{thread_id}", body),
        deployment.request("POST", "/v1/threads", {"deployment_id": STEPS, **body}),
    ):
        assert refused.status == 400
        assert "metadata: assistant_id: this is the service's own" in refused.message


def test_a_thread_is_deleted_by_hand_and_gone(deployment: Deployment) -> None:
    thread_id = made(deployment)["thread_id"]
    answer = deployment.request("DELETE", f"/v1/threads/{thread_id}")
    assert (answer.status, answer.text) == (204, "")
    assert deployment.request("GET", f"/v1/threads/{thread_id}").status == 404
    assert deployment.request("DELETE", f"/v1/threads/{thread_id}").status == 404


def test_a_thread_of_the_other_api_that_never_ran_has_no_deployment(deployment: Deployment) -> None:
    assert get(deployment, deployment.thread())["deployment_id"] is None


def test_a_thread_says_how_its_last_run_ended(deployment: Deployment) -> None:
    thread_id = made(deployment, deployment_id="failing")["thread_id"]
    run(deployment, thread_id, {"x": "y"}, crew="failing")
    assert get(deployment, thread_id)["status"] == "error"
    thread_id = made(deployment, deployment_id="approval")["thread_id"]
    run(deployment, thread_id, {"topic": "tea"}, crew="approval")
    assert get(deployment, thread_id)["status"] == "interrupted"


# ------------------------------------------------------------------ find


def test_threads_are_listed_by_deployment_page_by_page_the_newest_first(deployment: Deployment) -> None:
    approval = public_id("deployment", default_assistant_id("approval"))
    before = found(deployment, "", approval)
    ids = []
    for _ in range(3):
        deployment.world.clock.pass_(1_000)
        ids.append(made(deployment, deployment_id="approval")["thread_id"])
    assert found(deployment, "", approval) == [*ids[::-1], *before]
    assert found(deployment, "&limit=2", "approval") == ids[:0:-1]
    assert found(deployment, "&limit=1&offset=2", approval) == ids[:1]


def test_threads_are_found_by_status(deployment: Deployment) -> None:
    mark = str(uuid4())
    quiet, asked = (made(deployment, metadata={"mark": mark})["thread_id"] for _ in range(2))
    run(deployment, asked, {"n": 0}, interrupt_before=["b"])
    assert found(deployment, f"&metadata[mark]={mark}&status=idle") == [quiet]
    assert found(deployment, f"&metadata[mark]={mark}&status=interrupted") == [asked]


def test_threads_are_found_by_all_of_some_metadata(deployment: Deployment) -> None:
    mark = str(uuid4())
    one = made(deployment, metadata={"mark": mark, "user_id": "user_42", "n": 42})["thread_id"]
    deployment.world.clock.pass_(1)
    two = made(deployment, metadata={"mark": mark, "user_id": "user_43", "n": "42"})["thread_id"]
    assert found(deployment, f"&metadata[mark]={mark}") == [two, one]
    assert found(deployment, f"&metadata[mark]={mark}&metadata[user_id]=user_42") == [one]
    assert found(deployment, f"&metadata[mark]={mark}&metadata[user_id]=user_44") == []
    other = made(deployment, deployment_id="failing", metadata={"mark": mark})["thread_id"]
    assert found(deployment, f"&metadata[mark]={mark}", "failing") == [other]
    assert found(deployment, f"&metadata[mark]={mark}&metadata[assistant_id]=x", "failing") == [other]


def test_a_value_is_text_where_a_thread_has_it_so_and_else_what_it_spells(deployment: Deployment) -> None:
    mark = str(uuid4())
    number = made(deployment, metadata={"mark": mark, "n": 42, "vip": True})["thread_id"]
    wanted = f"&metadata[mark]={mark}"
    assert found(deployment, f"{wanted}&metadata[n]=42") == [number]
    assert found(deployment, f"{wanted}&metadata[vip]=true") == [number]
    text = made(deployment, metadata={"mark": mark, "n": "42"})["thread_id"]
    assert found(deployment, f"{wanted}&metadata[n]=42") == [text]
    assert found(deployment, f"{wanted}&metadata[n]=42&offset=1") == [], (
        "the page after the last that has the text"
    )


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "deployment_id is required"),
        ("?deployment_id=none", 404, "There is no deployment none"),
        (f"?deployment_id=thr_{UNKNOWN}", 400, "a deployment's id begins with dep_."),
        (f"?deployment_id=dep_{UNKNOWN}", 404, f"There is no deployment dep_{UNKNOWN}"),
        ("?deployment_id=steps&status=asleep", 400, "status"),
        ("?deployment_id=steps&limit=0", 400, "limit"),
        ("?deployment_id=steps&limit=101", 400, "limit"),
        ("?deployment_id=steps&metadata[a]=1&metadata[a]=2", 400, "metadata[a] comes 2 times"),
    ],
)
def test_a_list_that_is_not_possible_is_refused(
    deployment: Deployment, query: str, status: int, message: str
) -> None:
    answer = deployment.request("GET", f"/v1/threads{query}")
    assert answer.status == status, answer.text
    assert message in answer.message


# ------------------------------------------------------------------ history and rollback


def test_a_history_has_a_checkpoint_for_each_run_the_newest_first(deployment: Deployment) -> None:
    thread_id = made(deployment)["thread_id"]
    runs = [run(deployment, thread_id, {"n": n}) for n in range(3)]
    told = history(deployment, thread_id)
    assert set(told) == {"checkpoints", "next_cursor"}
    assert told["next_cursor"] is None
    turns = told["checkpoints"]
    assert {frozenset(turn) for turn in turns} == {
        frozenset(("checkpoint_id", "run_id", "values", "created_at"))
    }
    assert [turn["run_id"] for turn in turns] == runs[::-1]
    assert [turn["values"]["n"] for turn in turns] == [5, 4, 3]
    assert all(TIME.fullmatch(turn["created_at"]) for turn in turns)
    assert turns[0]["values"] == get(deployment, thread_id)["values"]
    every = history(deployment, thread_id, "?all=true&limit=100")["checkpoints"]
    assert len(every) == 15
    assert [turn for turn in every if turn in turns] == turns


def test_a_history_is_read_page_by_page(deployment: Deployment) -> None:
    thread_id = made(deployment)["thread_id"]
    runs = [run(deployment, thread_id, {"n": n}) for n in range(3)]
    first = history(deployment, thread_id, "?limit=2")
    assert [turn["run_id"] for turn in first["checkpoints"]] == runs[:0:-1]
    rest = history(deployment, thread_id, f"?limit=2&cursor={first['next_cursor']}")
    assert ([turn["run_id"] for turn in rest["checkpoints"]], rest["next_cursor"]) == (runs[:1], None)
    refused = deployment.request("GET", f"/v1/threads/{thread_id}/history?cursor=next")
    assert (refused.status, "cursor" in refused.message) == (400, True)


def test_a_long_run_makes_a_page_that_says_where_to_go_on(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread_id = made(deployment)["thread_id"]
    runs = [run(deployment, thread_id, {"n": n}) for n in range(2)]
    monkeypatch.setattr(histories, "MOST_LOOKED", 3)
    page = history(deployment, thread_id)
    seen = page["checkpoints"]
    while page["next_cursor"]:
        page = history(deployment, thread_id, f"?cursor={page['next_cursor']}")
        seen += page["checkpoints"]
    assert [turn["run_id"] for turn in seen] == runs[::-1]


def test_a_thread_is_rolled_back_and_its_history_goes_on(deployment: Deployment) -> None:
    thread_id = made(deployment)["thread_id"]
    for n in range(2):
        run(deployment, thread_id, {"n": n})
    wrong, good = history(deployment, thread_id)["checkpoints"]
    answer = rollback(deployment, thread_id, good["checkpoint_id"])
    assert answer.status == 200, answer.text
    assert (answer.json["values"], answer.json["status"]) == (good["values"], "idle")
    assert answer.json == get(deployment, thread_id)
    now = history(deployment, thread_id)["checkpoints"]
    assert now[1:] == [wrong, good]
    assert (now[0]["run_id"], now[0]["values"]) == (None, good["values"])
    run(deployment, thread_id, {"n": 10})
    assert get(deployment, thread_id)["values"] == {"n": 13, "log": [*"abcabc"]}


def test_a_thread_is_rolled_back_to_what_it_has_and_not_while_it_is_busy(deployment: Deployment) -> None:
    thread_id, other = made(deployment)["thread_id"], made(deployment)["thread_id"]
    run(deployment, thread_id, {"n": 0})
    (turn,) = history(deployment, thread_id)["checkpoints"]
    elsewhere = rollback(deployment, other, turn["checkpoint_id"])
    assert elsewhere.status == 404
    assert f"Thread {other} has no checkpoint {turn['checkpoint_id']}" in elsewhere.message
    assert rollback(deployment, thread_id, str(uuid4())).status == 404
    assert rollback(deployment, f"thr_{UNKNOWN}", turn["checkpoint_id"]).status == 404
    assert rollback(deployment, thread_id, "turn 4").status == 400
    path = f"/threads/{parse_public_id('thread', thread_id)}/runs"
    busy = deployment.request("POST", path, {"assistant_id": "steps", "input": {"n": 0}}).json["run_id"]
    refused = rollback(deployment, thread_id, turn["checkpoint_id"])
    assert refused.status == 409
    assert f"Thread {thread_id} is busy with run {public_id('run', busy)}" in refused.message
    deployment.work()


# ------------------------------------------------------------------ copy, and what is not there


def test_a_copy_has_state_history_and_metadata_and_goes_its_own_way(deployment: Deployment) -> None:
    thread_id = made(deployment, metadata={"user_id": "u"})["thread_id"]
    run(deployment, thread_id, {"n": 0})
    key = {"Idempotency-Key": str(uuid4())}
    answer = deployment.request("POST", f"/v1/threads/{thread_id}/copy", {}, headers=key)
    assert (answer.status, set(answer.json)) == (201, FIELDS)
    copied = answer.json
    assert copied["thread_id"] != thread_id
    assert copied["metadata"]["user_id"] == "u"
    assert history(deployment, copied["thread_id"]) == history(deployment, thread_id)
    run(deployment, copied["thread_id"], {"n": 0})
    assert len(history(deployment, thread_id)["checkpoints"]) == 1
    again = deployment.request("POST", f"/v1/threads/{thread_id}/copy", {}, headers=key)
    assert again.json["thread_id"] == copied["thread_id"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("GET", "/history", None),
        ("POST", "/copy", {}),
        ("POST", "/rollback", {"checkpoint_id": str(uuid4())}),
    ],
)
def test_a_thread_that_is_not_there_is_not_found(
    deployment: Deployment, method: str, path: str, body: Any
) -> None:
    answer = deployment.request(method, f"/v1/threads/thr_{UNKNOWN}{path}", body)
    assert answer.status == 404
    assert answer.message == f"There is no thread thr_{UNKNOWN}; POST /v1/threads makes one."
    wrong = deployment.request(method, f"/v1/threads/run_{UNKNOWN}{path}", body)
    assert wrong.status == 400
    assert wrong.message == f"'run_{UNKNOWN}' is a run's id; a thread's id begins with thr_."


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "deployment_id is required"),
        ({"deployment_id": "none"}, 404, "There is no deployment none"),
        ({"deployment_id": f"dep_{UNKNOWN}"}, 404, f"There is no deployment dep_{UNKNOWN}"),
        ({"deployment_id": "none", "values": {"n": 1}}, 404, "There is no deployment none"),
        ({"deployment_id": "steps", "metadata": "x"}, 400, "metadata: "),
        ({"deployment_id": "steps", "values": [1]}, 400, "values: "),
        (
            {"deployment_id": "steps", "values": {"m": 1}},
            400,
            "The crew's state has no m; its state has n, log.",
        ),
    ],
)
def test_a_thread_that_cannot_be_made_is_refused(
    deployment: Deployment, body: Any, status: int, message: str
) -> None:
    before = deployment.world.items()
    answer = deployment.request("POST", "/v1/threads", body)
    assert answer.status == status, answer.text
    assert message in answer.message
    assert deployment.world.items() == before


def test_a_thread_is_of_its_tenant(deployment: Deployment) -> None:
    thread_id = made(deployment, values={"n": 1})["thread_id"]
    thread, _ = deployment.world.threads.read(TENANT, parse_public_id("thread", thread_id))
    assert thread.metadata["graph_id"] == "steps"
