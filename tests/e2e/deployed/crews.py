"""What deployed crews are asked for, with the official client."""

from __future__ import annotations

from typing import Any

from langgraph_sdk.client import SyncLangGraphClient

from tests.e2e.deployed.steps import CheckFailed


def use_examples(client: SyncLangGraphClient) -> str:
    """Let the planner write in the background, and answer the reviewer's question.

    Raises:
        CheckFailed: An answer is not what the crews give.
    """
    thread_id = client.threads.create()["thread_id"]
    message = {"message": "Generate a plan for evening opening at the library"}
    run = client.runs.create(thread_id, "planner", input=message)
    planned: Any = client.runs.join(thread_id, run["run_id"])
    title = str(planned["messages"][-1]["content"]).splitlines()[0]
    if "evening opening at the library" not in title.lower():
        raise CheckFailed(f"The planner wrote {title!r}, which is not what it was asked for.")
    thread_id = client.threads.create()["thread_id"]
    asked: Any = client.runs.wait(thread_id, "reviewer", input={"document_name": "evening-library"})
    question = asked["__interrupt__"][0]["value"]["question"]
    answered: Any = client.runs.wait(thread_id, "reviewer", command={"resume": "approve"})
    if not answered.get("report"):
        raise CheckFailed(f"The reviewer wrote no report after {question!r} was answered.")
    return f"planner: {title}; reviewer: {question}"


def expect_echo(client: SyncLangGraphClient, prefix: str) -> None:
    """See that both executing functions of a stack run the code that says what is expected.

    Raises:
        CheckFailed: One runs other code.
    """
    given: Any = {"input": {"messages": [{"role": "user", "content": "hi"}]}}
    thread_id = client.threads.create()["thread_id"]
    in_place: Any = client.runs.wait(thread_id, "echo", **given)
    run = client.runs.create(thread_id, "echo", **given)
    by_queue: Any = client.runs.join(thread_id, run["run_id"])
    for values in (in_place, by_queue):
        if (said := values["messages"][-1]["content"]) != f"{prefix}hi":
            raise CheckFailed(f"A crew said {said!r}, not {prefix}hi.")
