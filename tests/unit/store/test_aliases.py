"""What Lambda keeps of a deployment's functions, and what it refuses, told by a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from crewline.errors import Conflict, CrewlineError, Forbidden, NotFound, Unavailable
from crewline.settings import VARIABLES
from crewline.store import aliases, deployments
from crewline.store.aliases import Aliases, Function

OLD, NEW = "a" * 32, "b" * 32
ARN = "arn:aws:lambda:eu-west-1:123456789012:function"


def version(number: str, build: str | None, name: str = "api") -> dict[str, Any]:
    own = {VARIABLES["build"]: build} if build else {}
    return {
        "Version": number,
        "Environment": {"Variables": {"POWERTOOLS_SERVICE_NAME": name, **own}},
    }


class Aws:
    """Lambda and CloudFormation, with two functions of a deployment and one of somebody else's."""

    def __init__(self) -> None:
        self.versions: dict[str, list[dict[str, Any]]] = {
            "Ours-worker": [
                version("$LATEST", NEW, "worker"),
                version("1", OLD, "worker"),
                version("2", NEW, "worker"),
            ],
            "Ours-api": [
                version("$LATEST", OLD),
                *(version("9", OLD), version("10", OLD), version("11", NEW)),
                version("8", None),  # of before there were builds
            ],
            "Theirs": [{"Version": "$LATEST"}, {"Version": "1"}],
        }
        self.live = {"Ours-worker": "1", "Ours-api": "10", "Theirs": "1"}
        self.stack = [*self.live]
        self.updates: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    def get_paginator(self, operation: str) -> Any:
        aws = self

        class Pages:
            def paginate(self, **named: Any) -> Iterator[Any]:
                if operation == "list_versions_by_function":
                    yield from ({"Versions": [one]} for one in aws.versions[named["FunctionName"]])
                    return
                for name in aws.stack:
                    parts = (("AWS::Lambda::Function", name), ("AWS::Lambda::Alias", f"{ARN}:{name}:live"))
                    yield {
                        "StackResourceSummaries": [
                            {"ResourceType": kind, "PhysicalResourceId": there} for kind, there in parts
                        ]
                    }
                yield {
                    "StackResourceSummaries": [
                        {"ResourceType": "AWS::Lambda::Alias", "PhysicalResourceId": f"{ARN}:Other:blue"}
                    ]
                }

        return Pages()

    def get_alias(self, **named: Any) -> Any:
        return {"FunctionVersion": self.live[named["FunctionName"]], "RevisionId": "r"}

    def update_alias(self, **named: Any) -> None:
        if self.failure:
            raise self.failure
        self.updates.append(named)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    made = Aws()
    monkeypatch.setattr(deployments, "client", lambda _: made)
    monkeypatch.setattr(aliases, "deferred", lambda _: made)
    monkeypatch.setattr(deployments, "check_access", lambda: None)
    return made


def test_each_function_is_read_with_what_is_live_and_the_newest_version_of_each_build(aws: Aws) -> None:
    assert Aliases("Ours").list() == [
        Function(
            name="api",
            physical_name="Ours-api",
            live=OLD,
            deployed=OLD,
            kept={OLD: "10", NEW: "11"},
            revision="r",
        ),
        Function(
            name="worker",
            physical_name="Ours-worker",
            live=OLD,
            deployed=NEW,
            kept={OLD: "1", NEW: "2"},
            revision="r",
        ),
    ]


def test_an_alias_is_pointed_at_a_build_on_the_condition_that_it_is_what_was_read(aws: Aws) -> None:
    made = Aliases("Ours")
    api, _ = made.list()
    made.point(api, NEW)
    assert aws.updates == [
        {"FunctionName": "Ours-api", "Name": "live", "FunctionVersion": "11", "RevisionId": "r"}
    ]


@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        ("PreconditionFailedException", Conflict, "something else changes the same at this moment"),
        ("AccessDeniedException", Forbidden, "AWS does not allow UpdateAlias"),
        ("TooManyRequestsException", Unavailable, "AWS refuses UpdateAlias with TooManyRequestsException"),
        ("ResourceNotFoundException", NotFound, "The function Ours-api is not there any more"),
    ],
)
def test_what_lambda_refuses_is_told(aws: Aws, code: str, error: type[CrewlineError], sentence: str) -> None:
    made = Aliases("Ours")
    api, _ = made.list()
    aws.failure = ClientError({"Error": {"Code": code, "Message": "no"}}, "UpdateAlias")
    with pytest.raises(error, match=sentence):
        made.point(api, NEW)


def test_lambda_that_does_not_answer_is_unavailable(aws: Aws) -> None:
    made = Aliases("Ours")
    api, _ = made.list()
    aws.failure = EndpointConnectionError(endpoint_url="https://lambda.example")
    with pytest.raises(Unavailable, match="AWS did not answer"):
        made.point(api, NEW)


def test_variables_that_lambda_does_not_show_are_told_with_the_right_that_is_missing(aws: Aws) -> None:
    refused = {"Error": {"ErrorCode": "AccessDeniedException", "Message": "…"}}
    aws.versions["Ours-api"][1]["Environment"] = refused
    with pytest.raises(Forbidden, match=r"variables of function Ours-api .*need kms:Decrypt"):
        Aliases("Ours").list()


def test_a_stack_that_was_deployed_before_there_were_versions_says_so(aws: Aws) -> None:
    aws.stack = ["Theirs"]
    with pytest.raises(NotFound, match=r"Stack Ours has no versions: .* deploy it again"):
        Aliases("Ours").list()


def test_an_alias_that_somebody_pointed_elsewhere_is_told(aws: Aws) -> None:
    aws.live["Ours-api"] = "8"
    with pytest.raises(Conflict, match=r"function Ours-api points at version 8, which .*one of 10, 11: aws"):
        Aliases("Ours").list()
