"""The function of these tests: the event says what it does, and how far it may go."""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
import resource
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

OK = {"status": 200}
seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")
random.seed(1)
client: Any = None


def stream(event: Any, context: Any) -> Any:
    if not isinstance(event, dict):
        return SimpleNamespace(status=200, headers={}, body=repr(event).encode())
    return globals()[event["do"]](event, context)


def after_restore() -> None:
    print("restored", flush=True)  # noqa: T201 (to the function's log)
    if os.environ.get("HOOK") == "fails":
        raise OSError("no clock")


async def _go(path: str) -> None:
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240 (the test is another process)
        await asyncio.sleep(0.002)


def _note(path: str, text: str) -> None:
    with Path(path).open("a") as journal:
        journal.write(f"{text}\n")


async def steps(event: Any, context: Any) -> AsyncIterator[Any]:
    yield {"statusCode": 201, "headers": {"content-type": "text/event-stream"}}
    for number, go in enumerate(event["go"], 1):
        await _go(go)
        _note(event["journal"], f"produced {number}")
        yield f"chunk {number}".encode()


def plain_steps(event: Any, context: Any) -> Iterator[Any]:
    yield SimpleNamespace(status=202, headers={"a": "b"}, cookies=["x=1"])
    for go in event["go"]:
        while not Path(go).exists():
            threading.Event().wait(0.002)
        yield "as text"


def whole(event: Any, context: Any) -> Any:
    body = b"x" * event["size"] if "size" in event else bytes.fromhex(event["hex"])
    return SimpleNamespace(status=event.get("status", 200), headers=event.get("headers", {}), body=body)


async def in_place(event: Any, context: Any) -> Any:
    async def body() -> AsyncIterator[bytes | bytearray]:
        for part in (b"", b"a", b"", bytearray(b"b")):
            yield part

    await asyncio.sleep(0)
    return SimpleNamespace(status=200, headers={}, body=body())


async def fails(event: Any, context: Any) -> AsyncIterator[Any]:
    try:
        if event["after"] == 0:
            raise LookupError("before the prelude")
        yield OK
        if event["after"] == 1:
            raise LookupError("before the first chunk")
        yield b"half of it"
        if event.get("kind") == "cancelled":
            raise asyncio.CancelledError("by whom?")
        raise LookupError("in the middle: é")
    finally:
        _note(event["journal"], "closed")


async def endless(event: Any, context: Any) -> AsyncIterator[Any]:
    try:
        yield OK
        while True:
            yield b"x" * 100_000
    finally:
        _note(event["journal"], "closed")


def raises(event: Any, context: Any) -> Any:
    raise PermissionError("not today")


def odd(event: Any, context: Any) -> Any:
    return {"number": 5, "dict": {"statusCode": 200}, "nothing": None}[event["what"]]


async def empty(event: Any, context: Any) -> AsyncIterator[Any]:
    return
    yield


async def no_status(event: Any, context: Any) -> AsyncIterator[Any]:
    yield b"a body at once"


async def remembers(event: Any, context: Any) -> AsyncIterator[Any]:
    """A client that lives in the loop in which it was first used."""
    global client  # noqa: PLW0603 (as functions keep their clients)
    if client is None:
        questions: asyncio.Queue[tuple[str, asyncio.Future[str]]] = asyncio.Queue()

        async def work() -> None:
            while True:
                question, answer = await questions.get()
                answer.set_result(question.upper())

        client = (questions, asyncio.create_task(work()))
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await client[0].put((event["ask"], answer))
    yield OK
    yield f"{await answer} {seen.get()}"
    seen.set(event["ask"])


def own_loop(event: Any, context: Any) -> Any:
    async def inner() -> bytes:
        return b"of a loop of its own"

    return SimpleNamespace(status=200, headers={}, body=asyncio.run(inner()))


async def flood(event: Any, context: Any) -> AsyncIterator[Any]:
    yield OK
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(event["chunks"]):
        _note(event["journal"], str(number))
        yield bytes([number]) * event["size"]
    yield str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


async def describe(event: Any, context: Any) -> AsyncIterator[Any]:
    yield OK
    yield repr(
        {
            "id": context.aws_request_id,
            "arn": context.invoked_function_arn,
            "left": context.get_remaining_time_in_millis(),
            "name": context.function_name,
            "identity": context.identity.cognito_identity_id,
            "client": context.client_context and context.client_context.custom,
            "trace": os.environ.get("_X_AMZN_TRACE_ID"),
            "random": random.random(),
            "path": sys.path[:4],
            "modules": "streaming_bootstrap" in sys.path,
        }
    )
