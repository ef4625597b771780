"""The unmodified langgraph-sdk client against the local service."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError

TURNS = ("one", "two", "three")


@pytest.fixture
def client(service_url: str) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=service_url) as client:
        yield client


def _say(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def test_a_thread_of_three_turns_keeps_its_conversation_and_its_history(client: SyncLangGraphClient) -> None:
    thread_id = client.threads.create(metadata={"user": "u1"})["thread_id"]

    for turn in TURNS:
        values = client.runs.wait(thread_id, "echo", input=_say(turn))

    said = [message["content"] for message in values["messages"]]  # type: ignore[call-overload]
    assert said == ["one", "echo: one", "two", "echo: two", "three", "echo: three"]
    assert [run["status"] for run in client.runs.list(thread_id)] == ["success"] * 3

    history = client.threads.get_history(thread_id, limit=100)
    # Three checkpoints a turn: its input, what the node saw, what it left.
    assert [(state["metadata"] or {})["step"] for state in history] == [7, 6, 5, 4, 3, 2, 1, 0, -1]
    assert history[0]["values"] == client.threads.get_state(thread_id)["values"] == values
    assert history[-1]["parent_checkpoint"] is None
    for newer, older in pairwise(history):
        assert newer["parent_checkpoint"] == older["checkpoint"]

    thread = client.threads.get(thread_id)
    assert thread["status"] == "idle"
    assert thread["values"] == values
    metadata = thread["metadata"] or {}
    assert (metadata["user"], metadata["graph_id"]) == ("u1", "echo")


async def test_the_async_client_runs_in_the_background_and_joins(service_url: str) -> None:
    async with get_client(url=service_url) as client:
        thread_id = (await client.threads.create())["thread_id"]
        run = await client.runs.create(thread_id, "steps", input={"n": 0}, metadata={"ticket": 7})
        assert (run["status"], run["multitask_strategy"]) == ("pending", "enqueue")

        assert await client.runs.join(thread_id, run["run_id"]) == {"n": 3, "log": ["a", "b", "c"]}

        finished = await client.runs.get(thread_id, run["run_id"])
        assert (finished["status"], (finished["metadata"] or {})["ticket"]) == ("success", 7)


def test_a_question_stops_the_run_and_an_answer_continues_it(client: SyncLangGraphClient) -> None:
    thread_id = client.threads.create()["thread_id"]

    asked: Any = client.runs.wait(thread_id, "approval", input={"topic": "lunch"})

    assert asked["__interrupt__"][0]["value"] == {"question": "approve lunch?"}
    thread = client.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    assert [one["value"] for asks in thread["interrupts"].values() for one in asks] == [
        {"question": "approve lunch?"}
    ]

    answered = client.runs.wait(thread_id, "approval", command={"resume": {"yes": [1]}})

    assert answered == {"topic": "lunch", "answer": {"yes": [1]}, "log": ["ask", "done"]}
    thread = client.threads.get(thread_id)
    assert (thread["status"], thread["interrupts"]) == ("idle", {})


def test_errors_arrive_as_the_types_of_the_sdk(client: SyncLangGraphClient) -> None:
    thread_id = client.threads.create()["thread_id"]
    with pytest.raises(NotFoundError):
        client.threads.get("01a1fbe4-cd5a-7364-979b-8e5b8bd61d17")
    with pytest.raises(ConflictError):
        client.threads.create(thread_id=thread_id)
    with pytest.raises(Exception, match="boom: 5"):
        client.runs.wait(thread_id, "failing", input={"x": "5"})


def test_every_crew_has_its_default_assistant(client: SyncLangGraphClient) -> None:
    [echo] = client.assistants.search(graph_id="echo", metadata={"created_by": "system"})
    assert client.assistants.get(echo["assistant_id"]) == echo
    assert echo["description"] == "Answers with what was said"
    thread_id = client.threads.create()["thread_id"]
    values: Any = client.runs.wait(thread_id, echo["assistant_id"], input=_say("hi"))
    assert values["messages"][-1]["content"] == "echo: hi"
