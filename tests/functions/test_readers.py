"""Who reads sees the same: the process that wrote it, a new one, the projection and the crew's graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from crewline.models.assistants import default_assistant_id
from tests.functions.deployments import Deployment, load

UNKNOWN = "0199c7a0-0000-4000-8000-00000000dead"


@pytest.fixture
def cold(deployment: Deployment) -> Deployment:
    """The functions that read in new processes, which remember nothing, over the same table and bucket."""
    functions = {name: load(name) for name in ("api", "crew", "tail")}
    return Deployment(deployment.world, deployment.key, functions)


def send(deployment: Deployment, method: str, path: str, body: Any = None, **more: Any) -> Any:
    answer = deployment.request(method, path, body, **more)
    assert answer.status == 200, answer.text
    return answer.json


def run(deployment: Deployment, thread: str, crew: str, given: Any = None, **more: Any) -> Any:
    body = {"assistant_id": crew, "input": given, **more}
    return send(deployment, "POST", f"/threads/{thread}/runs/wait", body)


# ------------------------------------------------------------------ what happened to a thread


def steps(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "steps", {"n": 0})


def conversation(deployment: Deployment, thread: str) -> None:
    for text in ("hi", "again"):
        run(deployment, thread, "echo", {"messages": [{"role": "user", "content": text}]})


def question(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "approval", {"topic": "tea"})


def answer(deployment: Deployment, thread: str) -> None:
    question(deployment, thread)
    run(deployment, thread, "approval", command={"resume": "yes"})


def second_question(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "interview", {})
    run(deployment, thread, "interview", command={"resume": "Ada"})


def breakpoint_(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "steps", {"n": 0}, interrupt_before=["c"])


def failure(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "failing", {"x": "1"})


def one_checkpoint(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "steps", {"n": 0}, durability="exit")


def objects(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "typed", {"customer": {"name": "Ada"}})


def large_values(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "large", {"size": 300_000})


def subgraph(deployment: Deployment, thread: str) -> None:
    run(deployment, thread, "story", {"messages": [{"role": "user", "content": "tell"}]})


def edit(deployment: Deployment, thread: str) -> None:
    steps(deployment, thread)
    send(deployment, "POST", f"/threads/{thread}/state", {"values": {"n": 7}, "as_node": "a"})


def fork(deployment: Deployment, thread: str) -> None:
    steps(deployment, thread)
    at = send(deployment, "GET", f"/threads/{thread}/history")[2]["checkpoint_id"]
    run(deployment, thread, "steps", {"n": 100}, checkpoint_id=at)


def pruning(deployment: Deployment, thread: str) -> None:
    conversation(deployment, thread)
    send(deployment, "POST", "/threads/prune", {"thread_ids": [thread], "strategy": "keep_latest"})


def two_crews(deployment: Deployment, thread: str) -> None:
    breakpoint_(deployment, thread)
    question(deployment, thread)


def another_crew_waits(deployment: Deployment, thread: str) -> None:
    breakpoint_(deployment, thread)
    for crew in ("steps", "approval"):
        send(deployment, "POST", f"/threads/{thread}/runs", {"assistant_id": crew, "input": {"topic": "tea"}})


STORIES: tuple[Callable[[Deployment, str], None], ...] = (
    steps, conversation, question, answer, second_question, breakpoint_, failure, one_checkpoint, objects,
    large_values, subgraph, edit, fork, pruning, two_crews, another_crew_waits,
)  # fmt: skip
Read = tuple[str, str, Any]
"""Method, path and body; `{t}` stands for an id."""
THREAD: tuple[Read, ...] = (
    ("GET", "/threads/{t}?include=ttl", None),
    ("GET", "/threads/{t}/storage", None),
    ("POST", "/threads/search", {"ids": ["{t}"]}),
    ("POST", "/threads/search", {"ids": ["{t}"], "select": ["values", "interrupts"], "extract": {"n": "values.n"}}),
    ("POST", "/threads/count", {"ids": ["{t}"]}),
    ("GET", "/threads/{t}/state?subgraphs=true", None),
    ("GET", "/threads/{t}/state?select=next&select=values", None),
    ("GET", "/threads/{t}/state/{c}", None),
    ("GET", "/threads/{t}/state/" + UNKNOWN, None),
    ("POST", "/threads/{t}/state/checkpoint", {"checkpoint": {"checkpoint_id": "{c}"}}),
    ("GET", "/threads/{t}/history?limit=100", None),
    ("POST", "/threads/{t}/history", {"before": {"configurable": {"checkpoint_id": "{c}"}}}),
    ("POST", "/threads/{t}/history", {"metadata": {"source": "loop"}, "limit": 2}),
    ("GET", "/threads/{t}/runs", None),
    ("GET", "/threads/{t}/runs?status=success&select=run_id", None),
    ("GET", "/threads/{t}/runs/{r}", None),
    ("GET", "/threads/{t}/runs/{r}/join", None),
    ("GET", "/threads/{t}/runs/{r}/stream", None),
)  # fmt: skip
ASSISTANT: tuple[Read, ...] = (
    ("GET", "/assistants/{a}", None),
    ("POST", "/assistants/search", {"metadata": {"created_by": "system"}, "limit": 100}),
    ("POST", "/assistants/count", {"graph_id": "{g}"}),
    ("POST", "/assistants/{a}/versions", {}),
    ("GET", "/assistants/{a}/graph?xray=true", None),
    ("GET", "/assistants/{a}/schemas", None),
    ("GET", "/assistants/{a}/subgraphs?recurse=true", None),
)


def named(value: Any, names: dict[str, str]) -> Any:
    """Put ids where a read names them."""
    if isinstance(value, dict):
        return {key: named(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [named(part, names) for part in value]
    if isinstance(value, str):
        for name, one in names.items():
            value = value.replace("{" + name + "}", one)
    return value


def answers(deployment: Deployment, reads: tuple[Read, ...], names: dict[str, str]) -> list[Any]:
    """What a process answers to reads: body and headers."""
    found = []
    for method, path, body in reads:
        headers = {"Last-Event-ID": "-1"} if path.endswith("/stream") else {}
        got = deployment.request(method, named(path, names), named(body, names), headers=headers)
        assert got.status == 200, (path, got.text)
        found.append((path, got.text, got.headers))
    return found


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__.strip("_"))
def test_a_thread_is_shown_alike_by_a_process_that_knows_it_and_by_a_new_one(
    deployment: Deployment, cold: Deployment, story: Callable[[Deployment, str], None]
) -> None:
    thread = deployment.thread(ttl=60)
    story(deployment, thread)
    ended = [row for row in send(deployment, "GET", f"/threads/{thread}/runs") if row["status"] != "pending"]
    head = send(deployment, "GET", f"/threads/{thread}/state")["checkpoint_id"]
    names = {"t": thread, "r": ended[0]["run_id"], "c": head}
    assert answers(cold, THREAD, names) == answers(deployment, THREAD, names)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__.strip("_"))
def test_a_thread_is_shown_alike_by_the_projection_and_by_the_graph_that_wrote_it(
    deployment: Deployment, story: Callable[[Deployment, str], None]
) -> None:
    thread = deployment.thread()
    story(deployment, thread)
    row = send(deployment, "GET", f"/threads/{thread}")
    state = send(deployment, "GET", f"/threads/{thread}/state")
    asked = {
        task["id"]: [{"id": one["id"], "value": one["value"]} for one in task["interrupts"]]
        for task in state["tasks"]
        if task["interrupts"]
    }
    assert (row["values"], row["interrupts"]) == (state["values"], asked)
    assert send(deployment, "POST", "/threads/search", {"ids": [thread]}) == [row]
    assert send(deployment, "GET", f"/threads/{thread}/history?limit=1") == [state]
    assert send(deployment, "GET", f"/threads/{thread}/state/{state['checkpoint_id']}") == state
    for ended in send(deployment, "GET", f"/threads/{thread}/runs"):
        if ended["status"] == "success" and ended["run_id"] == state["metadata"].get("run_id"):
            joined = send(deployment, "GET", f"/threads/{thread}/runs/{ended['run_id']}/join")
            assert joined == ({"__interrupt__": state["interrupts"]} if asked else state["values"])


def test_a_copy_is_shown_as_its_original(deployment: Deployment, cold: Deployment) -> None:
    thread = deployment.thread()
    second_question(deployment, thread)
    copy = send(deployment, "POST", f"/threads/{thread}/copy")["thread_id"]
    for path in ("", "/state", "/history"):
        shown = cold.request("GET", f"/threads/{copy}{path}").text
        assert shown == deployment.request("GET", f"/threads/{copy}{path}").text
    original = send(cold, "GET", f"/threads/{thread}/state")
    assert send(cold, "GET", f"/threads/{copy}/state")["tasks"] == original["tasks"]


@pytest.mark.parametrize("crew", ["steps", "typed", "story"])
def test_an_assistant_is_shown_alike_by_every_process(
    deployment: Deployment, cold: Deployment, crew: str
) -> None:
    own = send(
        deployment, "POST", "/assistants", {"graph_id": crew, "context": {"a": 1}, "name": uuid4().hex}
    )["assistant_id"]
    deployment.request("PATCH", f"/assistants/{own}", {"metadata": {"b": 2}})
    for assistant in (default_assistant_id(crew), own):
        names = {"a": assistant, "g": crew}
        assert answers(cold, ASSISTANT, names) == answers(deployment, ASSISTANT, names)
