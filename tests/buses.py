"""EventBridge in this process: a bus that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from crewline.models.lifecycles import SOURCE, RunEvent
from crewline.store.buses import EventBus

NAME = "runs"


@dataclass(slots=True)
class Bus:
    """The client of EventBridge; keeps the events that it was given."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    failures: list[BaseException | dict[str, Any]] = field(default_factory=list)
    """Raised, or answered, instead of taking an event."""

    def put_events(self, **arguments: Any) -> Any:
        (entry,) = arguments["Entries"]
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, BaseException):
            raise failure
        if failure:
            return failure
        self.entries.append(entry)
        return {"FailedEntryCount": 0, "Entries": [{"EventId": str(len(self.entries))}]}

    @property
    def told(self) -> list[RunEvent]:
        """The events, in the order in which they came."""
        assert all(one["EventBusName"] == NAME and one["Source"] == SOURCE for one in self.entries)
        assert all(orjson.loads(one["Detail"])["type"] == one["DetailType"] for one in self.entries)
        return [RunEvent.model_validate_json(one["Detail"]) for one in self.entries]

    @property
    def bus(self) -> EventBus:
        """What the product makes of this client."""
        return EventBus(self, NAME)
