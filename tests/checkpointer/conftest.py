"""One local cloud a test process, with one table and one bucket; each test is a tenant of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.serde.base import SerializerProtocol

from crewline.engine.checkpointer import DynamoDBCheckpointer, Storage
from crewline.engine.serdes import strict_serializer
from crewline.local import clouds, states
from crewline.models.clocks import Clock, system_clock
from crewline.services.checkpoints import Checkpoints
from crewline.services.leases import Leases
from crewline.store import clients, keys
from crewline.store.blobs import Blobs
from crewline.store.records import Records
from crewline.store.table import Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

TABLE = "checkpoints"
BUCKET = "large-values"


@dataclass(frozen=True)
class Cloud:
    """The cloud, and clients that reach it."""

    environment: dict[str, str]
    dynamodb: DynamoDBClient
    objects: S3Client

    def storage(
        self,
        *,
        dynamodb: DynamoDBClient | None = None,
        objects: S3Client | None = None,
        clock: Clock = system_clock,
    ) -> Storage:
        table = Table(dynamodb or self.dynamodb, TABLE)
        blobs = Blobs(objects or self.objects, BUCKET)
        records = Records(table, blobs, clock=clock)
        return Storage(
            records=records,
            checkpoints=Checkpoints(table, blobs, records),
            leases=Leases(table, records, clock),
            clock=clock,
        )


@dataclass(frozen=True)
class House:
    """What one test sees of the cloud."""

    cloud: Cloud
    tenant: str
    storage: Storage

    def saver(self, *, bucket: str | None = BUCKET, **options: Any) -> DynamoDBCheckpointer:
        """Make a checkpointer as its users do, with connections of its own."""
        return DynamoDBCheckpointer(TABLE, bucket=bucket, tenant=self.tenant, **options)

    def cold(
        self,
        *,
        storage: Storage | None = None,
        serde: SerializerProtocol | None = None,
        ttl_seconds: int | None = None,
    ) -> DynamoDBCheckpointer:
        """Make a checkpointer that remembers nothing: what a new process would see."""
        return DynamoDBCheckpointer.over(
            storage or self.storage,
            self.tenant,
            serde=serde or strict_serializer(),
            ttl_seconds=ttl_seconds,
        )

    def items(self, thread_id: str) -> list[dict[str, Any]]:
        """Read what is stored of a thread as DynamoDB spells it."""
        found: list[dict[str, Any]] = []
        pages = self.cloud.dynamodb.get_paginator("query").paginate(
            TableName=TABLE,
            ConsistentRead=True,
            KeyConditionExpression="PK = :thread",
            ExpressionAttributeValues={":thread": {"S": keys.thread_partition(self.tenant, thread_id)}},
        )
        for page in pages:
            found += page["Items"]
        return found

    def objects(self, thread_id: str) -> dict[str, bytes]:
        """Read the large values of a thread."""
        prefix = keys.blob_prefix(self.tenant, thread_id)
        listed = self.cloud.objects.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {
            one["Key"]: self.cloud.objects.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read()
            for one in listed
        }


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A running cloud for the whole test process."""
    state_folder = tmp_path_factory.mktemp("cloud")
    with states.held(state_folder) as state, clouds.running(state) as local:
        reach: Any = {
            "endpoint_url": local.url,
            "region": clouds.REGION,
            "credentials": clouds.CREDENTIALS,
        }
        dynamodb, objects = clients.client("dynamodb", **reach), clients.client("s3", **reach)
        dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")],
            KeySchema=[
                {"AttributeName": "PK", "KeyType": "HASH"},
                {"AttributeName": "SK", "KeyType": "RANGE"},
            ],
        )
        objects.create_bucket(Bucket=BUCKET)
        yield Cloud(local.environment, dynamodb, objects)


@pytest.fixture
def house(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> House:
    """The cloud for one test: a tenant nobody else has, and the environment that leads to it."""
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    return House(cloud, f"t-{uuid4().hex[:16]}", cloud.storage())
