"""Requests to addresses that a client named: no further than the public internet, no longer than a moment."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final

from crewline.errors import InvalidRequest, Unavailable
from crewline.models.addresses import is_permitted
from crewline.models.webhooks import Target

TIMEOUT_S: Final = 10.0
"""What a whole request may take, from resolving the name to the status line and headers."""
_MOST_ADDRESSES: Final = 4

Resolve = Callable[[str, int], Sequence[str]]
"""Host and port → IP addresses, the best first."""
Connect = Callable[[tuple[str, int], float], socket.socket]
"""IP address and port, seconds → a connected socket."""


def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver.

    Raises:
        OSError: The name does not resolve.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Poster:
    """Posts to URLs that clients chose; safe for many threads.

    The name is resolved once and the connection goes to an address that was checked, so that an
    answer that changes in between (DNS rebinding) leads nowhere. The certificate is still that of the
    name. Redirects are not followed, the proxies of the environment not used, and of the answer
    nothing is read behind its headers.

    Args:
        loopback: Permit this machine, for a laptop.
        timeout_s: What a whole request may take.
        resolve: The resolver.
        connect: What makes connections.
        context: How servers are verified; by the system's certificate authorities when absent.
    """

    def __init__(
        self,
        *,
        loopback: bool = False,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve = resolve,
        connect: Connect = socket.create_connection,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._loopback = loopback
        self._timeout_s = timeout_s
        self._resolve = resolve
        self._connect = connect
        self._context = context or ssl.create_default_context()

    def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> int:
        """Send one request.

        Returns:
            The status of the answer, whatever it is.

        Raises:
            InvalidRequest: The host has no address that may be reached.
            Unavailable: There was no answer in time, or none that is HTTP.
        """
        deadline = time.monotonic() + self._timeout_s
        try:
            addresses = self._addresses(target, deadline)
            with closing(self._open(addresses, target.port, deadline)) as plain:
                return self._exchange(plain, target, body, headers, deadline)
        except (OSError, HTTPException) as exc:
            # Without the cause: its text may repeat what the receiver sent.
            raise Unavailable(
                f"The host {target.host} did not take a webhook ({type(exc).__name__})."
            ) from None

    def _addresses(self, target: Target, deadline: float) -> list[str]:
        """Resolve a host, and leave out what may not be reached."""
        answer: Future[Sequence[str]] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._resolve(target.host, target.port))
            except OSError as exc:
                answer.set_exception(exc)

        # A resolver cannot be told how long it may take: past the deadline it is left to itself.
        threading.Thread(target=ask, name="resolve", daemon=True).start()
        found = answer.result(_left(deadline))
        permitted = [one for one in found if is_permitted(one, loopback=self._loopback)]
        if not permitted:
            raise InvalidRequest(f"The host {target.host} has no address that webhooks may reach.")
        return permitted[:_MOST_ADDRESSES]

    def _open(self, addresses: list[str], port: int, deadline: float) -> socket.socket:
        """Connect to the first address that answers; each has its share of the time."""
        *others, last = addresses
        for tried, address in enumerate(others):
            with suppress(OSError):
                return self._connect((address, port), _left(deadline) / (len(addresses) - tried))
        return self._connect((last, port), _left(deadline))

    def _exchange(
        self, plain: socket.socket, target: Target, body: bytes, headers: Mapping[str, str], deadline: float
    ) -> int:
        left = _left(deadline)
        plain.settimeout(left)
        connection: HTTPConnection
        if target.secure:
            # The handshake comes when the guard is up: this takes the socket over, and makes another.
            wrapped = self._context.wrap_socket(
                plain, server_hostname=target.host, do_handshake_on_connect=False
            )
            connection = HTTPSConnection(target.host, target.port, context=self._context)
        else:
            wrapped = None
            connection = HTTPConnection(target.host, target.port)
        connection.sock = guarded = wrapped or plain
        connection.auto_open = 0  # never connect by itself: that would resolve the name again
        # A socket's timeout is for one read: a server that sends a byte a second would never end.
        guard = threading.Timer(left, _cut, (guarded,))
        guard.daemon = True
        guard.start()
        try:
            if wrapped:
                wrapped.do_handshake()
            connection.request("POST", target.path, body, {**headers, "connection": "close"})
            with closing(connection.getresponse()) as answer:
                _left(deadline)  # an answer that was cut within its headers looks like a whole one
                return answer.status
        finally:
            guard.cancel()
            connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _cut(guarded: socket.socket) -> None:
    """End a connection under the hands of the thread that uses it."""
    with suppress(OSError):
        socket.socket.shutdown(guarded, socket.SHUT_RDWR)  # SSLSocket's own would take its TLS state away
