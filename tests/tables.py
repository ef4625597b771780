"""DynamoDB in this process: the tables of the local cloud, asked without HTTP, one request at a time.

A transaction takes a tenth of the time that it takes on moto, which copies the whole table for each.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Coroutine
from typing import Any, Final

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.hooks import BaseEventHooks

from crewline.local.patches import read_expressions_once

REST: Final[Any] = {"core": {"passthrough": {"services": ["dynamodb"]}}}
"""For moto, which answers everything else: it would carry out every request a second time."""

_TABLES: Final = importlib.import_module("ministack.services.dynamodb")
read_expressions_once(_TABLES)
_ONE_AT_A_TIME: Final = threading.RLock()


class _Raw:
    """The body of an answer, as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: Any) -> list[bytes]:
        return [self._body]


def answer_here(events: BaseEventHooks) -> None:
    """Let the tables in this process answer a client, or every client that a session makes from now on."""
    events.register_first("before-send.dynamodb", _answer)


def _answer(request: AWSPreparedRequest, **_: Any) -> Any:
    target: Any = request.headers["X-Amz-Target"]
    headers = {"x-amz-target": target.decode()}
    with _ONE_AT_A_TIME:
        status, answered, body = _result(_TABLES.handle_request("POST", "/", headers, request.body, {}))
    raw = _Raw(body if isinstance(body, bytes) else body.encode())
    return AWSResponse(request.url, status, answered, raw)


def _result(answering: Coroutine[Any, Any, Any]) -> Any:
    """Run what is a coroutine by its interface alone: it never waits."""
    try:
        answering.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("an operation on a table has to wait")
