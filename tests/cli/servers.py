"""A service that says what a test has written down, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any = None


@dataclass(frozen=True)
class Answer:
    """What to answer; a body that is bytes goes as it is."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class ScriptedService:
    """What is answered to `METHOD /path`; each in turn, the last one for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self._answers: dict[str, list[Answer | Callable[[Asked], Answer]]] = {}
        self._always: Answer | None = None

    def answer(self, request: str, *answers: Answer | Callable[[Asked], Answer]) -> None:
        """Say what to answer."""
        self._answers[request] = list(answers)

    def answer_anything(self, answer: Answer) -> None:
        """Say what to answer to whatever is asked."""
        self._always = answer

    def stream(self, request: str, *connections: Sequence[tuple[str, Any]]) -> None:
        """Say which events (id, data) each connection brings before it ends."""
        self.answer(request, *(Answer(200, sse(events), SSE) for events in connections))

    def respond(self, asked: Asked) -> Answer:
        """Choose the answer."""
        self.asked.append(asked)
        answers = self._answers.get(f"{asked.method} {asked.path.partition('?')[0]}")
        if self._always:
            return self._always
        if not answers:
            message = f"{asked.method} {asked.path} is not in the script"
            return Answer(404, {"error": {"message": message, "code": "not_found"}})
        chosen = answers.pop(0) if len(answers) > 1 else answers[0]
        return chosen(asked) if callable(chosen) else chosen


SSE = {"content-type": "text/event-stream"}


def sse(events: Sequence[tuple[str, Any]]) -> bytes:
    """Spell events (id, data) as a stream."""
    return "".join(f"id: {id_}\ndata: {json.dumps(data)}\n\n" for id_, data in events).encode()


@contextmanager
def scripted() -> Iterator[ScriptedService]:
    """Serve on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = service.respond(
                Asked(self.command, self.path, headers, json.loads(raw) if raw else None)
            )
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"content-type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 (names of http.server)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service = ScriptedService(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
