"""What deployed crews are asked for, with the official client."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import NotFoundError

from crewline.models.intake import thread_id_of
from tests.e2e.deployed.deployments import Deployed, Deployer
from tests.e2e.deployed.steps import CheckFailed

_PATIENCE_S = 60
_POLL_S = 0.2


def client_of(deployed: Deployed) -> SyncLangGraphClient:
    """Make the official client of a stack."""
    return get_sync_client(url=deployed.url, api_key=deployed.key)


def use_examples(deployed: Deployed) -> str:
    """Let the planner write in the background, and answer the reviewer's question.

    Raises:
        CheckFailed: An answer is not what the crews give.
    """
    client = client_of(deployed)
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


def expect_echo(deployed: Deployed, prefix: str) -> None:
    """See that both executing functions of a stack run the code that says what is expected.

    Raises:
        CheckFailed: One runs other code.
    """
    client = client_of(deployed)
    given: Any = {"input": {"messages": [{"role": "user", "content": "hi"}]}}
    thread_id = client.threads.create()["thread_id"]
    in_place: Any = client.runs.wait(thread_id, "echo", **given)
    run = client.runs.create(thread_id, "echo", **given)
    by_queue: Any = client.runs.join(thread_id, run["run_id"])
    for values in (in_place, by_queue):
        if (said := values["messages"][-1]["content"]) != f"{prefix}hi":
            raise CheckFailed(f"A crew said {said!r}, not {prefix}hi.")


def begin_with_supersteps(deployed: Deployed) -> str:
    """Make a thread with supersteps: the control plane hands that to the function that has the crews.

    Raises:
        CheckFailed: The thread does not begin with them.
    """
    client = client_of(deployed)
    begun = {"messages": [{"role": "assistant", "content": "begun"}]}
    updates: Any = [{"updates": [{"values": begun, "as_node": "reply"}]}]
    thread_id = client.threads.create(graph_id="echo", supersteps=updates)["thread_id"]
    added: Any = {"messages": [{"role": "user", "content": "added"}]}
    said: Any = client.runs.wait(thread_id, "echo", input=added)
    texts = [message["content"] for message in said["messages"]]
    if texts != ["begun", "added", "echo: added"]:
        raise CheckFailed(f"The thread says {texts}.")
    return "handed from api to crew and back"


def start_by_message(deployer: Deployer, deployed: Deployed) -> str:
    """Start a run by a message, which is sent twice, and find it on the thread that the key names.

    Raises:
        CheckFailed: There is not one run, or it did not succeed.
    """
    key, client = "customer-42", client_of(deployed)
    message = {
        "assistant_id": "echo",
        "input": {"messages": [{"role": "user", "content": "by a message"}]},
        "thread_key": key,
        "idempotency_key": "once",
    }
    for name in ("first", "again"):
        deployer.send(deployed, message, group=key, name=name)
    thread_id = thread_id_of("default", key)
    deadline = time.monotonic() + _PATIENCE_S
    runs: Any = []
    while not runs or runs[0]["status"] in {"pending", "running"}:
        if time.monotonic() > deadline:
            raise CheckFailed(
                f"The run of a message is not there, or not over, after {_PATIENCE_S} s: {runs}."
            )
        time.sleep(_POLL_S)
        with suppress(NotFoundError):  # the thread is made with its first run
            runs = client.runs.list(thread_id)
    if [run["status"] for run in runs] != ["success"]:
        raise CheckFailed(f"A message that was sent twice became {runs}.")
    values: Any = client.threads.get_state(thread_id)["values"]
    return f"{values['messages'][-1]['content']!r}, once"


def read_sweeps(log: Path) -> str:
    """Read in the functions' log what the schedule has begun every minute.

    Raises:
        CheckFailed: Nothing, or a sweep of which a part failed.
    """
    lines = [json.loads(line) for line in log.read_text().splitlines() if '"message":"swept"' in line]
    failed = [line for line in lines if line["failed"]]
    if failed or not lines:
        raise CheckFailed(f"Of {len(lines)} sweeps these failed in part: {failed}")
    return f"{len(lines)} sweeps"


def use_foreign(deployed: Deployed) -> str:
    """Let the crews of tests/projects/foreign use what only their own requirements bring.

    Raises:
        CheckFailed: An answer is not what they give.
    """
    client = client_of(deployed)
    thread_id = client.threads.create()["thread_id"]
    greeted: Any = client.runs.wait(thread_id, "greeter", input={"name": "Ada Lovelace"})
    run = client.runs.create(None, "counter", input={"number": 1_200_000})
    counted: Any = client.runs.join(run["thread_id"], run["run_id"])
    said = (greeted.get("slug"), greeted.get("greeting"), counted.get("words"))
    if said != ("ada-lovelace", "Good morning, Ada Lovelace!", "1.2 million"):
        raise CheckFailed(f"The crews said {said}.")
    return "; ".join(said)
