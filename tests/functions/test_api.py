"""The control plane: threads, runs and assistants over API Gateway events."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import Any
from uuid import UUID

import pytest
import snapshot_restore_py

from crewline.errors import Unavailable
from crewline.http.operations import OPERATIONS
from crewline.http.resources import resource_for
from crewline.models.clocks import new_id, reseed
from crewline.settings import environment
from crewline.store.keys import Key
from crewline.store.table import Table
from tests.functions.deployments import FUNCTIONS, TENANT, Deployment, load, recorded
from tests.unit.store.worlds import BASIC, ECHO
from tests.workflows import ARN

T = "0199c7a0-0000-7000-8000-00000000abcd"


def test_it_tells_that_it_is_there(deployment: Deployment) -> None:
    assert deployment.request("GET", "/ok").json == {"ok": True}
    info = deployment.request("GET", "/info").json
    assert info["version"]
    assert info["langgraph_py_version"] == version("langgraph")
    assert info["flags"]["assistants"] is True
    assert info["host"] == {"kind": "self-hosted", "project_id": None, "revision_id": None, "tenant_id": None}


def test_it_counts_for_prometheus_and_as_json(deployment: Deployment) -> None:
    told = deployment.request("GET", "/metrics")
    assert (told.status, told.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "\n# TYPE crewline_runs gauge\n" in told.text
    assert deployment.request("GET", "/metrics?format=json").json["at_least"] == []
    assert deployment.request("GET", "/metrics?format=xml").status == 422
    assert deployment.request("GET", "/metrics", headers={"x-api-key": ""}).status == 401


def test_it_tells_whether_its_table_is_there(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    answers = True

    def get(_table: Table, key: Key) -> None:
        read.append(key)
        if not answers:
            raise Unavailable("DynamoDB did not answer.")

    monkeypatch.setattr(Table, "get", get)
    unknown = {"x-api-key": "nobody's"}
    assert deployment.request("GET", "/ok", headers=unknown).json == {"ok": True}
    assert not read
    assert deployment.request("GET", "/ok?check_db=1", headers=unknown).json == {"ok": True}
    assert len(read) == 1
    answers = False
    told = deployment.request("GET", "/ok?check_db=1", headers=unknown)
    assert (told.status, told.json["code"]) == (500, "unhealthy")
    assert told.detail == "The service answers, and its table does not: DynamoDB did not answer."


def test_it_tells_what_the_api_is(deployment: Deployment) -> None:
    document = deployment.request("GET", "/openapi.json").json
    assert document["openapi"] == "3.1.0"
    page = deployment.request("GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "SwaggerUIBundle" in page.text
    assert "://cdn" not in page.text


@pytest.mark.parametrize("place", OPERATIONS, ids=" ".join)
def test_a_route_is_found_by_the_first_request_for_it(deployment: Deployment, place: tuple[str, str]) -> None:
    method, path = place
    _, function = resource_for(path)
    resolver = load(function).answer.__self__._resolver if function != "crew" else None
    if resolver:  # crews have all of theirs from the start
        assert resolver.place({"httpMethod": method, "path": path.replace("{", "").replace("}", "")}) == place


def test_recorded_requests_make_and_find_a_thread(deployment: Deployment) -> None:
    made = deployment.send(recorded("create_thread"))
    assert (made.status, made.headers["content-type"]) == (200, "application/json")
    assert (made.json["thread_id"], made.json["metadata"]) == (T, {"user": "ada"})
    assert deployment.send(recorded("get_thread")).json == made.json
    assert deployment.send(recorded("create_thread")).status == 409
    assert deployment.send(recorded("list_runs")).json == []
    assert deployment.request("DELETE", f"/threads/{T}").status == 204
    assert deployment.work() == {"batchItemFailures": []}


def test_a_body_may_come_as_base64(deployment: Deployment) -> None:
    made = deployment.send(recorded("create_thread_base64"))
    assert (made.status, made.json["metadata"]) == (200, {"user": "ada é"})
    deployment.request("DELETE", f"/threads/{T}")
    deployment.work()


def test_threads_are_searched_page_by_page(deployment: Deployment) -> None:
    made = [deployment.thread(metadata={"mark": "paged", "n": number}) for number in range(3)]
    asked = {"metadata": {"mark": "paged"}, "select": ["thread_id"], "limit": 2}
    first = deployment.request("POST", "/threads/search", asked)
    assert first.json == [{"thread_id": made[2]}, {"thread_id": made[1]}]
    assert (first.headers["x-pagination-total"], first.headers["x-pagination-next"]) == ("3", "2")
    last = deployment.request("POST", "/threads/search", {**asked, "offset": 2})
    assert (last.json, last.headers["x-pagination-total"]) == ([{"thread_id": made[0]}], "3")
    assert "x-pagination-next" not in last.headers
    assert deployment.request("POST", "/threads/count", {"metadata": {"mark": "paged"}}).json == 3


def test_a_patch_may_be_answered_without_a_body(deployment: Deployment) -> None:
    thread = deployment.thread()
    minimal = {"Prefer": "return=minimal"}
    answer = deployment.request("PATCH", f"/threads/{thread}", {"metadata": {"a": 1}}, headers=minimal)
    assert (answer.status, answer.text) == (204, "")
    assert deployment.request("GET", f"/threads/{thread}").json["metadata"] == {"a": 1}


def test_a_thread_lives_and_is_gone(deployment: Deployment) -> None:
    thread = deployment.thread(metadata={"a": 1})
    patched = deployment.request("PATCH", f"/threads/{thread}", {"metadata": {"b": 2}})
    assert patched.json["metadata"] == {"a": 1, "b": 2}
    gone = deployment.request("DELETE", f"/threads/{thread}")
    assert (gone.status, gone.text) == (204, "")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/runs"), ("GET", "/state")):
        answer = deployment.request(method, f"/threads/{thread}{path}")
        assert (answer.status, answer.detail) == (404, f"Thread with ID {thread} not found.")
    again = deployment.request("POST", "/threads", {"thread_id": thread})
    assert (again.status, int(again.headers["retry-after"]) > 0) == (409, True)
    deployment.work()
    assert deployment.request("POST", "/threads", {"thread_id": thread}).status == 200


def test_an_id_that_is_taken_may_be_used_as_it_is(deployment: Deployment) -> None:
    thread = deployment.thread(metadata={"a": 1})
    same = deployment.request("POST", "/threads", {"thread_id": thread, "if_exists": "do_nothing"})
    assert (same.status, same.json["metadata"]) == (200, {"a": 1})


def test_a_background_run_is_pending_and_then_done(deployment: Deployment) -> None:
    thread = deployment.thread()
    created = deployment.request(
        "POST", f"/threads/{thread}/runs", {"assistant_id": "steps", "input": {"n": 0}, "metadata": {"m": 1}}
    )
    row = created.json
    path = f"/threads/{thread}/runs/{row['run_id']}"
    assert (created.status, created.headers["content-location"]) == (200, path)
    assert (row["status"], row["metadata"]["m"], row["kwargs"]["input"]) == ("pending", 1, {"n": 0})
    assert UUID(row["run_id"]).version == 7
    assert deployment.request("GET", path).json == row
    assert deployment.request("GET", f"/threads/{thread}").json["status"] == "busy"
    assert deployment.work() == {"batchItemFailures": []}
    assert deployment.request("GET", path).json["status"] == "success"
    joined = deployment.request("GET", f"{path}/join")
    assert joined.json == {"n": 3, "log": ["a", "b", "c"]}
    assert joined.headers["location"] == f"{path}/join"


def test_a_busy_thread_refuses_a_second_run_that_will_not_wait(deployment: Deployment) -> None:
    thread = deployment.thread()
    body = {"assistant_id": "steps", "input": {"n": 0}, "multitask_strategy": "reject"}
    assert deployment.request("POST", f"/threads/{thread}/runs", body).status == 200
    before = deployment.world.items()
    for path in ("runs", "runs/wait"):
        answer = deployment.request("POST", f"/threads/{thread}/{path}", body)
        assert answer.status == 409
        assert "is already running a task" in answer.detail
    assert deployment.world.items() == before
    deployment.work()


def test_runs_are_listed_by_page_status_and_fields(deployment: Deployment) -> None:
    thread = deployment.thread()
    for _ in range(3):
        deployment.request("POST", f"/threads/{thread}/runs", {"assistant_id": "steps", "input": {"n": 0}})
        deployment.work()
    path = f"/threads/{thread}/runs"
    rows = deployment.request("GET", path).json
    assert [row["status"] for row in rows] == ["success"] * 3
    assert [row["run_id"] for row in rows] == sorted((row["run_id"] for row in rows), reverse=True)
    assert deployment.request("GET", f"{path}?limit=1&offset=1").json == rows[1:2]
    assert deployment.request("GET", f"{path}?status=error").json == []
    selected = deployment.request("GET", f"{path}?select=run_id&select=status&limit=1").json
    assert selected == [{"run_id": rows[0]["run_id"], "status": "success"}]


def test_assistants_are_found(deployment: Deployment) -> None:
    row = deployment.request("GET", f"/assistants/{ECHO}").json
    assert (row["graph_id"], row["metadata"]) == ("echo", {"created_by": "system"})
    assert deployment.request("POST", "/assistants/search", {"graph_id": "echo"}).json == [row]
    assert len(deployment.request("POST", "/assistants/search", {"limit": 100}).json) == 13


def test_versions_are_listed_also_without_a_body(deployment: Deployment) -> None:
    rows = deployment.request("POST", f"/assistants/{ECHO}/versions", {}).json
    assert [row["version"] for row in rows] == [1]
    assert deployment.request("POST", f"/assistants/{ECHO}/versions").json == rows


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/assistants/echo", 422, "Invalid assistant ID: must be a UUID"),
        ("GET", "/assistants/0199c7a0-0000-4000-8000-00000000dead", 404, "not found"),
        ("GET", "/threads/nope", 422, "Invalid thread ID: must be a UUID"),
        ("GET", f"/threads/{T}/runs/nope", 422, "Invalid run ID: must be a UUID"),
        ("GET", f"/threads/{T}/runs/{T}", 404, "not found"),
        ("GET", "/nothing/here", 404, "Not Found"),
        ("GET", "/threads/%ED%A0%80", 422, "Invalid thread ID"),
        ("GET", f"/threads/{T}/", 404, ""),
        ("PUT", f"/threads/{T}", 405, "use DELETE, GET, PATCH"),
    ],
)
def test_what_is_not_there_is_told_by_a_sentence(
    deployment: Deployment, method: str, path: str, status: int, detail: str
) -> None:
    answer = deployment.request(method, path)
    assert answer.status == status
    assert detail in answer.detail


HEAVY = ("langgraph", "langchain", "crewline.engine")
PROTOCOLS = ("mcp_types", "crewline.http.mcp", "crewline.http.a2a")


@pytest.mark.parametrize(
    ("name", "spared"),
    [("api", HEAVY), ("tail", HEAVY), ("sweeper", HEAVY), ("intake", HEAVY), ("crew", PROTOCOLS)],
)
def test_a_cold_start_pays_for_nothing_that_few_ask_for(name: str, spared: tuple[str, ...]) -> None:
    variables = environment(
        table="t",
        bucket="b",
        run_queue_url="http://q",
        dead_letter_url="http://d",
        intake_dead_letter_url="http://i",
        event_dead_letter_url="http://e",
        workflow_arn=ARN,
        manifest=str(BASIC / "langgraph.json"),
        tenant=TENANT,
    )
    code = (
        f"import os, runpy, sys\nos.environ.update({variables!r}, AWS_DEFAULT_REGION='us-east-1')\n"
        f"runpy.run_path({str(FUNCTIONS / name / 'handler.py')!r})\n"
        f"print([name for name in sys.modules if name.startswith({spared!r})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_processes_restored_from_one_snapshot_make_different_ids(deployment: Deployment) -> None:
    hooks = [hook for hook, _, _ in snapshot_restore_py.get_after_restore()]
    assert reseed in hooks
    before = new_id()
    reseed()
    assert before < new_id()
