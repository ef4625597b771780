"""EventBridge Scheduler in this process: schedules that are there, and firings as it would deliver them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from botocore.exceptions import ClientError

from crewline.store.schedules import Schedules, Targets

TARGETS = Targets(group="crons", role="role", function="intake", dead_letters="dead")


@dataclass
class Scheduler:
    """The client of EventBridge Scheduler; keeps what it was asked to make."""

    there: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of a schedule → what it was made with."""
    down: bool = False
    """It refuses everything."""
    unknown_zone: str = "EST"
    """A time zone that it does not know, though the IANA's database does."""

    def create_schedule(self, **arguments: Any) -> None:
        self._make_api_call("CreateSchedule", arguments)

    def delete_schedule(self, **arguments: Any) -> None:
        self._make_api_call("DeleteSchedule", arguments)

    def _make_api_call(self, operation: str, arguments: dict[str, Any]) -> None:
        if self.down:
            raise _refusal("InternalServerException", operation)
        name = arguments["Name"]
        if operation == "DeleteSchedule":
            if self.there.pop(name, None) is None:
                raise _refusal("ResourceNotFoundException", operation)
        elif arguments["ScheduleExpressionTimezone"] == self.unknown_zone:
            raise _refusal("ValidationException", operation)
        elif self.there.setdefault(name, arguments) is not arguments:
            raise _refusal("ConflictException", operation)

    @property
    def expressions(self) -> list[str]:
        """When the schedules that are there are due."""
        return sorted(one["ScheduleExpression"] for one in self.there.values())

    def firings(self, due: str) -> list[dict[str, Any]]:
        """What every schedule says that is there, as if each were due at a minute."""
        return [
            orjson.loads(one["Target"]["Input"].replace("<aws.scheduler.scheduled-time>", due))
            for one in self.there.values()
        ]

    @property
    def schedules(self) -> Schedules:
        """What the product makes of this client."""
        return Schedules(self, TARGETS)


def _refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "No."}}, operation)
