"""A Lambda Runtime API for one function, whose responses a test reads chunk by chunk, as they come."""

from __future__ import annotations

import base64
import json
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from crewline import locations

FUNCTION = Path(__file__).parent / "function"
PATIENCE_S = 30
"""How long a test waits for what must come; nothing is ever asserted of how long it took."""
SEPARATOR = bytes(8)


class Post:
    """What the function has begun to post; its body is read when the test asks for it."""

    def __init__(self, path: str, headers: Message, connection: _Connection) -> None:
        self.path = path
        self.headers = headers
        self.trailers: dict[str, str] = {}
        self.ended = threading.Event()
        self._connection = connection

    def chunk(self) -> bytes | None:
        """Read the next chunk as it was sent; None is the end, after which `trailers` are there."""
        read = self._connection.rfile.readline
        size = int(read(), 16)
        if size:
            chunk = self._connection.rfile.read(size)
            assert self._connection.rfile.read(2) == b"\r\n"
            return chunk
        while line := read().decode().strip():
            name, _, value = line.partition(": ")
            self.trailers[name] = value
        self.ended.set()
        return None

    def prelude(self) -> dict[str, Any]:
        text = self.chunk()
        assert text is not None
        assert text.endswith(SEPARATOR)
        prelude: dict[str, Any] = json.loads(text.removesuffix(SEPARATOR))
        return prelude

    def rest(self) -> list[bytes]:
        chunks = []
        while (chunk := self.chunk()) is not None:
            chunks.append(chunk)
        return chunks

    def json(self) -> dict[str, Any]:
        """Read a body that is not a stream."""
        body: dict[str, Any] = json.loads(self._connection.rfile.read(int(self.headers["content-length"])))
        self.ended.set()
        return body

    def failure(self) -> dict[str, Any]:
        """The error in the trailers."""
        body = base64.b64decode(self.trailers["Lambda-Runtime-Function-Error-Body"])
        error: dict[str, Any] = json.loads(body)
        assert self.trailers["Lambda-Runtime-Function-Error-Type"] == error["errorType"]
        return error

    def reset(self) -> None:
        """Break the connection as a dying peer does."""
        one = self._connection.connection
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.broken = True
        self.ended.set()


@dataclass
class RuntimeApi:
    """What the server has been asked, and what it shall answer."""

    address: str = ""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request, in order."""
    events: queue.Queue[tuple[bytes, Mapping[str, str]] | int] = field(default_factory=queue.Queue)
    """Payload and headers of events, or an HTTP status to refuse with."""
    posts: queue.Queue[Post] = field(default_factory=queue.Queue)
    restored: threading.Event = field(default_factory=threading.Event)
    """Set it to let the function out of its snapshot."""

    def send(self, event: Any, **headers: str) -> str:
        """Hand out an event; bytes go as they are. Gives the request id."""
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        request_id = str(uuid4())
        given = {"Content-Type": "application/json", "Lambda-Runtime-Aws-Request-Id": request_id, **headers}
        self.events.put((payload, given))
        return request_id

    def post(self) -> Post:
        return self.posts.get(timeout=PATIENCE_S)

    def invoke(self, event: Any, **headers: str) -> Post:
        """Hand out an event and wait until the function begins to post for it."""
        request_id = self.send(event, **headers)
        post = self.post()
        assert f"/invocation/{request_id}/" in post.path
        return post


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    broken = False
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        api = self._asked()
        if self.path.endswith("/restore/next"):
            api.restored.wait()
            self._answer(200)
            return
        event = api.events.get()
        if isinstance(event, int):
            self._answer(event)
        else:
            payload, headers = event
            self._answer(200, payload, headers)

    def do_POST(self) -> None:
        api = self._asked()
        post = Post(self.path, self.headers, self)
        api.posts.put(post)
        post.ended.wait()
        if not self.broken:
            self._answer(202)
        self.close_connection = True

    def _asked(self) -> RuntimeApi:
        api = self.server.api
        api.asked.append(f"{self.command} {self.path.removeprefix('/2018-06-01/runtime')}")
        return api

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Connection)

    def server_bind(self) -> None:
        # Little room on our side: what the function may run ahead is then known.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        super().server_bind()


@contextmanager
def runtime_api() -> Iterator[RuntimeApi]:
    api = RuntimeApi()
    with _Server(api) as server:
        api.address = f"127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield api
        finally:
            server.shutdown()
            serving.join()


@dataclass
class Sandbox:
    """A running function."""

    api: RuntimeApi
    process: subprocess.Popen[bytes]
    log: Path

    def exit_status(self) -> int:
        return self.process.wait(PATIENCE_S)


@contextmanager
def sandbox(
    log: Path,
    environ: Mapping[str, str] | None = None,
    *,
    function: Path = FUNCTION,
    handler: str = "handler.stream",
    command: Sequence[str] = (
        str(locations.STREAMING / "start"),
        sys.executable,
        "/var/runtime/bootstrap.py",
    ),
) -> Iterator[Sandbox]:
    """Start a function as Lambda does: the wrapper, with what it would have run itself; or a command of an image."""
    variables = {
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LAMBDA_TASK_ROOT": str(function),
        "LAMBDA_RUNTIME_DIR": str(log.parent / "runtime"),
        "AWS_LAMBDA_FUNCTION_NAME": "tested",
        "_HANDLER": handler,
        **(environ or {}),
    }
    with runtime_api() as api, log.open("wb") as output:
        variables["AWS_LAMBDA_RUNTIME_API"] = api.address
        process = subprocess.Popen(
            command,
            env=variables,
            cwd=function,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Sandbox(api, process, log)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def eventually(path: Path) -> str:
    """Wait for a file."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.005)
    return path.read_text()


def settled(path: Path) -> str:
    """Wait until a file has not changed for a while."""
    before, text = "", eventually(path)
    while text != before:
        time.sleep(0.4)
        before, text = text, path.read_text()
    return text


def write(path: Path, text: str = "") -> None:
    """Write a file that is whole as soon as it is there."""
    draft = path.with_suffix(".tmp")
    draft.write_text(text)
    draft.replace(path)
