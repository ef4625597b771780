"""A webhook says how a run ended and proves who says it; what fails comes again, what never can is dropped."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import ReadTimeoutError
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt
from pydantic import ValidationError

from crewline.checkpoints.records import Write
from crewline.errors import Unavailable
from crewline.events.posts import Poster
from crewline.models.clocks import iso
from crewline.models.runs import Run, RunError, RunStatus
from crewline.models.webhooks import WebhookPolicy
from crewline.services.webhooks import Sender, Webhooks, payload, sign
from crewline.store import keys, runs
from crewline.store.changes import Put
from crewline.store.queues import WebhookJob
from tests.unit.events.receivers import Receiver, receiving
from tests.unit.store.worlds import ECHO, NOW, TENANT, Calls, World, late, sealed, uuid6

dumps = JsonPlusSerializer(allowed_msgpack_modules=None).dumps_typed
SECRET = "hunter2"
RUN = Run(
    run_id="0199c7a0-0000-7000-8000-00000000beef",
    thread_id="0199c7a0-0000-7000-8000-00000000abcd",
    assistant_id=ECHO,
    graph_id="echo",
    status="success",
    created_at=iso(NOW - 3000),
    updated_at=iso(NOW - 1000),
    kwargs={"input": {"n": 1}, "webhook": None},
    metadata={"order": 7},
    started_at=iso(NOW - 2000),
    ended_at=iso(NOW - 1000),
)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def lines(log: io.StringIO) -> list[Any]:
    return [orjson.loads(line) for line in log.getvalue().splitlines()]


def local(receiver: Receiver, **fields: Any) -> WebhookPolicy:
    url = {"require_https": False, "disable_loopback": False, "allowed_ports": [receiver.port]}
    return WebhookPolicy.model_validate({"url": url, **fields})


def webhooks(
    world: World, policy: WebhookPolicy, sender: Sender | None = None, *, log: io.StringIO | None = None
) -> Webhooks:
    return Webhooks(
        world.table,
        world.blobs,
        world.records,
        world.clock,
        policy=policy,
        headers=policy.resolve_headers({"LG_WEBHOOK_KEY": SECRET}),
        sender=sender or Poster(loopback=not policy.url.disable_loopback),
        logger=Logger(service=f"webhooks-{uuid4()}", stream=log or io.StringIO()),
        measures=world.measures,
    )


def store(world: World, url: str | None, **fields: Any) -> str:
    """Store a run that has ended, and give the message about it."""
    run = replace(RUN, **fields)
    run = replace(run, kwargs={**run.kwargs, "webhook": url})
    row = runs.put(TENANT, run, world.blobs)
    world.table.write(Put(key=row.key, item=row.item))
    return message(run.status)


def message(status: RunStatus = "success") -> str:
    job = WebhookJob(tenant=TENANT, thread_id=RUN.thread_id, run_id=RUN.run_id, status=status)
    return job.model_dump_json()


def checkpoint(world: World, *questions: Any) -> None:
    entries = [sealed(1, channels={"text": dumps("done"), "branch:to:x": dumps(None)})]
    if questions:
        asked = [Interrupt(value=question, id="i") for question in questions]
        entries.append(
            late(1, Write(task_id="t", task_path="", index=-3, channel="__interrupt__", value=dumps(asked)))
        )
    for entry in entries:
        world.table.write(world.records.put(TENANT, RUN.thread_id, entry))


def hook(receiver: Receiver, path: str = f"/hook?token={SECRET}&x=%2F") -> str:
    return f"http://localhost:{receiver.port}{path}"


# ------------------------------------------------------------------ what it says


def test_a_success_says_the_row_the_times_and_the_values(world: World, receiver: Receiver) -> None:
    checkpoint(world)
    webhooks(world, local(receiver)).deliver(store(world, hook(receiver), head=uuid6(1)))
    [received] = receiver.received
    assert received.path == f"/hook?token={SECRET}&x=%2F"
    assert received.headers["content-type"] == "application/json"
    said = orjson.loads(received.body)
    assert {name: said[name] for name in ("run_id", "thread_id", "assistant_id", "status", "metadata")} == {
        "run_id": RUN.run_id,
        "thread_id": RUN.thread_id,
        "assistant_id": ECHO,
        "status": "success",
        "metadata": {"order": 7},
    }
    assert said["kwargs"]["input"] == {"n": 1}
    assert said["values"] == {"text": "done"}
    assert said["error"] is None
    assert said["webhook_sent_at"] == iso(NOW)


def test_the_times_of_a_run_are_those_of_its_row() -> None:
    said = payload(RUN, "timeout", None, sent_at=iso(NOW))
    assert said == {
        **RUN.wire(),
        "status": "timeout",
        "run_started_at": RUN.started_at,
        "run_ended_at": RUN.ended_at,
        "webhook_sent_at": iso(NOW),
        "values": None,
    }


def test_an_error_says_what_was_raised_beside_the_values_until_then(world: World, receiver: Receiver) -> None:
    checkpoint(world)
    error = RunError(error="ValueError", message="boom")
    body = store(world, hook(receiver), status="error", error=error, head=uuid6(1))
    webhooks(world, local(receiver)).deliver(body)
    said = orjson.loads(receiver.received[0].body)
    assert (said["status"], said["error"]) == ("error", {"error": "ValueError", "message": "boom"})
    assert said["values"] == {"text": "done"}


def test_an_interrupted_run_says_its_questions(world: World, receiver: Receiver) -> None:
    checkpoint(world, "sure?")
    webhooks(world, local(receiver)).deliver(
        store(world, hook(receiver), status="interrupted", head=uuid6(1))
    )
    said = orjson.loads(receiver.received[0].body)
    assert said["status"] == "interrupted"
    assert said["values"]["text"] == "done"
    assert [question["value"] for question in said["values"]["__interrupt__"]] == ["sure?"]


def test_a_run_that_left_no_state_has_no_values(world: World, receiver: Receiver) -> None:
    webhooks(world, local(receiver)).deliver(store(world, hook(receiver)))
    assert orjson.loads(receiver.received[0].body)["values"] is None


def test_a_project_may_send_headers_of_its_own(world: World, receiver: Receiver) -> None:
    policy = local(
        receiver, headers={"Authorization": "Bearer ${{ env.LG_WEBHOOK_KEY }}", "User-Agent": "us"}
    )
    webhooks(world, policy).deliver(store(world, hook(receiver)))
    assert receiver.received[0].headers["authorization"] == f"Bearer {SECRET}"
    assert receiver.received[0].headers["user-agent"] == "us"


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("success", "run.succeeded"),
        ("error", "run.failed"),
        ("timeout", "run.failed"),
        ("interrupted", "run.canceled"),
    ],
)
def test_crewships_headers_say_the_same_in_its_words(
    world: World, receiver: Receiver, status: RunStatus, event: str
) -> None:
    webhooks(world, local(receiver)).deliver(store(world, hook(receiver), status=status))
    headers = receiver.received[0].headers
    assert headers["x-crewship-event"] == event
    assert headers["x-crewship-delivery"] == headers["webhook-id"]
    assert headers["x-crewship-timestamp"] == headers["webhook-timestamp"] == str(NOW // 1000)
    assert headers["x-crewship-signature"] == headers["webhook-signature"]


# ------------------------------------------------------------------ who says it


def test_a_signature_is_that_of_the_specification() -> None:
    key, message_id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    signature = sign(key, message_id, "1614265330", b'{"test": 2432232314}')
    # as the specification's reference library signs it
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_can_verify_what_it_got(world: World, receiver: Receiver) -> None:
    sender = webhooks(world, local(receiver))
    sender.deliver(store(world, hook(receiver)))
    [received] = receiver.received
    key = base64.b64decode(sender.secret(TENANT).removeprefix("whsec_"), validate=True)
    signed = b".".join(
        [
            received.headers["webhook-id"].encode(),
            received.headers["webhook-timestamp"].encode(),
            received.body,
        ]
    )
    version, signature = received.headers["webhook-signature"].split(",")
    assert version == "v1"
    assert base64.b64decode(signature) == hmac.digest(key, signed, hashlib.sha256)
    assert 24 <= len(key) <= 64


def test_an_attempt_has_the_id_of_the_first_and_a_time_of_its_own(world: World, receiver: Receiver) -> None:
    sender, body = webhooks(world, local(receiver)), store(world, hook(receiver))
    sender.deliver(body)
    world.clock.pass_(60_000)
    sender.deliver(body)
    first, second = (one.headers for one in receiver.received)
    assert first["webhook-id"] == second["webhook-id"]
    assert "." not in first["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert first["webhook-signature"] != second["webhook-signature"]


def test_a_tenant_keeps_its_secret_and_shares_it_with_nobody(world: World, receiver: Receiver) -> None:
    sender = webhooks(world, local(receiver))
    assert sender.secret(TENANT) == sender.secret(TENANT) == webhooks(world, local(receiver)).secret(TENANT)
    assert sender.secret("other") != sender.secret(TENANT)


def test_of_two_who_make_a_secret_at_once_both_get_the_first(world: World, receiver: Receiver) -> None:
    sender, made = webhooks(world, local(receiver)), []
    with Calls(world.cloud.dynamodb, "PutItem") as calls:
        calls.before = lambda: made.append(sender.secret(TENANT))
        made.append(sender.secret(TENANT))
    assert len(made) == 2
    assert len(set(made)) == 1


def test_a_secret_whose_answer_was_lost_is_read_back(world: World, receiver: Receiver) -> None:
    sender = webhooks(world, local(receiver))
    with Calls(world.cloud.dynamodb, "PutItem") as calls:
        calls.after = [ReadTimeoutError(endpoint_url="dynamodb")]
        with pytest.raises(Unavailable):
            sender.secret(TENANT)
    assert sender.secret(TENANT) == world.items()[keys.webhook_secret(TENANT)]["secret"]


# ------------------------------------------------------------------ what comes again, and what does not


@pytest.mark.parametrize("status", [301, 307, 400, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_comes_again(world: World, receiver: Receiver, status: int) -> None:
    receiver.status, receiver.headers = status, {"Location": hook(receiver, "/other")}
    with pytest.raises(Unavailable, match=f"The host localhost answered a webhook with {status}"):
        webhooks(world, local(receiver)).deliver(store(world, hook(receiver)))
    assert len(receiver.received) == 1
    assert world.metrics() == [{"service": "test", "WebhooksFailed": 1}]


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_any_success_is_one(world: World, receiver: Receiver, status: int) -> None:
    receiver.status = status
    webhooks(world, local(receiver)).deliver(store(world, hook(receiver)))
    assert world.metrics() == [{"service": "test", "WebhooksDelivered": 1}]


def test_a_receiver_that_is_gone_is_not_tried_again(
    world: World, receiver: Receiver, log: io.StringIO
) -> None:
    receiver.status = 410
    webhooks(world, local(receiver), log=log).deliver(store(world, hook(receiver)))
    assert [line["message"] for line in lines(log)] == ["webhook dropped"]
    assert world.metrics() == [{"service": "test", "WebhooksDropped": 1}]


def test_a_receiver_that_nobody_answers_for_comes_again(world: World, receiver: Receiver) -> None:
    class Silent:
        def post(self, *_: Any) -> int:
            raise Unavailable("No answer.")

    with pytest.raises(Unavailable):
        webhooks(world, local(receiver), Silent()).deliver(store(world, hook(receiver)))


@pytest.mark.parametrize(
    "url",
    ["https://10.0.0.1/", "http://localhost/", "https://u:p@example.com/", "nonsense", "https://[::1]/"],
)
def test_an_address_that_is_refused_is_dropped(
    world: World, receiver: Receiver, log: io.StringIO, url: str
) -> None:
    webhooks(world, WebhookPolicy(), log=log).deliver(store(world, url))
    assert [line["message"] for line in lines(log)] == ["webhook dropped"]


def test_a_name_that_leads_to_a_private_address_is_dropped(
    world: World, receiver: Receiver, log: io.StringIO
) -> None:
    sender = Poster(resolve=lambda *_: ["169.254.169.254"])
    webhooks(world, WebhookPolicy(), sender, log=log).deliver(store(world, "https://hooks.example.com/"))
    assert [line["message"] for line in lines(log)] == ["webhook dropped"]


def test_a_run_that_is_gone_sends_nothing(world: World, receiver: Receiver, log: io.StringIO) -> None:
    webhooks(world, local(receiver), log=log).deliver(message())
    assert receiver.received == []
    assert [line["message"] for line in lines(log)] == ["webhook dropped"]


def test_a_run_that_nobody_listens_to_sends_nothing(world: World, receiver: Receiver) -> None:
    webhooks(world, local(receiver)).deliver(store(world, None))
    assert receiver.received == []


def test_a_message_that_is_not_ours_is_refused(world: World, receiver: Receiver) -> None:
    with pytest.raises(ValidationError):
        webhooks(world, local(receiver)).deliver('{"kind":"run"}')


@pytest.mark.parametrize("status", [204, 410])
def test_a_line_of_the_log_names_the_run_and_the_host_and_never_the_url(
    world: World, receiver: Receiver, log: io.StringIO, status: int
) -> None:
    receiver.status = status
    policy = local(receiver, headers={"x-key": "${{ env.LG_WEBHOOK_KEY }}"})
    webhooks(world, policy, log=log).deliver(store(world, hook(receiver)))
    [line] = lines(log)
    assert (line["tenant"], line["run_id"], line["host"]) == (TENANT, RUN.run_id, "localhost")
    assert SECRET not in log.getvalue()


def test_an_error_names_the_host_and_never_the_url(
    world: World, receiver: Receiver, log: io.StringIO
) -> None:
    receiver.status = 500
    with pytest.raises(Unavailable) as caught:
        webhooks(world, local(receiver), log=log).deliver(store(world, hook(receiver)))
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert log.getvalue() == ""
