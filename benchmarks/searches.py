"""What a thread search reads, at a thousand and at a hundred thousand threads: `make bench-search`.

Fills a table of the local cloud with the items that threads have, and counts requests and read units
by AWS's sizing rules. Exit code 1: a form that is to be flat is not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, cast
from uuid import UUID

import boto3.session
import ormsgpack
from botocore.config import Config

from benchmarks.clouds import local_cloud
from benchmarks.meters import Cost, Meter
from benchmarks.reports import Verdict, aligned, exit_code, verdict_lines
from crewline.checkpoints.codec import seal_record
from crewline.checkpoints.records import Record
from crewline.errors import InvalidRequest
from crewline.models.assistants import default_assistant_id
from crewline.models.clocks import iso, system_clock
from crewline.models.searches import ThreadCount, ThreadSearch
from crewline.models.threads import Thread
from crewline.services.searches import Searches
from crewline.services.threads import Threads, batched
from crewline.store import entries, keys, threads
from crewline.store.blobs import Blobs
from crewline.store.changes import Put
from crewline.store.records import Records
from crewline.store.table import Table

SIZES: Final = (1_000, 100_000)
_QUICK_SIZES: Final = (1_000, 5_000)
_TENANT: Final = "default"
_BEGAN: Final = 1_760_000_000_000
_CREW: Final = "chat"
_USERS: Final = 20
"""A user has a twentieth of all threads, one in ten waits for an answer, every one is of the same crew."""
_RAN: Final = 2_000
"""The newest threads have a state: no page shows others."""
_HEAD: Final = "1f0f0001-0000-6000-8000-000000000000"
_BATCH: Final = 25
_PATIENCE_S: Final = 300
_LOADERS: Final = 4

Query = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of search."""

    name: str
    query: Query
    flat: bool = True
    """It is to cost the same at any number of threads."""
    counts: bool = False


_BY_UPDATE: Final = {"sort_by": "updated_at"}
_MINE: Final = {"metadata": {"user": "user-07"}}
_CREWS: Final = {"metadata": {"graph_id": _CREW}}
_NO_STATE: Final = {"select": ["thread_id", "metadata", "status"]}
FORMS: Final = (
    Form("all, by creation", {}),
    Form("all, by creation, no state", _NO_STATE),
    Form("all, by update", _BY_UPDATE),
    Form("all, the oldest first", {"sort_order": "asc", **_NO_STATE}),
    Form("of a status, by update", {"status": "interrupted", **_BY_UPDATE}),
    Form("of a status, by creation", {"status": "interrupted"}),
    Form("with a metadata value, by creation", _MINE),
    Form("with a metadata value, by update", {**_CREWS, **_BY_UPDATE}),
    Form("of a crew, 100 threads", {**_CREWS, "limit": 100}),
    Form("page 50, by creation", {"offset": 490, **_NO_STATE}),
    Form("two metadata values", {"metadata": {"user": "user-07", "graph_id": _CREW}}, flat=False),
    Form("a value and a status", {**_MINE, "status": "interrupted", **_BY_UPDATE}, flat=False),
    Form("nested metadata", {"metadata": {"tags": {"kind": "k1"}}}, flat=False),
    Form("by values", {"values": {"n": 1}}, flat=False),
    Form("by thread id", {"sort_by": "thread_id"}, flat=False),
    Form("page 1,501", {"offset": 15_000, **_NO_STATE}, flat=False),
    Form("count all", {}, flat=False, counts=True),
    Form("count by a metadata value", _MINE, flat=False, counts=True),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one search cost."""

    form: Form
    size: int
    requests: int
    rcu: float
    answer: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say with the exit code whether what is to be flat is."""
    parser = argparse.ArgumentParser(prog="benchmarks.searches", description="Measure what searches read.")
    parser.add_argument("--quick", action="store_true", help="fewer threads")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    with local_cloud() as url:
        meter = Meter(_client(url))
        for size in _QUICK_SIZES if options.quick else SIZES:
            rows += _measure(url, meter, size)
    print(*aligned([_HEADINGS, *map(_cells, rows)], texts=1), sep="\n")
    verdicts = list(judge(rows))
    print("", *verdict_lines(verdicts), sep="\n")
    return exit_code(verdicts)


def judge(rows: Sequence[Row]) -> Iterator[Verdict]:
    """Compare what each flat form read at every size."""
    for form in dict.fromkeys(row.form.name for row in rows if row.form.flat):
        found = [row for row in rows if row.form.name == form]
        units = [f"{row.rcu:g} read units in {row.requests} requests" for row in found]
        yield Verdict(f"{form}: the same at any size", len(set(units)) == 1, " / ".join(units))


_HEADINGS: Final = ("search", "threads", "requests", "read units", "answer")


def _cells(row: Row) -> Sequence[str]:
    return (row.form.name, f"{row.size:,}", str(row.requests), f"{row.rcu:g}", row.answer)


def _measure(url: str, meter: Meter, size: int) -> list[Row]:
    dynamodb = _client(url)
    meter.watch(dynamodb.meta.events)
    table = Table(dynamodb, f"searches-{size}")
    _make_table(dynamodb, table.name)
    began = time.monotonic()
    _fill(dynamodb, table.name, size)
    print(f"{size:,} threads written in {time.monotonic() - began:.0f} s", flush=True)
    records = Records(table, None)
    nothing = cast("Any", None)
    searches = Searches(table, Threads(table, cast("Blobs", nothing), records, nothing, system_clock))
    rows = []
    for form in FORMS:
        with meter.measuring() as cost:
            answer = _ask(searches, form)
        rows.append(_row(form, size, cost, answer))
    dynamodb.delete_table(TableName=table.name)
    return rows


def _client(url: str) -> Any:
    """Make a client that waits: the emulator sorts a whole partition for every query."""
    config = Config(read_timeout=_PATIENCE_S, retries={"total_max_attempts": 1}, max_pool_connections=50)
    return boto3.session.Session().client("dynamodb", endpoint_url=url, config=config)


def _ask(searches: Searches, form: Form) -> str:
    try:
        if form.counts:
            return f"{searches.count(_TENANT, ThreadCount(**form.query)):,}"
        return f"{len(searches.search(_TENANT, ThreadSearch(**form.query)).threads)} threads"
    except InvalidRequest:
        return "422"


def _row(form: Form, size: int, cost: Cost, answer: str) -> Row:
    return Row(form=form, size=size, requests=cost.requests, rcu=cost.rcu, answer=answer)


# ------------------------------------------------------------------ the table


def _make_table(dynamodb: Any, name: str) -> None:
    attributes = {keys.PARTITION, keys.SORT}
    for index in keys.INDEXES:
        attributes |= {index.partition, index.sort}
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": one, "AttributeType": "S"} for one in sorted(attributes)],
        KeySchema=_schema(keys.PARTITION, keys.SORT),
        GlobalSecondaryIndexes=[
            {
                "IndexName": index.name,
                "KeySchema": _schema(index.partition, index.sort),
                "Projection": {"ProjectionType": index.projection},
            }
            for index in keys.INDEXES
        ],
    )


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def _fill(dynamodb: Any, name: str, size: int) -> None:
    def write(puts: Sequence[Put]) -> None:
        requests = [{"PutRequest": {"Item": put.wire()["Item"]}} for put in puts]
        while requests:
            answer = dynamodb.batch_write_item(RequestItems={name: requests})
            requests = answer.get("UnprocessedItems", {}).get(name, [])

    with ThreadPoolExecutor(_LOADERS) as pool:
        for done in pool.map(write, batched(_items(size), _BATCH)):
            assert done is None


def _items(size: int) -> Iterator[Put]:
    """Spell what is stored of so many threads, as the services write it."""
    assistant_id = default_assistant_id(_CREW)
    records = Records(cast("Table", None), None)
    state = _state()
    for number in range(size):
        at = iso(_BEGAN + number)
        thread = Thread(
            thread_id=str(UUID(int=(0x0199 << 112) | (7 << 76) | (1 << 63) | number)),
            created_at=at,
            updated_at=at,
            state_updated_at=at,
            status="idle" if number % 10 else "interrupted",
            metadata={
                "graph_id": _CREW,
                "assistant_id": assistant_id,
                "user": f"user-{number % _USERS:02d}",
                "tags": {"kind": f"k{number % 7}"},
            },
        )
        yield threads.create(_TENANT, thread)
        yield from entries.of_new(_TENANT, thread)
        if number >= size - _RAN:
            yield Put(
                key=keys.lease(_TENANT, thread.thread_id),
                item={"epoch": 1, "seq": 1, "head": _HEAD, "chain": _HEAD, "newest": _HEAD},
            )
            yield records.put(_TENANT, thread.thread_id, state, turn=1)


def _state() -> Any:
    """Seal a small checkpoint: a question and its answer."""
    messages = [{"role": "user", "content": "x" * 200}, {"role": "assistant", "content": "y" * 600}]
    channels = {"n": ("msgpack", ormsgpack.packb(0)), "messages": ("msgpack", ormsgpack.packb(messages))}
    envelope = {"v": 4, "ts": iso(_BEGAN), "channel_versions": {}, "versions_seen": {}}
    return seal_record(
        Record(
            namespace="",
            checkpoint_id=_HEAD,
            parent_id=None,
            envelope=envelope,
            metadata=("msgpack", ormsgpack.packb({})),
            channels=channels,
        )
    )[0]


if __name__ == "__main__":
    sys.exit(main())
