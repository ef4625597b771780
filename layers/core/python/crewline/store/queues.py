"""The run queue: how background work reaches the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from crewline.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class RunJob(BaseModel):
    """Claim a run and execute it."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["run"] = "run"
    tenant: str
    thread_id: str
    run_id: str


class PurgeJob(BaseModel):
    """Remove what is left of a deleted thread."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["purge"] = "purge"
    tenant: str
    thread_id: str


Job = Annotated[RunJob | PurgeJob, Field(discriminator="kind")]
"""A message of the run queue: ids only, so that what it means is read when it is done."""

_JOB: TypeAdapter[RunJob | PurgeJob] = TypeAdapter(Job)


def parse_job(body: str) -> RunJob | PurgeJob:
    """Read a message of the run queue.

    Raises:
        pydantic.ValidationError: It is not one of ours.
    """
    return _JOB.validate_json(body)


class RunQueue:
    """The queue and the client that reaches it; safe for many threads."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, job: RunJob | PurgeJob, *, delay_s: int = 0) -> None:
        """Send a message; sending twice is harmless, a claim decides.

        Raises:
            Unavailable: SQS did not take it. What the message is about stays found by the sweeper.
        """
        arguments: dict[str, Any] = {"DelaySeconds": delay_s} if delay_s else {}
        try:
            self._client.send_message(
                QueueUrl=self._url, MessageBody=orjson.dumps(job.model_dump()).decode(), **arguments
            )
        except (ClientError, BotoCoreError) as exc:
            raise Unavailable("The run queue did not take the message; try again in a moment.") from exc
