"""What the checker looks at: how every thread ended, every change on the way, everything that was noted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import boto3.session
import orjson

from crewline.checkpoints.codec import Opened
from crewline.checkpoints.projection import project_values
from crewline.checkpoints.records import Snapshot
from crewline.models.leases import Lease
from crewline.models.runs import TERMINAL
from crewline.store import keys, leases
from crewline.store.blobs import Blobs
from crewline.store.items import Item, item_from_wire
from crewline.store.records import Records
from crewline.store.table import Table
from tests.faults.torture.journals import Fact, read
from tests.faults.torture.plans import TENANT, Place
from tests.faults.torture.streams import Change

_ROOT = keys.namespace_prefix("")


class Entry(NamedTuple):
    """What an input or a node has left in the state."""

    run: str
    """The run; for an input the mark of the request that brought it."""
    step: int
    node: str
    execution: str
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint as it is in the table in the end."""

    checkpoint_id: str
    parent_id: str | None
    turn: int
    plan: tuple[str, ...] = ()
    at: int = 0
    log: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A run as its row was written when it was accepted."""

    run_id: str
    thread: str
    turn: int
    mark: str
    """Of the request."""
    strategy: str
    resume: bool
    plan: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class ThreadEnd:
    """A thread in the end."""

    thread: str
    lease: Lease = field(default_factory=Lease)
    row: Item = field(default_factory=dict)
    runs: dict[str, Item] = field(default_factory=dict)
    markers: list[Item] = field(default_factory=list)
    kept: dict[str, Kept] = field(default_factory=dict)
    late: list[tuple[str, int]] = field(default_factory=list)
    """Sort key and turn of late writes."""
    shown: tuple[Entry, ...] = ()
    """The log as the product itself reads it at the head."""


@dataclass(slots=True, kw_only=True)
class Facts:
    """The whole history."""

    threads: dict[str, ThreadEnd]
    changes: list[Change] = field(default_factory=list)
    noted: list[Fact] = field(default_factory=list)
    accepted: dict[str, Accepted] = field(default_factory=dict)
    """Every run that was ever accepted, whatever became of it."""
    deleted: set[str] = field(default_factory=set)
    """Runs that were deleted when they had ended."""


def collect(place: Place, changes: list[Change]) -> Facts:
    """Read how everything ended, and what was noted on the way.

    The table is scanned and its records are decoded one by one, apart from the way in which the
    product reads them.
    """
    client: Any = boto3.session.Session().client("dynamodb")
    blobs = Blobs(boto3.session.Session().client("s3"), place.bucket)
    found: dict[str, list[Item]] = defaultdict(list)
    for page in client.get_paginator("scan").paginate(TableName=place.table, ConsistentRead=True):
        for wire in page["Items"]:
            item = item_from_wire(wire)
            kind, _, rest = item[keys.PARTITION].partition("#")
            if kind == "T":
                found[rest.partition("#")[2]].append(item)
    records = Records(Table(client, place.table), blobs)
    threads = {thread: _end(thread, found[thread], blobs, records) for thread in place.thread_ids}
    rows = [change for change in changes if change.sort.startswith(keys.RUN_PREFIX)]
    return Facts(
        threads=threads,
        changes=changes,
        noted=read(place.history),
        accepted={row.new["run_id"]: _accepted(row.new) for row in rows if row.new and not row.old},
        deleted={
            row.old["run_id"] for row in rows if row.old and not row.new and row.old["status"] in TERMINAL
        },
    )


def _accepted(row: Item) -> Accepted:
    kwargs = orjson.loads(row["kwargs"])
    command, given = kwargs.get("command") or {}, kwargs.get("input") or {}
    return Accepted(
        run_id=row["run_id"],
        thread=row["thread_id"],
        turn=row["turn"],
        mark=command.get("resume") or given["log"][0][0],
        strategy=row["multitask_strategy"],
        resume=bool(command),
        plan=tuple(given.get("plan", ())),
    )


def _end(thread: str, items: list[Item], blobs: Blobs, records: Records) -> ThreadEnd:
    end, opened = ThreadEnd(thread=thread), {}
    for item in items:
        sort = item[keys.SORT]
        if sort == keys.LEASE_SORT:
            end.lease = leases.from_item(item)
        elif sort == keys.THREAD_SORT:
            end.row = item
        elif sort.startswith(keys.RUN_PREFIX):
            end.runs[item["run_id"]] = item
        elif sort.startswith(keys.MARKER_PREFIX):
            end.markers.append(item)
        elif keys.LATE_INFIX in sort:
            end.late.append((sort, item.get("turn", 0)))
        elif sort.startswith(_ROOT):
            checkpoint_id = sort.removeprefix(_ROOT)
            body = item.get("body") or blobs.get(TENANT, thread, item["blob"])
            opened[checkpoint_id] = (Opened(checkpoint_id, body), item.get("turn", 0))
    end.kept = _kept(opened)
    if end.lease.head:
        snapshot = records.latest(TENANT, thread, "", head=end.lease.head)
        end.shown = _log(project_values(snapshot.record)) if isinstance(snapshot, Snapshot) else ()
    return end


def _kept(opened: dict[str, tuple[Opened, int]]) -> dict[str, Kept]:
    """Decode the records of a thread, parents first."""
    bases: dict[str, Any] = {}
    kept: dict[str, Kept] = {}
    for first in opened:
        line = [first]
        while (
            not opened[line[-1]][0].root
            and line[-1] not in bases
            and (parent := opened[line[-1]][0].parent_id) in opened
        ):
            line.append(str(parent))
        for one in reversed(line):
            if one not in bases:
                record, turn = opened[one]
                bases[one] = record.build(bases.get(record.parent_id or ""))
                values = project_values(bases[one][0])
                kept[one] = Kept(
                    checkpoint_id=one,
                    parent_id=record.parent_id,
                    turn=turn,
                    plan=tuple(values.get("plan") or ()),
                    at=values.get("at") or 0,
                    log=_log(values),
                )
    return kept


def _log(values: Any) -> tuple[Entry, ...]:
    return tuple(Entry(*one) for one in values.get("log") or ())
