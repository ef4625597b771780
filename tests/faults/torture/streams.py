"""The table's stream: every change of every item, in the order in which it happened."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import boto3.session

from crewline.models.runs import TERMINAL
from crewline.store.items import Item, item_from_wire
from crewline.store.keys import LEASE_SORT, RECORD_PREFIX, RUN_PREFIX
from tests.faults.torture.plans import Place

_BULKY: Final = ("body", "ttl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one item of a thread."""

    place: int
    """Its position in the stream."""
    at_ms: int
    """When it happened, in real time."""
    thread: str
    sort: str
    old: Item | None
    new: Item | None


@dataclass(slots=True)
class Tally:
    """What the stream has told so far."""

    changes: list[Change] = field(default_factory=list)
    accepted: int = 0
    ended: int = 0
    busy: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)


class Tail:
    """Follows the stream in a thread of its own."""

    def __init__(self, place: Place) -> None:
        session = boto3.session.Session()
        self._streams: Any = session.client("dynamodbstreams")
        table: Any = session.client("dynamodb")
        self._arn = table.describe_table(TableName=place.table)["Table"]["LatestStreamArn"]
        self.tally = Tally()
        self._position = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="stream", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Read what is left, and stop."""
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        (shard,) = self._streams.describe_stream(StreamArn=self._arn)["StreamDescription"]["Shards"]
        iterator = self._streams.get_shard_iterator(
            StreamArn=self._arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            over = self._over.is_set()
            answer = self._streams.get_records(ShardIterator=iterator, Limit=1000)
            iterator = answer["NextShardIterator"]
            for record in answer["Records"]:
                self._take(record["dynamodb"])
            if not answer["Records"]:
                if over:
                    return
                time.sleep(0.2)

    def _take(self, record: dict[str, Any]) -> None:
        self._position += 1
        partition, sort = record["Keys"]["PK"]["S"], record["Keys"]["SK"]["S"]
        kind, _, rest = partition.partition("#")
        if kind != "T":
            return
        change = Change(
            place=self._position,
            at_ms=int(record["SequenceNumber"][:20]),
            thread=rest.partition("#")[2],
            sort=sort,
            old=_slim(record.get("OldImage"), sort),
            new=_slim(record.get("NewImage"), sort),
        )
        self.tally.changes.append(change)
        self._count(change)

    def _count(self, change: Change) -> None:
        old, new, tally = change.old or {}, change.new or {}, self.tally
        if change.sort == LEASE_SORT:
            (tally.busy.add if new.get("run") else tally.busy.discard)(change.thread)
        if change.sort.startswith(RUN_PREFIX):
            tally.accepted += not old
            if old.get("status") not in TERMINAL and (not new or new.get("status") in TERMINAL):
                tally.ended += 1
                tally.statuses[new.get("status", "gone")] += 1


def _slim(image: dict[str, Any] | None, sort: str) -> Item | None:
    if not image:
        return None
    names = image.keys() - _BULKY if sort.startswith(RECORD_PREFIX) else image.keys()
    return item_from_wire({name: image[name] for name in names})
