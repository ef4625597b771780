"""Whole processes of the product over clients that count their calls, and stop, refuse or lose them.

A process that was stopped sends nothing any more, from any of its threads. What it leaves behind is
found as on AWS: by the client that repeats its request, by a message that comes again, by a sweep.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

from botocore.exceptions import ClientError, ReadTimeoutError

from crewline.engine.crews import Crew, Crews, Graph
from crewline.engine.loops import CrewLoop
from crewline.local import clouds, states
from crewline.models.manifests import CrewEntry, Manifest
from crewline.observability import make_logger
from crewline.runtime import (
    Stores,
    compose,
    compose_crons,
    compose_dispatches,
    compose_engine,
    compose_jobs,
    compose_sweeper,
)
from crewline.store import clients, keys
from crewline.store.blobs import Blobs
from crewline.store.buses import EventBus
from crewline.store.queues import DeadLetters, RunQueue, WebhookQueue
from crewline.store.table import Table
from crewline.store.workflows import Workflow
from tests.buses import NAME, Bus
from tests.schedules import Scheduler
from tests.tables import answer_here
from tests.unit.store.worlds import AtOnce
from tests.workflows import ARN, Executions

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

BUCKET: Final = "crashes"
GRAPH: Final = "crew"
NOW: Final = 1_760_000_000_000
READS: Final = frozenset(("get_item", "query", "get_object", "list_objects_v2", "receive_message"))
_CONDITIONAL: Final = frozenset(("transact_write_items", "update_item", "put_item", "delete_item"))
_LOGGER: Final = make_logger("crashes", "CRITICAL")
_ALWAYS_MS: Final = 900_000

Kind = Literal["conflict", "throttled", "lost", "resent"]
KINDS: Final[tuple[Kind, ...]] = ("conflict", "throttled", "lost", "resent")


class Stopped(BaseException):
    """The process is gone: nothing catches this."""


class Clock:
    """A clock that moves only when it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


# ------------------------------------------------------------------ what happens to a call


class Wire:
    """What one process sends."""

    def __init__(self) -> None:
        self.gone = False
        self.landed = 0
        """Transactions that were carried out and moved a lease: no log of what is said does."""
        self.trouble: Trouble | None = None

    def over(self, client: object) -> Any:
        """Put the wire around a client."""
        return _Wired(self, client)

    def call(self, operation: str, send: Callable[[], Any], *, moves: bool = False) -> Any:
        """Send a call, if the process is still there.

        Args:
            operation: What is called.
            send: Does it.
            moves: It is a transaction that moves a lease.
        """

        def carry_out() -> Any:
            answer = send()
            self.landed += moves
            return answer

        if self.gone:
            raise Stopped
        return self.trouble.meet(self, operation, carry_out) if self.trouble else carry_out()


class _Wired:
    def __init__(self, wire: Wire, client: object) -> None:
        self._wire = wire
        self._client: Any = client

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        method = getattr(self._client, operation)
        return lambda **arguments: self._wire.call(
            operation, lambda: method(**arguments), moves=_moves(arguments.get("TransactItems", ()))
        )

    def get_paginator(self, operation: str) -> _Pages:
        return _Pages(self._wire, self._client.get_paginator(operation), operation)


def _moves(items: Sequence[Mapping[str, Any]]) -> bool:
    updates = [item["Update"]["Key"][keys.SORT]["S"] for item in items if "Update" in item]
    return keys.LEASE_SORT in updates


class _Pages:
    def __init__(self, wire: Wire, paginator: Any, operation: str) -> None:
        self._wire, self._paginator, self._operation = wire, paginator, operation

    def paginate(self, **arguments: Any) -> Iterator[Any]:
        pages = iter(self._paginator.paginate(**arguments))
        while (page := self._wire.call(self._operation, lambda: next(pages, None))) is not None:
            yield page


class Trouble:
    """Lets all calls pass and keeps their names; its kinds say what happens to some.

    Args:
        of: Operations that count; None: all.
    """

    def __init__(self, of: Callable[[str], bool] = lambda _operation: True) -> None:
        self.sent: list[str] = []
        self.happened = False
        self._of = of
        self._counted = 0
        self._lock = threading.Lock()

    def meet(self, wire: Wire, operation: str, send: Callable[[], Any]) -> Any:
        with self._lock:
            number = self._counted if self._of(operation) else -1
            self._counted += self._of(operation)
            self.sent.append(operation)
        return self.happen(wire, number, operation, send)

    def happen(self, wire: Wire, number: int, operation: str, send: Callable[[], Any]) -> Any:
        return send()


class Stop(Trouble):
    """The process ends before or after one of the calls that count."""

    def __init__(
        self, number: int, *, after: bool, of: Callable[[str], bool] = lambda _operation: True
    ) -> None:
        super().__init__(of)
        self._number = number
        self._after = after

    def happen(self, wire: Wire, number: int, operation: str, send: Callable[[], Any]) -> Any:
        if number != self._number:
            return send()
        wire.gone = self.happened = True
        if self._after:
            send()
        raise Stopped


class Once(Trouble):
    """One call, of whatever process, is refused or its answer is lost; all processes live on."""

    def __init__(self, number: int, kind: Kind) -> None:
        super().__init__(lambda operation: operation not in READS)
        self._number = number
        self._kind = kind

    def happen(self, wire: Wire, number: int, operation: str, send: Callable[[], Any]) -> Any:
        if number != self._number:
            return send()
        self.happened = True
        return _afflicted(self._kind, operation, send)


class Conflicts(Trouble):
    """Every transaction meets others a few times before it is carried out."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times
        self._met: dict[int, int] = {}

    def happen(self, wire: Wire, number: int, operation: str, send: Callable[[], Any]) -> Any:
        caller = threading.get_ident()
        met = self._met.get(caller, 0)
        if operation in _CONDITIONAL and met < self._times:
            self._met[caller] = met + 1
            raise _conflict(operation)
        self._met[caller] = 0
        return send()


def is_write(operation: str) -> bool:
    """Tell whether a call changes anything: one that does not leaves the same, whether it was sent or not."""
    return operation not in READS


def is_transaction(operation: str) -> bool:
    """Tell whether a call writes what was executed before it."""
    return operation == "transact_write_items"


def _afflicted(kind: Kind, operation: str, send: Callable[[], Any]) -> Any:
    match kind:
        case "conflict" if operation in _CONDITIONAL:
            raise _conflict(operation)
        case "conflict":
            return send()
        case "throttled":
            raise _error(operation, "ThrottlingException")
        case "lost":
            send()
            raise ReadTimeoutError(endpoint_url="https://nowhere")
        case "resent":  # its answer was lost, and the SDK sent the same bytes again
            send()
            return send()


def _conflict(operation: str) -> ClientError:
    if operation != "transact_write_items":
        return _error(operation, "TransactionConflictException")
    return _error(
        operation, "TransactionCanceledException", CancellationReasons=[{"Code": "TransactionConflict"}]
    )


def _error(operation: str, code: str, **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "sorry"}, **more}
    return ClientError(response, operation)


# ------------------------------------------------------------------ the cloud


@dataclass(frozen=True, slots=True)
class Cloud:
    """The clients that all processes share, and the clock that they read."""

    dynamodb: DynamoDBClient
    s3: S3Client
    loop: CrewLoop
    clock: Clock = field(default_factory=Clock)

    table: str = ""
    """Its name."""

    @contextmanager
    def afresh(self) -> Iterator[Cloud]:
        """Give the cloud a table of its own for a while: what is read whole stays small."""
        fresh = replace(self, table=f"crashes-{uuid4().hex}")
        fresh._make_table()
        yield fresh
        self.dynamodb.delete_table(TableName=fresh.table)

    def _make_table(self) -> None:
        indexes = (keys.LEASES_IN_FLIGHT, keys.THREADS_EXPIRING)
        names = (keys.PARTITION, keys.SORT, *(one for index in indexes for one in index[1:3]))
        self.dynamodb.create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
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
                for index in indexes
            ],
        )


@contextmanager
def running_cloud(folder: Path) -> Iterator[Cloud]:
    """Run a local cloud with the bucket; its tables are in this process."""
    with states.held(folder) as state, clouds.running(state) as local:
        reach: Any = {"endpoint_url": local.url, "region": clouds.REGION, "credentials": clouds.CREDENTIALS}
        dynamodb, s3 = clients.client("dynamodb", **reach), clients.client("s3", **reach)
        answer_here(dynamodb.meta.events)
        s3.create_bucket(Bucket=BUCKET)
        loop = CrewLoop()
        try:
            yield Cloud(dynamodb, s3, loop)
        finally:
            loop.close()


class Queue:
    """A queue by the clock of the tests: it hands out what is due, in order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.messages: list[tuple[int, str]] = []

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0) -> Mapping[str, Any]:  # noqa: N803
        self.messages.append((self._clock() + DelaySeconds * 1000, MessageBody))
        return {}

    @property
    def bodies(self) -> list[str]:
        """What was sent and not taken out."""
        return [body for _, body in self.messages]

    def receive_message(self, **_: Any) -> Mapping[str, Any]:
        return {}

    def take(self) -> str | None:
        """Take out the first message that is due."""
        for place, (due, body) in enumerate(self.messages):
            if due <= self._clock():
                del self.messages[place]
                return body
        return None


# ------------------------------------------------------------------ a process


class Process:
    """Everything that a function is made of, for one crew.

    Args:
        cloud: Where it is.
        wire: What its calls go through.
        queue: The run queue.
        webhooks: The webhook queue.
        executions: Those of the workflow.
        graph: Makes its crew.
        bus: Who is told of every run, if anybody is.
    """

    def __init__(
        self,
        cloud: Cloud,
        wire: Wire,
        queue: Queue,
        webhooks: Queue,
        executions: Executions,
        graph: Callable[[Process], Graph],
        *,
        bus: Bus | None = None,
    ) -> None:
        self.wire = wire
        stores = Stores(
            table=Table(wire.over(cloud.dynamodb), cloud.table),
            blobs=Blobs(wire.over(cloud.s3), BUCKET),
            queue=RunQueue(wire.over(queue), "runs"),
            webhooks=WebhookQueue(wire.over(webhooks), "webhooks"),
            bus=EventBus(wire.over(bus), NAME) if bus else None,
        )
        core = compose(stores, _manifest(), cloud.clock, _LOGGER, check_webhook=lambda _url: None)
        core.outbox._senders = AtOnce(1)
        self.table, self.blobs, self.records = core.table, core.blobs, core.records
        self.leases, self.threads, self.runs = core.leases, core.threads, core.runs
        self.assistants = core.assistants
        self.cancellations, self.copies, self.prunings = core.cancellations, core.copies, core.prunings
        crews = Crews({GRAPH: Crew(graph_id=GRAPH, target=graph(self))})
        dispatches = compose_dispatches(core, Workflow(wire.over(executions), ARN))
        engine = compose_engine(core, dispatches, crews, cloud.loop, longest_s=900)
        self.edits, self.executor = engine.edits, engine.executor
        self.jobs = compose_jobs(core, dispatches, self.executor, most_slices=3_000)
        self.sweeper = compose_sweeper(
            core,
            dispatches,
            DeadLetters(wire.over(queue), "dead letters"),
            compose_crons(core, Scheduler().schedules),
        )

    def sweep(self) -> None:
        """Sweep once; nothing may fail."""
        swept = self.sweeper.sweep(lambda: _ALWAYS_MS)
        assert swept.complete
        assert not swept.failed


def _manifest() -> Manifest:
    path = Path(__file__)
    entry = CrewEntry(graph_id=GRAPH, path=path, attribute="graph")
    return Manifest(path=path, crews={GRAPH: entry})
