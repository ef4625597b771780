"""The LangGraph checkpointer on DynamoDB: a cost that does not grow with the conversation."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from crewline.checkpoints.records import (
    Link,
    Record,
    Sealed,
    Snapshot,
    Value,
    Write,
    as_blob,
    missing_channels,
)
from crewline.engine.clocks import move_clock_past
from crewline.engine.journals import Journal
from crewline.engine.serdes import dump_value, plain_serializer, strict_serializer
from crewline.errors import StaleOwner
from crewline.models.clocks import Clock, system_clock
from crewline.models.leases import Claim, Lease
from crewline.models.users import RESERVED
from crewline.services.checkpoints import Checkpoints
from crewline.services.leases import Leases
from crewline.store.blobs import Blobs
from crewline.store.clients import client
from crewline.store.records import Records
from crewline.store.table import Table

_DURABILITY: Final = "__pregel_durability"
_DEFAULT_TENANT: Final = "default"
_KEPT_JOURNALS: Final = 1_000
_ENDS_EARLY: Final = 10
"""A chain is begun anew when less than nine tenths of the time to live are left to its root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The stores under a checkpointer."""

    records: Records
    checkpoints: Checkpoints
    leases: Leases
    clock: Clock = system_clock


class DynamoDBCheckpointer(BaseCheckpointSaver[int]):
    """Checkpoints of LangGraph threads in DynamoDB: a record a superstep, of what is new in it.

    Three lines give any graph durable threads:

        checkpointer = DynamoDBCheckpointer("my-table", bucket="my-bucket")
        graph = builder.compile(checkpointer=checkpointer)
        graph.invoke(inputs, {"configurable": {"thread_id": "1"}})

    The table has string keys `PK` and `SK`, and TTL on the attribute `ttl` if threads are to expire.
    Reads are strongly consistent. A checkpoint is in the table when the run that made it returns, and
    under durability `sync` before the next superstep begins. One process writes to a thread at a
    time; `claim_write_ownership` makes sure of it: from then on every write is refused to whoever
    claimed before.

    Deserialisation is strict: values come back as LangGraph's safe types, as the types of the graph's
    own state schema, and as those that are named. Set `LANGGRAPH_STRICT_MSGPACK=true` so that
    LangGraph tells the checkpointer its schemas.

    Args:
        table: Name of the table.
        bucket: Name of the S3 bucket for large values; without one, what does not fit an item of
            400 KB is refused, which can be a value of 190 KB: a record also holds the write that made it.
        tenant: Begins every key; `[a-z0-9-]{1,36}`.
        serde: The serialiser; an `EncryptedSerializer` encrypts whole records.
        allowed_types: Types (module, name) that may come back as objects, for the default serialiser.
        ttl_seconds: How long a thread is kept after its last write, to within a tenth.
        endpoint_url: Another endpoint than AWS's.
        region: The AWS region; the environment's by default.
    """

    def __init__(
        self,
        table: str,
        *,
        bucket: str | None = None,
        tenant: str = _DEFAULT_TENANT,
        serde: SerializerProtocol | None = None,
        allowed_types: Collection[tuple[str, ...]] = (),
        ttl_seconds: int | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
    ) -> None:
        super().__init__(serde=serde or strict_serializer(allowed_types))
        storage = _make_storage(table, bucket, self.serde, endpoint_url=endpoint_url, region=region)
        self._setup(storage, tenant, ttl_seconds=ttl_seconds)

    @classmethod
    def over(
        cls,
        storage: Storage,
        tenant: str,
        *,
        serde: SerializerProtocol,
        lease: Callable[[str], Lease] | None = None,
        journal: Journal | None = None,
        defaults: Mapping[str, Any] | None = None,
        ttl_seconds: int | None = None,
        read_only: bool = False,
    ) -> Self:
        """Make a checkpointer over stores that are there.

        Args:
            storage: The stores.
            tenant: Whose threads.
            serde: The serialiser.
            lease: Finds a thread's lease, whose head is its newest root checkpoint; without it that is
                the highest id.
            journal: Where everything is written: that of an execution, which commits and finishes it
                under its lease. Without one the checkpointer writes by itself.
            defaults: Values of channels that nothing has written yet, kept in every record.
            ttl_seconds: How long a thread is kept after its last write.
            read_only: Refuse every write: state changes need the lease of the thread.
        """
        self = cls.__new__(cls)
        BaseCheckpointSaver.__init__(self, serde=serde)
        self._setup(storage, tenant, lease=lease, journal=journal, defaults=defaults, ttl_seconds=ttl_seconds)
        self._read_only = read_only
        return self

    def _setup(
        self,
        storage: Storage,
        tenant: str,
        *,
        lease: Callable[[str], Lease] | None = None,
        journal: Journal | None = None,
        defaults: Mapping[str, Any] | None = None,
        ttl_seconds: int | None = None,
    ) -> None:
        self._storage = storage
        self._read_only = False
        self._tenant = tenant
        self._lease = lease
        self._journal = journal
        self._own: OrderedDict[str, Journal] = OrderedDict()
        self._own_lock = threading.Lock()
        self._claims: dict[str, Claim] = {}
        self._seen_runs: set[tuple[str, str]] = set()
        self._defaults = {name: self._plain.dumps_typed(value) for name, value in (defaults or {}).items()}
        self._ttl_seconds = ttl_seconds

    # ------------------------------------------------------------------ reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint: the one that the config names, else the newest of its namespace.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        snapshot = self.snapshot(config)
        return self._tuple(_address(config)[0], snapshot) if snapshot else None

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what `get_tuple` does without blocking the loop."""
        if self._journal:
            thread_id, namespace = _address(config)
            if held := self._journal.read(namespace, get_checkpoint_id(config)):
                return self._tuple(thread_id, held)
        return await asyncio.to_thread(self.get_tuple, config)

    def snapshot(self, config: RunnableConfig) -> Snapshot | None:
        """Read a checkpoint as it is stored: the one that the config names, else the newest of its namespace.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        return self._snapshot(*_address(config), get_checkpoint_id(config))

    def newest(self, thread_id: str) -> Snapshot | None:
        """Read the newest root checkpoint of a thread as it is stored.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        return self._snapshot(thread_id, "", None)

    async def anewest(self, thread_id: str) -> Snapshot | None:
        """Do what `newest` does without blocking the loop."""
        if self._journal and (held := self._journal.read("", None)):
            return held
        return await asyncio.to_thread(self.newest, thread_id)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 (LangGraph's name)
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Read checkpoints, the newest first: of one namespace, or of all when the config names none.

        Without a config there is no thread to read, and no scan ever: the iterator is empty.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        if config is None:
            return
        for snapshot in self.snapshots(config, filter=filter, before=before, limit=limit):
            yield self._tuple(_address(config)[0], snapshot)

    def snapshots(
        self,
        config: RunnableConfig,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 (LangGraph's name)
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[Snapshot]:
        """Read checkpoints as they are stored, in the order and of the choice of `list`.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        wanted = filter or {}
        found = (one for one in self._listed(config, before) if self._shows(one.record, wanted))
        return islice(found, limit)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 (LangGraph's name)
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Do what `list` does without blocking the loop."""
        found = self.list(config, filter=filter, before=before, limit=limit)
        while (result := await asyncio.to_thread(next, found, None)) is not None:
            yield result

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Collect the writes of channels along the ancestors of a checkpoint, in one pass over them.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        thread_id, namespace = _address(config)
        writes: dict[str, list[PendingWrite]] = {name: [] for name in channels}
        seeds: dict[str, Value] = {}
        wanted: str | None = None
        for snapshot in self._ancestors(thread_id, namespace, get_checkpoint_id(config)) if channels else ():
            record = snapshot.record
            if wanted is not None and record.checkpoint_id == wanted:
                for write in reversed(snapshot.writes):
                    if write.channel in writes and write.channel not in seeds:
                        value = self._plain.loads_typed(write.value)
                        writes[write.channel].append((write.task_id, write.channel, value))
                seeds |= {
                    name: record.channels[name]
                    for name in writes
                    if name in record.channels and name not in seeds
                }
            elif wanted is not None:
                continue
            wanted = record.parent_id
            if wanted is None or len(seeds) == len(writes):
                break
        return {name: self._delta_entry(name, writes[name], seeds) for name in channels}

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Do what `get_delta_channel_history` does without blocking the loop."""
        return await asyncio.to_thread(self.get_delta_channel_history, config=config, channels=channels)

    # ------------------------------------------------------------------ writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint; in an execution it may be written a moment later, with others.

        Raises:
            StaleOwner: Somebody else has claimed the thread since.
            RunCancelled: Somebody asked the run to stop.
            TooLarge: A value is over the item limit, and there is no bucket.
            Unavailable: DynamoDB or S3 did not answer.
        """
        put_config = self._take(config, checkpoint, metadata, new_versions)
        if self._journal is None or _durability(config) == "sync":
            self._writer(config).flush()
        return put_config

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Do what `put` does without blocking the loop."""
        put_config = self._take(config, checkpoint, metadata, new_versions)
        if self._journal is None or _durability(config) == "sync":
            await asyncio.to_thread(self._writer(config).flush)
        else:
            self._journal.schedule()
        return put_config

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Write pending writes of a task: in the record of the child they lead to, if it comes at once.

        Raises:
            StaleOwner: Somebody else has claimed the thread since.
            RunCancelled: Somebody asked the run to stop.
            TooLarge: A value is over the item limit, and there is no bucket.
            Unavailable: DynamoDB or S3 did not answer.
        """
        self._take_writes(config, writes, task_id, task_path)
        self._settle_writes(config)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do what `put_writes` does without blocking the loop."""
        self._take_writes(config, writes, task_id, task_path)
        if self._journal and _durability(config) != "sync":
            self._journal.schedule()
        else:
            await asyncio.to_thread(self._settle_writes, config)

    # ------------------------------------------------------------------ whole threads

    def claim_write_ownership(self, thread_id: str) -> None:
        """Become the only writer of a thread: whoever claimed it before is refused from now on.

        ```
        A: claim ──▶ owner a ── put ──▶ written
        B: ─────────── claim ──▶ owner b
        A: ────────────────────────── put ──✗ StaleOwner: nothing of it is visible
        ```

        Raises:
            Conflict: A run is in flight on the thread, or it was deleted.
            Unavailable: DynamoDB did not answer.
        """
        self._claims[thread_id] = self._storage.leases.own(self._tenant, thread_id)
        self._own.pop(thread_id, None)

    async def aclaim_write_ownership(self, thread_id: str) -> None:
        """Do what `claim_write_ownership` does without blocking the loop."""
        await asyncio.to_thread(self.claim_write_ownership, thread_id)

    def delete_thread(self, thread_id: str) -> None:
        """Remove every checkpoint of a thread.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; call it again.
        """
        self._own.pop(thread_id, None)
        self._storage.checkpoints.delete_thread(self._tenant, thread_id)

    async def adelete_thread(self, thread_id: str) -> None:
        """Do what `delete_thread` does without blocking the loop."""
        await asyncio.to_thread(self.delete_thread, thread_id)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Remove the checkpoints that some runs wrote, on whatever threads; the others stay readable.

        What the state of a `DeltaChannel` of the others lives in stays: ancestors back to its last
        snapshot, though one of these runs wrote them. They go when it is done again after the others.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; call it again.
            CorruptRecord: A stored body does not decode.
        """
        checkpoints = self._storage.checkpoints
        # All runs of a thread at once: one that goes too keeps nothing of another.
        for thread_id in sorted(
            {one for run in run_ids for one in checkpoints.threads_of(self._tenant, run)}
        ):
            self._own.pop(thread_id, None)
            checkpoints.delete_runs(
                self._tenant,
                thread_id,
                lambda one: self._metadata(one.record).get("run_id") in run_ids,
                self._missing_channels,
            )

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Do what `delete_for_runs` does without blocking the loop."""
        await asyncio.to_thread(self.delete_for_runs, run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy every checkpoint of a thread, with its writes, to another.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; call it again.
            CorruptRecord: A large value is missing or was altered.
        """
        self._own.pop(target_thread_id, None)
        for run_id in self._runs_of(source_thread_id):
            self._storage.checkpoints.remember_run(
                self._tenant, run_id, target_thread_id, expires_s=self._expires(None)
            )
        self._storage.checkpoints.copy(
            self._tenant, source_thread_id, target_thread_id, expires_s=self._expires(None)
        )

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Do what `copy_thread` does without blocking the loop."""
        await asyncio.to_thread(self.copy_thread, source_thread_id, target_thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Remove the older checkpoints of threads, or all of them.

        What the state of a `DeltaChannel` lives in stays: the ancestors back to its last snapshot.

        Args:
            thread_ids: The threads.
            strategy: `keep_latest`, the newest of each namespace, or `delete`.

        Raises:
            ValueError: There is no such strategy.
            Unavailable: DynamoDB or S3 did not answer; call it again.
            CorruptRecord: A stored body does not decode.
        """
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"There is no strategy {strategy!r}; use 'keep_latest' or 'delete'.")
        for thread_id in thread_ids:
            if strategy == "delete":
                self.delete_thread(thread_id)
            else:
                self._own.pop(thread_id, None)
                self._storage.checkpoints.keep_latest(self._tenant, thread_id, self._missing_channels)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Do what `prune` does without blocking the loop."""
        await asyncio.to_thread(self.prune, thread_ids, strategy=strategy)

    # ------------------------------------------------------------------ inside

    @property
    def _plain(self) -> SerializerProtocol:
        return plain_serializer(self.serde)

    def _snapshot(self, thread_id: str, namespace: str, checkpoint_id: str | None) -> Snapshot | None:
        journal = self._journal or self._reopened(thread_id, newest=checkpoint_id is None)
        held = journal.read(namespace, checkpoint_id) if self._journal else None
        if held:
            return held
        if checkpoint_id:
            snapshot = self._storage.records.get(self._tenant, thread_id, namespace, checkpoint_id)
            if (
                snapshot and self._journal is None
            ):  # what follows may be a fork: it must come after all there is
                last = self._storage.records.newest_id(self._tenant, thread_id, namespace)
                move_clock_past(last)
                journal.follow(namespace, last or checkpoint_id)
        else:
            snapshot = self._latest(thread_id, namespace)
            move_clock_past(snapshot.record.checkpoint_id if snapshot else None)
        if snapshot:
            newest = checkpoint_id is None or (not namespace and self._is_head(thread_id, checkpoint_id))
            journal.saw(snapshot, newest=newest)
        return snapshot

    def _latest(self, thread_id: str, namespace: str) -> Snapshot | None:
        records = self._storage.records
        if namespace or self._lease is None:
            return records.latest(self._tenant, thread_id, namespace)
        lease = self._lease(thread_id)
        if lease.head is None:
            return None
        return records.latest(self._tenant, thread_id, namespace, head=lease.head, chain=lease.chain)

    def _is_head(self, thread_id: str, checkpoint_id: str) -> bool:
        return self._lease is not None and self._lease(thread_id).head == checkpoint_id

    def _listed(self, config: RunnableConfig, before: RunnableConfig | None) -> Iterator[Snapshot]:
        thread_id, namespace = _address(config)
        wanted = get_checkpoint_id(config)
        bound = get_checkpoint_id(before) if before else None
        records = self._storage.records
        if "checkpoint_ns" in config["configurable"]:
            namespaces = [namespace]
        else:
            namespaces = records.namespaces(self._tenant, thread_id)
        for one in namespaces:
            if wanted:
                found = records.get(self._tenant, thread_id, one, wanted)
                if found and (bound is None or wanted < bound):
                    yield found
                continue
            yield from records.newest_first(self._tenant, thread_id, one, before=bound)

    def _ancestors(self, thread_id: str, namespace: str, checkpoint_id: str | None) -> Iterator[Snapshot]:
        """Read a checkpoint and what is older, the journal's part of it first."""
        upto = checkpoint_id
        if upto is None and not namespace and self._lease:
            upto = self._lease(thread_id).head
        riding: tuple[Write, ...] = ()
        records = self._storage.records
        if self._journal and self._journal.in_memory:
            held = self._journal.line(namespace, checkpoint_id)
            yield from held
            if held:
                upto, riding = held[-1].record.parent_id, held[-1].record.parent_writes
                if upto is None:
                    return
                # Those of a copy's parent ride in the checkpoint that was copied.
                riding = riding or records.child_writes(self._tenant, thread_id, namespace, upto)
        elif self._journal:
            self._journal.flush("all")
        yield from records.newest_first(self._tenant, thread_id, namespace, upto=upto, riding=riding)

    def _delta_entry(
        self, name: str, writes: Sequence[PendingWrite], seeds: Mapping[str, Value]
    ) -> DeltaChannelHistory:
        entry: DeltaChannelHistory = {"writes": [*reversed(writes)]}
        if name in seeds:
            entry["seed"] = self._plain.loads_typed(as_blob(seeds[name]))
        return entry

    def _take(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        thread_id, namespace = _address(config)
        parent_id = get_checkpoint_id(config)
        journal = self._writer(config)
        parent = journal.origin(namespace, parent_id) if parent_id else None
        if parent_id and parent is None and not checkpoint["channel_values"].keys() <= new_versions.keys():
            parent = self._storage.records.get(self._tenant, thread_id, namespace, parent_id)
        if parent and self._journal is None:
            self._renew(thread_id, namespace, parent)
        kept: Mapping[str, Value] = {}
        if parent:
            versions, before = checkpoint["channel_versions"], parent.record.envelope["channel_versions"]
            kept = {
                # A channel whose version stayed has the value that was stored with it, whatever a node
                # has done to the object since. (LangGraph names no new version when it copies a checkpoint.)
                name: value
                for name, value in parent.record.channels.items()
                if name not in new_versions and versions.get(name) == before.get(name)
            }
        serde = self._plain
        channels = {
            name: kept[name] if name in kept else dump_value(serde, value)
            for name, value in checkpoint["channel_values"].items()
        }
        stored = _without_user(get_checkpoint_metadata(config, metadata))
        record = Record(
            namespace=namespace,
            checkpoint_id=checkpoint["id"],
            parent_id=parent_id,
            envelope={
                name: deepcopy(value)
                for name, value in checkpoint.items()
                if name not in ("id", "channel_values")
            },
            metadata=serde.dumps_typed(stored),
            channels=channels,
            defaults={} if namespace else self._defaults,
        )
        self._remember_run(thread_id, stored)
        journal.put(record, superstep=metadata.get("source") == "loop")
        return _config(thread_id, namespace, checkpoint["id"])

    def _take_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> None:
        self._writer(config).put_writes(
            _place(config),
            [
                Write(
                    task_id=task_id,
                    task_path=task_path,
                    index=WRITES_IDX_MAP.get(channel, index),
                    channel=channel,
                    value=self._plain.dumps_typed(value),
                )
                for index, (channel, value) in enumerate(writes)
            ],
        )

    def _settle_writes(self, config: RunnableConfig) -> None:
        """See to it that pending writes are in the table, or on their way in a child's record."""
        journal = self._writer(config)
        if _durability(config) == "sync":
            journal.flush("all")
        elif self._journal is None and not journal.ridden(_place(config)):
            journal.flush("aged")

    def _writer(self, config: RunnableConfig) -> Journal:
        if self._read_only:
            raise StaleOwner("This checkpointer only reads; state changes need the lease of the thread.")
        return self._journal or self._reopened(_address(config)[0], newest=False)

    def _reopened(self, thread_id: str, *, newest: bool) -> Journal:
        """Give the journal of a thread; a new one when the last writer failed and a run begins anew."""
        with self._own_lock:
            journal = self._own.get(thread_id)
            if journal is None or (newest and journal.failure):
                journal = self._own[thread_id] = Journal(
                    lambda entries: self._commit(thread_id, entries), expires=self._expires
                )
            self._own.move_to_end(thread_id)
            if len(self._own) > _KEPT_JOURNALS:
                self._own.popitem(last=False)
            return journal

    def _commit(self, thread_id: str, entries: Sequence[Sealed]) -> None:
        """Write entries by ourselves: fenced when we own the thread, else one after the other."""
        if claim := self._claims.get(thread_id):
            self._claims[thread_id] = self._storage.leases.commit(claim, entries)
        else:
            self._storage.checkpoints.write(self._tenant, thread_id, entries)

    def _remember_run(self, thread_id: str, metadata: Mapping[str, Any]) -> None:
        run_id = metadata.get("run_id")
        if self._journal is None and run_id and (run_id, thread_id) not in self._seen_runs:
            checkpoints = self._storage.checkpoints
            checkpoints.remember_run(self._tenant, str(run_id), thread_id, expires_s=self._expires(None))
            self._seen_runs = {(str(run_id), thread_id)}

    def _expires(self, link: Link | None) -> int | None:
        if self._ttl_seconds is None:
            return None
        full = self._storage.clock() // 1000 + self._ttl_seconds
        if link and link.expires_s and link.expires_s >= full - self._ttl_seconds // _ENDS_EARLY:
            return link.expires_s
        return full

    def _runs_of(self, thread_id: str) -> set[str]:
        records = self._storage.records
        return {
            str(run_id)
            for namespace in records.namespaces(self._tenant, thread_id)
            for one in records.newest_first(self._tenant, thread_id, namespace)
            if (run_id := self._metadata(one.record).get("run_id"))
        }

    def _renew(self, thread_id: str, namespace: str, parent: Snapshot) -> None:
        """Before a chain begins that ends later, see to what the state of a DeltaChannel lives in."""
        expires = self._expires(parent.link)
        if expires and expires != parent.link.expires_s and self._missing_channels(parent):
            self._storage.checkpoints.renew(
                self._tenant,
                thread_id,
                namespace,
                upto=parent.record.checkpoint_id,
                missing=self._missing_channels,
                expires_s=expires,
            )

    def _missing_channels(self, snapshot: Snapshot) -> frozenset[str]:
        return missing_channels(snapshot.record, self._metadata(snapshot.record))

    def _metadata(self, record: Record) -> Mapping[str, Any]:
        metadata: Mapping[str, Any] = self._plain.loads_typed(record.metadata)
        return metadata

    def _shows(self, record: Record, wanted: Mapping[str, Any]) -> bool:
        """Tell whether a record's metadata has these values."""
        metadata = self._metadata(record) if wanted else {}
        return all(metadata.get(name) == value for name, value in wanted.items())

    def _tuple(self, thread_id: str, snapshot: Snapshot) -> CheckpointTuple:
        record, load = snapshot.record, self._plain.loads_typed
        checkpoint: Any = {
            **deepcopy(dict(record.envelope)),  # LangGraph's loop changes it in place
            "id": record.checkpoint_id,
            "channel_values": {name: load(as_blob(value)) for name, value in record.channels.items()},
        }
        return CheckpointTuple(
            config=_config(thread_id, record.namespace, record.checkpoint_id),
            checkpoint=checkpoint,
            metadata=load(record.metadata),
            parent_config=_config(thread_id, record.namespace, record.parent_id)
            if record.parent_id
            else None,
            pending_writes=[(write.task_id, write.channel, load(write.value)) for write in snapshot.writes],
        )


def _make_storage(
    table_name: str,
    bucket: str | None,
    serde: SerializerProtocol,
    *,
    endpoint_url: str | None,
    region: str | None,
) -> Storage:
    table = Table(client("dynamodb", endpoint_url=endpoint_url, region=region), table_name)
    blobs = Blobs(client("s3", endpoint_url=endpoint_url, region=region), bucket) if bucket else None
    encrypt = decrypt = None
    if isinstance(serde, EncryptedSerializer):
        cipher = serde.cipher
        encrypt = lambda body: _join(*cipher.encrypt(body))  # noqa: E731 (two small inverses, side by side)
        decrypt = lambda body: cipher.decrypt(*_split(body))  # noqa: E731
    records = Records(table, blobs, encrypt=encrypt, decrypt=decrypt)
    return Storage(
        records=records,
        checkpoints=Checkpoints(table, blobs, records),
        leases=Leases(table, records, system_clock),
    )


def _join(name: str, ciphertext: bytes) -> bytes:
    return name.encode() + b"\0" + ciphertext


def _split(body: bytes) -> tuple[str, bytes]:
    name, _, ciphertext = body.partition(b"\0")
    return name.decode(), ciphertext


def _address(config: RunnableConfig) -> tuple[str, str]:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), configurable.get("checkpoint_ns") or ""


def _place(config: RunnableConfig) -> tuple[str, str]:
    return _address(config)[1], config["configurable"]["checkpoint_id"]


def _without_user(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what the config of a run says of its user: the metadata of a checkpoint is shown."""
    return {name: value for name, value in metadata.items() if name not in RESERVED}


def _config(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {
        "configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
    }


def _durability(config: RunnableConfig) -> str | None:
    value: str | None = config["configurable"].get(_DURABILITY)
    return value
