"""The logs of a deployment's functions, as CloudWatch keeps them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from crewline.store.clients import client
from crewline.store.deployments import resources, told

_GROUP: Final = "AWS::Logs::LogGroup"
_OF_FUNCTION: Final = re.compile(r"([A-Z][a-z]+)Log[0-9A-F]{8}")
"""How the constructs and CDK spell the logical id of a function's log group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a log."""

    event_id: str
    """Names it among all of its log group; a line that is read twice has the same."""
    function: str
    at_ms: int
    """When it was written, in milliseconds since 1970."""
    text: str


class Logs:
    """The log groups of one deployment.

    Args:
        stack: The name of its CloudFormation stack.

    Raises:
        NotFound: There is no such stack.
        Unauthenticated: There are no AWS credentials, or AWS does not know them.
        Forbidden: They do not allow this.
        Unavailable: AWS did not answer.
    """

    def __init__(self, stack: str) -> None:
        self._absent = f"A log of stack {stack} is not in this account and region"
        with told(self._absent):
            self._client = client("logs")
            self.groups: Mapping[str, str] = {
                found[1].lower(): one["PhysicalResourceId"]
                for one in resources(stack)
                if one["ResourceType"] == _GROUP
                and (found := _OF_FUNCTION.search(one["LogicalResourceId"]))
                and "PhysicalResourceId" in one
            }
            """Function → its log group; `access` is what API Gateway writes of each request."""

    def read(self, functions: list[str], *, since_ms: int, term: str = "") -> list[Event]:
        """Read what functions have logged, the oldest first.

        A line can be read some seconds after it was written, in any order: whoever follows reads a while
        back again, and knows by their ids what it has seen.

        Args:
            functions: Which of `groups`.
            since_ms: From when on, in milliseconds since 1970.
            term: What must be in a line; all of them without it.

        Raises:
            NotFound: A log group has gone.
            Unavailable: AWS did not answer.
        """
        found: list[Event] = []
        with told(self._absent):
            for function in functions:
                asked: dict[str, Any] = {"logGroupName": self.groups[function], "startTime": since_ms}
                if term:
                    asked["filterPattern"] = f'"{term}"'
                for page in self._client.get_paginator("filter_log_events").paginate(**asked):
                    found += [
                        Event(
                            event_id=one["eventId"],
                            function=function,
                            at_ms=one["timestamp"],
                            text=one["message"].rstrip("\n"),
                        )
                        for one in page["events"]
                    ]
        return sorted(found, key=lambda event: (event.at_ms, event.event_id))
