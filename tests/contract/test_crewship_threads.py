"""The API of Crewship, through the front door: threads, what they have been, and what runs do as they do it."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.contract.test_crewship import NOBODY, TIME, ended, refusal, start, thread_of, turn

THREAD = {"thread_id", "deployment_id", "status", "metadata", "values", "created_at", "updated_at"}


def made(http: httpx.Client, deployment: str = "steps", **body: Any) -> Any:
    answer = http.post("/v1/threads", json={"deployment_id": deployment, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def shown(http: httpx.Client, thread_id: str) -> Any:
    return http.get(f"/v1/threads/{thread_id}").raise_for_status().json()


def taken(http: httpx.Client, thread_id: str, *numbers: int) -> list[str]:
    """Take some turns on a thread; the runs."""
    runs = []
    for n in numbers:
        runs.append(turn(http, thread_id, input={"n": n})["run_id"])
        assert ended(http, runs[-1])["status"] == "succeeded"
    return runs


def past(http: httpx.Client, thread_id: str, **query: Any) -> Any:
    return http.get(f"/v1/threads/{thread_id}/history", params=query).raise_for_status().json()


def found(http: httpx.Client, deployment: str = "steps", **query: Any) -> list[str]:
    answer = http.get("/v1/threads", params={"deployment_id": deployment, **query}).raise_for_status()
    assert set(answer.json()) == {"threads"}
    return [one["thread_id"] for one in answer.json()["threads"]]


# ------------------------------------------------------------------ threads


def test_a_thread_is_made_idle_with_its_metadata_and_without_values(http: httpx.Client) -> None:
    metadata = {"user_id": "user_42", "channel": "web", "priority": "high"}
    thread = made(http, metadata=metadata)
    assert set(thread) == THREAD
    assert (thread["status"], thread["metadata"], thread["values"]) == ("idle", metadata, None)
    assert thread["deployment_id"].startswith("dep_")
    assert all(TIME.fullmatch(thread[name]) for name in ("created_at", "updated_at"))
    assert shown(http, thread["thread_id"]) == thread


def test_a_thread_begins_with_values_that_its_crew_reads_and_writes(http: httpx.Client) -> None:
    thread = made(http, values={"n": 5, "log": ["x"]})
    assert (thread["status"], thread["values"]) == ("idle", {"n": 5, "log": ["x"]})
    (run,) = taken(http, thread["thread_id"], 7)
    assert shown(http, thread["thread_id"])["values"] == {"n": 10, "log": ["x", "a", "b", "c"]}
    assert ended(http, run)["output"] == {"n": 10, "log": ["x", "a", "b", "c"]}


def test_a_thread_needs_a_deployment(http: httpx.Client) -> None:
    for answer in (http.post("/v1/threads", json={}), http.get("/v1/threads")):
        assert (answer.status_code, refusal(answer)) == (400, "deployment_id is required")


def test_threads_are_listed_by_status_in_pages(http: httpx.Client) -> None:
    mark = {"metadata[mark]": str(uuid.uuid4())}
    metadata = {"mark": mark["metadata[mark]"]}
    ids = [made(http, "approval", metadata=metadata)["thread_id"] for _ in range(3)][::-1]
    ended(http, turn(http, ids[0], input={"topic": "tea"})["run_id"])
    assert found(http, "approval", **mark) == ids
    assert found(http, "approval", limit=2, **mark) == ids[:2]
    assert found(http, "approval", limit=2, offset=2, **mark) == ids[2:]
    assert found(http, "approval", status="interrupted", **mark) == ids[:1]
    assert found(http, "approval", status="idle", **mark) == ids[1:]
    assert found(http, "steps", **mark) == []


def test_threads_are_found_by_all_of_the_metadata_that_is_named(http: httpx.Client) -> None:
    user = str(uuid.uuid4())
    web, mail = (
        made(http, metadata={"user_id": user, "channel": channel, "n": 1})["thread_id"]
        for channel in ("web", "e mail&more")
    )
    wanted = {"metadata[user_id]": user}
    assert found(http, **wanted) == [mail, web]
    assert found(http, **wanted, **{"metadata[channel]": "web"}) == [web]
    assert found(http, **wanted, **{"metadata[channel]": "e mail&more", "metadata[n]": "1"}) == [mail]


def test_metadata_is_changed_apart_from_values_and_a_thread_deleted_by_hand(http: httpx.Client) -> None:
    thread_id = made(http, metadata={"a": 1}, values={"n": 1})["thread_id"]
    changed = http.patch(f"/v1/threads/{thread_id}", json={"metadata": {"b": 2}})
    assert (changed.status_code, changed.json()["metadata"]) == (200, {"a": 1, "b": 2})
    assert changed.json()["values"] == {"n": 1, "log": []}
    assert http.delete(f"/v1/threads/{thread_id}").status_code == 204
    gone = http.get(f"/v1/threads/{thread_id}")
    assert (gone.status_code, thread_id in refusal(gone)) == (404, True)


def test_a_copy_goes_its_own_way(http: httpx.Client) -> None:
    thread_id = thread_of(http, "steps")
    taken(http, thread_id, 0)
    answer = http.post(f"/v1/threads/{thread_id}/copy")
    assert (answer.status_code, set(answer.json())) == (201, THREAD)
    copied = answer.json()["thread_id"]
    assert past(http, copied) == past(http, thread_id)
    taken(http, copied, 1)
    assert [len(past(http, one)["checkpoints"]) for one in (thread_id, copied)] == [1, 2]


def test_a_thread_is_made_or_copied_once_for_a_key(http: httpx.Client) -> None:
    thread_id = thread_of(http, "steps")
    for path, body in (
        ("/v1/threads", {"deployment_id": "steps"}),
        ("/v1/threads", {"deployment_id": "steps", "values": {"n": 1}}),
        (f"/v1/threads/{thread_id}/copy", None),
    ):
        key = {"Idempotency-Key": str(uuid.uuid4())}
        first, again = (http.post(path, json=body, headers=key) for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json()["thread_id"] == again.json()["thread_id"]


# ------------------------------------------------------------------ what they have been


def test_a_history_has_one_checkpoint_for_each_run_the_newest_first(http: httpx.Client) -> None:
    thread_id = thread_of(http, "steps")
    runs = taken(http, thread_id, 0, 10)
    history = past(http, thread_id)
    assert history["next_cursor"] is None
    assert {frozenset(one) for one in history["checkpoints"]} == {
        frozenset(("checkpoint_id", "run_id", "values", "created_at"))
    }
    assert [(one["run_id"], one["values"]["n"]) for one in history["checkpoints"]] == [
        (runs[1], 13),
        (runs[0], 3),
    ]
    every = past(http, thread_id, all="true")["checkpoints"]
    assert len(every) == 10
    assert {one["run_id"] for one in every} == set(runs)


def test_a_history_is_read_in_pages(http: httpx.Client) -> None:
    thread_id = thread_of(http, "steps")
    runs = taken(http, thread_id, 0, 1, 2)
    first = past(http, thread_id, limit=2)
    rest = past(http, thread_id, limit=2, cursor=first["next_cursor"])
    assert [one["run_id"] for page in (first, rest) for one in page["checkpoints"]] == runs[::-1]
    assert rest["next_cursor"] is None


def test_a_thread_is_rolled_back_by_a_new_checkpoint(http: httpx.Client) -> None:
    thread_id = thread_of(http, "steps")
    taken(http, thread_id, 0, 10)
    wrong, good = past(http, thread_id)["checkpoints"]
    answer = http.post(f"/v1/threads/{thread_id}/rollback", json={"checkpoint_id": good["checkpoint_id"]})
    assert (answer.status_code, set(answer.json())) == (200, THREAD)
    assert (answer.json()["status"], answer.json()["values"]) == ("idle", good["values"])
    newest, *before = past(http, thread_id)["checkpoints"]
    assert (newest["run_id"], newest["values"], before) == (None, good["values"], [wrong, good])


def test_a_question_is_answered_again_after_a_rollback(http: httpx.Client) -> None:
    thread_id = thread_of(http, "approval")
    ended(http, turn(http, thread_id, input={"topic": "tea"})["run_id"])
    (asked,) = past(http, thread_id)["checkpoints"]
    assert ended(http, turn(http, thread_id, resume="yes")["run_id"])["output"]["answer"] == "yes"
    body = {"checkpoint_id": asked["checkpoint_id"]}
    rolled = http.post(f"/v1/threads/{thread_id}/rollback", json=body).raise_for_status().json()
    assert rolled["status"] == "interrupted"
    assert ended(http, turn(http, thread_id, resume="no")["run_id"])["output"]["answer"] == "no"


def test_a_rollback_needs_a_checkpoint_of_the_thread_and_nobody_at_work(http: httpx.Client) -> None:
    thread_id, path = (one := thread_of(http, "slow")), f"/v1/threads/{one}/rollback"
    assert http.post(path, json={"checkpoint_id": str(uuid.uuid4())}).status_code == 404
    assert http.post(path, json={}).status_code == 400
    run_id = turn(http, thread_id, input={"delay": 0.2})["run_id"]
    busy = http.post(path, json={"checkpoint_id": str(uuid.uuid4())})
    assert busy.status_code == 404  # said first: waiting would not help
    ended(http, run_id)
    (left,) = past(http, thread_id)["checkpoints"]
    again = turn(http, thread_id, input={"delay": 0.2})["run_id"]
    refused = http.post(path, json={"checkpoint_id": left["checkpoint_id"]})
    assert (refused.status_code, again in refusal(refused)) == (409, True)
    ended(http, again)


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/history"),
        ("POST", "/copy"),
        ("POST", "/rollback"),
    ],
)
def test_a_thread_that_is_not_there_is_not_found(http: httpx.Client, method: str, rest: str) -> None:
    body = {"metadata": {}, "checkpoint_id": str(uuid.uuid4())} if method in ("PATCH", "POST") else None
    answer = http.request(method, f"/v1/threads/thr_{NOBODY}{rest}", json=body)
    assert (answer.status_code, f"thr_{NOBODY}" in refusal(answer)) == (404, True)
    assert http.request(method, f"/v1/threads/run_{NOBODY}{rest}", json=body).status_code == 400


# ------------------------------------------------------------------ events


@contextmanager
def following(
    http: httpx.Client, run_id: str, after: str | None = None
) -> Iterator[Iterator[tuple[Any, str]]]:
    """Follow a run as a browser does: the data and the id of each event."""
    headers = {"Last-Event-ID": after} if after else {}
    with http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in answer.iter_lines() if line)
        yield (
            (json.loads(data.removeprefix("data: ")), ident.removeprefix("id: "))
            for data, ident in itertools.zip_longest(lines, lines, fillvalue="")
        )


def told(http: httpx.Client, run_id: str, after: str | None = None) -> list[tuple[Any, str]]:
    with following(http, run_id, after) as events:
        return list(events)


def types(events: list[tuple[Any, str]]) -> list[str]:
    return [event["type"] for event, _ in events]


def test_a_run_is_told_while_it_executes_and_the_stream_ends_with_it(http: httpx.Client) -> None:
    run_id = start(http, "slow", input={"delay": 0.2})["run_id"]
    with following(http, run_id) as events:
        first = [next(events), next(events)]
        assert http.get(f"/v1/runs/{run_id}").json()["status"] == "running"
        rest = list(events)
    assert types(first) == ["run.started", "task.started"]
    assert first[0][0]["data"]["run_id"] == run_id
    begun = first[1][0]["data"]
    assert (begun["task"], begun["agent"]) == ("s0", "slow")
    done, end = rest[0][0], rest[-1][0]
    assert (done["type"], done["data"]["id"], done["data"]["output"]) == (
        "task.completed",
        begun["id"],
        {"log": ["s0"]},
    )
    assert done["data"]["duration_ms"] >= 150
    assert (end["type"], end["data"]["status"]) == ("run.completed", "succeeded")
    assert end["data"]["output"]["log"] == ["s0", "s1", "s2", "s3", "s4"]
    assert end["data"]["duration_ms"] >= 5 * 150


def test_whoever_comes_later_is_told_the_same_and_whoever_comes_back_the_rest(http: httpx.Client) -> None:
    run_id = start(http, "story", input={"messages": [{"role": "user", "content": "tell"}]})["run_id"]
    live = told(http, run_id)
    assert told(http, run_id) == live
    ids = [ident for _, ident in live]
    assert len(set(ids)) == len(ids)
    for count in (1, len(ids) // 2, len(ids) - 1):
        assert told(http, run_id, ids[count - 1]) == live[count:]
    assert told(http, run_id, ids[-1]) == []
    assert {event["data"]["agent"] for event, _ in live if event["type"] == "task.started"} == {
        "story",
        "chapter",
    }
    assert "log" in types(live)


def test_tools_that_a_model_calls_are_told(http: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "1 + 2?"}]}
    events = told(http, start(http, "tooled", input=body)["run_id"])
    (used,) = (event["data"] for event, _ in events if event["type"] == "tool_use")
    assert (used["name"], used["input"]) == ("add", {"a": 1, "b": 2})


def test_a_run_that_fails_or_is_cancelled_is_told_so_last(http: httpx.Client) -> None:
    failed = told(http, start(http, "failing", input={"x": "paper"})["run_id"])
    assert types(failed)[-1] == "run.failed"
    assert "boom: paper" in failed[-1][0]["data"]["error"]
    run_id = start(http, "slow", input={"delay": 0.2})["run_id"]
    with following(http, run_id) as events:
        next(events)
        http.post(f"/v1/runs/{run_id}/cancel")
        assert types(list(events))[-1] == "run.canceled"


def test_a_run_that_is_not_there_has_no_events(http: httpx.Client) -> None:
    answer = http.get(f"/v1/runs/run_{NOBODY}/events")
    assert (answer.status_code, bool(refusal(answer))) == (404, True)
