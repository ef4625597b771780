"""Streams over real HTTP: cut anywhere and resumed, ended in every way, and read by nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from crewline.local import services
from crewline.local.children import ChildService
from crewline.local.services import LocalService
from crewline.models.clocks import system_clock
from crewline.store import keys
from crewline.store.changes import Update
from tests.conftest import BASIC
from tests.e2e.streaming import START, Event, Line, cut, events_of, follow, in_order, replay, stream
from tests.e2e.test_sweeper import TENANT, sweep, table

SEVERAL = ["values", "updates", "messages-tuple", "custom", "tasks", "checkpoints", "debug"]
SHAPES: dict[str, dict[str, Any]] = {
    "several modes": {"stream_mode": SEVERAL},
    "subgraphs": {"stream_mode": SEVERAL, "stream_subgraphs": True},
    "accumulated messages": {"stream_mode": ["messages", "values"], "stream_subgraphs": True},
}
HELLO = {"messages": [{"role": "user", "content": "tell me"}]}
QUICK = {**HELLO, "pause": 0.002}
SLOW = {**HELLO, "pause": 0.1}
SIDE_BY_SIDE = 6

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


@pytest.fixture
async def client(service_url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service_url, timeout=120, limits=limits) as client:
        yield client


async def new_thread(client: httpx.AsyncClient) -> str:
    return str((await client.post("/threads", json={})).raise_for_status().json()["thread_id"])


async def in_background(client: httpx.AsyncClient, crew: str, **body: Any) -> str:
    """Start a run and give the path of its stream."""
    thread_id = await new_thread(client)
    answer = await client.post(f"/threads/{thread_id}/runs", json={"assistant_id": crew, **body})
    return f"/threads/{thread_id}/runs/{answer.raise_for_status().json()['run_id']}/stream"


async def whole(client: httpx.AsyncClient, crew: str, **body: Any) -> tuple[list[Event], str]:
    """Read a run in place to its end; its events, and the path of its stream."""
    async with stream(client, await new_thread(client), crew, **body) as response:
        line = Line(response)
        return await line.rest(), line.location


async def run_of(client: httpx.AsyncClient, path: str) -> Any:
    return (await client.get(path.removesuffix("/stream"))).raise_for_status().json()


def named(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event.name == name]


async def ended(client: httpx.AsyncClient, path: str) -> Any:
    deadline = time.monotonic() + 30
    while (run := await run_of(client, path))["status"] in ("pending", "running"):
        assert time.monotonic() < deadline, "the run never ended"
        await asyncio.sleep(0.05)  # polls the world outside; the deadline decides, not the pause
    return run


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service whose worker may be killed."""
    with services.serve(BASIC, state=tmp_path_factory.mktemp("state")) as service:
        yield service


def worker_of(local: LocalService) -> int:
    """Find the process of the worker function among those that the local cloud has started."""
    [pid] = [pid for pid in started_by(local.cloud.process.pid) if is_worker(pid)]
    return pid


def started_by(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield child
            yield from started_by(child)


def is_worker(pid: int) -> bool:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return any(one.startswith(b"AWS_LAMBDA_FUNCTION_NAME=") and b"WorkerFunction" in one for one in variables)


def expire(local: LocalService, thread_id: str) -> None:
    """Let the claim of a worker that is dead be over at once."""
    long_ago = system_clock() - 60_000
    over = {"until": long_ago} | keys.in_flight(thread_id, long_ago)
    table(local).write(Update(key=keys.lease(TENANT, thread_id), set=over))


def resident(pid: int) -> int:
    """Give the bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def note_sizes(pid: int, sizes: list[int]) -> None:
    while True:
        sizes.append(resident(pid))
        await asyncio.sleep(0.02)


def connected(url: str) -> socket.socket:
    """Connect with as little room for what is not read as the system permits."""
    where = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((where.hostname, where.port))
    connection.settimeout(60)
    return connection


def head_of(connection: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    return head.decode()


def open_and_read_nothing(url: str, thread_id: str, body: Any) -> tuple[socket.socket, str]:
    """Start a run in place, and read its headers only; the connection, and the path of its stream."""
    connection = connected(url)
    content = json.dumps({"assistant_id": "flood", **body})
    connection.sendall(
        f"POST /threads/{thread_id}/runs/stream HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n{content}".encode()
    )
    [location] = [line for line in head_of(connection).splitlines() if line.lower().startswith("location: ")]
    return connection, location.partition(": ")[2]


def follow_and_read_nothing(url: str, path: str) -> socket.socket:
    connection = connected(url)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nlast-event-id: -1\r\n\r\n".encode()
    )
    head_of(connection)
    return connection


def drain(connection: socket.socket) -> list[Event]:
    """Read what comes at last on a line that was not read; the whole events of it."""
    received = bytearray()
    with connection:
        while more := connection.recv(1 << 16):
            received += more
    return events_of(bytes(received))


# ------------------------------------------------------------------ cut and resumed


@shapes
async def test_a_run_in_place_is_replayed_byte_for_byte_from_every_cut(
    client: httpx.AsyncClient, shape: dict[str, Any]
) -> None:
    live, path = await whole(client, "story", input=QUICK, stream_resumable=True, **shape)
    uncut = await replay(client, path)

    assert uncut == live
    assert in_order(uncut)
    for count in range(1, len(uncut)):
        assert await cut(client, follow(client, path, START), count) == (uncut, path)


@shapes
async def test_a_run_in_the_background_is_replayed_from_every_cut(
    client: httpx.AsyncClient, shape: dict[str, Any]
) -> None:
    path = await in_background(client, "story", input=QUICK, stream_resumable=True, **shape)
    uncut = await replay(client, path)

    assert in_order(uncut)
    for count in range(1, len(uncut)):
        assert await cut(client, follow(client, path, START), count) == (uncut, path)


@pytest.mark.thorough
@shapes
async def test_a_stream_in_place_goes_on_in_the_log_wherever_it_is_cut_while_the_run_executes(
    client: httpx.AsyncClient, shape: dict[str, Any]
) -> None:
    body = {"input": {**HELLO, "pause": 0.02}, "stream_resumable": True, **shape}
    events, _ = await whole(client, "story", **body)
    few = asyncio.Semaphore(SIDE_BY_SIDE)

    async def check(count: int) -> None:
        async with few:
            opened = stream(client, await new_thread(client), "story", **body)
            union, path = await cut(client, opened, count)
        assert len(union) == len(events)
        assert in_order(union)
        assert union == await replay(client, path)

    await asyncio.gather(*map(check, range(1, len(events))))


@shapes
async def test_followers_that_are_cut_everywhere_while_the_run_executes_all_have_the_whole(
    client: httpx.AsyncClient, shape: dict[str, Any]
) -> None:
    events, _ = await whole(client, "story", input=QUICK, stream_resumable=True, **shape)
    path = await in_background(client, "story", input=SLOW, stream_resumable=True, **shape)

    unions = await asyncio.gather(
        *(cut(client, follow(client, path, START), count) for count in range(1, len(events)))
    )

    uncut = await replay(client, path)
    assert len(uncut) == len(events)
    assert in_order(uncut)
    assert all(union == (uncut, path) for union in unions)


async def test_a_run_goes_on_in_its_stream_when_its_worker_was_killed(local: LocalService) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=local.url, timeout=120, limits=limits) as client:
        await (await client.get((await in_background(client, "steps")).replace("/stream", "/join"))).aread()
        body = {"input": {**HELLO, "pause": 0.2}, "stream_resumable": True, "durability": "sync"}
        path = await in_background(client, "story", **body, **SHAPES["subgraphs"])
        async with follow(client, path, START) as response:
            line = Line(response)
            followed = await line.take(20)
            os.kill(worker_of(local), signal.SIGKILL)
            await asyncio.to_thread(expire, local, path.split("/")[2])
            await asyncio.to_thread(sweep, local)
            followed += await line.rest()

        uncut = await replay(client, path)
        assert followed == uncut
        assert in_order(uncut)
        assert [event.data["attempt"] for event in named(uncut, "metadata")] == [1, 2]
        assert [event.data["status"] for event in named(uncut, "end")] == ["success"]
        for count in range(1, len(uncut)):
            assert await cut(client, follow(client, path, START), count) == (uncut, path)


# ------------------------------------------------------------------ how streams end


@pytest.mark.parametrize("resumable", [False, True])
async def test_a_run_that_fails_says_its_error_and_then_its_end(
    client: httpx.AsyncClient, resumable: bool
) -> None:
    body = {"input": {"x": "y"}, "stream_mode": ["values", "updates"], "stream_resumable": resumable}
    live, path = await whole(client, "failing", **body)

    assert [event.name for event in live[-2:]] == ["error", "end"]
    assert live[-2].data == {"error": "ValueError", "message": "boom: y"}
    assert live[-1].data["status"] == "error"
    assert await replay(client, path) == live


async def test_the_end_names_the_run_its_status_and_what_it_used(client: httpx.AsyncClient) -> None:
    live, path = await whole(client, "story", input=QUICK, stream_mode="messages-tuple")
    run = await run_of(client, path)
    usage = {"input_tokens": 6, "output_tokens": 8, "total_tokens": 14}
    assert live[-1].name == "end"
    assert live[-1].data == {"run_id": run["run_id"], "status": "success", "usage": usage}
    assert live[0].name == "metadata"
    assert live[0].data == {"run_id": run["run_id"], "attempt": 1}


async def test_a_question_is_an_event_of_the_run_and_so_is_what_follows_its_answer(
    client: httpx.AsyncClient,
) -> None:
    thread_id = await new_thread(client)
    body = {"stream_mode": ["values", "updates", "tasks"], "stream_resumable": True}
    async with stream(client, thread_id, "approval", input={"topic": "tea"}, **body) as response:
        asking = Line(response)
        asked = await asking.rest()
    async with stream(client, thread_id, "approval", command={"resume": "yes"}, **body) as response:
        answering = Line(response)
        answered = await answering.rest()

    for name in ("values", "updates"):
        [question] = [
            event.data["__interrupt__"] for event in named(asked, name) if "__interrupt__" in event.data
        ]
        assert [one["value"] for one in question] == [{"question": "approve tea?"}]
    assert named(answered, "values")[-1].data == {"topic": "tea", "answer": "yes", "log": ["ask", "done"]}
    assert await replay(client, asking.location) == asked
    assert await replay(client, answering.location) == answered


async def test_a_cancel_ends_every_open_stream_of_the_run(client: httpx.AsyncClient) -> None:
    thread_id = await new_thread(client)
    body = {"input": {"delay": 0.5}, "stream_mode": ["values", "updates"]}
    async with stream(client, thread_id, "slow", **body) as response:
        line = Line(response)
        begun = await line.take(2)
        async with follow(client, line.location, START) as other:
            following = Line(other)
            await following.take(1)
            (await client.post(f"{line.run}/cancel")).raise_for_status()
            live, followed = await asyncio.gather(line.rest(), following.rest())
    assert [event.data["status"] for event in named(begun + live, "end")] == ["interrupted"]
    assert followed[-1] == live[-1]


@pytest.mark.parametrize(("choice", "status"), [("cancel", "interrupted"), ("continue", "success")])
async def test_a_client_that_leaves_stops_its_run_only_when_it_asked_for_that(
    client: httpx.AsyncClient, choice: str, status: str
) -> None:
    body = {"input": {"delay": 0.3}, "on_disconnect": choice}
    async with stream(client, await new_thread(client), "slow", **body) as response:
        line = Line(response)
        await line.take(2)
    assert (await ended(client, line.location))["status"] == status


async def test_a_follower_that_leaves_stops_the_run_when_it_asked_for_that(client: httpx.AsyncClient) -> None:
    path = await in_background(client, "slow", input={"delay": 0.5}, stream_resumable=True)
    async with follow(client, path, START, {"cancel_on_disconnect": "1"}) as response:
        await Line(response).take(1)
    assert (await ended(client, path))["status"] == "interrupted"


@pytest.mark.parametrize("place", ["in place", pytest.param("in the background", marks=pytest.mark.thorough)])
async def test_a_comment_keeps_the_line_open_while_a_node_takes_long(
    client: httpx.AsyncClient, place: str
) -> None:
    body = {"input": {**QUICK, "nap": 7}, "stream_mode": "updates", "stream_resumable": True}
    if place == "in place":
        opened = stream(client, await new_thread(client), "story", **body)
    else:
        opened = follow(client, await in_background(client, "story", **body), START)
    async with opened as response:
        text = b"".join([chunk async for chunk in response.aiter_raw()])
    assert b"\r\n\r\n: heartbeat\r\n\r\nevent: updates\r\n" in text
    assert b"event: end\r\n" in text


# ------------------------------------------------------------------ filters


@pytest.mark.parametrize(
    "params",
    [{"stream_mode": ["updates", "custom"]}, {"stream_mode": '["updates","custom"]'}],
    ids=["repeated", "a list in JSON"],
)
async def test_a_follower_gets_the_modes_that_it_names_and_the_end(
    client: httpx.AsyncClient, params: dict[str, Any]
) -> None:
    uncut, path = await whole(client, "story", input=QUICK, stream_resumable=True, stream_mode=SEVERAL)
    wanted = [event for event in uncut if event.name in ("updates", "custom", "end")]

    assert await replay(client, path, params=params) == wanted
    for count in range(1, len(wanted)):
        again = await replay(client, path, wanted[count - 1].id, params)
        assert again == wanted[count:]


# ------------------------------------------------------------------ a client that does not read


@pytest.mark.thorough
async def test_clients_that_read_nothing_hold_up_no_run_fill_no_memory_and_can_resume(
    client: httpx.AsyncClient, service: ChildService
) -> None:
    chunks, size, readers = 240, 100_000, 6
    flood = {"chunks": chunks, "size": size, "pause": 0.005}
    body = {"input": flood, "stream_mode": "custom", "stream_resumable": True}
    before, sizes = resident(service.process.pid), [0]
    watching = asyncio.create_task(note_sizes(service.process.pid, sizes))
    idle, path = await asyncio.to_thread(open_and_read_nothing, service.url, await new_thread(client), body)
    followers = [await asyncio.to_thread(follow_and_read_nothing, service.url, path) for _ in range(readers)]

    assert (await ended(client, path))["status"] == "success"
    late = [await asyncio.to_thread(follow_and_read_nothing, service.url, path) for _ in range(readers)]
    first, *all_others = await asyncio.gather(
        *(asyncio.to_thread(drain, one) for one in (idle, *followers, *late))
    )
    rest = await replay(client, path, first[-1].id)
    watching.cancel()

    assert len(named(first, "end")) == 0, "a line that fell behind is broken off"
    for events in (first + rest, *all_others):
        numbers = [event.data["number"] for event in named(events, "custom")]
        assert numbers == list(range(chunks))
        assert events[-1].name == "end"
    whole_logs = 2 * readers * chunks * size
    assert max(sizes) - before < whole_logs / 2
