"""Asking another function: its answer as it is, or that it did not answer."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from crewline.errors import Unavailable
from crewline.http.replies import Reply
from crewline.local import invocations
from crewline.store.clients import Credentials, client
from crewline.store.functions import SEPARATOR, Functions


class Lambda:
    """Gives one payload, whoever asks."""

    def __init__(self, payload: bytes, **more: Any) -> None:
        self._given = {"Payload": io.BytesIO(payload), **more}

    def invoke(self, **arguments: Any) -> Any:
        return self._given


class Broken:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def invoke(self, **arguments: Any) -> Any:
        raise self._error


def test_an_answer_is_what_is_before_and_behind_the_separator() -> None:
    head = json.dumps({"statusCode": 409, "headers": {"retry-after": "2"}, "cookies": []}).encode()
    answered = Functions(Lambda(head + SEPARATOR + b'{"detail": "no"}')).ask("crew", {})
    assert (answered.status, answered.headers, answered.body) == (
        409,
        {"retry-after": "2"},
        b'{"detail": "no"}',
    )


@pytest.mark.parametrize(
    "broken",
    [
        Lambda(b'{"errorMessage": "no"}', FunctionError="Unhandled"),
        Lambda(b"cut off"),
        Broken(ReadTimeoutError(endpoint_url="http://lambda")),
        Broken(ClientError({"Error": {"Code": "TooManyRequestsException", "Message": "no"}}, "Invoke")),
    ],
)
def test_a_function_that_does_not_answer_is_unavailable(broken: Any) -> None:
    with pytest.raises(Unavailable, match="crew"):
        Functions(broken).ask("crew", {})


def test_the_functions_of_this_process_are_asked_as_those_of_lambda() -> None:
    def answer(event: dict[str, Any], context: Any) -> Reply:
        body = json.dumps([event["body"], context.function_name]).encode()
        return Reply(201, {"content-type": "application/json"}, body)

    with invocations.served({"crew": answer}) as endpoint:
        lambda_ = client(
            "lambda", endpoint_url=endpoint, region="eu-west-1", credentials=Credentials("a", "b")
        )
        functions = Functions(lambda_)
        answered = functions.ask("crew", {"body": "as it is: \u00e9"})
        with pytest.raises(Unavailable):
            functions.ask("nobody", {})

    assert (answered.status, json.loads(answered.body)) == (201, ["as it is: \u00e9", "crew"])
