"""A function served as AWS Lambda Web Adapter is served: its layer's program, asked as the adapter asks."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from crewline import locations
from tests.streaming.runtime_apis import PATIENCE_S, write

REQUEST_CONTEXT, LAMBDA_CONTEXT = b"x-amzn-request-context", b"x-amzn-lambda-context"
HANDLER = """
import asyncio, json
from pathlib import Path
from crewline.http.replies import Reply

def answer(event, context):
    if event["path"] == "/stream":
        return Reply(200, {"content-type": "text/event-stream"}, chunks(json.loads(event["body"])))
    told = {"event": event, "id": context.aws_request_id, "left": context.get_remaining_time_in_millis()}
    return Reply(201, {"content-type": "application/json"}, json.dumps(told).encode())

async def chunks(gates):
    for number, gate in enumerate(gates):
        while not Path(gate).exists():
            await asyncio.sleep(0.002)
        if gate.endswith("broken"):
            raise OSError("half way")
        yield f"chunk {number}".encode()
"""


def contexts(**more: Any) -> dict[bytes, bytes]:
    """The two headers that the adapter sets."""
    asked = {"resourcePath": "/{proxy+}", "requestId": "é", "stage": "prod", **more}
    told = {
        "request_id": "one",
        "deadline": int(time.time() * 1000) + 60_000,
        "invoked_function_arn": "arn:aws:lambda:eu-central-1:123456789012:function:crew",
    }
    return {
        REQUEST_CONTEXT: json.dumps(asked, ensure_ascii=False).encode(),
        LAMBDA_CONTEXT: json.dumps(told).encode(),
    }


@contextmanager
def started(folder: Path) -> Iterator[httpx.Client]:
    """Start the function as Lambda does, its layers unpacked, and wait for the port as the adapter does."""
    layer = folder / "opt" / "adapter"
    shutil.copytree(locations.ADAPTER, layer)
    (folder / "opt" / "python").symlink_to(locations.IMPORT_ROOT)
    (folder / "task").mkdir()
    (folder / "task" / "handler.py").write_text(HANDLER)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {
        "PATH": "/usr/bin:/bin",
        "LAMBDA_TASK_ROOT": str(folder / "task"),
        "LAMBDA_RUNTIME_DIR": str(folder / "runtime"),
        "_HANDLER": "handler.answer",
        "AWS_LWA_PORT": str(port),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = ["/bin/sh", str(layer / "start"), sys.executable, "/var/runtime/bootstrap.py"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, cwd=folder / "task", stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _open(port):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "the port was not opened"
            time.sleep(0.01)  # the adapter asks as often
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with started(tmp_path_factory.mktemp("function")) as client:
        yield client


def test_a_request_of_the_adapter_is_the_event_that_it_was(function: httpx.Client) -> None:
    answer = function.post(
        "/threads/a%20b/state/x?limit=1&limit=2",
        content='{"é": 1}'.encode(),
        headers=[
            *contexts(resourcePath="/threads/{thread_id}/state/{proxy+}").items(),
            *((b"x-api-key", b"k"), (b"x-twice", b"1"), (b"x-twice", b"2")),
        ],
    )

    assert answer.status_code == 201
    told = answer.json()
    event = told["event"]
    assert (event["path"], event["httpMethod"]) == ("/threads/a%20b/state/x", "POST")
    assert event["resource"] == event["requestContext"]["resourcePath"]
    assert event["requestContext"]["requestId"] == "é"
    assert event["pathParameters"] == {"thread_id": "a b", "proxy": "x"}
    assert event["multiValueQueryStringParameters"] == {"limit": ["1", "2"]}
    assert (event["body"], event["isBase64Encoded"]) == ('{"é": 1}', False)
    assert event["headers"]["x-api-key"] == "k"
    assert event["multiValueHeaders"]["x-twice"] == ["1", "2"]
    assert not {"x-amzn-request-context", "x-amzn-lambda-context"} & event["headers"].keys()
    assert told["id"] == "one"
    assert 0 < told["left"] <= 60_000


def test_a_binary_body_is_base64(function: httpx.Client) -> None:
    event = function.post("/x", content=b"\xff\x00", headers=contexts()).json()["event"]

    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"\xff\x00"


def test_headers_as_large_as_api_gateway_takes_pass(function: httpx.Client) -> None:
    large = {f"x-{number}".encode(): b"v" * 1_000 for number in range(10)}
    answer = function.get("/x", headers={**contexts(path="p" * 8_000), **large})

    assert answer.json()["event"]["headers"]["x-9"] == "v" * 1_000


def test_each_chunk_arrives_before_the_next_is_made(function: httpx.Client, tmp_path: Path) -> None:
    gates = [tmp_path / name for name in ("one", "two")]
    body = json.dumps([str(gate) for gate in gates])
    write(gates[0])
    with function.stream("POST", "/stream", content=body, headers=contexts()) as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"chunk 0"
        assert not gates[1].exists()
        write(gates[1])
        assert next(parts) == b"chunk 1"
        assert next(parts, None) is None


def test_an_answer_that_fails_half_way_is_not_taken_for_whole(function: httpx.Client, tmp_path: Path) -> None:
    gates = [tmp_path / name for name in ("one", "broken")]
    for gate in gates:
        write(gate)
    with (
        pytest.raises(httpx.RemoteProtocolError),
        function.stream(
            "POST", "/stream", content=json.dumps([str(gate) for gate in gates]), headers=contexts()
        ) as answer,
    ):
        answer.read()


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(LAMBDA_CONTEXT, contexts()[LAMBDA_CONTEXT])],
        [*contexts().items(), (LAMBDA_CONTEXT, contexts()[LAMBDA_CONTEXT])],
        [(REQUEST_CONTEXT, b"null"), (LAMBDA_CONTEXT, b"{")],
    ],
    ids=["none", "one", "twice", "unreadable"],
)
def test_who_is_not_the_adapter_is_refused(
    function: httpx.Client, headers: list[tuple[bytes, bytes]]
) -> None:
    answer = function.get("/x", headers=headers)

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"
    assert "AWS Lambda Web Adapter alone" in answer.json()["detail"]


def test_a_function_that_cannot_start_opens_no_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "HANDLER", "raise RuntimeError('no crew')")

    with pytest.raises(AssertionError, match="no crew"), started(tmp_path):
        pass
