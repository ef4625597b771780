"""What a service says of a run, as a test tells it."""

from __future__ import annotations

from typing import Any

from tests.cli.servers import Answer, ScriptedService

RUN = "run_0198c0de000070008000000000000001"
THREAD = "thr_0198c0de000070008000000000000002"
DEPLOYMENT = "dep_0198c0de000070008000000000000003"
ASSISTANT = {"assistant_id": "0198c0de-0000-7000-8000-000000000003", "name": "planner"}
OTHER = {"assistant_id": "0198c0de-0000-7000-8000-000000000004", "name": "reviewer"}
STARTED = {"run_id": RUN, "version_id": f"ver_{'0' * 32}", "version_number": 1, "status": "running"}


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": data}


STORY = [
    ("1-1", event("run.started", run_id=RUN)),
    ("1-2", event("task.started", task="research", agent="planner", id="t1", path=[])),
    ("1-3", event("task.started", task="search", agent="research", id="t2", path=["research:t1"])),
    ("1-4", event("log", level="warning", message="few sources")),
    (
        "1-5",
        event(
            "tool_use",
            name="find",
            input={"query": "tea"},
            id="call-1",
            task="search",
            agent="research",
            task_id="t2",
        ),
    ),
    (
        "1-6",
        event(
            "task.completed",
            task="search",
            agent="planner",
            id="t2",
            path=["research:t1"],
            duration_ms=1200,
            usage={"total_tokens": 1204},
        ),
    ),
    ("1-7", event("heartbeat")),
    (
        "1-8",
        event("task.completed", task="research", agent="planner", id="t1", path=[], duration_ms=1300),
    ),
    (
        "1-9",
        event(
            "run.completed",
            status="succeeded",
            output={"report": "tea"},
            duration_ms=45_200,
            usage={"total_tokens": 1204},
        ),
    ),
]


def run(**parts: Any) -> dict[str, Any]:
    """A run as `/v1` shows it."""
    return {
        "id": RUN,
        "version_id": f"ver_{'0' * 32}",
        "deployment_id": DEPLOYMENT,
        "thread_id": None,
        "status": "succeeded",
        "input": {"topic": "tea"},
        "output": {"report": "tea"},
        "error_message": None,
        "usage": None,
        "created_at": "2026-11-21T12:00:00.000000Z",
        "started_at": "2026-11-21T12:00:01.000000Z",
        "completed_at": "2026-11-21T12:00:46.200000Z",
        **parts,
    }


def tell(service: ScriptedService, **parts: Any) -> None:
    """Have a service answer for the run of this story."""
    service.answer("POST /assistants/search", Answer(200, [ASSISTANT]))
    service.answer("POST /v1/runs", Answer(202, STARTED))
    service.answer(f"POST /v1/threads/{THREAD}/runs", Answer(202, {**STARTED, "thread_id": THREAD}))
    service.stream(f"GET /v1/runs/{RUN}/events", STORY)
    service.answer(f"GET /v1/runs/{RUN}", Answer(200, run(**parts)))
