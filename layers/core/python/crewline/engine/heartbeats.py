"""Heartbeats: one thread renews the claims of this process during long nodes.

A thread of its own, because a node may block the loop: a claim must not expire for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aws_lambda_powertools import Logger

from crewline.errors import CrewlineError, StaleOwner
from crewline.models.clocks import Clock
from crewline.models.leases import HEARTBEAT_MS, LEASE_MS, Cancel, Claim
from crewline.services.leases import Leases


class Beating(Protocol):
    """An execution as its heartbeat sees it."""

    @property
    def claim(self) -> Claim:
        """The claim as the execution last left it."""

    def watched(self) -> None:
        """Tell everything from now on: somebody follows the log. Called from another thread."""

    def stop(self, reason: BaseException | Cancel) -> None:
        """End the execution: its claim is lost, or somebody asked for it. Called from another thread."""


@dataclass(slots=True)
class _Pulse:
    execution: Beating
    until: int


class Heartbeats:
    """Renews every registered claim whose last write is older than the interval."""

    def __init__(self, leases: Leases, clock: Clock, logger: Logger) -> None:
        self._leases = leases
        self._clock = clock
        self._logger = logger
        self._pulses: dict[str, _Pulse] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def register(self, execution: Beating) -> Callable[[], None]:
        """Renew a claim from now on.

        Returns:
            What ends it.
        """
        claim = execution.claim
        with self._lock:
            self._pulses[claim.owner] = _Pulse(execution, claim.lease.until)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="heartbeats", daemon=True)
                self._thread.start()
        return lambda: self._forget(claim.owner)

    def _forget(self, owner: str) -> None:
        with self._lock:
            self._pulses.pop(owner, None)

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_MS / 5000)
            with self._lock:
                pulses = list(self._pulses.values())
                if not pulses:
                    self._thread = None  # the next claim starts another: a process at rest never wakes
                    return
            for pulse in pulses:
                try:
                    self._renew(pulse)
                except Exception:
                    self._logger.exception("heartbeat failed", run_id=pulse.execution.claim.run_id)

    def _renew(self, pulse: _Pulse) -> None:
        claim = pulse.execution.claim
        written = max(pulse.until, claim.lease.until) - LEASE_MS
        if self._clock() - written < HEARTBEAT_MS:
            return
        try:
            lease = self._leases.heartbeat(claim)
        except StaleOwner as exc:
            pulse.execution.stop(exc)
            self._forget(claim.owner)
            return
        except CrewlineError as exc:
            # The next beat tries again; when none gets through, the lease expires, the fence holds
            # and the run is resumed elsewhere.
            self._logger.warning(
                "heartbeat failed", run_id=claim.run_id, thread_id=claim.thread_id, reason=exc.message
            )
            return
        pulse.until = lease.until
        if lease.watch:
            pulse.execution.watched()
        if lease.cancel:
            pulse.execution.stop(lease.cancel)
