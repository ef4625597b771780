"""Errors become one status and one sentence; what is unexpected shows a request id and nothing else."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from crewline import errors
from crewline.errors import CrewlineError, LimitExceeded, StaleOwner, ThreadBusy, ThreadExists, Unavailable
from crewline.http.errors import STATUS, error_reply


class Page:
    """A logger, and what it has written."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.logger = Logger(service="test", stream=self.stream, level="INFO")

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Page:
    page = Page()
    page.logger = Logger(service=request.node.name, stream=page.stream, level="INFO")
    return page


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadRequest("x"), 400),
        (errors.Unauthenticated("x"), 401),
        (errors.Forbidden("x"), 403),
        (errors.NotFound("x"), 404),
        (errors.Conflict("x"), 409),
        (ThreadBusy("x"), 409),
        (ThreadExists("x"), 409),
        (StaleOwner("x"), 409),
        (errors.RunCancelled("x"), 409),
        (errors.TooLarge("x"), 413),
        (errors.InvalidRequest("x"), 422),
        (LimitExceeded("x"), 429),
        (Unavailable("x"), 503),
    ],
)
def test_an_error_of_ours_is_its_status_sentence_and_code(
    page: Page, error: CrewlineError, status: int
) -> None:
    reply = error_reply(error, path="/threads", request_id="r", logger=page.logger)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)) == (status, {"detail": "x", "code": error.code})
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("hunter2"),
        errors.CorruptRecord("hunter2"),
        errors.BadManifest("hunter2"),
        KeyError("hunter2"),
    ],
)
def test_what_is_not_the_callers_is_a_500_whose_text_is_only_in_the_log(page: Page, error: Exception) -> None:
    reply = error_reply(error, path="/threads", request_id="request-1", logger=page.logger)
    assert isinstance(reply.body, bytes)
    assert reply.status == 500
    assert "request-1" in json.loads(reply.body)["detail"]
    assert b"hunter2" not in reply.body
    (line,) = page.lines()
    assert line["request_id"] == "request-1"
    assert "hunter2" in line["exception"]


def test_a_subclass_takes_the_status_of_its_nearest_base(page: Page) -> None:
    class Odd(ThreadBusy):
        code = "odd"

    assert error_reply(Odd("x"), path="/threads", request_id="r", logger=page.logger).status == 409


def test_every_listed_class_has_its_own_status() -> None:
    assert len(set(STATUS.values())) == len(STATUS)


def test_when_to_try_again_is_a_header(page: Page) -> None:
    later = error_reply(Unavailable("x", retry_after=7), path="/threads", request_id="r", logger=page.logger)
    assert later.headers["retry-after"] == "7"
    conflict = errors.Conflict("x", details={"retry_after": 2})
    assert (
        error_reply(conflict, path="/threads", request_id="r", logger=page.logger).headers["retry-after"]
        == "2"
    )
    assert (
        "retry-after"
        not in error_reply(errors.NotFound("x"), path="/threads", request_id="r", logger=page.logger).headers
    )


def test_a_mistake_of_the_caller_is_not_logged_and_a_failing_service_is(page: Page) -> None:
    error_reply(errors.NotFound("x"), path="/threads", request_id="r", logger=page.logger)
    assert page.lines() == []
    error_reply(Unavailable("db"), path="/threads", request_id="r", logger=page.logger)
    assert [line["reason"] for line in page.lines()] == ["db"]


# ------------------------------------------------------------------ the API of Crewship


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/runs", "/v1/no/such/path", "/webhooks/runs/x"])
def test_crewships_paths_have_its_shape_of_errors(page: Page, path: str) -> None:
    reply = error_reply(ThreadBusy("x"), path=path, request_id="r", logger=page.logger)
    assert isinstance(reply.body, bytes)
    assert reply.status == 409
    assert json.loads(reply.body) == {"error": {"message": "x", "code": "thread_busy"}}


@pytest.mark.parametrize("path", ["/", "/v1x/runs", "/v10", "/threads/v1", "/runs/webhooks"])
def test_every_other_path_has_that_of_langgraph(page: Page, path: str) -> None:
    reply = error_reply(errors.InvalidRequest("x"), path=path, request_id="r", logger=page.logger)
    assert isinstance(reply.body, bytes)
    assert (reply.status, json.loads(reply.body)) == (422, {"detail": "x", "code": "invalid_request"})


def test_a_wrong_field_is_400_to_crewship(page: Page) -> None:
    wrong: Any = [
        {"type": "missing", "loc": ("body", "deployment_id"), "msg": "Field required"},
        {"type": "value_error", "loc": ("body", "input"), "msg": "Value error, Give one"},
    ]
    for error, message in (
        (errors.InvalidRequest("x"), "x"),
        (RequestValidationError(wrong), "deployment_id is required; input: give one"),
    ):
        reply = error_reply(error, path="/v1/runs", request_id="r", logger=page.logger)
        assert isinstance(reply.body, bytes)
        assert reply.status == 400
        assert json.loads(reply.body) == {"error": {"message": message, "code": "invalid_request"}}


def test_an_internal_error_has_crewships_shape_as_well(page: Page) -> None:
    reply = error_reply(RuntimeError("hunter2"), path="/v1/runs", request_id="r", logger=page.logger)
    assert isinstance(reply.body, bytes)
    assert (reply.status, b"hunter2" in reply.body) == (500, False)
    assert set(json.loads(reply.body)) == {"error"}
