"""A post goes to the address that was checked, under the name that was asked for, and ends in time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crewline.errors import InvalidRequest, Unavailable
from crewline.events.posts import Poster, resolve
from crewline.models.webhooks import Target
from tests.unit.events.receivers import NAME, Receiver, certificate, receiving, talking

PUBLIC = "93.184.216.34"
SHORT = 0.3
LONG = 20


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def secure(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[Receiver]:
    with receiving(contexts[0]) as receiver:
        yield receiver


class Wires:
    """Stands for the internet: takes connections to any address to one port of this machine."""

    def __init__(self, port: int, *, dead: tuple[str, ...] = ()) -> None:
        self.port = port
        self.dead = dead
        self.called: list[tuple[str, int]] = []

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        self.called.append(address)
        if address[0] in self.dead:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", self.port), timeout)


def target(
    port: int, *, host: str = "localhost", secure: bool = False, path: str = "/hook?a=1&b=%20"
) -> Target:
    return Target(secure=secure, host=host, port=port, path=path)


def never(*_: Any) -> Any:
    pytest.fail("nothing may be connected to")


def takes_at_most(seconds: float, what: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="did not take a webhook"):
        what()
    assert time.monotonic() - began < seconds


def test_a_post_arrives_as_it_was_made(receiver: Receiver) -> None:
    poster = Poster(loopback=True, timeout_s=LONG)
    assert poster.post(target(receiver.port), b'{"n":1}', {"x-a": "b"}) == 204
    [received] = receiver.received
    assert (received.path, received.body, received.headers["x-a"]) == ("/hook?a=1&b=%20", b'{"n":1}', "b")
    assert received.headers["host"] == f"localhost:{receiver.port}"
    assert received.headers["content-length"] == "7"


def test_an_address_may_stand_for_a_host(receiver: Receiver) -> None:
    poster = Poster(connect=Wires(receiver.port).connect, timeout_s=LONG)
    assert poster.post(target(80, host="2606:4700::1111"), b"", {}) == 204
    assert receiver.received[0].headers["host"] == "[2606:4700::1111]"


def test_this_machine_is_refused_unless_it_is_permitted(receiver: Receiver) -> None:
    with pytest.raises(InvalidRequest, match="The host localhost has no address that webhooks may reach"):
        Poster(connect=never).post(target(receiver.port), b"", {})
    assert receiver.received == []


@pytest.mark.parametrize("loopback", [False, True])
@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "fe80::1%1",
    ],
)
def test_a_public_name_may_not_lead_to_a_private_address(address: str, loopback: bool) -> None:
    poster = Poster(loopback=loopback, resolve=lambda *_: [address], connect=never)
    with pytest.raises(InvalidRequest, match=f"The host {NAME} has no address"):
        poster.post(target(443, host=NAME, secure=True), b"", {})


def test_the_address_that_was_checked_is_the_one_that_is_used(
    secure: Receiver, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["169.254.169.254"]])
    wires = Wires(secure.port)
    poster = Poster(
        resolve=lambda *_: next(answers), connect=wires.connect, context=contexts[1], timeout_s=LONG
    )
    assert poster.post(target(443, host=NAME, secure=True), b"{}", {}) == 204
    assert wires.called == [(PUBLIC, 443)]
    assert next(answers) == ["127.0.0.1"]  # the resolver was asked once


def test_a_pinned_connection_has_the_name_of_the_host(
    secure: Receiver, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    poster = Poster(
        resolve=lambda *_: [PUBLIC], connect=Wires(secure.port).connect, context=contexts[1], timeout_s=LONG
    )
    poster.post(target(443, host=NAME, secure=True), b"{}", {})
    assert secure.names == [NAME]
    assert secure.received[0].headers["host"] == NAME


def test_a_certificate_for_another_name_is_refused(
    secure: Receiver, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    poster = Poster(
        resolve=lambda *_: [PUBLIC], connect=Wires(secure.port).connect, context=contexts[1], timeout_s=LONG
    )
    with pytest.raises(Unavailable, match="SSLCertVerificationError"):
        poster.post(target(443, host="other.example.com", secure=True), b"{}", {})
    assert secure.received == []


def test_a_certificate_of_an_unknown_authority_is_refused(secure: Receiver) -> None:
    poster = Poster(resolve=lambda *_: [PUBLIC], connect=Wires(secure.port).connect, timeout_s=LONG)
    with pytest.raises(Unavailable, match="SSLCertVerificationError"):
        poster.post(target(443, host=NAME, secure=True), b"{}", {})


def test_of_several_addresses_only_the_public_ones_are_tried_until_one_answers(receiver: Receiver) -> None:
    wires = Wires(receiver.port, dead=("8.8.8.8",))
    poster = Poster(
        resolve=lambda *_: ["10.0.0.1", "8.8.8.8", PUBLIC, "1.1.1.1"], connect=wires.connect, timeout_s=LONG
    )
    assert poster.post(target(80, host=NAME), b"", {}) == 204
    assert wires.called == [("8.8.8.8", 80), (PUBLIC, 80)]


def test_a_host_that_nobody_answers_for_is_unavailable() -> None:
    wires = Wires(0, dead=(PUBLIC, "8.8.8.8"))
    poster = Poster(resolve=lambda *_: [PUBLIC, "8.8.8.8"], connect=wires.connect)
    with pytest.raises(
        Unavailable, match=rf"The host {NAME} did not take a webhook \(ConnectionRefusedError\)"
    ):
        poster.post(target(443, host=NAME, secure=True), b"", {})
    assert len(wires.called) == 2


def test_a_name_that_does_not_resolve_is_unavailable() -> None:
    def unknown(*_: Any) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(Unavailable, match="gaierror"):
        Poster(resolve=unknown, connect=never).post(target(443, host=NAME), b"", {})


def test_a_redirect_is_an_answer_and_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 307, {"Location": f"http://127.0.0.1:{receiver.port}/other"}
    assert Poster(loopback=True, timeout_s=LONG).post(target(receiver.port), b"", {}) == 307
    assert len(receiver.received) == 1


def test_the_proxies_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert Poster(loopback=True, timeout_s=LONG).post(target(receiver.port), b"", {}) == 204


# ------------------------------------------------------------------ time


def test_a_server_that_never_answers_is_left_in_time() -> None:
    with talking(drain) as port:
        takes_at_most(5, lambda: Poster(loopback=True, timeout_s=SHORT).post(target(port), b"", {}))


def test_a_server_that_never_shakes_hands_is_left_in_time() -> None:
    with talking(drain) as port:
        poster = Poster(loopback=True, timeout_s=SHORT)
        takes_at_most(5, lambda: poster.post(target(port, secure=True), b"", {}))


def test_a_server_that_answers_byte_by_byte_is_left_in_time() -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"a: b\r\n")
            time.sleep(0.2)

    with talking(trickle) as port:
        takes_at_most(5, lambda: Poster(loopback=True, timeout_s=0.5).post(target(port), b"", {}))


def test_a_server_that_takes_no_body_is_left_in_time() -> None:
    released = threading.Event()
    with talking(lambda _: done(released.wait(10))) as port:
        poster = Poster(loopback=True, timeout_s=SHORT)
        takes_at_most(5, lambda: poster.post(target(port), b"x" * 20_000_000, {}))
        released.set()


def test_a_resolver_that_never_answers_is_left_in_time() -> None:
    released = threading.Event()

    def stuck(*_: Any) -> list[str]:
        released.wait(10)
        return [PUBLIC]

    poster = Poster(resolve=stuck, connect=never, timeout_s=SHORT)
    takes_at_most(5, lambda: poster.post(target(443, host=NAME), b"", {}))
    released.set()


def test_an_endless_body_is_not_read() -> None:
    def pour(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    with talking(pour) as port:
        assert Poster(loopback=True, timeout_s=LONG).post(target(port), b"", {}) == 200


@pytest.mark.parametrize(
    "answer", [b"", b"hello\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"HTTP/1.1 200 " + b"x" * 70_000]
)
def test_what_is_no_http_is_unavailable_and_not_repeated(answer: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(answer)

    with talking(speak) as port, pytest.raises(Unavailable) as caught:
        Poster(loopback=True, timeout_s=LONG).post(target(port), b"", {})
    assert "hello" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_systems_resolver_gives_each_address_once() -> None:
    found = resolve("localhost", 80)
    assert set(found) <= {"127.0.0.1", "::1"}
    assert len(found) == len(set(found))


def drain(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def done(_: object) -> None:
    """Make an expression a statement."""
