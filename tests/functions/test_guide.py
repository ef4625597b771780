"""The SDK against functions that ask for keys, as docs/authentication.md shows it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from crewline.local import servers
from crewline.local.frontdoor import FrontDoor
from crewline.models.cors import CorsPolicy
from tests.functions.deployments import LIMIT, Deployment

GUIDE = (Path(__file__).parents[2] / "docs" / "authentication.md").read_text()
[PROGRAM] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def url(deployment: Deployment) -> Iterator[str]:
    """Where the functions are served over HTTP."""
    answers = {name: deployment.functions[name].answer for name in ("api", "crew", "tail")}
    with ExitStack() as stack:
        listener = stack.enter_context(servers.listen(0))
        door = FrontDoor(answers, max_body_bytes=LIMIT, cors=CorsPolicy())
        stack.enter_context(servers.serving(door, listener))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def run(url: str, key: str, *, program: str = PROGRAM, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "CREWLINE_URL": url, "CREWLINE_API_KEY": key, **more}
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )


def test_the_example_makes_a_thread(deployment: Deployment, url: str) -> None:
    done = run(url, deployment.key)
    assert done.stdout == "idle\n", done.stderr


def test_without_a_good_key_the_sdk_says_why(deployment: Deployment, url: str) -> None:
    failed = run(url, deployment.key[:-2] + "xx")
    assert "AuthenticationError" in failed.stderr
    assert "There is no such API key." in failed.stderr


def test_a_key_for_something_else_in_the_environment_is_no_key(deployment: Deployment, url: str) -> None:
    program = PROGRAM.replace(', api_key=os.environ["CREWLINE_API_KEY"]', "")
    assert "api_key" not in program
    failed = run(url, "", program=program, LANGSMITH_API_KEY="lsv2_pt_1", LANGGRAPH_API_KEY="")
    assert "not spelled like an API key" in failed.stderr
    assert run(url, "", program=program, LANGGRAPH_API_KEY=deployment.key).stdout == "idle\n"


def test_a_page_may_send_a_key_in_either_header(url: str, deployment: Deployment) -> None:
    asked = {
        "origin": "https://page.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-api-key",
    }
    preflight = httpx.options(f"{url}/threads", headers=asked)
    assert preflight.status_code == 200
    allowed = preflight.headers["access-control-allow-headers"].split(",")
    assert {"authorization", "x-api-key"} <= set(allowed)
    sent = {"origin": "https://page.example", "authorization": f"Bearer {deployment.key}"}
    assert httpx.post(f"{url}/threads", headers=sent, json={}).status_code == 200
    refused = httpx.post(f"{url}/threads", headers={"origin": "https://page.example"}, json={})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "*"


def test_a_client_that_leaves_is_seen_also_where_it_had_to_send_a_key(
    deployment: Deployment, url: str
) -> None:
    body = {
        "assistant_id": "slow",
        "input": {"delay": 0.5},
        "stream_mode": "updates",
        "on_disconnect": "cancel",
    }
    with httpx.Client(base_url=url, headers={"x-api-key": deployment.key}, timeout=20) as client:
        thread = client.post("/threads", json={}).json()["thread_id"]
        with client.stream("POST", f"/threads/{thread}/runs/stream", json=body) as stream:
            assert next(stream.iter_bytes()).startswith(b"event: metadata")
            run = stream.headers["content-location"]
        joined = client.get(f"{run}/join")
        assert joined.status_code == 200
        assert client.get(run).json()["status"] == "interrupted"
