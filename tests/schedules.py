"""EventBridge Scheduler in this process: schedules that are there, and firings as it would deliver them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from botocore.exceptions import ClientError

from crewline.store.schedules import Schedules, Targets

TARGETS = Targets(group="crons", role="role", function="intake", dead_letters="dead")


@dataclass(slots=True)
class Scheduler:
    """The client of EventBridge Scheduler; keeps what it was asked to make."""

    there: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of a schedule → what it was made with."""
    down: bool = False
    """It refuses everything."""

    def create_schedule(self, **arguments: Any) -> None:
        self._answer("CreateSchedule", "ConflictException", refused=arguments["Name"] in self.there)
        self.there[arguments["Name"]] = arguments

    def delete_schedule(self, **arguments: Any) -> None:
        self._answer(
            "DeleteSchedule", "ResourceNotFoundException", refused=arguments["Name"] not in self.there
        )
        del self.there[arguments["Name"]]

    def _answer(self, operation: str, code: str, *, refused: bool) -> None:
        if self.down or refused:
            code = "InternalServerException" if self.down else code
            raise ClientError({"Error": {"Code": code, "Message": "No."}}, operation)

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
