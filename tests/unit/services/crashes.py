"""A process that stops at a request: nothing catches it, and nothing is sent any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from tests.unit.store.worlds import World


class Stopped(BaseException):
    """The process is gone."""


@contextmanager
def stopping_at(world: World, number: int, *, after: bool) -> Iterator[list[str]]:
    """Stop at the n-th request to the table, a queue or the scheduler, before or after it is carried out."""
    sent: list[str] = []
    clients: list[Any] = [world.cloud.dynamodb, world.cloud.sqs, world.scheduler]
    calls = [one._make_api_call for one in clients]

    def intercept(call: Callable[..., Any]) -> Callable[..., Any]:
        def stop(operation: str, arguments: Any) -> Any:
            if len(sent) > number:
                raise Stopped
            sent.append(operation)
            if len(sent) - 1 < number:
                return call(operation, arguments)
            if after:
                call(operation, arguments)
            raise Stopped

        return stop

    for one, call in zip(clients, calls, strict=True):
        one._make_api_call = intercept(call)
    try:
        yield sent
    finally:
        for one, call in zip(clients, calls, strict=True):
            one._make_api_call = call


def crashing(
    world: World, act: Callable[[], object], begin: Callable[[], object], check: Callable[[], None]
) -> int:
    """Stop an act before and after each of its requests, each time from a new beginning.

    Returns:
        How often it was stopped.
    """
    stopped = 0
    for after in (False, True):
        for number in count():
            begin()
            try:
                with stopping_at(world, number, after=after):
                    act()
            except Stopped:
                stopped += 1
            else:
                break
            check()
    return stopped
