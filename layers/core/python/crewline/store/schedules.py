"""The schedules: how EventBridge Scheduler is told when a cron is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from crewline.errors import InvalidRequest, Unavailable

_SCHEDULED_TIME: Final = "<aws.scheduler.scheduled-time>"
"""In its place Scheduler puts the minute at which the schedule is due."""
_ROLE: Final = "role"
"""What is wrong where Scheduler cannot take on the role yet, as it may not for a minute after the stack was made."""


class Client(Protocol):
    """The client of EventBridge Scheduler as it is used here."""

    def create_schedule(self, **arguments: Any) -> Any:
        """Make a schedule."""

    def delete_schedule(self, **arguments: Any) -> Any:
        """Delete a schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where firings go, and who may send them there."""

    group: str
    """The group of schedules that a deployment has."""
    role: str = ""
    """ARN of the role in which Scheduler invokes the function."""
    function: str = ""
    """ARN of the function that takes firings in."""
    dead_letters: str = ""
    """ARN of the queue for firings that could not be delivered."""


def schedule_name(cron_id: str, revision: int, part: int) -> str:
    """Name a schedule: what it says never changes, since another revision has other names."""
    return f"{UUID(cron_id).hex}-{revision}-{part}"


class Schedules:
    """The schedules of a deployment and the client that reaches them; safe for many threads.

    Args:
        client: The client of EventBridge Scheduler.
        targets: Where firings go.
    """

    def __init__(self, client: Client, targets: Targets) -> None:
        self._client = client
        self._targets = targets

    def create(
        self, name: str, expression: str, *, zone: str, end: datetime | None, says: dict[str, Any]
    ) -> None:
        """Make a schedule; one that is there already stays as it is.

        Args:
            name: Its name.
            expression: When it is due.
            zone: In which time zone.
            end: From when on it is not any more; it is then deleted by itself.
            says: What a firing says, beside `due`, the minute.

        Raises:
            InvalidRequest: Scheduler never will: it does not know the time zone, say, as it does not know EST.
            Unavailable: Scheduler did not make it.
        """
        targets = self._targets
        arguments = {
            "Name": name,
            "GroupName": targets.group,
            "ScheduleExpression": expression,
            "ScheduleExpressionTimezone": zone,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": targets.function,
                "RoleArn": targets.role,
                "DeadLetterConfig": {"Arn": targets.dead_letters},
                "Input": orjson.dumps({**says, "due": _SCHEDULED_TIME}).decode(),
            },
            **({"EndDate": end} if end else {}),
        }
        self._call("create_schedule", "ConflictException", **arguments)

    def delete(self, name: str) -> None:
        """Delete a schedule; repeatable.

        Raises:
            Unavailable: Scheduler did not delete it.
        """
        self._call("delete_schedule", "ResourceNotFoundException", Name=name, GroupName=self._targets.group)

    def _call(self, operation: str, done_already: str, **arguments: Any) -> None:
        try:
            getattr(self._client, operation)(**arguments)
        except ClientError as exc:
            error = exc.response.get("Error", {})
            code, message = error.get("Code"), error.get("Message", "")
            if code == "ValidationException" and _ROLE not in message.lower():
                raise InvalidRequest(f"EventBridge Scheduler does not take this schedule: {message}") from exc
            if code != done_already:
                raise Unavailable(f"EventBridge Scheduler refused {operation} with {code}.") from exc
        except BotoCoreError as exc:
            raise Unavailable(f"EventBridge Scheduler did not answer {operation}.") from exc
