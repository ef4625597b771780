"""Step Functions in this process: executions that are started, and names that are used once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from botocore.exceptions import ClientError

from crewline.store.workflows import Workflow

ARN = "arn:aws:states:us-east-1:000000000000:stateMachine:runs"


@dataclass(slots=True)
class Executions:
    """The client of Step Functions; keeps what it was asked to start."""

    started: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of an execution → its input."""

    def start_execution(self, **arguments: Any) -> Any:
        assert arguments["stateMachineArn"] == ARN
        if arguments["name"] in self.started:
            raise ClientError(
                {"Error": {"Code": "ExecutionAlreadyExists", "Message": "The name was used before."}},
                "StartExecution",
            )
        self.started[arguments["name"]] = orjson.loads(arguments["input"])
        return {"executionArn": f"{ARN}:{arguments['name']}"}

    @property
    def workflow(self) -> Workflow:
        """What the product makes of this client."""
        return Workflow(self, ARN)
