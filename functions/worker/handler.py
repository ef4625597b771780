"""Jobs of the run queue: background runs, purges."""

import os
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from crewline.runtime import make_worker

jobs, logger = make_worker(os.environ)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def do(record: SQSRecord) -> None:
    """Do the job of one message; a failure is logged once, here, and the message comes again."""
    try:
        jobs.do(record.body)
    except Exception:
        logger.exception("job failed", message_id=record.message_id)
        raise


def handler(event: dict[str, Any], context: Any) -> Any:
    """Do the jobs of an SQS batch; those that fail are reported one by one."""
    return process_partial_response(event=event, record_handler=do, processor=processor, context=context)
