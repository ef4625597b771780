"""The LangGraph checkpointer on the table: one record a superstep, fenced by the lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from crewline.checkpoints.records import Blob, Record, Snapshot, Write
from crewline.engine.journals import Journal
from crewline.errors import StaleOwner
from crewline.store.records import Records

_DURABILITY = "__pregel_durability"


class Checkpointer(BaseCheckpointSaver[int]):
    """Checkpoints of one tenant's threads.

    Reads are strongly consistent and see what the journal still holds. Writes need a journal: they
    belong to an execution, and its lease fences them.

    Args:
        records: The stored checkpoints.
        tenant: Whose threads.
        serde: The strict serialiser of the crew.
        head: Finds a thread's newest root checkpoint.
        journal: Where writes go; None for reading only.
        defaults: Values of channels that nothing has written yet, kept in every record.
    """

    def __init__(
        self,
        records: Records,
        tenant: str,
        *,
        serde: SerializerProtocol,
        head: Callable[[str], str | None],
        journal: Journal | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self._records = records
        self._tenant = tenant
        self._head = head
        self._journal = journal
        self._defaults = {name: serde.dumps_typed(value) for name, value in (defaults or {}).items()}

    # ------------------------------------------------------------------ reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint: the one that the config names, else the newest of its namespace.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        thread_id, namespace = _address(config)
        snapshot = self._snapshot(thread_id, namespace, get_checkpoint_id(config))
        return self._tuple(thread_id, snapshot) if snapshot else None

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Do what `get_tuple` does without blocking the loop."""
        thread_id, namespace = _address(config)
        if self._journal and (held := self._journal.read(namespace, get_checkpoint_id(config))):
            return self._tuple(thread_id, held)
        return await asyncio.to_thread(self.get_tuple, config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 (LangGraph's name)
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Read the checkpoints of a namespace, the newest first.

        Raises:
            ValueError: The config names no thread.
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        if config is None:
            raise ValueError("Crewline lists the checkpoints of one thread; pass its config.")
        thread_id, namespace = _address(config)
        wanted = get_checkpoint_id(config)
        found = self._records.newest_first(
            self._tenant,
            thread_id,
            namespace,
            before=get_checkpoint_id(before) if before else None,
        )
        left = limit
        for snapshot in found:
            if left == 0:
                return
            if wanted and snapshot.record.checkpoint_id != wanted:
                continue
            result = self._tuple(thread_id, snapshot)
            metadata: Mapping[str, Any] = result.metadata
            if all(metadata.get(name) == value for name, value in (filter or {}).items()):
                left = None if left is None else left - 1
                yield result

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

    def newest(self, thread_id: str) -> Snapshot | None:
        """Read the newest root checkpoint of a thread as it is stored.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        return self._snapshot(thread_id, "", None)

    # ------------------------------------------------------------------ writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Take a checkpoint; under durability `sync` it is in the table when this returns.

        Raises:
            StaleOwner: Somebody else has claimed the run since, or this checkpointer only reads.
            RunCancelled: Somebody asked the run to stop.
            Unavailable: DynamoDB or S3 did not answer.
        """
        put_config = self._take(config, checkpoint, metadata, new_versions)
        if _durability(config) == "sync":
            self._writable().flush()
        return put_config

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Do what `put` does without blocking the loop; otherwise the checkpoint is written soon."""
        put_config = self._take(config, checkpoint, metadata, new_versions)
        await self._settle(config)
        return put_config

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Take pending writes of a task.

        Raises:
            StaleOwner: Somebody else has claimed the run since, or this checkpointer only reads.
            RunCancelled: Somebody asked the run to stop.
            Unavailable: DynamoDB or S3 did not answer.
        """
        self._take_writes(config, writes, task_id, task_path)
        if _durability(config) == "sync":
            self._writable().flush()

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Do what `put_writes` does without blocking the loop; otherwise they are written soon."""
        self._take_writes(config, writes, task_id, task_path)
        await self._settle(config)

    # ------------------------------------------------------------------ inside

    def _snapshot(self, thread_id: str, namespace: str, checkpoint_id: str | None) -> Snapshot | None:
        if self._journal and (held := self._journal.read(namespace, checkpoint_id)):
            return held
        if checkpoint_id:
            snapshot = self._records.get(self._tenant, thread_id, namespace, checkpoint_id)
        else:
            head = None if namespace else self._head(thread_id)
            if not namespace and head is None:
                return None
            snapshot = self._records.latest(self._tenant, thread_id, namespace, head=head)
        if self._journal and snapshot:
            newest = checkpoint_id is None or (not namespace and checkpoint_id == self._head(thread_id))
            self._journal.saw(snapshot, newest=newest)
        return snapshot

    def _take(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        thread_id, namespace = _address(config)
        parent_id = get_checkpoint_id(config)
        journal = self._writable()
        parent = journal.read(namespace, parent_id) if parent_id else None
        kept: Mapping[str, Blob] = parent.record.channels if parent else {}
        channels = {
            # A channel whose version stayed has the value that was stored with it, whatever a node
            # has done to the object since.
            name: kept[name] if name in kept and name not in new_versions else self.serde.dumps_typed(value)
            for name, value in checkpoint["channel_values"].items()
        }
        journal.put(
            Record(
                namespace=namespace,
                checkpoint_id=checkpoint["id"],
                parent_id=parent_id,
                envelope={
                    name: value for name, value in checkpoint.items() if name not in ("id", "channel_values")
                },
                metadata=self.serde.dumps_typed(get_checkpoint_metadata(config, metadata)),
                channels=channels,
                defaults={} if namespace else self._defaults,
            )
        )
        return _config(thread_id, namespace, checkpoint["id"])

    def _take_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> None:
        _, namespace = _address(config)
        checkpoint_id: str = config["configurable"]["checkpoint_id"]
        self._writable().put_writes(
            (namespace, checkpoint_id),
            [
                Write(
                    task_id=task_id,
                    task_path=task_path,
                    index=WRITES_IDX_MAP.get(channel, index),
                    channel=channel,
                    value=self.serde.dumps_typed(value),
                )
                for index, (channel, value) in enumerate(writes)
            ],
        )

    async def _settle(self, config: RunnableConfig) -> None:
        if _durability(config) == "sync":
            await asyncio.to_thread(self._writable().flush)
        else:
            self._writable().schedule()

    def _writable(self) -> Journal:
        if self._journal is None:
            raise StaleOwner("This checkpointer only reads; state changes need the lease of the thread.")
        return self._journal

    def _tuple(self, thread_id: str, snapshot: Snapshot) -> CheckpointTuple:
        record, load = snapshot.record, self.serde.loads_typed
        checkpoint: Any = {
            **record.envelope,
            "id": record.checkpoint_id,
            "channel_values": {name: load(blob) for name, blob in record.channels.items()},
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


def _address(config: RunnableConfig) -> tuple[str, str]:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), configurable.get("checkpoint_ns") or ""


def _config(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {
        "configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}
    }


def _durability(config: RunnableConfig) -> str | None:
    value: str | None = config["configurable"].get(_DURABILITY)
    return value
