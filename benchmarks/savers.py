"""The checkpointers that are measured, each as a cold function would make it: anew every turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol
from uuid import uuid4

import boto3.session
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph_checkpoint_aws import DynamoDBSaver  # type: ignore[import-untyped]

from benchmarks.meters import Meter
from crewline.checkpoints.records import Sealed
from crewline.engine.checkpointer import DynamoDBCheckpointer, Storage
from crewline.engine.clocks import move_clock_past
from crewline.engine.journals import Journal
from crewline.engine.serdes import strict_serializer
from crewline.local.clouds import REGION
from crewline.models.clocks import system_clock
from crewline.models.leases import Claim, Lease
from crewline.services.checkpoints import Checkpoints
from crewline.services.leases import Leases
from crewline.store.blobs import Blobs
from crewline.store.clients import client
from crewline.store.records import Records
from crewline.store.table import Table

TENANT: Final = "default"
THREAD: Final = "thread-1"


@dataclass(frozen=True)
class Place:
    """A table and a bucket of the local cloud, and the meter of who uses them."""

    url: str
    meter: Meter
    table: str
    bucket: str

    @classmethod
    def make(cls, url: str, meter: Meter) -> Place:
        """Create them, empty."""
        name = f"bench-{uuid4().hex[:12]}"
        dynamodb, s3 = client("dynamodb", endpoint_url=url), client("s3", endpoint_url=url)
        dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": "PK", "KeyType": "HASH"},
                {"AttributeName": "SK", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "PK", "AttributeType": "S"},
                {"AttributeName": "SK", "AttributeType": "S"},
            ],
        )
        s3.create_bucket(Bucket=name)
        return cls(url, meter, name, name)

    def remove(self) -> None:
        """Delete them: the emulator keeps everything in memory."""
        client("dynamodb", endpoint_url=self.url).delete_table(TableName=self.table)
        s3 = client("s3", endpoint_url=self.url)
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            if found := page.get("Contents"):
                s3.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": one["Key"]} for one in found]}
                )

    @cached_property
    def storage(self) -> Storage:
        """Crewline's stores, over watched clients."""
        dynamodb, s3 = client("dynamodb", endpoint_url=self.url), client("s3", endpoint_url=self.url)
        self.meter.watch(dynamodb.meta.events)
        self.meter.watch(s3.meta.events)
        return make_storage(Table(dynamodb, self.table), Blobs(s3, self.bucket))


def make_storage(table: Table, blobs: Blobs) -> Storage:
    """Put Crewline's stores together."""
    records = Records(table, blobs)
    return Storage(
        records=records,
        checkpoints=Checkpoints(table, blobs, records),
        leases=Leases(table, records, system_clock),
    )


class Subject(Protocol):
    """A checkpointer in use."""

    @asynccontextmanager
    def turn(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        """Give a new saver for one turn; everything is written when it is left."""

    def reader(self) -> BaseCheckpointSaver[Any]:
        """Give a new saver that only reads."""


class Alone:
    """Crewline's checkpointer as anybody uses it, without a lease."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        """Give a new checkpointer; it has written everything when the graph returns."""
        yield self.reader()

    def reader(self) -> BaseCheckpointSaver[Any]:
        """Give a new checkpointer."""
        return DynamoDBCheckpointer.over(self._place.storage, TENANT, serde=strict_serializer())


class Fenced:
    """Crewline's checkpointer in an execution: every group of records is fenced by the lease.

    What is left at the end goes with the lease in one transaction, as it does in a run's finish.
    The claim is not counted: it is the run's, which claims whatever its checkpoints cost.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._claim: Claim | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        """Claim the thread, give a checkpointer under the claim, and finish."""
        with self._place.meter.measuring():
            self._claim = self._place.storage.leases.own(TENANT, THREAD)
        move_clock_past(self._claim.lease.newest)
        journal = Journal(self._commit)
        yield self._saver(journal)
        if entries := await journal.close():
            await asyncio.to_thread(self._commit, entries)

    def reader(self) -> BaseCheckpointSaver[Any]:
        """Give a checkpointer that knows the head, as every reader of a thread does."""
        return self._saver(None)

    def _saver(self, journal: Journal | None) -> BaseCheckpointSaver[Any]:
        return DynamoDBCheckpointer.over(
            self._place.storage,
            TENANT,
            serde=strict_serializer(),
            lease=lambda _thread_id: self._claim.lease if self._claim else Lease(),
            journal=journal,
        )

    def _commit(self, entries: Sequence[Sealed]) -> None:
        if self._claim:
            self._claim = self._place.storage.leases.commit(self._claim, entries)


class Peer:
    """`DynamoDBSaver` of langgraph-checkpoint-aws, with S3 for what is over the item limit."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._session = boto3.session.Session(region_name=REGION)
        place.meter.watch(self._session.events)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        """Give a new saver; it has written everything when the graph returns."""
        yield self.reader()

    def reader(self) -> BaseCheckpointSaver[Any]:
        """Give a new saver."""
        saver: BaseCheckpointSaver[Any] = DynamoDBSaver(
            table_name=self._place.table,
            session=self._session,
            endpoint_url=self._place.url,
            s3_offload_config={"bucket_name": self._place.bucket, "endpoint_url": self._place.url},
        )
        return saver
