"""Messages of the intake queue, events that EventBridge delivers, and crons that are due: each becomes a run."""

import os
from typing import Any

from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from crewline.processes import make_intake

receiver, logger = make_intake(os.environ)
processor = SqsFifoPartialProcessor(skip_group_on_error=True)
processor.raise_on_entire_batch_failure = False


def take(record: SQSRecord) -> None:
    """Take in one message; a failure is logged once, here, and it comes again with the rest of its group."""
    try:
        receiver.take_message(record)
    except Exception:
        logger.exception("message not taken in", message_id=record.message_id)
        raise


def handler(event: dict[str, Any], context: Any) -> Any:
    """Take in an SQS batch; every other event is EventBridge's or Scheduler's, and comes again when this raises."""
    if "Records" in event:
        return process_partial_response(
            event=event, record_handler=take, processor=processor, context=context
        )
    receiver.take(event)
    return None
