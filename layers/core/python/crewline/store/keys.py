"""Every key and every index of the one table: the only place that spells them.

All items of a thread share a partition, so that one transaction can hold any of them and one
query reads them in order. Every partition key of a tenant's begins with its kind and its tenant; the
tenant's alphabet has no `#`, so whatever follows it can be any text.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, Literal, NamedTuple

from crewline.errors import InvalidRequest
from crewline.models.api_keys import TENANT

PARTITION: Final = "PK"
SORT: Final = "SK"
TTL: Final = "ttl"
"""Attribute (epoch seconds) by which DynamoDB ends events, idempotency items and tombstones."""

THREAD_SORT: Final = "!THREAD"
LEASE_SORT: Final = "!LEASE"
HEAD_PREFIX: Final = "!"
"""`!LEASE` and `!THREAD`: one query with this prefix reads both."""
RUN_PREFIX: Final = "R#"
MARKER_PREFIX: Final = "Q#"
RECORD_PREFIX: Final = "C#"
WEBHOOK_PREFIX: Final = "T#"
LATE_INFIX: Final = "#W#"

VERSIONS_PARTITION: Final = "V"
"""What holds the versions of the deployment, in the order of their numbers."""

SHARDS: Final = 8
"""Over how many partitions the entries of one tenant's lists spread (1,000 WCU each)."""

_TENANT: Final = re.compile(TENANT)
LONGEST_SORT: Final = 1_024
"""Bytes that a sort key holds."""
_LONGEST_NAMESPACE: Final = 800  # bytes of a sort key
_LAST: Final = "\U0010ffff" * (LONGEST_SORT // 4)
"""Sorts after every sort key."""


class Key(NamedTuple):
    """The primary key of one item."""

    partition: str
    sort: str


class Index(NamedTuple):
    """One global secondary index; sparse: an item without the attributes is not in it."""

    name: str
    partition: str
    sort: str
    projection: Literal["KEYS_ONLY", "ALL"] = "KEYS_ONLY"


THREADS_BY_UPDATED: Final = Index("threads-by-updated", "updated_shard", "updated_key")
THREADS_BY_STATUS: Final = Index("threads-by-status", "status_shard", "status_key")
THREADS_BY_CREATED: Final = Index("threads-by-created", "created_shard", "created_key")
LEASES_IN_FLIGHT: Final = Index("leases-in-flight", "flight_shard", "flight_key")
THREADS_EXPIRING: Final = Index("threads-expiring", "expiry_shard", "expiry_key")
INDEXES: Final = (
    THREADS_BY_CREATED,
    THREADS_BY_UPDATED,
    THREADS_BY_STATUS,
    LEASES_IN_FLIGHT,
    THREADS_EXPIRING,
)


def _partition(kind: str, tenant: str, rest: str | None = None) -> str:
    if not _TENANT.fullmatch(tenant):
        raise InvalidRequest(f"Tenant {tenant!r} must match {TENANT}.")
    return f"{kind}#{tenant}" if rest is None else f"{kind}#{tenant}#{rest}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sortable(text: str) -> str:
    """Give a text back that a sort key holds.

    Raises:
        InvalidRequest: It is too long, or has what UTF-8 does not have.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError as exc:
        raise InvalidRequest(f"The text {text[:60]!r} is not valid UTF-8.") from exc
    if length > LONGEST_SORT:
        raise InvalidRequest(
            f"The namespace and the key of an item of the store have {length:,} bytes; at most {LONGEST_SORT:,} "
            "are taken for the first label, and as many for the others with the key."
        )
    return text


def _shard(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0] % SHARDS


# ------------------------------------------------------------------ one thread


def thread_partition(tenant: str, thread_id: str) -> str:
    """Name the partition that holds everything of one thread."""
    return _partition("T", tenant, thread_id)


def thread(tenant: str, thread_id: str) -> Key:
    """Locate the thread row: metadata, config, status, ttl."""
    return Key(thread_partition(tenant, thread_id), THREAD_SORT)


def lease(tenant: str, thread_id: str) -> Key:
    """Locate the lease of a thread: who may write, and the head."""
    return Key(thread_partition(tenant, thread_id), LEASE_SORT)


def run(tenant: str, thread_id: str, run_id: str) -> Key:
    """Locate a run row. Run ids are uuid7, so the rows of a thread sort by creation."""
    return Key(thread_partition(tenant, thread_id), f"{RUN_PREFIX}{run_id}")


def marker(tenant: str, thread_id: str, seq: int) -> Key:
    """Locate the queue marker of a run that waits on a busy thread; FIFO by `seq`."""
    return Key(thread_partition(tenant, thread_id), f"{MARKER_PREFIX}{seq:012d}")


def namespace_prefix(namespace: str) -> str:
    """Spell a checkpoint namespace as the beginning of its records' sort keys.

    A namespace may hold any character: `#` and `%` are escaped, so that `a` never lists `a#b`;
    a very long one (deeply nested subgraphs) is replaced by its digest, and its records name it.
    """
    escaped = namespace.replace("%", "%25").replace("#", "%23")
    if len(escaped.encode()) > _LONGEST_NAMESPACE:
        escaped = f"%~{_digest(namespace)}"
    return f"{RECORD_PREFIX}{escaped}#"


def record(tenant: str, thread_id: str, namespace: str, checkpoint_id: str) -> Key:
    """Locate a checkpoint record; ids are uuid6, so the records of a namespace sort by time."""
    return Key(thread_partition(tenant, thread_id), f"{namespace_prefix(namespace)}{checkpoint_id}")


def checkpoint_of(sort: str) -> str:
    """Tell which checkpoint a record, or late writes, belong to, by their sort key."""
    return sort.removeprefix(RECORD_PREFIX).split("#")[1]


def late_writes(tenant: str, thread_id: str, namespace: str, checkpoint_id: str, place: str) -> Key:
    """Locate writes of one task that did not ride in a child record; sorts after its record.

    Args:
        place: The task and the first index of the writes.
    """
    return Key(
        thread_partition(tenant, thread_id),
        f"{namespace_prefix(namespace)}{checkpoint_id}{LATE_INFIX}{place}",
    )


# ------------------------------------------------------------------ runs


def run_pointer(tenant: str, run_id: str) -> Key:
    """Locate the pointer run → thread, for routes that know only a run id.

    Run ids are uuid7: the pointers of a partition sort by the time at which runs were accepted.
    """
    return Key(_run_pointers(tenant, _shard(run_id)), run_id)


def run_pointer_partitions(tenant: str) -> tuple[str, ...]:
    """Name the partitions that hold the pointers of a tenant's runs, which together list them."""
    return tuple(_run_pointers(tenant, shard) for shard in range(SHARDS))


def _run_pointers(tenant: str, shard: int) -> str:
    return _partition("R", tenant, str(shard))


def run_threads_partition(tenant: str, run_id: str) -> str:
    """Name the partition of the notes on which threads a run wrote, for a checkpointer that is used alone."""
    return _partition("N", tenant, run_id)


def run_thread(tenant: str, run_id: str, thread_id: str) -> Key:
    """Locate the note that a run wrote on a thread, for a checkpointer that is used alone."""
    return Key(run_threads_partition(tenant, run_id), thread_id)


def event(tenant: str, run_id: str, epoch: int, seq: int) -> Key:
    """Locate one batch of a run's event log; a higher epoch sorts after every lower one."""
    return Key(_partition("E", tenant, run_id), f"{epoch:010d}#{seq:010d}")


def idempotency(tenant: str, scope: str, key: str) -> Key:
    """Locate the idempotency item of one creating request; the key is the caller's text, hashed."""
    return Key(_partition("I", tenant, _digest(f"{scope}\n{key}")), "!")


def outbox(tenant: str, run_id: str, due_ms: int, *, ended: bool = True) -> Key:
    """Locate what is not yet told of a run, that it began or that it ended; sorted by due time."""
    what = "" if ended else "#began"
    return Key(_partition("O", tenant, str(_shard(run_id))), f"{due_ms:015d}#{run_id}{what}")


def batch(tenant: str, batch_id: str) -> Key:
    """Locate a batch of runs."""
    return Key(_partition("B", tenant, batch_id), "!")


# ------------------------------------------------------------------ everything else


def metadata_partition(tenant: str, name: str, value: str) -> str:
    """Name the partition of the entries of one metadata value.

    Args:
        tenant: Whose threads.
        name: The metadata key.
        value: Its value as canonical JSON text.
    """
    return _partition("M", tenant, _digest(f"{name}\n{value}"))


def metadata_entry(tenant: str, name: str, value: str, created_at: str, thread_id: str) -> Key:
    """Locate the entry that makes a thread findable by one metadata equality.

    Entries sort by the creation of their threads, which never moves.
    """
    return Key(metadata_partition(tenant, name, value), f"{created_at}#{thread_id}")


def assistants_partition(tenant: str) -> str:
    """Name the partition that holds a tenant's assistants, so that a search is one query."""
    return _partition("A", tenant)


def assistant(tenant: str, assistant_id: str) -> Key:
    """Locate an assistant: a named configuration of a crew."""
    return Key(assistants_partition(tenant), assistant_id)


def assistant_version(tenant: str, assistant_id: str, version: int) -> Key:
    """Locate one kept version of an assistant."""
    return Key(_partition("A", tenant, assistant_id), f"V#{version:08d}")


def crons_partition(tenant: str) -> str:
    """Name the partition that holds a tenant's crons, so that a search is one query."""
    return _partition("K", tenant)


def cron(tenant: str, cron_id: str) -> Key:
    """Locate a cron."""
    return Key(crons_partition(tenant), cron_id)


def cron_of(key: Key) -> tuple[str, str] | None:
    """Tell which cron a key locates: tenant and cron; None when it locates something else."""
    kind, _, tenant = key.partition.partition("#")
    return (tenant, key.sort) if kind == "K" else None


def store_roots_partition(tenant: str) -> str:
    """Name the partition that has the first label of every namespace of a tenant's store."""
    return _partition("S", tenant)


def store_root(tenant: str, root: str) -> Key:
    """Locate the note that a first label was used."""
    return Key(store_roots_partition(tenant), root)


def store_partition(tenant: str, root: str) -> str:
    """Name the partition that holds all items under a first label.

    Raises:
        InvalidRequest: The label is longer than a sort key holds.
    """
    return _partition("S", tenant, _digest(_sortable(root)))


def store_item(tenant: str, namespace: tuple[str, ...], key: str) -> Key:
    """Locate an item of the store.

    The sort key has the other labels, each ended by a NUL, which labels cannot hold; then a NUL where another
    label would begin, for no label is empty; then the key. So all that is under some labels is one range, keys
    may be any text, and the order is that of the tuples.

    Raises:
        InvalidRequest: The labels and the key are longer than a sort key holds.
    """
    sort = _sortable(f"{store_prefix(namespace)}\0{key}")
    return Key(store_partition(tenant, namespace[0]), sort)


def store_prefix(namespace: tuple[str, ...]) -> str:
    """Spell how the sort keys of all items under a namespace begin.

    Raises:
        InvalidRequest: The labels are longer than a sort key holds.
    """
    return _sortable("".join(f"{label}\0" for label in namespace[1:]))


def store_end(namespace: tuple[str, ...]) -> str:
    """Spell a sort key behind those of all items under a namespace, and before all others; no item has it."""
    prefix = store_prefix(namespace)
    return f"{prefix[:-1]}\x01" if prefix else _LAST


def store_inner(namespace: tuple[str, ...]) -> str:
    """Spell a sort key behind those of a namespace's own items, and before those of the namespaces in it."""
    return f"{store_prefix(namespace)}\x01"


def store_place(root: str, sort: str) -> tuple[tuple[str, ...], str]:
    """Tell where an item of the store is: namespace and key."""
    labels = [root]
    while not sort.startswith("\0"):
        label, _, sort = sort.partition("\0")
        labels.append(label)
    return tuple(labels), sort[1:]


def api_keys_partition(tenant: str) -> str:
    """Name the partition that holds a tenant's API keys."""
    return _partition("H", tenant)


def api_key(tenant: str, key_id: str) -> Key:
    """Locate an API key; its text names its tenant, so no lookup crosses tenants."""
    return Key(api_keys_partition(tenant), key_id)


def webhooks_partition(tenant: str) -> str:
    """Name the partition that holds what opens a tenant's incoming webhooks, and signs its outgoing ones."""
    return _partition("W", tenant)


def webhook_token(tenant: str, token_id: str) -> Key:
    """Locate the token of an incoming webhook; its text names its tenant, so no lookup crosses tenants."""
    return Key(webhooks_partition(tenant), f"{WEBHOOK_PREFIX}{token_id}")


def webhook_secret(tenant: str) -> Key:
    """Locate the secret that signs a tenant's outgoing webhooks."""
    return Key(webhooks_partition(tenant), "!SECRET")


def version(number: int) -> Key:
    """Locate a version of the deployment; no tenant's, for all of them are served by one."""
    return Key(VERSIONS_PARTITION, f"{number:08d}")


# ------------------------------------------------------------------ index entries


def by_created(tenant: str, thread_id: str, created_at: str) -> dict[str, str]:
    """Spell the attributes that list a thread by the time of its creation: they never change."""
    index = THREADS_BY_CREATED
    return {
        index.partition: _partition("T", tenant, str(_shard(thread_id))),
        index.sort: f"{created_at}#{thread_id}",
    }


def by_updated(tenant: str, thread_id: str, updated_at: str) -> dict[str, str]:
    """Spell the attributes that list a thread by its updated time."""
    index = THREADS_BY_UPDATED
    return {
        index.partition: _partition("T", tenant, str(_shard(thread_id))),
        index.sort: f"{updated_at}#{thread_id}",
    }


def by_status(tenant: str, thread_id: str, status: str, updated_at: str) -> dict[str, str]:
    """Spell the attributes that list a thread by status, then updated time."""
    index = THREADS_BY_STATUS
    return {
        index.partition: _partition("T", tenant, f"{status}#{_shard(thread_id)}"),
        index.sort: f"{updated_at}#{thread_id}",
    }


def listed_partitions(tenant: str, status: str | None = None) -> tuple[str, ...]:
    """Name the shards of an index that lists a tenant's threads; with a status, of the index by status."""
    prefix = f"{status}#" if status else ""
    return tuple(_partition("T", tenant, f"{prefix}{shard}") for shard in range(SHARDS))


def listed_thread(sort: str) -> str:
    """Tell which thread a sort key of such an index, or of a metadata entry, stands for."""
    return sort.rpartition("#")[2]


def in_flight(thread_id: str, claimed_ms: int) -> dict[str, str]:
    """Spell the attributes that show a lease to the sweeper while a run is in flight.

    The sort key is the time of the claim, never `until`: an entry that moved with every commit
    would cost two writes of the index at each superstep. Not by tenant: one sweeper serves all.
    """
    index = LEASES_IN_FLIGHT
    return {index.partition: f"F#{_shard(thread_id)}", index.sort: flight_time(claimed_ms)}


def flight_shards() -> tuple[str, ...]:
    """Name every partition of the index of leases in flight, for the sweeper to read one after another."""
    return tuple(f"F#{shard}" for shard in range(SHARDS))


def flight_time(milliseconds: int) -> str:
    """Spell a time as it sorts in the indexes that the sweeper reads."""
    return f"{milliseconds:015d}"


def lease_of(key: Key) -> tuple[str, str] | None:
    """Tell whose lease a key locates: tenant and thread; None when it locates something else."""
    kind, _, rest = key.partition.partition("#")
    if kind != "T" or key.sort != LEASE_SORT:
        return None
    tenant, _, thread_id = rest.partition("#")
    return tenant, thread_id


def tenant_of(key: Key) -> str:
    """Tell whose item a key locates, of those that belong to a tenant."""
    return key.partition.split("#")[1]


def noted_ms(key: Key) -> int:
    """Tell when what is in the outbox was noted."""
    return int(key.sort.partition("#")[0])


def is_outbox(key: Key) -> bool:
    """Tell whether a key locates what is not yet published."""
    return key.partition.startswith("O#")


def expiring(thread_id: str, expires_ms: int) -> dict[str, str]:
    """Spell the attributes that show the sweeper what may have expired: a thread, or a run without one.

    They say when to look, not when it ends: using a thread writes nothing here, and the sweeper that
    finds it used since puts the entry off.
    """
    index = THREADS_EXPIRING
    return {index.partition: f"X#{_shard(thread_id)}", index.sort: flight_time(expires_ms)}


def expiry_shards() -> tuple[str, ...]:
    """Name every partition of the index of threads that expire."""
    return tuple(f"X#{shard}" for shard in range(SHARDS))


def thread_of(key: Key) -> tuple[str, str]:
    """Tell whose row a key locates: tenant and thread.

    Raises:
        ValueError: It locates something else.
    """
    kind, _, rest = key.partition.partition("#")
    if kind != "T" or key.sort != THREAD_SORT:
        raise ValueError(f"{key} is no thread.")
    tenant, _, thread_id = rest.partition("#")
    return tenant, thread_id


# ------------------------------------------------------------------ blobs in S3


def blob_prefix(tenant: str, thread_id: str) -> str:
    """Name the folder of a thread's large values; removed as a whole with the thread."""
    return f"{_partition('T', tenant, _digest(thread_id)).replace('#', '/')}/"


def blob(tenant: str, thread_id: str, name: str) -> str:
    """Name the object of one large value: the SHA-256 of its bytes, and what tells it from equal ones."""
    return f"{blob_prefix(tenant, thread_id)}{name}"
