"""What background runs of one thread cost, everything counted, and the requests of a `runs/wait`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.runs.latencies import Conversation, connect
from benchmarks.runs.servers import Server, our_service, request_log
from benchmarks.runs.traces import Request, parse
from crewline.local.clouds import CREDENTIALS, REGION
from crewline.store import threads
from crewline.store.clients import client
from crewline.store.table import Table

WINDOW: Final = 10
"""Turns that are looked at: the one that is named, and those before it. Roots come and go in less."""

_TENANT: Final = "default"
_DONE_TIMEOUT: Final = 60.0
_POLL: Final = 0.02
_QUIET: Final = 0.25
"""Seconds without a request after which nothing of a run is expected any more."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The requests of one background run."""

    turn: int
    requests: Sequence[Request]

    @property
    def count(self) -> int:
        """How many, retries included."""
        return sum(one.tries for one in self.requests)

    @property
    def table_units(self) -> int:
        """Write units of the table."""
        return sum(one.table_units for one in self.requests)

    @property
    def index_units(self) -> int:
        """Write units of its indexes."""
        return sum(one.index_units for one in self.requests)

    @property
    def wcu(self) -> int:
        """Write units of both."""
        return self.table_units + self.index_units

    @property
    def operations(self) -> str:
        """The operations, and how often each."""
        counted = Counter(one.operation for one in self.requests)
        return ", ".join(f"{count} {name}" for name, count in counted.items())


@dataclass(frozen=True, slots=True)
class Wait:
    """The requests of one `runs/wait`."""

    began: int
    ended: int
    requests: Sequence[Request]

    @property
    def before_answer(self) -> Sequence[Request]:
        """Those that somebody waited for."""
        return [one for one in self.requests if one.began < self.ended]


class Log:
    """Reads what was added to a log of requests."""

    def __init__(self, folder: Path) -> None:
        self._path = request_log(folder)
        self._read = 0

    def take(self) -> list[Request]:
        """Wait until nothing comes any more; give what was not yet taken."""
        size = -1
        while size != (size := self._size()):
            time.sleep(_QUIET)
        with self._path.open("rb") as log:
            log.seek(self._read)
            content = log.read()
        self._read += len(content)
        return parse(content.splitlines())

    def _size(self) -> int:
        return self._path.stat().st_size


def trace_waits(folder: Path) -> tuple[Wait, Wait]:
    """Trace a run of a process that has seen its thread, and of one that has not.

    The latter is another process over the same table, warm but for this thread.

    Returns:
        The warm one and the cold one.
    """
    with our_service(folder, watch="requests") as service, connect(service) as http:
        known = Conversation.begin(http)
        for _ in range(3):
            known.wait()
    with our_service(folder, watch="requests") as service, connect(service) as http:
        log = Log(folder)
        other = Conversation.begin(http)
        for _ in range(3):
            other.wait()
        warm = _trace(other, log)
        cold = _trace(known.over(http), log)
    return warm, cold


def _trace(conversation: Conversation, log: Log) -> Wait:
    log.take()
    began, ended = conversation.wait()
    return Wait(began, ended, log.take())


def play_turns(folder: Path, turns: Sequence[int]) -> list[Turn]:
    """Play one thread, and count the requests of the runs of some turns and of those before each.

    The other turns are played with `runs/wait`, which leaves the same behind and takes less time.
    """
    wanted = {turn for last in turns for turn in range(max(1, last - WINDOW + 1), last + 1)}
    found = []
    with our_service(folder, watch="items") as service, connect(service) as http:
        log, conversation = Log(folder), Conversation.begin(http)
        for turn in range(1, max(turns) + 1):
            if turn not in wanted:
                conversation.wait()
                continue
            log.take()
            conversation.start()
            _await_end(service, conversation.thread_id)
            found.append(Turn(turn, log.take()))
    return found


def _await_end(service: Server, thread_id: str) -> None:
    """Wait until no run is in flight, by looking at the table: a request to the service would count."""
    dynamodb = client("dynamodb", endpoint_url=service.said["cloud"], region=REGION, credentials=CREDENTIALS)
    table = Table(dynamodb, service.said["table"])
    deadline = time.monotonic() + _DONE_TIMEOUT
    while time.monotonic() < deadline:
        thread, lease = threads.read(table, _TENANT, thread_id)
        if lease.free and thread is not None and thread.status == "idle":
            return
        time.sleep(_POLL)
    raise TimeoutError(f"The run on thread {thread_id} did not end well within {_DONE_TIMEOUT:.0f} s.")


def turn_rows(turns: Sequence[Turn], shown: Sequence[int]) -> list[Sequence[str]]:
    """Spell what some turns cost as rows of a table, with the most of the turns before each."""
    rows: list[Sequence[str]] = [
        ("turn", "operations", "requests", "WCU", "of the table", "of indexes", f"most of the last {WINDOW}")
    ]
    for last in shown:
        one = next(turn for turn in turns if turn.turn == last)
        recent = window(turns, last)
        most = f"{max(turn.count for turn in recent)} requests, {max(turn.wcu for turn in recent)} WCU"
        units = (one.wcu, one.table_units, one.index_units)
        rows.append((str(last), one.operations, str(one.count), *map(str, units), most))
    return rows


def request_rows(turn: Turn) -> list[Sequence[str]]:
    """Spell the requests of one run as rows of a table, with what each writes."""
    rows: list[Sequence[str]] = [("", "process", "request", "touches", "WCU of the table", "of indexes")]
    for count, one in enumerate(turn.requests, 1):
        name, units = f"{one.service} {one.operation}", (str(one.table_units), str(one.index_units))
        rows.append((str(count), one.process, name, ", ".join(one.touched) or "-", *units))
    return rows


def window(turns: Sequence[Turn], last: int) -> list[Turn]:
    """Give a turn and those before it that are looked at with it."""
    return [turn for turn in turns if last - WINDOW < turn.turn <= last]


def dearest(turns: Sequence[Turn], last: int) -> Turn:
    """Give the turn of a window that writes most."""
    return max(window(turns, last), key=lambda turn: turn.wcu)
