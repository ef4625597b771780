"""Plays threads, turn by turn, and measures what each turn costs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from langchain_core.runnables import RunnableConfig

from benchmarks.floors import FloorSaver
from benchmarks.graphs import Kind, build, holds_everything, question
from benchmarks.meters import Cost, Meter, Stored
from benchmarks.savers import THREAD, Alone, Fenced, Peer, Place, Subject

Durability = Literal["async", "sync", "exit"]
DURABILITIES: Final[tuple[Durability, ...]] = get_args(Durability)

FLOOR: Final = "floor"
SUBJECTS: Final[Mapping[str, type[Alone | Fenced | Peer]]] = {
    "crewline": Alone,
    "crewline, fenced": Fenced,
    "DynamoDBSaver": Peer,
}
"""Name in the table → how it is used."""

RECENT: Final = 37
"""Turns that the mean of recent turns goes over: as long as the longest chain of `chat1` lasts."""

_CONFIG: Final[RunnableConfig] = {
    "configurable": {"thread_id": THREAD, "checkpoint_ns": ""},
    "recursion_limit": 50,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One turn of one thread."""

    saver: str
    kind: Kind
    durability: Durability
    turn: int
    requests: int
    wcu: float
    rcu: float
    s3_puts: int
    s3_gets: int
    stored: Stored
    newest: Cost
    """What a new saver needs to read the newest state after the turn."""
    recent_requests: float = 0
    """Mean of this turn and those before it."""
    recent_wcu: float = 0
    most_requests: int = 0
    """The most of those turns."""
    operations: Mapping[str, int] = field(default_factory=dict)


class Lost(AssertionError):
    """A saver did not give back what was put into it."""


async def play(
    place: Place, name: str, kind: Kind, durability: Durability, turns: Sequence[int]
) -> list[Row]:
    """Play a thread with a saver, and measure some of its turns.

    Raises:
        Lost: The newest state lacks something after a measured turn.
        AssertionError: The meter's ledger is not what the table holds.
    """
    subject: Subject = SUBJECTS[name](place)
    rows: list[Row] = []
    costs: list[Cost] = []
    for turn in range(1, max(turns) + 1):
        with place.meter.measuring() as cost:
            async with subject.turn() as saver:
                await build(kind, saver).ainvoke(question(turn), _CONFIG, durability=durability)
        costs.append(cost)
        if turn in turns:
            newest = await _read_newest(place.meter, subject, kind, turn)
            recent = costs[-RECENT:]
            rows.append(
                Row(
                    saver=name,
                    kind=kind,
                    durability=durability,
                    turn=turn,
                    requests=cost.requests,
                    wcu=cost.wcu,
                    rcu=cost.rcu,
                    s3_puts=cost.s3_puts,
                    s3_gets=cost.s3_gets,
                    stored=place.meter.stored(place.table, place.bucket),
                    newest=newest,
                    recent_requests=statistics.mean(one.requests for one in recent),
                    recent_wcu=statistics.mean(one.wcu for one in recent),
                    most_requests=max(one.requests for one in recent),
                    operations=dict(cost.operations),
                )
            )
            if turn <= min(10, max(turns)):
                place.meter.check(place.table)
    return rows


async def play_floor(kind: Kind, durability: Durability, turns: Sequence[int]) -> list[Row]:
    """Work out the floor of a thread."""
    saver = FloorSaver()
    floor, graph = saver.floor, build(kind, saver)
    rows = []
    for turn in range(1, max(turns) + 1):
        floor.begin()
        await graph.ainvoke(question(turn), _CONFIG, durability=durability)
        if turn in turns:
            rows.append(
                Row(
                    saver=FLOOR,
                    kind=kind,
                    durability=durability,
                    turn=turn,
                    requests=floor.requests,
                    wcu=floor.wcu,
                    rcu=floor.rcu,
                    s3_puts=0,
                    s3_gets=0,
                    stored=Stored(items=0, dynamodb=floor.payload, s3=0),
                    newest=Cost(),
                )
            )
    return rows


async def _read_newest(meter: Meter, subject: Subject, kind: Kind, turn: int) -> Cost:
    with meter.measuring() as cost:
        newest = await subject.reader().aget_tuple(_CONFIG)
    values: Mapping[str, Any] = newest.checkpoint["channel_values"] if newest else {"messages": []}
    if not holds_everything(kind, turn, values):
        raise Lost(f"A state of {kind} is not whole after turn {turn}.")
    return cost
