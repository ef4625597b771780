"""How background runs reach the worker and webhooks leave: standard queues, each with its dead letters."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from crewline.store.queues import RECEIVES

_WEBHOOK_RECEIVES: Final = 8
"""How often a webhook is tried before it goes to the dead letters."""

_WEBHOOK_HIDDEN_SECONDS: Final = 180
"""Time between two tries: six times as long as one may take."""

_DEAD_LETTER_DAYS: Final = 14
"""The longest SQS allows; a message's age counts from when it was first sent."""

_MARGIN_SECONDS: Final = 60
"""A message is received a little before its invocation begins."""


def make_run_queue(
    scope: Construct, *, worker_timeout_seconds: int, removal_policy: RemovalPolicy
) -> sqs.Queue:
    """Make the run queue and its dead-letter queue.

    A dead worker is found by its lease and not by SQS, so a message stays hidden for one whole
    invocation and no longer.

    Args:
        scope: The construct that owns both queues.
        worker_timeout_seconds: How long one invocation of the worker may take.
        removal_policy: What happens to both queues when the stack goes.

    Returns:
        The run queue; `dead_letter_queue` of it is the other one.
    """
    return _make_queue(
        scope,
        "RunQueue",
        dead_letters="DeadLetters",
        receives=RECEIVES,
        hidden_seconds=worker_timeout_seconds + _MARGIN_SECONDS,
        removal_policy=removal_policy,
    )


def make_webhook_queue(scope: Construct, *, removal_policy: RemovalPolicy) -> sqs.Queue:
    """Make the queue of webhooks to deliver and its dead-letter queue.

    A delivery that failed is tried again when its message shows up again.

    Args:
        scope: The construct that owns both queues.
        removal_policy: What happens to both queues when the stack goes.

    Returns:
        The webhook queue; `dead_letter_queue` of it is the other one.
    """
    return _make_queue(
        scope,
        "WebhookQueue",
        dead_letters="WebhookDeadLetters",
        receives=_WEBHOOK_RECEIVES,
        hidden_seconds=_WEBHOOK_HIDDEN_SECONDS,
        removal_policy=removal_policy,
    )


def _make_queue(
    scope: Construct,
    name: str,
    *,
    dead_letters: str,
    receives: int,
    hidden_seconds: int,
    removal_policy: RemovalPolicy,
) -> sqs.Queue:
    dead = sqs.Queue(
        scope,
        dead_letters,
        enforce_ssl=True,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        retention_period=Duration.days(_DEAD_LETTER_DAYS),
        removal_policy=removal_policy,
    )
    return sqs.Queue(
        scope,
        name,
        enforce_ssl=True,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        visibility_timeout=Duration.seconds(hidden_seconds),
        dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=receives),
        removal_policy=removal_policy,
    )
