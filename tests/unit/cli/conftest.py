"""The AWS account that commands reach: stacks, and the table of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from crewline.store import clients
from crewline.store.table import Table
from tests.tables import answer_here
from tests.unit.store.worlds import CREDENTIALS, REGION, make_table


class Stacks:
    """CloudFormation in this process: stacks and their outputs, asked as AWS is."""

    def __init__(self) -> None:
        self.outputs: dict[str, dict[str, str]] = {}

    def answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        body: Any = request.body
        name = parse_qs(body if isinstance(body, str) else body.decode())["StackName"][0]
        if name in self.outputs:
            members = "".join(
                f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
                for key, value in self.outputs[name].items()
            )
            status, answered = (
                200,
                (
                    "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
                    f"<StackName>{name}</StackName><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>{members}</Outputs>"
                    "</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
                ),
            )
        else:
            status, answered = (
                400,
                (
                    "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>"
                    f"<Message>Stack with id {name} does not exist</Message></Error></ErrorResponse>"
                ),
            )
        headers: Any = {}
        raw = SimpleNamespace(stream=lambda **_: [answered.encode()])
        return AWSResponse(request.url, status, headers, raw)


@pytest.fixture
def stacks() -> Stacks:
    return Stacks()


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch, stacks: Stacks) -> Iterator[Table]:
    """The table of a stack called Crewline, in the account of the environment."""
    for variable, value in {
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
    }.items():
        monkeypatch.setenv(variable, value)
    clients._session.cache_clear()
    answer_here(clients._session().get_component("event_emitter"))
    clients._session().get_component("event_emitter").register_first(
        "before-send.cloudformation", stacks.answer
    )
    name = f"keys-{uuid4().hex}"
    dynamodb = clients.client("dynamodb")
    make_table(dynamodb, name)
    stacks.outputs["Crewline"] = {"TableName": name}
    yield Table(dynamodb, name)
    clients._session.cache_clear()
