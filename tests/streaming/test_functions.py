"""The functions themselves, as Lambda runs them: started by the layer, over the deployed stack."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from crewline import locations
from crewline.engine.slices import ENDING_S
from crewline.http.resources import resource_for
from crewline.local import services, sources
from crewline.local.proxy_events import proxy_event
from crewline.models.manifests import read_manifest
from tests.streaming.runtime_apis import Post, Sandbox, sandbox, write

PROJECT = Path(__file__).parent / "project"
NAMES = ("api", "crew", "tail")


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sandbox]]:
    """The functions that answer requests, over the packaged template on a local cloud."""
    folder = tmp_path_factory.mktemp("functions")
    manifest = read_manifest(PROJECT / "langgraph.json")
    with ExitStack() as stack:
        ground = stack.enter_context(
            services.prepared(
                manifest,
                state=folder / "state",
                port=0,
                event_bus="",
                functions=locations.FUNCTIONS,
                template=locations.TEMPLATE,
            )
        )
        outputs = ground.deploy(manifest, sources.keep(sources.snapshot(manifest), ground.state.sources))
        environ = {
            **ground.environment(manifest, outputs),
            "PYTHONPATH": str(locations.IMPORT_ROOT),
        }
        yield {
            name: stack.enter_context(
                sandbox(
                    folder / f"{name}.log",
                    environ,
                    function=locations.FUNCTIONS / name,
                    handler="handler.answer",
                )
            )
            for name in NAMES
        }


def ask(
    functions: dict[str, Sandbox],
    method: str,
    path: str,
    body: Any = None,
    *,
    seconds: float = 900,
    after: str = "",
) -> Post:
    """Send a request to the function behind its path, which may take so long."""
    resource, name = resource_for(path)
    scope = {
        "scheme": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"last-event-id", after.encode())],
        "http_version": "1.1",
    }
    payload = b"" if body is None else orjson.dumps(body)
    deadline = {"Lambda-Runtime-Deadline-Ms": str(round((time.time() + seconds) * 1000))}
    event = proxy_event(scope, payload, resource=resource, request_id="r")
    return functions[name].api.invoke(event, **deadline)


SHORTLY = 6.5
"""Seconds that an invocation has: enough to begin an answer, which is broken off five seconds before its end."""


def new_thread(functions: dict[str, Sandbox]) -> str:
    made = ask(functions, "POST", "/threads", {})
    assert made.prelude()["statusCode"] == 200
    thread: str = json.loads(b"".join(made.rest()))["thread_id"]
    return thread


def broken(post: Post) -> bytes:
    """Read an answer that is broken off; what there is of it."""
    received = b"".join(post.rest())
    assert post.failure()["errorType"] == "OutOfTime"
    return received


def test_a_crew_streams_what_it_did_before_it_goes_on_and_others_follow(
    functions: dict[str, Sandbox], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    thread = new_thread(functions)
    live = ask(
        functions,
        "POST",
        f"/threads/{thread}/runs/stream",
        {"assistant_id": "gated", "input": {"gate": str(gate)}, "stream_mode": "updates"},
    )
    prelude = live.prelude()
    assert prelude["statusCode"] == 200
    assert prelude["headers"]["content-type"].startswith("text/event-stream")
    received = b""
    while b"at once" not in received:
        chunk = live.chunk()
        assert chunk is not None
        received += chunk
    assert b"when let go" not in received

    followed = ask(functions, "GET", f"{prelude['headers']['content-location']}/stream")
    assert followed.prelude()["statusCode"] == 200

    write(gate)
    assert b"when let go" in b"".join(live.rest())
    assert live.trailers == {}
    assert b"when let go" in b"".join(followed.rest())


@pytest.mark.thorough
def test_an_answer_that_outlives_its_function_is_broken_off_and_goes_on_elsewhere(
    functions: dict[str, Sandbox], tmp_path: Path
) -> None:
    gate, thread = tmp_path / "gate", new_thread(functions)
    body = {"assistant_id": "gated", "input": {"gate": str(gate)}, "stream_mode": "updates"}

    # Its slice is over first: the worker goes on with the run, and this stream follows it until it is broken off.
    live = ask(functions, "POST", f"/threads/{thread}/runs/stream", body, seconds=ENDING_S + 1.5)
    run = live.prelude()["headers"]["content-location"]
    received = broken(live)
    assert b"at once" in received
    assert b"event: end" not in received

    last = received.rpartition(b"\r\nid: ")[2].partition(b"\r\n")[0].decode()
    for path in (f"{run}/stream", f"{run}/join"):
        follower = ask(functions, "GET", path, seconds=SHORTLY, after=last)
        assert follower.prelude()["statusCode"] == 200
        assert b"event: end" not in broken(follower)

    write(gate)
    resumed = ask(functions, "GET", f"{run}/stream", after=last)
    resumed.prelude()
    rest = b"".join(resumed.rest())
    assert b"when let go" in rest
    assert b"event: end" in rest
    assert resumed.trailers == {}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ok", 200),
        ("GET", "/nowhere", 404),
        ("DELETE", "/threads/0199c7a0-0000-7000-8000-00000000dead", 404),
        ("GET", "/threads/nope/state", 422),
        ("GET", "/threads/nope/stream", 422),
    ],
)
def test_small_answers_are_whole(functions: dict[str, Sandbox], method: str, path: str, status: int) -> None:
    answer = ask(functions, method, path)

    assert answer.prelude()["statusCode"] == status
    (body,) = answer.rest()
    assert json.loads(body).keys() & {"ok", "detail"}
