"""How background runs reach the worker, webhooks leave, and messages come in: queues with dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from crewline.store.queues import RECEIVES

_WEBHOOK_RECEIVES: Final = 8
"""How often a webhook is tried before it goes to the dead letters."""

WEBHOOK_HIDDEN_SECONDS: Final = 180
"""Time between two tries: six times as long as one may take."""

_ORDERED: Final[Mapping[str, Any]] = {
    "fifo": True,
    # What is the same and what waits is a matter of one group, so that no group slows down another.
    "deduplication_scope": sqs.DeduplicationScope.MESSAGE_GROUP,
    "fifo_throughput_limit": sqs.FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
}
_INTAKE_HIDDEN: Final = 6
"""How many times as long as one invocation of the intake a message stays hidden, as AWS advises."""

_MARGIN_SECONDS: Final = 60
"""A message is received a little before its invocation begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDefaults:
    """What all queues have in common."""

    encryption_key: kms.IKey | None
    """What encrypts messages; keys of SQS's own without one."""
    dead_letter_days: int
    """How long dead letters are kept; a message's age counts from when it was first sent."""
    removal_policy: RemovalPolicy
    """What happens to the queues when the stack goes."""


def make_run_queue(scope: Construct, *, worker_timeout_seconds: int, defaults: QueueDefaults) -> sqs.Queue:
    """Make the run queue and its dead-letter queue.

    A dead worker is found by its lease and not by SQS, so a message stays hidden for one whole
    invocation and no longer.

    Args:
        scope: The construct that owns both queues.
        worker_timeout_seconds: How long one invocation of the worker may take.
        defaults: What it shares with the others.

    Returns:
        The run queue; `dead_letter_queue` of it is the other one.
    """
    return _make_queue(
        scope,
        "RunQueue",
        dead_letters="DeadLetters",
        receives=RECEIVES,
        hidden_seconds=worker_timeout_seconds + _MARGIN_SECONDS,
        defaults=defaults,
    )


def make_webhook_queue(scope: Construct, *, defaults: QueueDefaults) -> sqs.Queue:
    """Make the queue of webhooks to deliver and its dead-letter queue.

    A delivery that failed is tried again when its message shows up again.

    Args:
        scope: The construct that owns both queues.
        defaults: What it shares with the others.

    Returns:
        The webhook queue; `dead_letter_queue` of it is the other one.
    """
    return _make_queue(
        scope,
        "WebhookQueue",
        dead_letters="WebhookDeadLetters",
        receives=_WEBHOOK_RECEIVES,
        hidden_seconds=WEBHOOK_HIDDEN_SECONDS,
        defaults=defaults,
    )


def make_intake_queue(scope: Construct, *, intake_timeout_seconds: int, defaults: QueueDefaults) -> sqs.Queue:
    """Make the queue of messages that become runs, in the order of each group, and its dead-letter queue.

    Args:
        scope: The construct that owns both queues.
        intake_timeout_seconds: How long one invocation of the intake may take.
        defaults: What it shares with the others.

    Returns:
        The intake queue; `dead_letter_queue` of it is the other one. Both are FIFO queues: SQS
        takes no other for the dead letters of one.
    """
    return _make_queue(
        scope,
        "IntakeQueue",
        dead_letters="IntakeDeadLetters",
        receives=RECEIVES,
        hidden_seconds=_INTAKE_HIDDEN * intake_timeout_seconds,
        defaults=defaults,
        fifo=True,
    )


def make_dead_letters(
    scope: Construct, name: str, *, defaults: QueueDefaults, fifo: bool = False
) -> sqs.Queue:
    """Make a queue for what came to nothing.

    Args:
        scope: The construct that owns it.
        name: Within the scope.
        defaults: What it shares with the others.
        fifo: Whether it keeps an order.
    """
    return sqs.Queue(
        scope,
        name,
        **_ORDERED if fifo else {},
        enforce_ssl=True,
        encryption=_encryption(defaults),
        encryption_master_key=defaults.encryption_key,
        retention_period=Duration.days(defaults.dead_letter_days),
        removal_policy=defaults.removal_policy,
    )


def _make_queue(
    scope: Construct,
    name: str,
    *,
    dead_letters: str,
    receives: int,
    hidden_seconds: int,
    defaults: QueueDefaults,
    fifo: bool = False,
) -> sqs.Queue:
    dead = make_dead_letters(scope, dead_letters, defaults=defaults, fifo=fifo)
    return sqs.Queue(
        scope,
        name,
        **_ORDERED if fifo else {},
        enforce_ssl=True,
        encryption=_encryption(defaults),
        encryption_master_key=defaults.encryption_key,
        visibility_timeout=Duration.seconds(hidden_seconds),
        dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=receives),
        removal_policy=defaults.removal_policy,
    )


def _encryption(defaults: QueueDefaults) -> sqs.QueueEncryption:
    return sqs.QueueEncryption.KMS if defaults.encryption_key else sqs.QueueEncryption.SQS_MANAGED


def dead_letters_of(queue: sqs.Queue) -> sqs.IQueue:
    """Give where the messages of a queue go that nobody could handle.

    Args:
        queue: A queue that was made here.
    """
    if queue.dead_letter_queue is None:
        raise AssertionError(f"{queue.node.path} has no dead-letter queue.")
    return queue.dead_letter_queue.queue
