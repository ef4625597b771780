"""What the log of a stream costs, counted from the requests by AWS's sizing rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.runs.latencies import connect
from benchmarks.runs.servers import our_service
from benchmarks.runs.turns import Log
from benchmarks.streams.paths import Speech, through_log

_THOUSAND: Final = 1_000


@dataclass(frozen=True, slots=True)
class LogCost:
    """What the log of one run cost."""

    tokens: int
    size: int
    """Bytes of its frames, as a follower gets them."""
    batches: int
    """Items that they were written as."""
    units: int
    """Write units of these; those of the finishing transaction doubled."""

    @property
    def per_thousand(self) -> float:
        """Write units for a thousand tokens."""
        return self.units * _THOUSAND / self.tokens


def count_units(folder: Path, speech: Speech) -> LogCost:
    """Run once in the background, followed, and count what the batches of its events cost."""
    with our_service(folder, watch="requests") as service, connect(service) as client:
        log = Log(folder)
        through_log(client, Speech(tokens=1, pause=0))
        log.take()
        _, heard = through_log(client, speech)
        requests = [one for one in log.take() if one.event_units]
    units = sum(one.event_units for one in requests)
    return LogCost(speech.tokens, heard.size, len(requests), units)
