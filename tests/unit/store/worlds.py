"""A world for one test: a table in this process, bucket and queue on moto, services over them, and a clock to set.

moto is not atomic: the clients of a world let one call through at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import orjson
import pytest
from aws_lambda_powertools import Logger
from moto import mock_aws

from crewline.checkpoints.codec import seal_record, seal_writes
from crewline.checkpoints.records import LateWrites, Record, Sealed, Write
from crewline.models.assistants import default_assistant_id
from crewline.models.leases import Claim
from crewline.models.manifests import Manifest, read_manifest
from crewline.models.webhooks import check_url
from crewline.observability import Measures
from crewline.runtime import Stores, compose
from crewline.services.api_keys import ApiKeys
from crewline.services.assistants import Assistants
from crewline.services.batches import Batches
from crewline.services.cancellations import Cancellations
from crewline.services.checkpoints import Checkpoints
from crewline.services.copies import Copies
from crewline.services.crons import Crons
from crewline.services.dispatches import Dispatches
from crewline.services.drafts import Drafts
from crewline.services.endings import Endings
from crewline.services.firings import Firings
from crewline.services.leases import Leases
from crewline.services.outbox import Outbox
from crewline.services.prunings import Prunings
from crewline.services.recents import Recents
from crewline.services.run_lists import RunLists
from crewline.services.runs import Admitted, Runs
from crewline.services.searches import Searches
from crewline.services.threads import Threads
from crewline.services.versions import Versions
from crewline.services.webhook_tokens import WebhookTokens
from crewline.store import keys
from crewline.store.blobs import Blobs
from crewline.store.clients import Credentials, client
from crewline.store.items import Item, item_from_wire
from crewline.store.queues import RunQueue, WebhookQueue
from crewline.store.records import Records
from crewline.store.table import Table
from tests.buses import Bus
from tests.schedules import Scheduler
from tests.tables import REST, answer_here
from tests.workflows import Executions

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

BASIC = Path(__file__).parents[2] / "projects" / "basic"
REGION = "us-east-1"
CREDENTIALS = Credentials("testing", "testing")
NOW = 1_760_000_000_000
TENANT = "acme"
SILENT = Logger(service="test", level="CRITICAL")


class FakeClock:
    """A clock that moves only when a test moves it."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def pass_(self, milliseconds: int) -> None:
        self.now += milliseconds


@dataclass(frozen=True, slots=True)
class Cloud:
    """Clients of a cloud in this process."""

    dynamodb: DynamoDBClient
    s3: S3Client
    sqs: SQSClient


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with mock_aws(config=REST):
        clients = Cloud(
            client("dynamodb", region=REGION, credentials=CREDENTIALS),
            client("s3", region=REGION, credentials=CREDENTIALS),
            client("sqs", region=REGION, credentials=CREDENTIALS),
        )
        answer_here(clients.dynamodb.meta.events)
        lock = threading.RLock()
        for one in (clients.dynamodb, clients.s3, clients.sqs):
            one._make_api_call = _one_at_a_time(one._make_api_call, lock)  # type: ignore[union-attr]
        yield clients


def _one_at_a_time(call: Callable[..., Any], lock: threading.RLock) -> Callable[..., Any]:
    def locked(*args: Any) -> Any:
        with lock:
            return call(*args)

    return locked


def make_table(dynamodb: DynamoDBClient, name: str) -> None:
    """Make the table with the keys and indexes that the stack gives it."""
    names = {keys.PARTITION, keys.SORT}
    for index in keys.INDEXES:
        names |= {index.partition, index.sort}
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in sorted(names)],
        KeySchema=[
            {"AttributeName": keys.PARTITION, "KeyType": "HASH"},
            {"AttributeName": keys.SORT, "KeyType": "RANGE"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index.name,
                "KeySchema": [
                    {"AttributeName": index.partition, "KeyType": "HASH"},
                    {"AttributeName": index.sort, "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": index.projection},
            }
            for index in keys.INDEXES
        ],
    )


class AtOnce(ThreadPoolExecutor):
    """Has done what it is given when it says so: nothing depends on who is faster."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Do it, and wait for it."""
        doing: Any = super().submit(fn, *args, **kwargs)
        wait((doing,))
        return doing


@dataclass(slots=True)
class World:
    """Everything between the handlers and the cloud."""

    cloud: Cloud
    name: str
    clock: FakeClock
    queue_url: str
    manifest: Manifest
    webhook_url: str = ""
    leaving_seen: bool = True
    measures: Measures = field(init=False)
    versions: Versions = field(init=False)
    api_keys: ApiKeys = field(init=False)
    table: Table = field(init=False)
    blobs: Blobs = field(init=False)
    queue: RunQueue = field(init=False)
    records: Records = field(init=False)
    checkpoints: Checkpoints = field(init=False)
    leases: Leases = field(init=False)
    outbox: Outbox = field(init=False)
    recents: Recents = field(init=False)
    endings: Endings = field(init=False)
    threads: Threads = field(init=False)
    searches: Searches = field(init=False)
    drafts: Drafts = field(init=False)
    copies: Copies = field(init=False)
    prunings: Prunings = field(init=False)
    assistants: Assistants = field(init=False)
    runs: Runs = field(init=False)
    batches: Batches = field(init=False)
    cancellations: Cancellations = field(init=False)
    executions: Executions = field(default_factory=Executions)
    scheduler: Scheduler = field(default_factory=Scheduler)
    bus: Bus | None = None
    """Who is told of every run."""
    measured: list[str] = field(default_factory=list)
    """Lines of the embedded metric format."""

    @property
    def webhook_tokens(self) -> WebhookTokens:
        """What makes addresses that start runs."""
        return WebhookTokens(self.table, self.clock)

    @property
    def run_lists(self) -> RunLists:
        """What lists runs over all threads."""
        return RunLists(self.table, self.runs, self.threads)

    @property
    def crons(self) -> Crons:
        """What makes crons."""
        return Crons(
            self.table,
            self.scheduler.schedules,
            self.clock,
            runs=self.runs,
            threads=self.threads,
            assistants=self.assistants,
            logger=SILENT,
        )

    @property
    def firings(self) -> Firings:
        """What starts the runs of crons."""
        schedules = self.scheduler.schedules
        return Firings(self.table, self.runs, self.crons, schedules, self.clock, logger=SILENT)

    @property
    def dispatches(self) -> Dispatches:
        """What sends runs to workers."""
        return Dispatches(self.table, self.queue, self.executions.workflow, self.clock)

    def __post_init__(self) -> None:
        stores = Stores(
            table=Table(self.cloud.dynamodb, self.name),
            blobs=Blobs(self.cloud.s3, self.name),
            queue=RunQueue(self.cloud.sqs, self.queue_url),
            webhooks=WebhookQueue(self.cloud.sqs, self.webhook_url),
            bus=self.bus.bus if self.bus else None,
        )
        core = compose(
            stores,
            self.manifest,
            self.clock,
            SILENT,
            check_webhook=partial(check_url, policy=self.manifest.webhooks),
            measures=Measures("test", self.measured.append),
            leaving_seen=self.leaving_seen,
        )
        for part in fields(self):
            if not part.init:
                setattr(self, part.name, getattr(core, part.name))
        self.outbox._senders = AtOnce(1)

    def again(self) -> World:
        """The same cloud as another process sees it, which remembers nothing."""
        return World(
            cloud=self.cloud,
            name=self.name,
            clock=self.clock,
            queue_url=self.queue_url,
            manifest=self.manifest,
            webhook_url=self.webhook_url,
            leaving_seen=self.leaving_seen,
            executions=self.executions,
            scheduler=self.scheduler,
            bus=self.bus,
            measured=self.measured,
        )

    def metrics(self) -> list[dict[str, Any]]:
        """What was measured: names, dimensions and values, without the time."""
        return [measured(line) for line in self.measured]

    def items(self) -> dict[tuple[str, str], Item]:
        """Everything in the table, by key."""
        found: dict[tuple[str, str], Item] = {}
        for page in self.cloud.dynamodb.get_paginator("scan").paginate(TableName=self.name):
            for wire in page["Items"]:
                item = item_from_wire(wire)
                found[(item[keys.PARTITION], item[keys.SORT])] = item
        return found

    def objects(self) -> list[str]:
        """Every key in the bucket."""
        listed = self.cloud.s3.list_objects_v2(Bucket=self.name)
        return [found["Key"] for found in listed.get("Contents", [])]

    def messages(self) -> list[Any]:
        """Every message that the run queue can hand out now, and takes them out of it."""
        return self._received(self.queue_url)

    def announced(self) -> list[Any]:
        """Every message of the webhook queue, and takes them out of it."""
        return self._received(self.webhook_url)

    def _received(self, url: str) -> list[Any]:
        bodies: list[Any] = []
        while found := self.cloud.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                bodies.append(orjson.loads(message["Body"]))
                self.cloud.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return bodies

    def lease(self, thread_id: str) -> Item:
        """The lease item of a thread as it is stored; empty when there is none."""
        return self.table.get(keys.lease(TENANT, thread_id)) or {}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def basic_manifest() -> Manifest:
    return read_manifest(BASIC / "langgraph.json")


@pytest.fixture
def world(cloud: Cloud, clock: FakeClock, basic_manifest: Manifest) -> World:
    name = f"world-{uuid4().hex}"
    make_table(cloud.dynamodb, name)
    cloud.s3.create_bucket(Bucket=name)
    url, webhook_url = (
        cloud.sqs.create_queue(QueueName=queue)["QueueUrl"] for queue in (name, f"{name}-webhooks")
    )
    return World(
        cloud=cloud,
        name=name,
        clock=clock,
        queue_url=url,
        manifest=basic_manifest,
        webhook_url=webhook_url,
    )


def measured(line: str) -> dict[str, Any]:
    """Read a line of the embedded metric format as CloudWatch would, into dimensions and values."""
    told = orjson.loads(line)
    (directive,) = told.pop("_aws")["CloudWatchMetrics"]
    assert directive["Namespace"] == "Crewline"
    (dimensions,) = directive["Dimensions"]
    names = [metric["Name"] for metric in directive["Metrics"]]
    assert set(told) == {*dimensions, *names}
    return {name: value[0] if name in names else value for name, value in told.items()}


def claimed(admitted: Admitted) -> Claim:
    """The claim of a run that this process is to execute."""
    assert admitted.claim is not None
    return admitted.claim


def uuid6(number: int) -> str:
    """Make a checkpoint id that sorts by number."""
    return f"1f0f{number:04x}-0000-6000-8000-000000000000"


def record(number: int, *, namespace: str = "", parent: int | None = None, **more: Any) -> Record:
    """Make a small checkpoint record."""
    fields: dict[str, Any] = {
        "namespace": namespace,
        "checkpoint_id": uuid6(number),
        "parent_id": uuid6(parent) if parent is not None else None,
        "envelope": {"v": 4, "ts": "2026-01-01T00:00:00+00:00", "channel_versions": {}, "versions_seen": {}},
        "metadata": ("msgpack", b"\x80"),
        "channels": {"n": ("bytes", number.to_bytes(2))},
    }
    return Record(**{**fields, **more})


def sealed(number: int, **fields: Any) -> Sealed:
    """Make a small checkpoint record as it is written: whole."""
    return seal_record(record(number, **fields))[0]


def late(number: int, *writes: Write, namespace: str = "") -> Sealed:
    """Make late writes of a checkpoint as they are written."""
    return seal_writes(LateWrites(namespace=namespace, checkpoint_id=uuid6(number), writes=writes))


class Calls:
    """What went through a client's operation, and how it goes wrong.

    `failures` are raised instead of a call, `after` once it has been carried out; `before` is called
    once, before the next call; `twice` sends every request a second time, as botocore does when the
    first answer is lost.

    Args:
        one: A boto3 client.
        operation: As the API names it: `TransactWriteItems`.
    """

    def __init__(self, one: Any, operation: str) -> None:
        self.requests: list[Any] = []
        self.failures: list[BaseException | None] = []
        self.after: list[BaseException | None] = []
        self.before: Callable[[], None] | None = None
        self.twice = False
        self._client = one
        self._operation = operation
        self._call = one._make_api_call

    def __enter__(self) -> Self:
        self._client._make_api_call = self._intercept
        return self

    def __exit__(self, *_: object) -> None:
        self._client._make_api_call = self._call

    def _intercept(self, operation: str, arguments: dict[str, Any]) -> Any:
        if operation != self._operation:
            return self._call(operation, arguments)
        self.requests.append(orjson.loads(orjson.dumps(arguments, default=lambda value: value.hex())))
        if before := self.before:
            self.before = None
            before()
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure
        answer = self._call(operation, arguments)
        if self.twice:
            answer = self._call(operation, arguments)
        failure = self.after.pop(0) if self.after else None
        if failure:
            raise failure
        return answer


ECHO = default_assistant_id("echo")
