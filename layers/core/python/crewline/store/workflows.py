"""The workflow: the state machine that invokes the worker slice after slice, until a run has ended."""

from __future__ import annotations

from typing import Any, Final, Protocol

import orjson
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict

from crewline.errors import Unavailable

_THERE_ALREADY: Final = "ExecutionAlreadyExists"


class SliceJob(BaseModel):
    """Execute a slice of a run: what a task of the workflow gives the worker, and its state machine keeps."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    tenant: str
    thread_id: str
    run_id: str
    execution: int
    """Which execution of the workflow asks; the lease says which one counts."""
    slice: int = 1
    """Counts the slices of this execution."""


class Client(Protocol):
    """The client of Step Functions as it is used here."""

    def start_execution(self, **arguments: Any) -> Any:
        """Start an execution; the name of one is used once."""


class Workflow:
    """The state machine and the client that reaches it; safe for many threads.

    Args:
        client: The client of Step Functions.
        arn: The state machine.
    """

    def __init__(self, client: Client, arn: str) -> None:
        self._client = client
        self._arn = arn

    def start(self, job: SliceJob) -> None:
        """Start the execution of a run that its job names; starting it twice starts it once.

        Raises:
            Unavailable: Step Functions did not take it. The lease expires, and the sweeper starts another.
        """
        try:
            self._client.start_execution(
                stateMachineArn=self._arn,
                name=f"{job.run_id}-{job.execution}",
                input=orjson.dumps(job.model_dump()).decode(),
            )
        except ClientError as exc:
            if exc.response.get("Error", {}).get("Code") != _THERE_ALREADY:
                raise _not_started(job) from exc
        except BotoCoreError as exc:
            raise _not_started(job) from exc


def _not_started(job: SliceJob) -> Unavailable:
    return Unavailable(f"The workflow did not take run {job.run_id}; try again in a moment.")
