"""The functions in this process, as Lambda loads them: their files, their environment, recorded events."""

from __future__ import annotations

import asyncio
import base64
import copy
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import botocore.client
import orjson
import pytest
from moto import mock_aws

from crewline.http.replies import Reply
from crewline.http.resources import resource_for
from crewline.local.proxy_events import lambda_context
from crewline.models.api_keys import SCOPES
from crewline.models.manifests import read_manifest
from crewline.settings import environment
from crewline.store import clients
from tests import workflows
from tests.tables import REST, answer_here
from tests.unit.store.worlds import BASIC, REGION, Cloud, FakeClock, World, make_table

FUNCTIONS = Path(__file__).parents[2] / "functions"
EVENTS = Path(__file__).parent / "events"
TENANT = "default"
WRITES = {
    "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems", "PutObject", "DeleteObjects", "SendMessage",
}  # fmt: skip
LIMIT = 50_000
"""A small body limit, so that tests need no large ones."""


def recorded(name: str) -> dict[str, Any]:
    """An event as AWS sent it."""
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function answered, its body as JSON."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.text)

    @property
    def detail(self) -> str:
        """The sentence of an error, which is all that its body says beside a code."""
        body = self.json
        assert set(body) == {"detail", "code"}
        assert isinstance(body["detail"], str)
        assert "Traceback" not in self.text
        return body["detail"]

    @property
    def message(self) -> str:
        """The sentence of an error as the API of Crewship has it."""
        body = self.json
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "code"}
        assert "Traceback" not in self.text
        message: str = body["error"]["message"]
        return message


@dataclass(slots=True)
class Deployment:
    """One table, bucket and queue, and the functions over them."""

    world: World
    key: str
    """An API key of the tenant, which allows everything; every request comes with it, unless it has another."""
    functions: dict[str, ModuleType] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    """The operations that have changed table, bucket or queue; refused ones are not among them."""

    def invoke(self, name: str, event: dict[str, Any], request_id: str = "") -> Any:
        context = lambda_context(name, request_id or str(uuid4()))
        return self.functions[name].handler(event, context)

    def send(self, event: dict[str, Any], *, request_id: str = "") -> Answer:
        """Hand an event to the function behind its path."""
        _, function = resource_for(event["path"])
        context = lambda_context(function, request_id or str(uuid4()))
        event = {**event, "headers": {"x-api-key": self.key, **event["headers"]}}
        reply: Reply = self.functions[function].answer(event, context)
        return Answer(reply.status, dict(reply.headers), asyncio.run(whole(reply)).decode())

    def request(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """Send a request like a recorded one; a body is JSON unless it is text or bytes already."""
        event = copy.deepcopy(recorded("create_thread" if body is not None else "get_thread"))
        path, _, query = path.partition("?")
        event |= {"path": path, "httpMethod": method, "resource": resource_for(path)[0]}
        if query:
            pairs = [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))]
            event["queryStringParameters"] = dict(pairs)
            event["multiValueQueryStringParameters"] = {
                name: [value for other, value in pairs if other == name] for name, _ in pairs
            }
        if isinstance(body, bytes):
            event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        else:
            event["body"] = body if isinstance(body, str) or body is None else json.dumps(body)
        for name, value in more.pop("headers", {}).items():
            event["headers"][name] = value
            event["multiValueHeaders"][name] = [value]
        return self.send(event, **more)

    def thread(self, **body: Any) -> str:
        answer = self.request("POST", "/threads", body)
        assert answer.status == 200
        thread_id: str = answer.json["thread_id"]
        return thread_id

    def work(self, *bodies: str) -> Any:
        """Hand messages to the worker as one batch; without any, those that the queue holds."""
        texts = bodies or tuple(json.dumps(message) for message in self.world.messages())
        if not texts:
            return {"batchItemFailures": []}
        (record,) = recorded("run_queue")["Records"]
        event = {
            "Records": [
                {**record, "messageId": f"m{count}", "body": text} for count, text in enumerate(texts)
            ]
        }
        return self.invoke("worker", event)


async def whole(reply: Reply) -> bytes:
    """Wait for all of a reply."""
    return reply.body if isinstance(reply.body, bytes) else b"".join([chunk async for chunk in reply.body])


def load(name: str) -> ModuleType:
    """Import a function's file as a new module, as a cold start does."""
    module_name = f"tested_function_{name}"
    spec = importlib.util.spec_from_file_location(module_name, FUNCTIONS / name / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def deployed(manifest: Path) -> Iterator[Deployment]:
    """Load the functions for a project, over a table, bucket and queues of their own."""
    with mock_aws(config=REST), pytest.MonkeyPatch.context() as patch:
        base: Any = botocore.client.BaseClient
        lock, call = threading.RLock(), base._make_api_call

        writes: list[str] = []

        def one_at_a_time(one: Any, operation: str, arguments: Any) -> Any:
            with lock:  # moto is not atomic
                answer = call(one, operation, arguments)
            if operation in WRITES:
                writes.append(operation)
            return answer

        patch.setattr(base, "_make_api_call", one_at_a_time)
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        clients._session.cache_clear()
        answer_here(clients._session().get_component("event_emitter"))
        name = f"deployment-{uuid4().hex}"
        cloud = Cloud(clients.client("dynamodb"), clients.client("s3"), clients.client("sqs"))
        make_table(cloud.dynamodb, name)
        cloud.s3.create_bucket(Bucket=name)
        url, dead_letter_url, webhook_url = (
            cloud.sqs.create_queue(QueueName=one)["QueueUrl"]
            for one in (name, f"{name}-dead", f"{name}-webhooks")
        )
        refused_url = cloud.sqs.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})[
            "QueueUrl"
        ]
        variables = environment(
            table=name,
            bucket=name,
            run_queue_url=url,
            dead_letter_url=dead_letter_url,
            webhook_queue_url=webhook_url,
            intake_dead_letter_url=refused_url,
            event_dead_letter_url=dead_letter_url,
            workflow_arn=workflows.ARN,
            schedule_group="default",
            schedule_role="arn:aws:iam::123456789012:role/schedules",
            schedule_function="arn:aws:lambda:us-east-1:123456789012:function:intake:live",
            schedule_dead_letters="arn:aws:sqs:us-east-1:123456789012:events",
            manifest=str(manifest),
            max_body_bytes=LIMIT,
            langgraph=version("langgraph"),
            log_level="CRITICAL",
        )
        for variable, value in variables.items():
            patch.setenv(variable, value)
        world = World(
            cloud=cloud,
            name=name,
            clock=FakeClock(),
            queue_url=url,
            manifest=read_manifest(manifest),
            webhook_url=webhook_url,
        )
        _, key = world.api_keys.create(TENANT, SCOPES)
        names = ("api", "crew", "tail", "worker", "sweeper", "intake")
        try:
            yield Deployment(world, key, {one: load(one) for one in names}, writes)
        finally:
            for one in names:
                sys.modules.pop(f"tested_function_{one}", None)
            clients._session.cache_clear()  # or whatever comes next would be answered here, too


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with deployed(BASIC / "langgraph.json") as made:
        yield made
