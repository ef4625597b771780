"""Background runs and purges, from the run queue; and slices of runs, for the workflow."""

import os
from functools import partial
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from crewline.models.clocks import ending
from crewline.processes import make_worker

jobs, logger = make_worker(os.environ)
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)


def do(record: SQSRecord, *, ends: float) -> None:
    """Do the job of one message; a failure is logged once, here, and the message comes again."""
    try:
        jobs.do(record.body, ends=ends)
    except Exception:
        logger.exception("job failed", message_id=record.message_id)
        raise


def handler(event: dict[str, Any], context: Any) -> Any:
    """Do the jobs of an SQS batch; at every other event, which is a task of the workflow, execute a slice."""
    ends = ending(context)
    if "Records" in event:
        return process_partial_response(
            event=event, record_handler=partial(do, ends=ends), processor=processor, context=context
        )
    return jobs.slice(event, ends=ends)
