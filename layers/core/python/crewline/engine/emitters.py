"""What an execution says while it runs: frames for who listens here, and for the log.

Frames get their positions in one order, on the crew loop. The log gets them in batches, every
tenth of a second or eight kilobytes; values are logged as a reference to their checkpoint, and not
before that is in the table. What is left at the end goes into the finishing transaction, so a run
that has ended has said everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import orjson
from aws_lambda_powertools import Logger

from crewline.errors import CrewlineError
from crewline.models.clocks import Clock
from crewline.models.events import (
    METADATA,
    START,
    STEPS,
    TOKENS,
    Batch,
    Frame,
    Position,
    Reference,
    Telling,
)
from crewline.models.leases import Claim
from crewline.services.events import Events
from crewline.store.changes import Put

FLUSH_S: Final = 0.1
FLUSH_BYTES: Final = 8 * 1024
"""How long frames gather for one item of the log, and how many bytes."""
MOST_WAITING_BYTES: Final = 8_000_000
"""What may wait for the log; while there is more, the graph waits too."""
MOST_BYTES: Final = 1_000_000
"""Bytes of a batch, and not many more: whoever reads it has it in memory as a whole."""


class Checkpoints(Protocol):
    """What the emitter asks of the journal, by namespace and checkpoint id."""

    def written(self, namespace: str, checkpoint_id: str, /) -> bool:
        """Tell whether a checkpoint is in the table."""

    def shown(self, namespace: str, checkpoint_id: str, /) -> frozenset[str] | None:
        """Name the channels whose values it has; None for one that is not known."""


class Emitter:
    """The frames of one execution, in order; on the crew loop only.

    Args:
        claim: The claim; its epoch begins every position.
        telling: To whom.
        events: The log.
        checkpoints: Those of the run; None when none is in the table before the end.
        clock: Tells when a task begins and ends.
        logger: Where a batch that could not be written is noted.
    """

    def __init__(
        self,
        claim: Claim,
        telling: Telling,
        events: Events,
        checkpoints: Checkpoints | None,
        clock: Clock,
        logger: Logger,
    ) -> None:
        self._claim = claim
        self._telling = telling
        self._events = events
        self._checkpoints = checkpoints
        self._clock = clock
        self._logger = logger
        self._epoch = claim.lease.epoch
        self._seq = 0
        self._attempt = 1
        self._waiting: list[Frame] = []
        self._open: dict[tuple[str, ...], int] = {}
        self._whole: dict[Position, bytes] = {}
        self._size = 0
        self._whole_size = 0
        self._tokens = telling.tokens
        self._flushing: asyncio.Task[None] | None = None
        self._full = asyncio.Event()
        self._written = asyncio.Event()
        self._flushed = -math.inf
        self._closing = False

    @property
    def active(self) -> bool:
        """Whether anybody is told anything."""
        return self._telling.logged or self._telling.listener is not None

    async def begin(self) -> None:
        """Say which run this is, and which attempt at it; a later one says at once what counts of those before.

        Raises:
            StaleOwner: Somebody else has claimed the run since.
            Unavailable: DynamoDB or S3 did not answer.
        """
        lease = self._claim.lease
        if not self._telling.logged or not (lease.fed or lease.attempt > 1):
            self.emit(METADATA, self._metadata())
            return
        before = await asyncio.to_thread(self._events.take_over, self._claim)
        # A slice that ended in order has said all that counts, and nothing comes twice.
        self._attempt = before.attempt + (not lease.orderly) if before else 1
        frame = self._told(METADATA, self._metadata())
        upto = before.position if before else START
        batch = Batch(frames=(frame,), attempt=self._attempt, upto=upto)
        await asyncio.to_thread(self._events.cut, self._claim, batch)

    def emit(
        self,
        mode: str,
        data: bytes,
        namespace: tuple[str, ...] = (),
        *,
        rest: bytes | None = None,
        reference: Reference | None = None,
        opens: bool = False,
    ) -> None:
        """Say something.

        Args:
            mode: LangGraph's stream mode, or one of ours.
            data: JSON.
            namespace: The subgraph that says it.
            rest: With a reference, what the log keeps beside it.
            reference: Where the log finds the values.
            opens: The values are those of the next checkpoint of the namespace; see `refer`.
        """
        frame = self._told(mode, data, namespace)
        if not self._telling.logged or (mode in TOKENS and not self._tokens):
            return
        if self._checkpoints and reference:
            self._keep(frame.position, data)
            frame = replace(frame, data=rest, reference=reference)
        elif self._checkpoints and opens:
            self._open[namespace] = len(self._waiting)
        self._waiting.append(frame)
        self._size += frame.size
        # Who follows a run that was silent gets its next token now, and not a batch later.
        quiet = asyncio.get_running_loop().time() - self._flushed >= FLUSH_S
        self._schedule(at_once=quiet and mode in TOKENS)

    async def room(self) -> None:
        """Wait while too much is still to be written: DynamoDB or S3 are slower than the graph speaks.

        Values whose checkpoint has not been named yet are no reason to wait: the graph's next words name it.
        """
        while self._size + self._whole_size > MOST_WAITING_BYTES and not self._open and not self._closing:
            self._schedule(at_once=True)
            self._written.clear()
            await self._written.wait()

    def _told(self, mode: str, data: bytes, namespace: tuple[str, ...] = ()) -> Frame:
        """Make the next frame, and tell it to who listens here."""
        self._seq += 1
        at = self._clock() if mode == STEPS else None
        place = Position(self._epoch, self._seq)
        frame = Frame(position=place, mode=mode, namespace=namespace, data=data, at=at)
        if self._telling.listener:
            self._telling.listener(frame)
        return frame

    def refer(self, namespace: tuple[str, ...], reference: Reference) -> None:
        """Learn in which checkpoint the last values of a namespace are stored."""
        place = self._open.pop(namespace, None)
        if place is not None and place < len(self._waiting):
            frame = self._waiting[place]
            self._keep(frame.position, frame.data or b"null")
            self._size -= len(frame.data or b"")
            self._waiting[place] = replace(frame, data=None, reference=reference)

    def _keep(self, position: Position, data: bytes) -> None:
        """Keep what a reference stands for until it is known what of it the checkpoint has."""
        self._whole[position] = data
        self._whole_size += len(data)

    def watched(self) -> None:
        """Learn that somebody follows the log: from now on it gets everything."""
        self._tokens = True

    async def close(self) -> None:
        """Stop writing by itself; what is left goes with the finish."""
        self.stop()
        if self._flushing:
            await self._flushing

    def stop(self) -> None:
        """Write nothing more, and wait for nothing: the run goes on elsewhere, and says the rest there."""
        self._closing = True
        self._full.set()
        self._written.set()

    def rest(self, *frames: tuple[str, bytes]) -> list[Put]:
        """Give the write of all that the log does not have yet, ended by some last frames.

        Called for every try of the finish; the frames are told once, by `tell`.

        Raises:
            Unavailable: S3 did not take a large batch.
        """
        if not self._telling.logged:
            return []
        last = self._last(frames)
        batch = self._batch([*map(self._settled, self._waiting), *last])
        return [self._prepare(batch)]

    def write_rest(self) -> None:
        """Write all that the log does not have yet: the run goes on in another slice. For any thread, once closed.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
        """
        claim = self._claim
        if self._telling.logged and self._waiting:
            batch = self._batch([*map(self._settled, self._waiting)])
            self._events.write(claim.tenant, claim.thread_id, claim.run_id, batch)

    def tell(self, *frames: tuple[str, bytes]) -> None:
        """Tell the listener the last frames, once the run has ended."""
        if self._telling.listener:
            for frame in self._last(frames):
                self._telling.listener(frame)

    def _metadata(self) -> bytes:
        return orjson.dumps({"run_id": self._claim.run_id, "attempt": self._attempt})

    def _last(self, frames: Sequence[tuple[str, bytes]]) -> list[Frame]:
        return [
            Frame(position=Position(self._epoch, self._seq + place), mode=mode, data=data)
            for place, (mode, data) in enumerate(frames, 1)
        ]

    def _schedule(self, *, at_once: bool = False) -> None:
        if at_once or self._size >= FLUSH_BYTES:
            self._full.set()
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        while self._waiting and not self._done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), FLUSH_S)
            self._full.clear()
            if self._done():
                return
            ready = self._ready()
            if not ready:
                await asyncio.sleep(FLUSH_S)  # what it refers to is being written
                continue
            batch = self._batch(ready)
            try:
                await asyncio.to_thread(
                    self._events.write, self._claim.tenant, self._claim.thread_id, self._claim.run_id, batch
                )
            except CrewlineError as exc:  # they are kept, and go with the next batch or the finish
                self._logger.warning("events not written yet", run_id=self._claim.run_id, reason=exc.message)
                continue
            del self._waiting[: len(ready)]
            for frame in ready:
                self._whole_size -= len(self._whole.pop(frame.position, b""))
            self._open = {name: place - len(ready) for name, place in self._open.items()}
            self._size = sum(frame.size for frame in self._waiting)
            self._flushed = asyncio.get_running_loop().time()
            self._written.set()

    def _done(self) -> bool:
        return self._closing

    def _ready(self) -> list[Frame]:
        """Find the frames whose checkpoints are in the table, up to the first whose is not."""
        unresolved = min(self._open.values(), default=len(self._waiting))
        ready: list[Frame] = []
        size = 0
        for frame in self._waiting[:unresolved]:
            reference = frame.reference
            if (
                reference
                and self._checkpoints
                and not self._checkpoints.written(reference.namespace, reference.checkpoint_id)
            ):
                break
            ready.append(self._settled(frame))
            size += ready[-1].size
            if size >= MOST_BYTES:
                self._full.set()  # there is more
                break
        return ready

    def _settled(self, frame: Frame) -> Frame:
        """Leave with a frame what its checkpoint does not have.

        A checkpoint has no value of a channel that nothing has written yet, nor of one that is not
        kept, or not at every step; a stream shows them.
        """
        reference, whole = frame.reference, self._whole.get(frame.position)
        if self._checkpoints is None or reference is None or reference.names is None or whole is None:
            return frame
        shown = self._checkpoints.shown(reference.namespace, reference.checkpoint_id)
        if shown is None:
            return replace(frame, data=whole, reference=None)
        missing = [name for name in reference.names if name not in shown]
        return replace(frame, data=_with(missing, frame.data, whole, reference.path)) if missing else frame

    def _batch(self, frames: Sequence[Frame]) -> Batch:
        return Batch(frames=tuple(frames), attempt=self._attempt)

    def _prepare(self, batch: Batch) -> Put:
        claim = self._claim
        return self._events.prepare(claim.tenant, claim.thread_id, claim.run_id, batch)


def _with(names: Sequence[str], rest: bytes | None, whole: bytes, path: tuple[str, ...]) -> bytes:
    """Put the values of some channels beside what is kept of a frame anyway."""
    values: Any = orjson.loads(whole)
    for name in path:
        values = values[name]
    kept = {name: values[name] for name in names}
    content: Any = orjson.loads(rest or b"{}")
    if not path:
        return orjson.dumps({**kept, **content})
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = kept
    return orjson.dumps(content)
