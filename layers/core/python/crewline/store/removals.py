"""The removal of a stack: what goes and what stays, and how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from crewline.errors import Conflict
from crewline.store.clients import client
from crewline.store.deployments import find_stack, resources, told

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackEventTypeDef

_KEEPING: Final = frozenset(("Retain", "RetainExceptOnCreate"))
"""Policies with which a resource outlives its stack."""
_VERSION: Final = "AWS::Lambda::Version"
"""Has such a policy for the sake of updates, and goes with its function."""
_POLL_S: Final = 2.0
_OVER: Final = frozenset(("DELETE_COMPLETE", "DELETE_SKIPPED"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A part of a stack."""

    logical_id: str
    kind: str
    """As CloudFormation names it: `AWS::DynamoDB::Table`."""
    name: str
    """What AWS calls it."""
    stays: bool
    """Whether its policy keeps it when the stack goes."""


class Removal:
    """A stack that is to go.

    Args:
        stack: Its name.

    Raises:
        NotFound: There is no such stack.
        Conflict: It is protected.
        Unauthenticated: There are no AWS credentials, or AWS does not know them.
        Forbidden: They do not allow this.
        Unavailable: AWS did not answer.
    """

    def __init__(self, stack: str) -> None:
        self._stack = stack
        with self._told():
            self._client = client("cloudformation")
            found = find_stack(stack)
            # By its id it is found when it has gone, too.
            self._id = found["StackId"]
            if found.get("EnableTerminationProtection"):
                raise Conflict(
                    f"Stack {stack} is protected: nobody can remove it until its termination protection is switched off."
                )
            body: Any = self._client.get_template(StackName=self._id, TemplateStage="Processed")[
                "TemplateBody"
            ]
            self.resources = [
                Resource(
                    logical_id=one["LogicalResourceId"],
                    kind=one["ResourceType"],
                    name=one.get("PhysicalResourceId", ""),
                    stays=one["ResourceType"] != _VERSION
                    and body["Resources"][one["LogicalResourceId"]].get("DeletionPolicy") in _KEEPING,
                )
                for one in resources(self._id)
                if one["LogicalResourceId"] in body["Resources"]
            ]

    def carry_out(self) -> Iterator[str]:
        """Remove the stack; it goes on in CloudFormation when nobody waits any more.

        Yields:
            The logical id of each part as it is over with.

        Raises:
            Conflict: A part could not be removed, or nothing can be now; the message says which, and why.
            Forbidden: The credentials do not allow this.
            Unavailable: AWS did not answer; the removal may be under way, and can be asked for again.
        """
        with self._told():
            last, failed = next(self._events(), None), list["StackEventTypeDef"]()
            self._begin()
            while True:
                # First the status: whatever came before it is among the events.
                found = find_stack(self._id)
                news = []
                for event in self._events():
                    if last and event["EventId"] == last["EventId"]:
                        break
                    news.append(event)
                for event in reversed(news):
                    last, status = event, event.get("ResourceStatus")
                    if status == "DELETE_FAILED":
                        failed.append(event)
                    if status in _OVER and event.get("PhysicalResourceId") != self._id:
                        yield event["LogicalResourceId"]
                if found["StackStatus"] == "DELETE_COMPLETE":
                    return
                if found["StackStatus"] == "DELETE_FAILED" and failed:  # else it is that of an earlier try
                    raise Conflict(f"Stack {self._stack} is not removed: {_reasons(failed)}")
                time.sleep(_POLL_S)

    def _begin(self) -> None:
        try:
            self._client.delete_stack(StackName=self._id)
        except ClientError as exc:
            if exc.response["Error"]["Code"] != "ValidationError":
                raise
            raise Conflict(
                f"CloudFormation does not remove stack {self._stack} as it is now ({exc.response['Error']['Message']}); "
                "see that no deploy is under way, and try again."
            ) from exc

    def _events(self) -> Iterator[StackEventTypeDef]:
        """Read what has happened, the newest first."""
        for page in self._client.get_paginator("describe_stack_events").paginate(StackName=self._id):
            yield from page["StackEvents"]

    def _told(self) -> Any:
        return told(f"Stack {self._stack} is not in this account and region")


def _reasons(failed: list[StackEventTypeDef]) -> str:
    parts = [
        f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason', 'CloudFormation gives no reason')}"
        for one in failed
        if one["ResourceType"] != "AWS::CloudFormation::Stack"
    ]
    return (
        f"{'; '.join(parts) or 'CloudFormation gives no reason'}. A bucket must be empty before it can go. Mend it, "
        "and say the same again: what is left goes then."
    )
