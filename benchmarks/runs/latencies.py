"""Drives every server with the same requests, in turns, and measures how long they take and what they burn."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from benchmarks.runs.servers import BOTO3, CLOUD, SERVER, Server

_TIMEOUT: Final = 60.0
_QUESTION: Final = "Please make the section about the budget more detailed and say what is still open. " * 3
_QUESTION_BYTES: Final = 200
_LONGEST_PAUSE: Final = 1.0
_TAIL: Final = 0.95


class WrongAnswer(AssertionError):
    """A server did not answer with the whole conversation, and its figures are worth nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured of every server."""

    rounds: int
    """Each server has its turn in each."""
    runs: int
    """Runs one after the other on a thread that is new in the round and has had one run."""
    paused: int
    """Further runs of a round, each after a random pause: not in step with anything in the server."""


@dataclass(slots=True)
class Figures:
    """What was measured of one server."""

    latencies: list[float] = field(default_factory=list)
    """Milliseconds of each run."""
    paused: list[float] = field(default_factory=list)
    """Milliseconds of each run that came after a pause."""
    cpu: dict[str, list[float]] = field(default_factory=dict)
    """Whose CPU → milliseconds per run, of each round."""

    def cpu_per_run(self, whose: str = SERVER) -> float | None:
        """Give the median of the rounds: another program that takes its share for a while changes little."""
        rounds = self.cpu.get(whose)
        return statistics.median(rounds) if rounds else None

    @property
    def p50(self) -> float:
        """The median latency."""
        return statistics.median(self.latencies)

    @property
    def p95(self) -> float:
        """The latency that one run in twenty exceeds."""
        return quantile(self.latencies, _TAIL)


def quantile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least such a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def question() -> dict[str, Any]:
    """Give the body of a run: 200 bytes asked."""
    text = _QUESTION[:_QUESTION_BYTES]
    return {"assistant_id": "chat", "input": {"messages": [{"role": "user", "content": text}]}}


class Conversation:
    """A thread of a server, over one connection that stays."""

    def __init__(self, client: httpx.Client, *, thread_id: str, turns: int) -> None:
        self._client = client
        self.thread_id = thread_id
        self.turns = turns

    @classmethod
    def begin(cls, client: httpx.Client) -> Conversation:
        """Make the thread."""
        created = client.post("/threads", json={})
        created.raise_for_status()
        return cls(client, thread_id=created.json()["thread_id"], turns=0)

    def over(self, client: httpx.Client) -> Conversation:
        """Go on with the same thread over another connection, to another process."""
        return Conversation(client, thread_id=self.thread_id, turns=self.turns)

    def wait(self) -> tuple[int, int]:
        """Take a turn with `runs/wait`.

        Returns:
            When the request was sent and when its answer was there, by the machine's monotonic clock.

        Raises:
            WrongAnswer: The answer lacks something.
        """
        body = question()
        began = time.monotonic_ns()
        response = self._client.post(f"/threads/{self.thread_id}/runs/wait", json=body)
        ended = time.monotonic_ns()
        self.turns += 1
        messages = response.json().get("messages", ()) if response.is_success else ()
        if len(messages) != 2 * self.turns:
            raise WrongAnswer(f"{self._client.base_url}, turn {self.turns}: {response.text[:300]}")
        return began, ended

    def start(self) -> None:
        """Take a turn in the background; returns once it has begun."""
        self._client.post(f"/threads/{self.thread_id}/runs", json=question()).raise_for_status()
        self.turns += 1


def connect(server: Server) -> httpx.Client:
    """Open a client that keeps its connection; whatever proxy the environment names is not asked."""
    return httpx.Client(base_url=server.url, timeout=_TIMEOUT, trust_env=False)


def measure(servers: Sequence[Server], plan: Plan, say: Callable[[str], None]) -> Mapping[str, Figures]:
    """Measure every server: a round that does not count, and then the rounds of the plan.

    Raises:
        WrongAnswer: A server lost something on the way.
    """
    figures = {server.name: Figures() for server in servers}
    pauses = random.Random("pauses")
    for count in range(plan.rounds + 1):
        waits = [pauses.uniform(0, _LONGEST_PAUSE) for _ in range(plan.paused)]
        for server in servers:
            say(f"round {count} of {plan.rounds}, {server.name}")
            # A connection for each round: servers close one that is idle while it is others' turn.
            with connect(server) as client:
                conversation = Conversation.begin(client)
                found = Figures() if count == 0 else figures[server.name]
                _measure_round(server, conversation, plan.runs, waits, found)
    return figures


def _measure_round(
    server: Server, conversation: Conversation, runs: int, pauses: Sequence[float], figures: Figures
) -> None:
    conversation.wait()
    before = server.cpu_ms()
    for _ in range(runs):
        figures.latencies.append(_milliseconds(conversation.wait()))
    after = server.cpu_ms()
    for whose, spent in after.items():
        figures.cpu.setdefault(whose, []).append((spent - before[whose]) / runs)
    for pause in pauses:
        time.sleep(pause)
        figures.paused.append(_milliseconds(conversation.wait()))


def _milliseconds(span: tuple[int, int]) -> float:
    return (span[1] - span[0]) / 1e6


def latency_rows(figures: Mapping[str, Figures], missing: Iterable[str]) -> list[Sequence[str]]:
    """Spell what was measured as rows of a table."""
    rows: list[Sequence[str]] = [
        ("server", "p50 ms", "p95 ms", "p50 after a pause", "CPU ms/run", "of it boto3", "local cloud apart")
    ]
    for name, found in figures.items():
        rows.append(
            (
                name,
                f"{found.p50:.1f}",
                f"{found.p95:.1f}",
                f"{statistics.median(found.paused):.1f}" if found.paused else "-",
                *(_cpu(found.cpu_per_run(whose)) for whose in (SERVER, BOTO3, CLOUD)),
            )
        )
    return [*rows, *((name, *["-"] * (len(rows[0]) - 1)) for name in missing)]


def _cpu(spent: float | None) -> str:
    return "-" if spent is None else f"{spent:.2f}"
