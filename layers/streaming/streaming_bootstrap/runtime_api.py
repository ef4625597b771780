"""The Lambda Runtime API, version 2018-06-01, and the streamed response in particular.

Sources: "Using the Lambda runtime API" and "Building a custom runtime", AWS Lambda developer guide.
Every request has a connection of its own: a streamed response must end with one, and none
is stale after a freeze or a restored snapshot.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Final

from streaming_bootstrap.failures import Failure

_ROOT: Final = "/2018-06-01/runtime"
_ERROR_TYPE: Final = "Lambda-Runtime-Function-Error-Type"
_ERROR_BODY: Final = "Lambda-Runtime-Function-Error-Body"


class RuntimeApiBroken(Exception):
    """The Runtime API did not answer as it must; only a new sandbox helps."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One event, as the Runtime API hands it over."""

    request_id: str
    headers: Message
    """Found whatever their case."""
    payload: bytes


class RuntimeApi:
    """A client of the Runtime API.

    Args:
        address: Host and port, as `AWS_LAMBDA_RUNTIME_API` has them.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def next(self) -> Invocation:
        """Wait for the next event; Lambda freezes the sandbox meanwhile.

        Raises:
            RuntimeApiBroken: It did not come.
        """
        headers, payload = self._call("GET", "/invocation/next")
        request_id = headers.get("Lambda-Runtime-Aws-Request-Id")
        if not request_id:
            raise RuntimeApiBroken("The Runtime API gave an event without a request id.")
        return Invocation(request_id, headers, payload)

    def report_init(self, failure: Failure) -> None:
        """Report that the function cannot be initialised.

        Raises:
            RuntimeApiBroken: The report was not taken.
        """
        self._report("/init/error", failure)

    def await_restore(self) -> None:
        """Say that a snapshot may be taken, and return in a sandbox restored from it.

        Raises:
            RuntimeApiBroken: The Runtime API did not answer as it must.
        """
        self._call("GET", "/restore/next")

    def report_restore(self, failure: Failure) -> None:
        """Report that a restored function cannot go on.

        Raises:
            RuntimeApiBroken: The report was not taken.
        """
        self._report("/restore/error", failure)

    def report(self, request_id: str, failure: Failure) -> None:
        """Report that an invocation failed before its response began.

        Raises:
            RuntimeApiBroken: The report was not taken.
        """
        self._report(f"/invocation/{request_id}/error", failure)

    async def respond(self, request_id: str, prelude: bytes) -> Response:
        """Begin a streamed response.

        Args:
            request_id: The invocation's.
            prelude: Status and headers, sent at once.

        Raises:
            RuntimeApiBroken: It cannot be sent.
        """
        host, _, port = self._address.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError as exc:
            raise RuntimeApiBroken(f"There is no Runtime API at {self._address}: {exc}") from exc
        # Nothing is kept here: who sends a chunk goes on when the kernel has taken all of it.
        writer.transport.set_write_buffer_limits(high=0)
        head = (
            f"POST {_ROOT}/invocation/{request_id}/response HTTP/1.1",
            f"Host: {self._address}",
            "Connection: close",
            "Content-Type: application/vnd.awslambda.http-integration-response",
            "Lambda-Runtime-Function-Response-Mode: streaming",
            "Transfer-Encoding: chunked",
            f"Trailer: {_ERROR_TYPE}, {_ERROR_BODY}",
        )
        writer.write("\r\n".join((*head, "", "")).encode("latin-1"))
        response = Response(reader, writer)
        await response.send(prelude)
        return response

    def _report(self, path: str, failure: Failure) -> None:
        headers = {"Content-Type": "application/json", _ERROR_TYPE: _header(failure.kind)}
        self._call("POST", path, failure.body(), headers)

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Message, bytes]:
        connection = http.client.HTTPConnection(self._address)
        try:
            connection.request(method, f"{_ROOT}{path}", body, dict(headers or {}))
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise RuntimeApiBroken(f"{method} {path} failed: {exc!r}") from exc
        finally:
            connection.close()
        _check(method, path, response.status)
        return response.headers, content


class Response:
    """A streamed response on its way: chunks, then `finish` or `fail`, and `close` in any case."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, chunk: bytes) -> None:
        """Send one chunk, and wait until it has left this process.

        Raises:
            RuntimeApiBroken: The connection broke.
        """
        if chunk:  # an empty one would end the response
            await self._write(b"%x\r\n" % len(chunk), chunk, b"\r\n")

    async def finish(self) -> None:
        """End the response.

        Raises:
            RuntimeApiBroken: The Runtime API did not take it.
        """
        await self._end(b"")

    async def fail(self, failure: Failure) -> None:
        """End the response with trailers that say that it is not whole.

        Raises:
            RuntimeApiBroken: The Runtime API did not take it.
        """
        body = base64.b64encode(failure.body()).decode()
        trailers = f"{_ERROR_TYPE}: {_header(failure.kind)}\r\n{_ERROR_BODY}: {body}\r\n"
        await self._end(trailers.encode("latin-1"))

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def _end(self, trailers: bytes) -> None:
        await self._write(b"0\r\n", trailers, b"\r\n")
        try:
            line = await self._reader.readline()
            status = int(line.split()[1])
        except (OSError, ValueError, IndexError) as exc:
            raise RuntimeApiBroken("The Runtime API did not answer a response.") from exc
        _check("POST", "of a response", status)

    async def _write(self, *parts: bytes) -> None:
        try:
            self._writer.writelines(parts)
            await self._writer.drain()
        except OSError as exc:
            raise RuntimeApiBroken(f"The connection broke in the middle of a response: {exc!r}") from exc


def _check(method: str, path: str, status: int) -> None:
    if status // 100 != 2:  # noqa: PLR2004 (200 OK, 202 Accepted)
        raise RuntimeApiBroken(f"{method} {path} was answered {status}.")


def _header(text: str) -> str:
    """Make text safe for a header line: class names may hold any letter."""
    return text.encode("ascii", "replace").decode()
