"""Lambda's Invoke for the functions of this process: what one of them hands over, another one answers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from uuid import uuid4

from crewline.local.frontdoor import Answer
from crewline.local.proxy_events import lambda_context
from crewline.store.functions import SEPARATOR

_INVOKE: Final = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")


@contextmanager
def served(functions: Mapping[str, Answer]) -> Iterator[str]:
    """Answer invocations on loopback for as long as the block lasts.

    Args:
        functions: Name → how it answers; what is added while it serves is served too.

    Yields:
        The endpoint, for the client of Lambda.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found = _INVOKE.fullmatch(self.path)
            event = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if found is None or found[1] not in functions:
                self.send_error(404)
                return
            reply = functions[found[1]](event, lambda_context(found[1], str(uuid4())))
            if not isinstance(reply.body, bytes):
                raise TypeError("An answer that streams cannot be handed over.")
            head = {"statusCode": reply.status, "headers": dict(reply.headers), "cookies": []}
            payload = json.dumps(head).encode() + SEPARATOR + reply.body
            self.send_response(200)
            self.send_header("content-type", "application/octet-stream")
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            """Keep quiet: whoever asked logs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="invocations", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
