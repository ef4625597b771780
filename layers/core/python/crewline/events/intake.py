"""Messages of the intake queue and events of EventBridge: read, started, or put with the dead letters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from pydantic import ValidationError

from crewline.errors import BadMessage, InvalidRequest
from crewline.models.bodies import read_json
from crewline.models.crons import CRON_ID, Firing
from crewline.models.intake import EventMapping, Message
from crewline.models.runs import Run
from crewline.store.idempotency import Once

_ENVELOPE: Final = frozenset(("source", "detail-type", "detail"))
"""Fields by which an event is known; a message has none of them."""
_REPLAY: Final = "replay-name"
"""Which replay of an archive brings an event: nothing that the event itself says."""


class Starts(Protocol):
    """What starts runs, as the intake uses it."""

    def start(self, message: Message, once: Once) -> Run | None:
        """Start the run of a message, once."""


class Fires(Protocol):
    """What starts the runs of crons, as the intake uses it."""

    def fire(self, firing: Firing) -> Run | None:
        """Start the run of a cron that is due, once."""


class DeadLetters(Protocol):
    """Where messages go that can never become runs."""

    def send(self, body: str, *, reason: str, letter_id: str, group: str | None = None) -> None:
        """Send one; sent twice within minutes it is there once, where there is an order to keep."""


class Receiver:
    """Takes in what comes from outside; everything may come twice.

    What can never become a run goes to the dead letters and is done with, so that it holds up
    nothing that comes after it. Anything else that goes wrong is raised: then it comes again.

    ```
    A: bad ── dead letter ── dies      A again: bad ── dead letter, which the queue knows ── done
    ```

    Args:
        starts: Starts runs.
        mappings: Which events become runs, and how.
        fires: Starts the runs of crons.
        messages: The dead letters of the intake queue.
        events: The dead letters of EventBridge, and of crons.
        logger: The log. It names ids, and nothing of what a message says.
    """

    def __init__(
        self,
        starts: Starts,
        mappings: Sequence[EventMapping],
        fires: Fires,
        *,
        messages: DeadLetters,
        events: DeadLetters,
        logger: Logger,
    ) -> None:
        self._starts = starts
        self._mappings = {(one.source, one.detail_type): one for one in mappings}
        self._fires = fires
        self._messages = messages
        self._events = events
        self._logger = logger

    def take(self, event: Mapping[str, Any]) -> None:
        """Start the run of an event, or of a cron that is due.

        Raises:
            CrewlineError: What `take_event` and `take_firing` raise, for the same reasons.
        """
        (self.take_firing if CRON_ID in event else self.take_event)(event)

    def take_message(self, record: SQSRecord) -> None:
        """Start the run of one message of the intake queue.

        Raises:
            LimitExceeded: Too many runs wait on its thread.
            Conflict: Its thread was deleted and is still being purged.
            Unavailable: DynamoDB, S3 or SQS did not answer.
        """
        try:
            self._take(record.body, record.message_id)
        except BadMessage as exc:
            self._logger.warning("message refused", message_id=record.message_id, reason=exc.message)
            group = record.attributes.message_group_id
            self._messages.send(record.body, reason=exc.message, letter_id=record.message_id, group=group)

    def take_event(self, event: Mapping[str, Any]) -> None:
        """Start the run of one event that EventBridge delivers.

        Raises:
            LimitExceeded: Too many runs wait on its thread.
            Conflict: Its thread was deleted and is still being purged.
            Unavailable: DynamoDB, S3 or SQS did not answer.
        """
        body = json.dumps(event)  # as text, so that what nothing can store is seen as in any message
        event_id = str(event.get("id", ""))
        try:
            self._take(body, event_id)
        except BadMessage as exc:
            self._logger.warning("event refused", event_id=event_id, reason=exc.message)
            self._events.send(body, reason=exc.message, letter_id=event_id)

    def take_firing(self, event: Mapping[str, Any]) -> None:
        """Start the run of a cron that EventBridge Scheduler says is due.

        Raises:
            LimitExceeded: Too many runs wait on its thread.
            Conflict: Its thread was deleted and is still being purged.
            Unavailable: DynamoDB, S3 or SQS did not answer.
        """
        try:
            self._fire(event)
        except BadMessage as exc:
            letter_id = f"{event[CRON_ID]}/{event.get('due')}"
            self._logger.warning("firing refused", firing=letter_id, reason=exc.message)
            self._events.send(json.dumps(event), reason=exc.message, letter_id=letter_id)

    def _take(self, body: str, message_id: str) -> None:
        fields = _read(body)
        if CRON_ID in fields:  # a dead letter that is sent again
            self._fire(fields)
            return
        if fields.keys() >= _ENVELOPE:
            message = self._map(fields)
            said = {name: value for name, value in fields.items() if name != _REPLAY}
            once = Once.of("event", str(fields.get("id") or message_id), said)
        else:
            message = Message.read(fields)
            key = message.idempotency_key
            once = Once.of("message", key, fields) if key else Once.of("queue", message_id, fields)
        run = self._starts.start(message, once)
        run_id = run.run_id if run else None
        self._logger.info("taken in", message_id=message_id, run_id=run_id)

    def _fire(self, fields: Mapping[str, Any]) -> None:
        try:
            firing = Firing.model_validate(fields)
        except ValidationError:
            raise BadMessage("It says of a cron not which minute is due.") from None
        run = self._fires.fire(firing)
        self._logger.info("fired", cron_id=firing.cron_id, run_id=run.run_id if run else None)

    def _map(self, event: Mapping[str, Any]) -> Message:
        mapping = self._mappings.get((str(event["source"]), str(event["detail-type"])))
        if mapping is None:
            raise BadMessage("No entry of the manifest's crewline.events is for this source and detail-type.")
        return mapping.message(event)


def _read(body: str) -> dict[str, Any]:
    try:
        fields = read_json(body.encode())
    except InvalidRequest:
        raise BadMessage(
            "It is not JSON, or is nested too deeply, or has a number of more than 64 bits."
        ) from None
    if not isinstance(fields, dict):
        raise BadMessage("It is JSON, but no object.")
    return fields
