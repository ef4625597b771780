"""How background runs reach the worker: a standard queue, and one for what it could not handle."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_sqs as sqs
from constructs import Construct

_RECEIVES: Final = 5
"""How often the worker gets a message before it goes to the dead letters."""

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
    dead_letters = sqs.Queue(
        scope,
        "DeadLetters",
        enforce_ssl=True,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        retention_period=Duration.days(_DEAD_LETTER_DAYS),
        removal_policy=removal_policy,
    )
    return sqs.Queue(
        scope,
        "RunQueue",
        enforce_ssl=True,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        visibility_timeout=Duration.seconds(worker_timeout_seconds + _MARGIN_SECONDS),
        dead_letter_queue=sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=_RECEIVES),
        removal_policy=removal_policy,
    )
