"""What passes between a checkpointer and AWS: counted, stopped, refused, lost.

A fault is put where botocore sends a request, so that its own retries are part of every test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import botocore.retries.standard
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from crewline.engine.checkpointer import Storage
from crewline.local import clouds
from crewline.store import clients, table
from tests.checkpointer.conftest import Cloud

Fault = Callable[[str, AWSPreparedRequest], AWSResponse | None]
"""Given the operation and the request: None lets it pass, a response answers it, or it raises."""

_session = URLLib3Session()


class Stopped(BaseException):
    """The process is gone: nothing catches this, and nothing is sent any more."""


class Wire:
    """Everything that one process sends to AWS."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.faults = 0
        self.fault: Fault = lambda _operation, _request: None

    @property
    def operations(self) -> list[str]:
        """Names of the requests so far."""
        return [operation for operation, _ in self.sent]

    def handle(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse | None:
        """Note a request and let the fault decide what becomes of it."""
        operation = event_name.rpartition(".")[2]
        self.sent.append((operation, _body(request)))
        self.faults += 1
        answer = self.fault(operation, request)  # or it raises
        self.faults -= answer is None
        return answer

    @contextmanager
    def failing(self, fault: Fault) -> Iterator[None]:
        """Put a fault in place for a while."""
        before, self.fault = self.fault, fault
        try:
            yield
        finally:
            self.fault = before


def wired(cloud: Cloud) -> tuple[Wire, Storage]:
    """Make stores whose every request goes through a wire."""
    wire = Wire()
    made: list[Any] = [
        clients.client(
            service,
            endpoint_url=cloud.environment["AWS_ENDPOINT_URL"],
            region=clouds.REGION,
            credentials=clouds.CREDENTIALS,
        )
        for service in ("dynamodb", "s3")
    ]
    for client in made:
        client.meta.events.register("before-send", wire.handle)
    return wire, cloud.storage(dynamodb=made[0], objects=made[1])


def impatient(patch: Any) -> None:
    """Retry without pauses."""
    patch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *_: 0.0)
    patch.setattr(table, "_pause", lambda _attempt: None)


# ------------------------------------------------------------------ faults


def stop_at(wire: Wire, number: int, *, after: bool) -> Fault:
    """End the process before or after its request of this number, which counts from 0."""
    gone = False

    def fault(_operation: str, request: AWSPreparedRequest) -> AWSResponse | None:
        nonlocal gone
        if gone:
            raise Stopped
        if len(wire.sent) - 1 == number:
            gone = True
            if after:
                pass_on(request)
            raise Stopped
        return None

    return fault


def first(times: int, fault: Fault, *, of: tuple[str, ...]) -> Fault:
    """Let a fault happen to the first requests of some kinds."""
    left = times

    def limited(operation: str, request: AWSPreparedRequest) -> AWSResponse | None:
        nonlocal left
        if operation in of and left:
            left -= 1
            return fault(operation, request)
        return None

    return limited


def always(fault: Fault, *, of: tuple[str, ...]) -> Fault:
    """Let a fault happen to every request of some kinds."""
    return first(1_000_000, fault, of=of)


def refused(_operation: str, request: AWSPreparedRequest) -> AWSResponse | None:
    """Refuse the connection."""
    raise EndpointConnectionError(endpoint_url=request.url)


def unreachable(_operation: str, request: AWSPreparedRequest) -> AWSResponse | None:
    """Give no connection in time."""
    raise ConnectTimeoutError(endpoint_url=request.url)


def lost_answer(_operation: str, request: AWSPreparedRequest) -> AWSResponse | None:
    """Carry the request out, and lose the answer."""
    pass_on(request)
    raise ReadTimeoutError(endpoint_url=request.url)


def throttled(operation: str, request: AWSPreparedRequest) -> AWSResponse | None:
    """Answer that there were too many requests."""
    if request.headers.get("X-Amz-Target"):
        return _answer(request, 400, "ProvisionedThroughputExceededException", "slow down")
    return AWSResponse(
        request.url, 503, HTTPHeaders(), _Raw(b"<Error><Code>SlowDown</Code><Message>slow</Message></Error>")
    )


def broken(_operation: str, request: AWSPreparedRequest) -> AWSResponse | None:
    """Answer that the service has an error."""
    return _answer(request, 500, "InternalServerError", "sorry")


def conflicting(operation: str, request: AWSPreparedRequest) -> AWSResponse | None:
    """Answer that another transaction is at work on the same item."""
    if operation != "TransactWriteItems":
        return _answer(request, 400, "TransactionConflictException", "conflict")
    return _answer(
        request,
        400,
        "TransactionCanceledException",
        "Transaction cancelled [TransactionConflict]",
        ', "CancellationReasons": [{"Code": "TransactionConflict", "Message": "conflict"}]',
    )


def pass_on(request: AWSPreparedRequest) -> AWSResponse:
    """Send a request really."""
    answer: AWSResponse = _session.send(request)
    assert answer.content is not None
    return answer


def _answer(request: AWSPreparedRequest, status: int, code: str, message: str, more: str = "") -> AWSResponse:
    body = f'{{"__type": "com.amazonaws.dynamodb.v20120810#{code}", "message": "{message}"{more}}}'
    headers = HTTPHeaders()
    headers["Content-Type"] = "application/x-amz-json-1.0"
    return AWSResponse(request.url, status, headers, _Raw(body.encode()))


def _body(request: AWSPreparedRequest) -> bytes:
    body = request.body
    return body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else b""


class _Raw:
    """A body as urllib3 gives it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content
