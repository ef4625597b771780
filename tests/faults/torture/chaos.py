"""The processes of a torture, and what is done to them: killed, stopped for a while, replaced."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, Final

from tests.faults.torture import clients, workers
from tests.faults.torture.plans import Place

_KILL_S: Final = 1.5
"""How long it is between two kills, on the average."""
_STOP_S: Final = 2.5
_STOPPED_S: Final = (2.0, 6.0)
"""How long a process is stopped: not at all as long as a lease lasts, or twice as long."""
_PRELOAD: Final = ["tests.faults.torture.clients", "tests.faults.torture.workers"]
_ROLES: Final[dict[str, Any]] = {
    "worker": workers.work,
    "client": clients.ask_around,
    "sweeper": workers.sweep_up,
}


@dataclass(slots=True)
class _Member:
    role: str
    number: int
    generation: int
    process: BaseProcess
    stopped_until: float = 0.0


class Crowd:
    """Every process but the cloud and the one that started it all."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._dice = place.plan.dice("chaos")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self.done: Counter[str] = Counter()
        sizes = {"worker": place.plan.workers, "client": place.plan.clients, "sweeper": 1}
        if place.plan.broken == "sweep":
            sizes["sweeper"] = 0
        self._members = [
            self._start(role, number, 0) for role, size in sizes.items() for number in range(size)
        ]
        self._next_kill = time.monotonic() + 2 * _KILL_S
        self._next_stop = time.monotonic() + _STOP_S

    def strike(self) -> None:
        """Kill, stop or let go on whoever it is time for; call it often."""
        now = time.monotonic()
        for member in self._members:
            if 0 < member.stopped_until < now:
                self._signal(member, signal.SIGCONT)
                member.stopped_until = 0
        if now > self._next_kill:
            self._next_kill = now + self._dice.expovariate(1 / _KILL_S)
            self._kill(self._dice)
        if now > self._next_stop:
            self._next_stop = now + self._dice.expovariate(1 / _STOP_S)
            member = self._dice.choice(self._members)
            if not member.stopped_until and self._signal(member, signal.SIGSTOP):
                member.stopped_until = now + self._dice.uniform(*_STOPPED_S)
                self.done[f"{member.role} stopped"] += 1

    def calm(self) -> None:
        """Let everybody go on who is stopped."""
        for member in self._members:
            self._signal(member, signal.SIGCONT)
            member.stopped_until = 0

    def mend(self) -> None:
        """Replace a process that has ended by itself."""
        for place, member in enumerate(self._members):
            if not member.process.is_alive() and not self._place.over.exists():
                self.done[f"{member.role} ended"] += 1
                self._members[place] = self._start(member.role, member.number, member.generation + 1)

    def clients_left(self) -> int:
        return sum(member.role == "client" and member.process.is_alive() for member in self._members)

    def end(self) -> None:
        """Kill everybody."""
        for member in self._members:
            self._signal(member, signal.SIGKILL)
            member.process.join()

    def _kill(self, dice: random.Random) -> None:
        place = dice.randrange(len(self._members))
        member = self._members[place]
        if self._signal(member, signal.SIGKILL):
            member.process.join()
            self.done[f"{member.role} killed"] += 1
            self._members[place] = self._start(member.role, member.number, member.generation + 1)

    def _start(self, role: str, number: int, generation: int) -> _Member:
        who = f"{role}-{number}.{generation}"
        process = self._context.Process(target=_ROLES[role], args=(self._place, who), name=who, daemon=True)
        process.start()
        return _Member(role, number, generation, process)

    @staticmethod
    def _signal(member: _Member, number: signal.Signals) -> bool:
        if member.process.pid is None or not member.process.is_alive():
            return False
        os.kill(member.process.pid, number)
        return True
