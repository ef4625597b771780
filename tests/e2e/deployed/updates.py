"""An update of the stack while runs are in flight."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from langgraph_sdk.client import SyncLangGraphClient

from tests.e2e.deployed.steps import CheckFailed

_NODES: Final = ["s0", "s1", "s2", "s3", "s4"]
_DELAY: Final = 4.0
"""Seconds of each node: a run outlasts the update, and its own start."""
_IN_BACKGROUND: Final = 5
_STREAMED: Final = 2
_PATIENCE: Final = 120.0


def update_in_flight(client: SyncLangGraphClient, update: Callable[[], object]) -> str:
    """Update a stack while runs execute in the background, in requests and behind streams.

    Args:
        client: Of the stack, which serves tests/projects/basic.
        update: Brings the change.

    Returns:
        What has been seen.

    Raises:
        CheckFailed: A run was lost, or did something twice, or ended before the update.
    """
    given: Any = {"input": {"delay": _DELAY}}
    threads = [client.threads.create()["thread_id"] for _ in range(_IN_BACKGROUND + _STREAMED + 1)]
    background = threads[:_IN_BACKGROUND]
    with ThreadPoolExecutor(_STREAMED + 1) as pool:
        runs = {one: client.runs.create(one, "slow", **given)["run_id"] for one in background}
        streams = [pool.submit(_streamed, client, one, given) for one in threads[_IN_BACKGROUND:-1]]
        waits = pool.submit(lambda: client.runs.wait(threads[-1], "slow", **given))
        _until(lambda: all(_log(client, one) for one in threads), "every run to have done its first node")
        update()
        running = [one for one in threads if client.threads.get(one)["status"] == "busy"]
        if len(running) < len(threads):
            raise CheckFailed(f"Only {len(running)} of {len(threads)} runs were in flight during the update.")
        for one, run_id in runs.items():
            client.runs.join(one, run_id)
        for stream in streams:
            if (last := stream.result()) != _NODES:
                raise CheckFailed(f"A stream ended with {last}, not with {_NODES}.")
        waits.result()
    for one in threads:
        _check(client, one)
    return f"{len(threads)} runs were in flight while it was updated; all ended well, each node once"


def _streamed(client: SyncLangGraphClient, thread_id: str, given: Any) -> list[str]:
    values = [part.data for part in client.runs.stream(thread_id, "slow", **given) if part.event == "values"]
    log: list[str] = values[-1]["log"]
    return log


def _log(client: SyncLangGraphClient, thread_id: str) -> list[str]:
    values: Any = client.threads.get_state(thread_id)["values"]
    return (values or {}).get("log") or []


def _check(client: SyncLangGraphClient, thread_id: str) -> None:
    [run] = client.runs.list(thread_id)
    thread, log = client.threads.get(thread_id), _log(client, thread_id)
    if (run["status"], thread["status"], log) != ("success", "idle", _NODES):
        raise CheckFailed(
            f"Run {run['run_id']} is {run['status']}, its thread {thread['status']}, did {log}."
        )
    steps = [
        (state["metadata"] or {}).get("step") for state in client.threads.get_history(thread_id, limit=100)
    ]
    if steps != list(range(len(_NODES), -2, -1)):
        raise CheckFailed(f"Thread {thread_id} has the supersteps {steps}.")


def _until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not fact():
        if time.monotonic() > deadline:
            raise CheckFailed(f"Waited {_PATIENCE:.0f} s for {what}.")
        time.sleep(0.2)
