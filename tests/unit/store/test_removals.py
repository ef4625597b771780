"""A stack that cannot be removed says why, and one that is protected is not touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from crewline.errors import Conflict
from crewline.store import deployments, removals
from crewline.store.removals import Removal

ARN = "arn:aws:cloudformation:eu-west-1:123456789012:stack/Ours/1"


def event(number: int, name: str, status: str, **more: str) -> dict[str, str]:
    kind = "AWS::CloudFormation::Stack" if name == "Ours" else "AWS::S3::Bucket"
    return {
        "EventId": str(number),
        "LogicalResourceId": name,
        "PhysicalResourceId": ARN if name == "Ours" else name.lower(),
        "ResourceType": kind,
        "ResourceStatus": status,
        **more,
    }


class Formation:
    """CloudFormation, which gets on by one step each time that it is asked how far it is.

    Args:
        steps: The status of the stack and what has happened, once it is to be removed.
        protected: Whether nobody may remove it.
    """

    def __init__(self, steps: list[tuple[str, list[dict[str, str]]]], *, protected: bool = False) -> None:
        self._steps = steps
        self._protected = protected
        self._status = "UPDATE_COMPLETE"
        self._events = [event(0, "Ours", "UPDATE_COMPLETE")]
        self.deleted = False

    def describe_stacks(self, **_: Any) -> Any:
        if self.deleted and self._steps:
            self._status, more = self._steps.pop(0)
            self._events = [*reversed(more), *self._events]
        described = {
            "StackId": ARN,
            "StackStatus": self._status,
            "EnableTerminationProtection": self._protected,
        }
        return {"Stacks": [described]}

    def get_template(self, **_: Any) -> Any:
        return {"TemplateBody": {"Resources": {"Bucket": {}, "Logs": {"DeletionPolicy": "Retain"}}}}

    def delete_stack(self, **_: Any) -> None:
        self.deleted = True

    def get_paginator(self, operation: str) -> Any:
        formation = self

        class Pages:
            def paginate(self, **_: Any) -> Iterator[Any]:
                if operation == "describe_stack_events":
                    yield from ({"StackEvents": [one]} for one in list(formation._events))
                    return
                names = ("Bucket", "Logs")
                yield {
                    "StackResourceSummaries": [
                        {
                            "LogicalResourceId": name,
                            "ResourceType": "AWS::S3::Bucket",
                            "PhysicalResourceId": name.lower(),
                        }
                        for name in names
                    ]
                }

        return Pages()


def removal(monkeypatch: pytest.MonkeyPatch, formation: Formation) -> Removal:
    for module in (deployments, removals):
        monkeypatch.setattr(module, "client", lambda _: formation)
    monkeypatch.setattr(deployments, "check_access", lambda: None)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return Removal("Ours")


def test_each_part_is_told_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    formation = Formation(
        [
            (
                "DELETE_IN_PROGRESS",
                [event(1, "Ours", "DELETE_IN_PROGRESS"), event(2, "Logs", "DELETE_SKIPPED")],
            ),
            ("DELETE_IN_PROGRESS", []),
            ("DELETE_COMPLETE", [event(3, "Bucket", "DELETE_COMPLETE"), event(4, "Ours", "DELETE_COMPLETE")]),
        ]
    )
    made = removal(monkeypatch, formation)
    assert {one.name: one.stays for one in made.resources} == {"bucket": False, "logs": True}
    assert list(made.carry_out()) == ["Logs", "Bucket"]


def test_what_could_not_be_removed_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "The bucket you tried to delete is not empty"
    formation = Formation(
        [
            ("DELETE_FAILED", []),  # that of an earlier try: this one has not begun
            ("DELETE_IN_PROGRESS", [event(1, "Bucket", "DELETE_FAILED", ResourceStatusReason=reason)]),
            ("DELETE_FAILED", [event(2, "Ours", "DELETE_FAILED", ResourceStatusReason="[Bucket]")]),
        ]
    )
    with pytest.raises(
        Conflict, match=f"Stack Ours is not removed: Bucket: {reason}. A bucket must be empty"
    ):
        list(removal(monkeypatch, formation).carry_out())


def test_a_stack_that_is_being_deployed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    formation = Formation([])
    said: Any = {"Code": "ValidationError", "Message": "Stack Ours is in UPDATE_IN_PROGRESS state"}

    def refuses(**_: Any) -> None:
        raise ClientError({"Error": said}, "DeleteStack")

    made = removal(monkeypatch, formation)
    monkeypatch.setattr(formation, "delete_stack", refuses)
    with pytest.raises(Conflict, match=r"does not remove stack Ours as it is now .*UPDATE_IN_PROGRESS"):
        list(made.carry_out())


def test_a_stack_that_is_protected_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    formation = Formation([], protected=True)
    with pytest.raises(Conflict, match="Stack Ours is protected"):
        removal(monkeypatch, formation)
    assert not formation.deleted
