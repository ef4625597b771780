"""The front door: every request its own answer, every chunk at once, every end the right one."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from crewline.http.replies import Reply
from crewline.local import servers
from crewline.local.frontdoor import FrontDoor
from crewline.local.proxy_events import LambdaContext
from crewline.models.cors import LOOPBACK

Answer = Callable[[dict[str, Any], LambdaContext], Reply]


@contextmanager
def front_door(answer: Answer, *, max_body_bytes: int = 1_000) -> Iterator[str]:
    with ExitStack() as stack:
        listener = stack.enter_context(servers.listen(0))
        door = FrontDoor({"api": answer, "crew": answer}, max_body_bytes=max_body_bytes, cors=LOOPBACK)
        stack.enter_context(servers.serving(door, listener))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def described(event: dict[str, Any], _context: LambdaContext) -> Reply:
    import json

    return Reply(200, {"Content-Type": "application/json"}, json.dumps(event).encode())


async def test_two_thousand_requests_get_their_own_answers() -> None:
    current: contextvars.ContextVar[str] = contextvars.ContextVar("current")

    def echo(event: dict[str, Any], context: LambdaContext) -> Reply:
        current.set(event["body"])
        assert event["requestContext"]["requestId"] == context.aws_request_id
        return Reply(200, {"token": event["headers"]["token"]}, current.get().encode())

    async def ask(url: str, numbers: range) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for number in numbers:
            body = f"body {number}"
            head = f"POST /threads HTTP/1.1\r\nhost: x\r\ntoken: {number}\r\ncontent-length: {len(body)}"
            writer.write(f"{head}\r\n\r\n{body}".encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert f"token: {number}\r\n" in answer
            assert await reader.readexactly(len(body)) == body.encode()
        writer.close()
        await writer.wait_closed()

    with front_door(echo) as url:
        await asyncio.gather(*(ask(url, range(start, 2_000, 100)) for start in range(100)))


def test_answers_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=5)

    def meet(event: dict[str, Any], context: LambdaContext) -> Reply:
        both.wait()
        return Reply(204)

    with front_door(meet) as url:
        other = threading.Thread(target=httpx.get, args=(f"{url}/ok",))
        other.start()
        assert httpx.get(f"{url}/ok").status_code == 204
        other.join()


def test_a_request_becomes_a_proxy_event() -> None:
    with front_door(described) as url:
        event = httpx.patch(
            f"{url}/threads/a%20b/state/x?limit=1&limit=2&empty=",
            content='{"é": 1}',
            headers=[("X-Twice", "one"), ("X-Twice", "two"), ("User-Agent", "test")],
        ).json()
    assert event["resource"] == "/threads/{thread_id}/state/{proxy+}"
    assert event["path"] == "/threads/a%20b/state/x"
    assert event["httpMethod"] == "PATCH"
    assert event["pathParameters"] == {"thread_id": "a b", "proxy": "x"}
    assert event["queryStringParameters"] == {"limit": "2", "empty": ""}
    assert event["multiValueQueryStringParameters"] == {"limit": ["1", "2"], "empty": [""]}
    assert event["headers"]["x-twice"] == "two"
    assert event["multiValueHeaders"]["x-twice"] == ["one", "two"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"é": 1}', False)
    context = event["requestContext"]
    assert context["identity"]["userAgent"] == "test"
    assert context["identity"]["sourceIp"] == "127.0.0.1"
    assert context["resourcePath"] == event["resource"]
    assert context["path"] == event["path"]
    assert event["headers"]["x-forwarded-proto"] == "http"


def test_a_request_without_body_or_query_has_none() -> None:
    with front_door(described) as url:
        event = httpx.get(f"{url}/ok").json()
    assert (event["body"], event["queryStringParameters"], event["multiValueQueryStringParameters"]) == (
        None,
        None,
        None,
    )


def test_a_binary_body_is_base64() -> None:
    with front_door(described) as url:
        event = httpx.post(f"{url}/threads", content=b"\xff\x00").json()
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"\xff\x00"


def test_the_context_has_what_lambda_gives() -> None:
    seen: list[LambdaContext] = []

    def remember(event: dict[str, Any], context: LambdaContext) -> Reply:
        seen.append(context)
        return Reply(204)

    with front_door(remember) as url:
        request_id = httpx.get(f"{url}/threads/1/history").headers["x-amzn-requestid"]
    context = seen[0]
    assert context.function_name == "crew"
    assert context.aws_request_id == request_id
    assert context.invoked_function_arn == "arn:aws:lambda:us-east-1:000000000000:function:crew"
    assert 890_000 < context.get_remaining_time_in_millis() <= 900_000


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PURGE"])
def test_any_method_reaches_the_function(method: str) -> None:
    def allow(event: dict[str, Any], context: LambdaContext) -> Reply:
        return Reply(200, {"seen": event["httpMethod"]}, b"text")

    with front_door(allow) as url:
        assert httpx.request(method, f"{url}/ok").headers["seen"] == method


def test_a_body_over_the_limit_is_refused_with_the_figure() -> None:
    with front_door(described, max_body_bytes=100_000) as url, httpx.Client(base_url=url) as client:
        answer = client.post("/threads", content=b"x" * 5_000_000)
        assert answer.status_code == 413
        detail = "The request body is over the limit of 100000 bytes."
        assert answer.json() == {"detail": detail, "code": "too_large"}
        assert client.post("/threads", content=b"x" * 100_000).status_code == 200


def test_an_exception_is_answered_with_an_id_and_never_its_text(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: dict[str, Any], context: LambdaContext) -> Reply:
        raise RuntimeError("the password is hunter2")

    with front_door(fail) as url:
        answer = httpx.get(f"{url}/ok")
    request_id = answer.headers["x-amzn-requestid"]
    assert answer.status_code == 500
    assert answer.json() == {"detail": f"Internal error; request id {request_id}.", "code": "internal"}
    assert any(request_id in record.message for record in caplog.records)


def test_a_page_that_may_call_the_api_can_read_the_front_doors_own_errors() -> None:
    page, other = "http://localhost:3000", "https://example.com"
    with front_door(described, max_body_bytes=1) as url:
        allowed, refused = (httpx.post(url, content=b"xx", headers={"origin": one}) for one in (page, other))
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (413, page)
    assert "access-control-allow-origin" not in refused.headers


def test_each_chunk_arrives_before_the_next_is_made() -> None:
    received = threading.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.to_thread(received.wait)
        yield b"two"

    with (
        front_door(lambda _event, _context: Reply(200, {}, chunks())) as url,
        httpx.stream("GET", f"{url}/ok") as answer,
    ):
        parts = answer.iter_raw()
        assert next(parts) == b"one"
        received.set()
        assert next(parts) == b"two"
        assert next(parts, None) is None


def test_headers_arrive_before_the_first_chunk_is_made() -> None:
    received = threading.Event()

    async def chunks() -> AsyncIterator[bytes]:
        await asyncio.to_thread(received.wait)
        yield b"one"

    with (
        front_door(lambda _event, _context: Reply(200, {}, chunks())) as url,
        httpx.stream("GET", f"{url}/ok") as answer,
    ):
        received.set()
        assert answer.read() == b"one"


class Endless:
    """An iterator that never ends by itself and knows whether it was closed."""

    def __init__(self, first: bytes | None) -> None:
        self._first = first
        self.asked = threading.Event()
        self.closed = threading.Event()

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        self.asked.set()
        await asyncio.Event().wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("first", [b"one", None], ids=["mid-body", "before the first chunk"])
def test_a_client_that_leaves_closes_the_iterator(first: bytes | None) -> None:
    body = Endless(first)
    with front_door(lambda _event, _context: Reply(200, {}, body)) as url:
        with httpx.stream("GET", f"{url}/ok"):
            assert body.asked.wait(5)
            assert not body.closed.is_set()
        assert body.closed.wait(5)


def test_a_client_that_leaves_before_there_is_an_answer_closes_the_iterator() -> None:
    body, asked, left = Endless(b"one"), threading.Event(), threading.Event()

    def slow(event: dict[str, Any], context: LambdaContext) -> Reply:
        asked.set()
        left.wait(5)
        return Reply(200, {}, body)

    with front_door(slow) as url:
        with httpx.Client() as client:
            request = threading.Thread(target=abandoned, args=(client, url))
            request.start()
            assert asked.wait(5)
        request.join()
        left.set()
        assert body.closed.wait(5)


def abandoned(client: httpx.Client, url: str) -> None:
    with pytest.raises(httpx.HTTPError):
        client.get(f"{url}/ok", timeout=0.2)


def test_a_body_that_fails_breaks_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("half way")

    with (
        front_door(lambda _event, _context: Reply(200, {}, chunks())) as url,
        httpx.stream("GET", f"{url}/ok") as answer,
    ):
        parts = answer.iter_raw()
        assert next(parts) == b"one"
        with pytest.raises(httpx.RemoteProtocolError):
            next(parts)
    assert any("half way" in (record.exc_text or "") for record in caplog.records)


def test_a_stop_closes_what_is_still_streaming() -> None:
    body = Endless(b"one")
    with httpx.Client() as client, ExitStack() as stack:
        url = stack.enter_context(front_door(lambda _event, _context: Reply(200, {}, body)))
        with client.stream("GET", f"{url}/ok"):
            assert body.asked.wait(5)
            stack.close()
            assert body.closed.is_set()


def test_where_it_may_be_replaced_a_connection_ends_with_its_stream() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"chunk"

    def answer(event: dict[str, Any], _context: LambdaContext) -> Reply:
        return Reply(200, {}, chunks() if event["path"] == "/ok" else b"whole")

    for replaced in (False, True):
        with ExitStack() as stack:
            listener = stack.enter_context(servers.listen(0))
            door = FrontDoor({"api": answer}, max_body_bytes=1_000, cors=LOOPBACK, replaced=replaced)
            stack.enter_context(servers.serving(door, listener))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            http = stack.enter_context(httpx.Client(base_url=url))
            assert http.get("/ok").headers.get("connection") == ("close" if replaced else None)
            assert http.get("/threads").headers.get("connection") is None


def test_a_server_that_retires_takes_nothing_more_and_ends_what_it_has_begun() -> None:
    gate = threading.Event()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"one "
        await asyncio.to_thread(gate.wait, 20)
        yield b"two"

    def answer(event: dict[str, Any], _context: LambdaContext) -> Reply:
        return Reply(200, {}, chunks() if event["path"] == "/ok" else b"whole")

    with ExitStack() as stack:
        listener = stack.enter_context(servers.listen(0))
        door = FrontDoor({"api": answer}, max_body_bytes=1_000, cors=LOOPBACK)
        serving = stack.enter_context(servers.serving(door, listener))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        http = stack.enter_context(httpx.Client(base_url=url))
        assert http.get("/threads").content == b"whole"  # its connection is kept
        with http.stream("GET", "/ok") as stream:
            parts = stream.iter_bytes()
            assert next(parts) == b"one "
            serving.retire(20)
            with pytest.raises(httpx.ConnectError):
                http.get("/threads")
            gate.set()
            assert b"".join(parts) == b"two"
        serving.wait()


def test_a_server_that_retires_does_not_wait_for_ever() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one "
        await asyncio.Event().wait()

    with ExitStack() as stack:
        listener = stack.enter_context(servers.listen(0))
        door = FrontDoor({"api": lambda *_: Reply(200, {}, chunks())}, max_body_bytes=1_000, cors=LOOPBACK)
        serving = stack.enter_context(servers.serving(door, listener))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.stream("GET", f"{url}/ok") as stream:
            parts = stream.iter_bytes()
            assert next(parts) == b"one "
            serving.retire(0.1)
            with pytest.raises(httpx.RemoteProtocolError):
                next(parts)
        serving.wait()
