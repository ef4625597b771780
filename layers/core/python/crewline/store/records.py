"""Checkpoint records and late writes in the table.

The root's latest checkpoint is the lease's head, never the highest id. Otherwise it is the highest
id: whoever writes first moves LangGraph's clock past the newest id that it has read, so that ids
increase along every chain whatever the clocks of the machines say.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Final

from crewline.checkpoints.codec import LONGEST_CHAIN, Base, Opened, open_writes
from crewline.checkpoints.projection import INTERRUPT
from crewline.checkpoints.records import AFTER_CHILD, Sealed, Snapshot, Write, merge_writes
from crewline.errors import CorruptRecord, TooLarge
from crewline.models.clocks import Clock, system_clock
from crewline.models.leases import Lease
from crewline.store import keys
from crewline.store.blobs import Blobs
from crewline.store.changes import Put
from crewline.store.items import Item
from crewline.store.keys import Key
from crewline.store.table import Table

LARGEST_ROOT: Final = 8 * 1024
LARGEST_DIFFERENCE: Final = 64 * 1024
"""Bytes of a body that stay in the item; a larger one goes to S3, which costs less from there on."""
_LARGEST_ITEM: Final = 390_000
_PAGE: Final = LONGEST_CHAIN * 4 // 3
"""Items of one request when nothing says where a chain begins: the longest, one record in three with late writes."""
_FAMILY: Final = 4
"""Items around one checkpoint: itself, a few late writes, its child."""

_TURN: Final = "turn"
"""Attribute that tells which run wrote an item."""

Transform = Callable[[bytes], bytes]


class Records:
    """The checkpoints of all threads; safe for many threads.

    Args:
        table: The table.
        blobs: The bucket for large bodies; None keeps everything in the table, up to its item limit.
        encrypt: What is done to a body before it is stored.
        decrypt: The inverse of `encrypt`.
        clock: Tells what has expired: DynamoDB removes it only some time later.
    """

    def __init__(
        self,
        table: Table,
        blobs: Blobs | None,
        *,
        encrypt: Transform | None = None,
        decrypt: Transform | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._encrypt = encrypt
        self._decrypt = decrypt
        self._clock = clock
        self._hidden = 0

    def seen_under(self, lease: Lease) -> Records:
        """Give these records as readers are to see them: without those of a run that is being undone."""
        if not lease.undoing:
            return self
        seen = copy.copy(self)
        seen._hidden = lease.turn  # noqa: SLF001 (our own copy)
        return seen

    def put(self, tenant: str, thread_id: str, entry: Sealed, *, turn: int = 0) -> Put:
        """Make the write of a record or of late writes; a large body goes to S3 first.

        Unconditional: it is part of a transaction that the lease fences, or its thread has one writer.
        What a run writes carries its turn, and overwrites nothing of another: so it can be undone.

        Raises:
            TooLarge: There is no bucket, and the body is over the item limit.
            Unavailable: S3 did not take a large body.
        """
        body = self._encrypt(entry.body) if self._encrypt else entry.body
        content: Item = {"body": body}
        if self._blobs and len(body) > _limit(entry):
            content = {"blob": self._blobs.put(tenant, thread_id, body)}
        elif len(body) > _LARGEST_ITEM:
            raise TooLarge(
                f"A checkpoint of thread {thread_id} has {len(body):,} bytes, and an item holds "
                f"{_LARGEST_ITEM:,}; give the checkpointer a bucket for large values."
            )
        item = {**content, keys.TTL: entry.expires_s, _TURN: turn or None}
        return Put(key=_key(tenant, thread_id, entry, turn), item=item)

    def weight(self, entry: Sealed) -> int:
        """Tell how many bytes of an entry its item has: a large body is in S3."""
        size = len(entry.body)
        return 0 if self._blobs and size > _limit(entry) else size

    def latest(
        self,
        tenant: str,
        thread_id: str,
        namespace: str,
        *,
        head: str | None = None,
        chain: str | None = None,
    ) -> Snapshot | None:
        """Read the newest checkpoint of a namespace: one query, and one S3 read if its root is large.

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            namespace: The checkpoint namespace.
            head: The head pointer, for the root namespace; without one the highest id is taken.
            chain: The root that the head builds on. The chain before it is then not read, nor paid for.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        if head and chain and chain <= head:
            found = next(self.newest_first(tenant, thread_id, namespace, upto=head, since=chain), None)
            if found:
                return found  # nothing is there only when the whole chain was deleted
        return next(self.newest_first(tenant, thread_id, namespace, upto=head), None)

    def get(self, tenant: str, thread_id: str, namespace: str, checkpoint_id: str) -> Snapshot | None:
        """Read one checkpoint; its writes may ride in the record that follows it.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        riding = self.child_writes(tenant, thread_id, namespace, checkpoint_id)
        found = next(self.newest_first(tenant, thread_id, namespace, upto=checkpoint_id, riding=riding), None)
        return found if found and found.record.checkpoint_id == checkpoint_id else None

    def newest_id(self, tenant: str, thread_id: str, namespace: str) -> str | None:
        """Find the highest checkpoint id of a namespace.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        found = self._descending(tenant, thread_id, namespace, None, page=_FAMILY)
        return next((checkpoint_id for _, checkpoint_id, place in found if place is None), None)

    def newest_first(
        self,
        tenant: str,
        thread_id: str,
        namespace: str,
        *,
        upto: str | None = None,
        since: str | None = None,
        before: str | None = None,
        riding: tuple[Write, ...] = (),
    ) -> Iterator[Snapshot]:
        """Read the checkpoints of a namespace, the newest first, as far as they are consumed.

        Args:
            tenant: Whose thread.
            thread_id: The thread.
            namespace: The checkpoint namespace.
            upto: Begin at this checkpoint.
            since: End with this checkpoint, a root.
            before: Begin after this checkpoint.
            riding: Writes of `upto` that ride in its child.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode, or a difference lacks its parent.
        """
        rode: dict[str, tuple[Write, ...]] = {upto: riding} if upto else {}
        late: dict[str, list[Write]] = {}
        after: dict[str, list[Write]] = {}
        asked: dict[str, int] = {}
        chain = _Chain()
        given = False
        stored = self._descending(tenant, thread_id, namespace, upto or before, since=since)
        for item, checkpoint_id, place in stored:
            if place is not None:
                writes = open_writes(checkpoint_id, self._body(tenant, thread_id, item))
                group = after if place.endswith(AFTER_CHILD) else late
                group.setdefault(checkpoint_id, [])[:0] = writes  # items come newest first
                if any(write.channel == INTERRUPT for write in writes):
                    asked[checkpoint_id] = max(asked.get(checkpoint_id, 0), item.get(_TURN, 0))
                continue
            opened = Opened(checkpoint_id, self._body(tenant, thread_id, item), expires_s=item.get(keys.TTL))
            if opened.parent_id and opened.parent_writes:
                rode[opened.parent_id] = opened.parent_writes
            for record, link in chain.add(opened):
                one = record.checkpoint_id
                if one != before:
                    if before and not given and one not in rode:  # its child is not below `before`
                        rode[one] = self.child_writes(tenant, thread_id, namespace, one)
                    given = True
                    merged = merge_writes(late.pop(one, ()), rode.pop(one, ()), after.pop(one, ()))
                    yield Snapshot(record=record, writes=merged, link=link, asked_in=asked.pop(one, 0))
        chain.end()

    def namespaces(self, tenant: str, thread_id: str) -> list[str]:
        """List the checkpoint namespaces of a thread, one small query each.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        partition = keys.thread_partition(tenant, thread_id)
        found: list[str] = []
        position: str | None = None
        while True:
            items = self._table.query(partition, prefix=keys.RECORD_PREFIX, at_least=position, page=1)
            item = next(items, None)
            if item is None:
                return found
            prefix = (
                keys.RECORD_PREFIX + item[keys.SORT].removeprefix(keys.RECORD_PREFIX).partition("#")[0] + "#"
            )
            for first in self._table.query(partition, prefix=prefix, page=_FAMILY):
                checkpoint_id, place = _parse(first, prefix)
                if place is None:  # before it may be writes of a checkpoint that never came
                    opened = Opened(checkpoint_id, self._body(tenant, thread_id, first))
                    found.append(str(opened.namespace))
                    break
            position = f"{prefix}\U0010ffff"

    def keys_of(self, tenant: str, thread_id: str) -> Iterator[Key]:
        """List the keys of everything stored of a thread's checkpoints, in order.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        partition = keys.thread_partition(tenant, thread_id)
        for item in self._table.query(partition, prefix=keys.RECORD_PREFIX, keys_only=True):
            yield Key(partition, item[keys.SORT])

    def places_of(self, tenant: str, thread_id: str) -> Iterator[tuple[Key, str | None]]:
        """List the keys of everything stored of a thread's checkpoints, in order, each with its large value.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        partition = keys.thread_partition(tenant, thread_id)
        for item in self._table.query(partition, prefix=keys.RECORD_PREFIX, only=(keys.SORT, "blob")):
            yield Key(partition, item[keys.SORT]), item.get("blob")

    def keys_of_turn(self, tenant: str, thread_id: str, turn: int) -> Iterator[Key]:
        """List the keys of what one run wrote, the newest first; reads the whole thread.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        partition = keys.thread_partition(tenant, thread_id)
        found = self._table.query(
            partition, prefix=keys.RECORD_PREFIX, newest_first=True, only=(keys.SORT, _TURN)
        )
        for item in found:
            if item.get(_TURN) == turn:
                yield Key(partition, item[keys.SORT])

    def living(self, tenant: str, thread_id: str) -> Iterator[Item]:
        """Read everything stored of a thread's checkpoints that has not expired, in order.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        now = self._clock() // 1000
        for item in self._table.query(keys.thread_partition(tenant, thread_id), prefix=keys.RECORD_PREFIX):
            if item.get(keys.TTL, now) >= now:
                yield item

    def storage(self, tenant: str, thread_id: str) -> Iterator[tuple[bool, int, str | None]]:
        """Tell what is stored of a thread's checkpoints; reads the whole thread.

        Yields:
            Whether it is late writes, the bytes of its body in the table, and its large value in S3.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        for item in self.living(tenant, thread_id):
            yield keys.LATE_INFIX in item[keys.SORT], len(item.get("body", b"")), item.get("blob")

    def copied(
        self,
        tenant: str,
        source: str,
        target: str,
        *,
        upto: str | None = None,
        turn: int | None = None,
        expires_s: int | None = None,
    ) -> Iterator[Put]:
        """Make the writes that give another thread the checkpoints of this one, oldest first.

        Bodies are copied as they are; large ones go to the other thread's folder in S3.

        Args:
            tenant: Whose threads.
            source: The thread to copy.
            target: The thread to copy to.
            upto: The newest checkpoint, of any namespace: what came later is left out.
            turn: The newest run: what later ones wrote, also on earlier checkpoints, is left out.
            expires_s: When what ends by TTL may end on the other thread.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A large value is missing or was altered.
        """
        partition = keys.thread_partition(tenant, target)
        for item in self.living(tenant, source):
            sort = item.pop(keys.SORT)
            later = bool(upto and keys.checkpoint_of(sort) > upto)
            if later or self._hides(item) or (turn is not None and item.get(_TURN, 0) > turn):
                continue
            del item[keys.PARTITION]
            if keys.TTL in item:
                item[keys.TTL] = expires_s
            if self._blobs and "blob" in item:
                item["blob"] = self._blobs.put(tenant, target, self._blobs.get(tenant, source, item["blob"]))
            yield Put(key=Key(partition, sort), item=item)

    def _descending(
        self,
        tenant: str,
        thread_id: str,
        namespace: str,
        bound: str | None,
        *,
        since: str | None = None,
        page: int = _PAGE,
    ) -> Iterator[tuple[Item, str, str | None]]:
        prefix = keys.namespace_prefix(namespace)
        items = self._table.query(
            keys.thread_partition(tenant, thread_id),
            prefix=prefix,
            at_most=f"{prefix}{bound}{keys.LATE_INFIX}\U0010ffff" if bound else None,
            at_least=f"{prefix}{since}" if since else None,
            newest_first=True,
            page=None if since else page,
        )
        now = self._clock() // 1000
        for item in items:
            if item.get(keys.TTL, now) >= now and not self._hides(item):
                yield item, *_parse(item, prefix)

    def _hides(self, item: Item) -> bool:
        return bool(self._hidden) and item.get(_TURN) == self._hidden

    def child_writes(
        self, tenant: str, thread_id: str, namespace: str, checkpoint_id: str
    ) -> tuple[Write, ...]:
        """Find the writes of a checkpoint that ride in the record that follows it.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A stored body does not decode.
        """
        prefix = keys.namespace_prefix(namespace)
        items = self._table.query(
            keys.thread_partition(tenant, thread_id),
            prefix=prefix,
            at_least=f"{prefix}{checkpoint_id}",
            page=_FAMILY,
        )
        for item in items:
            found_id, place = _parse(item, prefix)
            if found_id != checkpoint_id and place is None and not self._hides(item):
                opened = Opened(found_id, self._body(tenant, thread_id, item))
                return opened.parent_writes if opened.parent_id == checkpoint_id else ()
        return ()

    def _body(self, tenant: str, thread_id: str, item: Item) -> bytes:
        body: bytes | None = item.get("body")
        if body is None:
            if self._blobs is None:
                raise CorruptRecord(
                    f"Thread {thread_id} has large values in S3; give the checkpointer its bucket."
                )
            body = self._blobs.get(tenant, thread_id, item["blob"])
        return self._decrypt(body) if self._decrypt else body


class _Chain:
    """Builds whole records from differences that are read before what they build on."""

    def __init__(self) -> None:
        self._waiting: list[Opened] = []
        self._built: dict[str, Base] = {}

    def add(self, opened: Opened) -> Iterator[Base]:
        """Take the next older record; give those that are whole now, the newest first."""
        self._waiting.append(opened)
        if not opened.root:
            return
        for one in reversed(self._waiting):
            base = self._built.get(one.parent_id or "")
            if one.root or base:
                self._built[one.checkpoint_id] = one.build(base)
        while self._waiting and self._waiting[0].checkpoint_id in self._built:
            yield self._built[self._waiting.pop(0).checkpoint_id]
        if not self._waiting:
            self._built.clear()

    def end(self) -> None:
        """Say that nothing older comes.

        Raises:
            CorruptRecord: A difference is left without what it builds on.
        """
        for opened in self._waiting:
            opened.build(None)


def _limit(entry: Sealed) -> int:
    return LARGEST_ROOT if entry.root else LARGEST_DIFFERENCE


def _key(tenant: str, thread_id: str, entry: Sealed, turn: int) -> Key:
    if entry.place is None:
        return keys.record(tenant, thread_id, entry.namespace, entry.checkpoint_id)
    place, after, _ = entry.place.partition(AFTER_CHILD)
    turned = f"{place}@{turn:08x}" if turn else place
    return keys.late_writes(tenant, thread_id, entry.namespace, entry.checkpoint_id, f"{turned}{after}")


def _parse(item: Item, prefix: str) -> tuple[str, str | None]:
    """Split a sort key into checkpoint id and, for late writes, their place."""
    checkpoint_id, infix, place = item[keys.SORT].removeprefix(prefix).partition(keys.LATE_INFIX)
    return checkpoint_id, place if infix else None
