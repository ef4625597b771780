"""Once a minute, what was left lying; and webhooks, from their queue."""

import os
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from crewline.processes import make_sweeper
from crewline.services.sweeps import SweepFailed

sweeper, webhooks, logger = make_sweeper(os.environ)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def deliver(record: SQSRecord) -> None:
    """Deliver one webhook; a failure is logged once, here, and the message comes again."""
    try:
        webhooks.deliver(record.body)
    except Exception:
        logger.exception("webhook not delivered", message_id=record.message_id)
        raise


def handler(event: dict[str, Any], context: Any) -> Any:
    """Deliver an SQS batch of webhooks; sweep at every other event, which is that of the schedule."""
    if "Records" in event:
        return process_partial_response(
            event=event, record_handler=deliver, processor=processor, context=context
        )
    swept = sweeper.sweep(context.get_remaining_time_in_millis)
    logger.info("swept", **asdict(swept))
    if swept.failed:
        raise SweepFailed(f"{swept.failed} parts of the sweep failed; the log has each.")
    return None
