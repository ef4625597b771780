"""The queues: how background work reaches the worker, and webhooks those who send them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Generic, Literal, TypeVar

import orjson
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from crewline.errors import Unavailable
from crewline.models.runs import RunStatus

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class RunJob(BaseModel):
    """Claim a run and execute it."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    kind: Literal["run"] = "run"
    tenant: str
    thread_id: str
    run_id: str


class PurgeJob(BaseModel):
    """Remove what is left of a deleted thread."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    kind: Literal["purge"] = "purge"
    tenant: str
    thread_id: str


class PruneJob(BaseModel):
    """Remove all of a thread but its newest state."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    kind: Literal["prune"] = "prune"
    tenant: str
    thread_id: str


class WebhookJob(BaseModel):
    """Tell the webhook of a run that it has ended."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    kind: Literal["webhook"] = "webhook"
    tenant: str
    thread_id: str
    run_id: str
    status: RunStatus


Job = Annotated[RunJob | PurgeJob | PruneJob, Field(discriminator="kind")]
"""A message of the run queue: ids only, so that what it means is read when it is done."""


RECEIVES: Final = 5
"""How often the worker gets a message before it goes to the dead letters."""

_BATCH: Final = 10
"""The most that SQS hands out at once."""

LONGEST_DELAY_S: Final = 900
"""What SQS can hold a message back; one for a later time is sent again when it comes."""


def delay_until(due: int, now: int) -> int:
    """Tell how many seconds a message about something that is due then has to wait, as far as SQS can."""
    return min(LONGEST_DELAY_S, max(0, math.ceil((due - now) / 1000)))


def parse_job(body: str) -> RunJob | PurgeJob | PruneJob:
    """Read a message of the run queue.

    Raises:
        pydantic.ValidationError: It is not one of ours.
    """
    return _jobs().validate_json(body)


@functools.cache
def _jobs() -> TypeAdapter[RunJob | PurgeJob | PruneJob]:
    return TypeAdapter(Job)


def parse_webhook(body: str) -> WebhookJob:
    """Read a message of the webhook queue.

    Raises:
        pydantic.ValidationError: It is not one of ours.
    """
    return WebhookJob.model_validate_json(body)


_J = TypeVar("_J", bound=BaseModel)


class _Queue(Generic[_J]):
    """A queue and the client that reaches it; safe for many threads."""

    name: ClassVar[str]

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, job: _J, *, delay_s: int = 0) -> None:
        """Send a message; sending twice is harmless.

        Raises:
            Unavailable: SQS did not take it. What the message is about stays found by the sweeper.
        """
        arguments: dict[str, Any] = {"DelaySeconds": delay_s} if delay_s else {}
        try:
            self._client.send_message(
                QueueUrl=self._url, MessageBody=orjson.dumps(job.model_dump()).decode(), **arguments
            )
        except (ClientError, BotoCoreError) as exc:
            raise Unavailable(f"The {self.name} did not take the message; try again in a moment.") from exc


class RunQueue(_Queue[RunJob | PurgeJob | PruneJob]):
    """The run queue; of a run that is sent twice, a claim decides."""

    name = "run queue"


class WebhookQueue(_Queue[WebhookJob]):
    """The webhook queue; a webhook that is sent twice has one id."""

    name = "webhook queue"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that the worker could not handle, however often it came."""

    message_id: str
    body: str
    receipt: str
    """By which it is deleted, as long as it is hidden."""


class DeadLetters:
    """The dead-letter queue of the run queue and the client that reaches it; safe for many threads."""

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def receive(self, *, hidden_s: int) -> list[DeadLetter]:
        """Take up to ten letters, without waiting for any.

        Args:
            hidden_s: After how many seconds a letter that is not deleted can be received again.

        Raises:
            Unavailable: SQS did not answer.
        """
        try:
            answer = self._client.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=_BATCH, VisibilityTimeout=hidden_s
            )
        except (ClientError, BotoCoreError) as exc:
            raise _no_dead_letters() from exc
        return [
            DeadLetter(message_id=one["MessageId"], body=one["Body"], receipt=one["ReceiptHandle"])
            for one in answer.get("Messages", [])
        ]

    def delete(self, letter: DeadLetter) -> None:
        """Delete a letter; repeatable.

        Raises:
            Unavailable: SQS did not answer; the letter comes again.
        """
        try:
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt)
        except (ClientError, BotoCoreError) as exc:
            raise _no_dead_letters() from exc


class IntakeDeadLetters:
    """A queue for what came from outside and can never become a run, and the client that reaches it.

    Safe for many threads.
    """

    def __init__(self, client: SQSClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, body: str, *, reason: str, letter_id: str, group: str | None = None) -> None:
        """Send a letter: the message as it came, and why it is here.

        Args:
            body: The message.
            reason: A sentence, which becomes an attribute of the letter.
            letter_id: The message's own id, which becomes one too. A queue with groups drops a letter
                that it was sent in the last five minutes.
            group: The message's group, for a queue that has some.

        Raises:
            Unavailable: SQS did not take it.
        """
        arguments: dict[str, Any] = {}
        if group is not None:
            arguments = {"MessageGroupId": group, "MessageDeduplicationId": letter_id}
        attributes = {"reason": reason, **({"id": letter_id} if letter_id else {})}
        try:
            self._client.send_message(
                QueueUrl=self._url,
                MessageBody=body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()
                },
                **arguments,
            )
        except (ClientError, BotoCoreError) as exc:
            raise _no_dead_letters() from exc


def _no_dead_letters() -> Unavailable:
    return Unavailable("The dead-letter queue did not answer; try again in a moment.")
