"""The intake: messages and events become runs once, in order; the bad are put away, the rest comes again."""

from __future__ import annotations

import copy
import json
import os
from typing import Any
from uuid import uuid4

import pytest

from crewline.errors import BadManifest, Unavailable
from crewline.models.intake import thread_id_of
from crewline.processes import make_intake
from crewline.settings import environment, read_settings
from tests.functions.deployments import TENANT, Deployment, recorded
from tests.unit.store.worlds import BASIC

DONE: dict[str, list[Any]] = {"batchItemFailures": []}
EVENT = recorded("order_placed")


def batch(*messages: tuple[str, Any]) -> dict[str, Any]:
    """A batch as SQS delivers it: of each message its group and its body."""
    (record,) = recorded("intake_queue")["Records"]
    records = []
    for count, (group, body) in enumerate(messages):
        text = body if isinstance(body, str) else json.dumps(body)
        attributes = {**record["attributes"], "MessageGroupId": group}
        records.append({**record, "messageId": f"m{count}-{uuid4()}", "body": text, "attributes": attributes})
    return {"Records": records}


def message(key: str, **fields: Any) -> dict[str, Any]:
    return {"assistant_id": "steps", "input": {"n": 0}, "thread_key": key, **fields}


def runs(deployment: Deployment, key: str) -> list[Any]:
    path = f"/threads/{thread_id_of(TENANT, key)}/runs"
    answer = deployment.request("GET", path)
    return list(reversed(answer.json)) if answer.status == 200 else []


def failed(answer: Any) -> list[int]:
    return [int(one["itemIdentifier"][1]) for one in answer["batchItemFailures"]]


def letters(deployment: Deployment, name: str) -> list[tuple[str, str, str]]:
    """The dead letters of a queue, and takes them out of it: body, reason, id."""
    sqs = deployment.world.cloud.sqs
    url = getattr(read_settings(os.environ), f"{name}_dead_letter_url")
    found = []
    while batch_ := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        for one in batch_:
            attributes = one["MessageAttributes"]
            found.append((one["Body"], attributes["reason"]["StringValue"], attributes["id"]["StringValue"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    return found


@pytest.fixture
def key() -> str:
    return f"customer-{uuid4()}"


def test_a_recorded_message_starts_a_run_once_however_often_it_comes(deployment: Deployment) -> None:
    event = recorded("intake_queue")
    assert deployment.invoke("intake", event) == DONE
    assert deployment.invoke("intake", copy.deepcopy(event)) == DONE
    (run,) = runs(deployment, "customer-7")
    deployment.work()
    deployment.work()
    row = deployment.request("GET", f"/threads/{run['thread_id']}/runs/{run['run_id']}").json
    assert row["status"] == "success"


def test_a_recorded_event_starts_a_run_in_the_thread_of_its_customer_once(deployment: Deployment) -> None:
    assert deployment.invoke("intake", EVENT) is None
    assert deployment.invoke("intake", copy.deepcopy(EVENT)) is None
    assert deployment.invoke("intake", batch(("42", EVENT))) == DONE
    (run,) = runs(deployment, "42")
    assert (run["kwargs"]["input"], run["metadata"]["order"]) == ({"n": 4}, "o-1")
    deployment.work()


def test_messages_of_a_group_become_runs_in_their_order(deployment: Deployment, key: str) -> None:
    sent = batch(*((key, message(key, input={"n": count})) for count in range(10)))
    assert deployment.invoke("intake", sent) == DONE
    assert [run["kwargs"]["input"]["n"] for run in runs(deployment, key)] == list(range(10))
    deployment.work()


def test_a_bad_message_is_put_away_and_holds_up_nothing(deployment: Deployment, key: str) -> None:
    wrong = message(key, assistant_id="nobody")
    sent = batch((key, message(key)), (key, "poison"), (key, wrong), (key, message(key)))
    assert deployment.invoke("intake", sent) == DONE
    assert len(runs(deployment, key)) == 2
    ids = [record["messageId"] for record in sent["Records"]]
    poison, unknown = letters(deployment, "intake")
    assert poison == (
        "poison",
        "It is not JSON, or is nested too deeply, or has a number of more than 64 bits.",
        ids[1],
    )
    assert (json.loads(unknown[0]), unknown[2]) == (wrong, ids[2])
    assert unknown[1].startswith("Its assistant is unknown")
    deployment.work()


def test_a_bad_message_that_comes_again_is_one_dead_letter(deployment: Deployment, key: str) -> None:
    sent = batch((key, "[]"))
    deployment.invoke("intake", sent)
    deployment.invoke("intake", sent)
    assert len(letters(deployment, "intake")) == 1


def test_a_bad_event_is_put_away_with_its_reason(deployment: Deployment) -> None:
    event = {**EVENT, "id": str(uuid4()), "detail": {"order": "o-2", "count": 1}}
    assert deployment.invoke("intake", event) is None
    ((body, reason, letter_id),) = letters(deployment, "event")
    assert (json.loads(body), letter_id) == (event, event["id"])
    assert reason == "The manifest's thread_key leads to nothing in the event."


def test_the_same_key_with_another_message_is_put_away(deployment: Deployment, key: str) -> None:
    named = message(key, idempotency_key=key)
    sent = batch((key, named), (key, named), (key, {**named, "input": {"n": 1}}))
    assert deployment.invoke("intake", sent) == DONE
    assert len(runs(deployment, key)) == 1
    ((_, reason, _),) = letters(deployment, "intake")
    assert reason == "Its idempotency key was used before, for another message."
    deployment.work()


def test_a_message_that_fails_comes_again_with_the_rest_of_its_group_and_no_other(
    deployment: Deployment, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"other-{key}"
    sent = batch(
        (key, message(key)), (key, message(key, metadata={"now": "not"})), (other, message(other)),
        (key, message(key)), (other, message(other)),
    )  # fmt: skip
    starts = deployment.functions["intake"].receiver._starts
    start = starts.start

    def sometimes(one: Any, once: Any) -> Any:
        if "now" in one.metadata:
            raise Unavailable("no")
        return start(one, once)

    with monkeypatch.context() as patch:
        patch.setattr(starts, "start", sometimes)
        assert failed(deployment.invoke("intake", sent)) == [1, 3]
    assert (len(runs(deployment, key)), len(runs(deployment, other))) == (1, 2)
    again = {"Records": [sent["Records"][1], sent["Records"][3]]}
    assert deployment.invoke("intake", again) == DONE
    assert [run["metadata"].get("now") for run in runs(deployment, key)] == [None, "not", None]
    deployment.work()


def test_a_batch_of_which_nothing_could_be_done_comes_again(
    deployment: Deployment, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise Unavailable("no")

    monkeypatch.setattr("crewline.store.table.Table.query", broken)
    sent = batch((key, message(key)), (f"{key}-2", message(f"{key}-2")))
    assert failed(deployment.invoke("intake", sent)) == [0, 1]
    with pytest.raises(Unavailable):
        deployment.invoke("intake", {**EVENT, "id": str(uuid4())})


def test_dead_letters_that_are_not_taken_let_the_message_come_again(
    deployment: Deployment, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise Unavailable("no")

    sent = batch((key, "poison"), (key, message(key)))
    with monkeypatch.context() as patch:
        patch.setattr("crewline.store.queues.IntakeDeadLetters.send", broken)
        assert failed(deployment.invoke("intake", sent)) == [0, 1]
    assert deployment.invoke("intake", sent) == DONE
    assert (len(runs(deployment, key)), len(letters(deployment, "intake"))) == (1, 1)
    deployment.work()


def test_an_intake_without_dead_letters_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    variables = environment(table="t", bucket="b", run_queue_url="q", manifest=str(BASIC / "langgraph.json"))
    with pytest.raises(
        BadManifest, match="lacks CREWLINE_INTAKE_DEAD_LETTER_URL, CREWLINE_EVENT_DEAD_LETTER_URL"
    ):
        make_intake(variables)
