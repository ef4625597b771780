"""The event log in use: what a run has said, read from any position, whole and in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from crewline.checkpoints.projection import project_values
from crewline.models.clocks import Clock
from crewline.models.events import END, ERROR, LAST_EPOCH, Batch, Frame, Position, Reference
from crewline.models.leases import Claim
from crewline.models.runs import Run
from crewline.services.leases import stale
from crewline.store import events, leases
from crewline.store.blobs import Blobs
from crewline.store.changes import Put
from crewline.store.records import Records
from crewline.store.table import Refused, Table

MOST_BYTES: Final = 1_000_000
"""Bytes of the log that are read at once, and not many more: a run may have said more than fits into memory."""
MOST_STATES: Final = 32
"""Checkpoints that are read at once for the frames that refer to them."""


class Events:
    """The event logs of all runs; safe for many threads."""

    def __init__(self, table: Table, blobs: Blobs | None, records: Records, clock: Clock) -> None:
        self._table = table
        self._blobs = blobs
        self._records = records
        self._clock = clock

    def prepare(self, tenant: str, thread_id: str, run_id: str, batch: Batch) -> Put:
        """Make the write of a batch, for a transaction.

        Raises:
            Unavailable: S3 did not take a large batch.
        """
        return events.put(tenant, thread_id, run_id, batch, blobs=self._blobs, now=self._clock())

    def write(self, tenant: str, thread_id: str, run_id: str, batch: Batch) -> None:
        """Write a batch; writing the same one again is harmless.

        Raises:
            Unavailable: DynamoDB or S3 did not answer; the batch may or may not be there.
        """
        try:
            self._table.write(self.prepare(tenant, thread_id, run_id, batch))
        except Refused:
            return  # it has landed before, and only the answer was lost

    def take_over(self, claim: Claim) -> Batch | None:
        """Open the epoch of a claim in a log that a claim before may have written, and find where that one ended.

        Until `cut` has been called, readers show nothing of the epochs before that they have not shown yet.

        Returns:
            The last batch; None when nobody has said anything.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: The last batch does not decode.
        """
        run = (claim.tenant, claim.thread_id, claim.run_id)
        self.write(*run, Batch(frames=(), opens=claim.lease.epoch))
        return self.last(*run)

    def cut(self, claim: Claim, batch: Batch) -> None:
        """Write the first batch of a claim that took a run over: with how far the epochs before it count.

        Raises:
            StaleOwner: Somebody else has claimed the run since.
            Unavailable: DynamoDB or S3 did not answer; the batch may or may not be there.
        """
        put = self.prepare(claim.tenant, claim.thread_id, claim.run_id, batch)
        try:
            self._table.transact([leases.held(claim), put])
        except Refused as exc:
            if 0 in exc.items:
                raise stale(claim) from exc

    def last(self, tenant: str, thread_id: str, run_id: str) -> Batch | None:
        """Read the last batch of a run's log that has frames.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: It does not decode.
        """
        return events.last(self._table, self._blobs, tenant, thread_id, run_id)

    def ended(self, tenant: str, thread_id: str, run_id: str) -> bool:
        """Tell whether the log of a run has its end.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: The last batch does not decode.
        """
        last = self.last(tenant, thread_id, run_id)
        return last is not None and last.frames[-1].mode == END

    def after(
        self, tenant: str, thread_id: str, run_id: str, position: Position, *, ended: bool = False
    ) -> list[Frame]:
        """Read frames after a position, without those that came too late, each with its data.

        Args:
            tenant: Whose run.
            thread_id: Its thread.
            run_id: The run.
            position: The position.
            ended: The run had ended before: who has taken it over and not said so never will.

        Returns:
            The frames in order, about `MOST_BYTES` of them; the rest comes with a later call, and
            so do those whose checkpoint is not in the table yet, or which a claim that has just
            begun decides about, and what follows them. Those of a run that had ended are left out
            when their checkpoint was pruned since.

        Raises:
            Unavailable: DynamoDB or S3 did not answer.
            CorruptRecord: A batch or a checkpoint does not decode.
        """
        frames: list[Frame] = []
        more = True
        while more and not frames:  # all that was read may have come too late
            batches, more = self._some(tenant, thread_id, run_id, position)
            known = [*batches, *self._beyond(tenant, thread_id, run_id, batches[-1])] if more else batches
            open_ = _undecided(known) if not ended else range(0)
            for frame in _valid(batches, known):
                if frame.position.epoch in open_:
                    more = False
                    break
                # A batch whose answer was lost comes again as part of the next.
                if frame.position > (frames[-1].position if frames else position):
                    frames.append(frame)
            position = batches[-1].position if more else position
        return self._rendered(tenant, thread_id, _few_states(frames), ended=ended)

    def _some(self, tenant: str, thread_id: str, run_id: str, position: Position) -> tuple[list[Batch], bool]:
        """Read batches up to a size; tell whether there may be more."""
        batches: list[Batch] = []
        size = 0
        for batch in events.after(self._table, self._blobs, tenant, thread_id, run_id, position):
            batches.append(batch)
            size += sum(frame.size for frame in batch.frames)
            if size >= MOST_BYTES:
                return batches, True
        return batches, False

    def _beyond(self, tenant: str, thread_id: str, run_id: str, batch: Batch) -> Iterator[Batch]:
        """Read what higher epochs say of that of a batch: their openings, up to the first that has said something."""
        place = Position(batch.position.epoch + 1, -1)  # an opening is at 0
        for one in events.after(self._table, self._blobs, tenant, thread_id, run_id, place, page=2):
            yield one
            if one.frames:
                return

    def _rendered(self, tenant: str, thread_id: str, frames: Sequence[Frame], *, ended: bool) -> list[Frame]:
        values = self._values(tenant, thread_id, [frame.reference for frame in frames if frame.reference])
        rendered: list[Frame] = []
        for frame in frames:
            reference = frame.reference
            if reference is None:
                rendered.append(frame)
                continue
            state = values.get((reference.namespace, reference.checkpoint_id), _MISSING)
            if state is _MISSING and ended:
                continue  # it was pruned since: the rest is told, and above all the end
            if state is _MISSING:
                break
            rendered.append(replace(frame, data=_filled(frame.data, state, reference), reference=None))
        return rendered

    def _values(
        self, tenant: str, thread_id: str, references: Sequence[Reference]
    ) -> dict[tuple[str, str], Any]:
        """Read the states that references name: those of one namespace in one pass, newest first."""
        wanted: dict[str, set[str]] = {}
        for reference in references:
            wanted.setdefault(reference.namespace, set()).add(reference.checkpoint_id)
        found: dict[tuple[str, str], Any] = {}
        for namespace, ids in wanted.items():
            first = min(ids)
            for snapshot in self._records.newest_first(tenant, thread_id, namespace, upto=max(ids)):
                one = snapshot.record.checkpoint_id
                if one in ids:
                    found[(namespace, one)] = project_values(snapshot.record)
                if one <= first:
                    break
        return found


_MISSING = object()


def ending(run: Run, *, failed: bool) -> list[Frame]:
    """Make the end of a run whose log has none: its worker was lost after it, or it never began.

    Args:
        run: The run, finished.
        failed: The log has its error already.
    """
    frames = []
    if run.error and not failed:
        frames.append(
            Frame(position=Position(LAST_EPOCH, 1), mode=ERROR, data=orjson.dumps(run.error.wire()))
        )
    frames.append(Frame(position=Position(LAST_EPOCH, 2), mode=END, data=end_data(run)))
    return frames


def end_data(run: Run) -> bytes:
    """Spell the last event of a run: its status, and what it used."""
    usage = run.usage.wire() if run.usage else None
    return orjson.dumps({"run_id": run.run_id, "status": run.status, "usage": usage})


def _few_states(frames: list[Frame]) -> list[Frame]:
    """Give the first frames, so that not too many states are in memory at once."""
    states: set[tuple[str, str]] = set()
    for place, frame in enumerate(frames):
        if frame.reference:
            states.add((frame.reference.namespace, frame.reference.checkpoint_id))
        if len(states) > MOST_STATES:
            return frames[:place]
    return frames


def _undecided(known: Sequence[Batch]) -> range:
    """Name the epochs of which a higher one has begun and not yet said how far they count."""
    opened = max((batch.opens for batch in known if batch.opens), default=0)
    decided = max((batch.position.epoch for batch in known if batch.upto), default=0)
    return range(decided, opened)


def _valid(batches: Sequence[Batch], known: Sequence[Batch]) -> Iterator[Frame]:
    """Leave out what an epoch wrote after a higher one had begun: after the `upto` of that one.

    Args:
        batches: What was read.
        known: The same, and what higher epochs say of it.
    """
    cuts = [(batch.position.epoch, batch.upto) for batch in known if batch.upto]
    for batch in batches:
        for frame in batch.frames:
            place = frame.position
            if not any(place.epoch < epoch and place > upto for epoch, upto in cuts):
                yield frame


def _filled(data: bytes | None, state: Any, reference: Reference) -> bytes:
    """Put the values of a checkpoint where the frame has them."""
    rest = orjson.loads(data) if data else {}
    if not reference.path:
        return orjson.dumps(
            {**_chosen(state, rest, reference), **rest} if rest else _chosen(state, {}, reference)
        )
    inner = rest
    for name in reference.path[:-1]:
        inner = inner[name]
    inner[reference.path[-1]] = _chosen(state, inner[reference.path[-1]] or {}, reference)
    return orjson.dumps(rest)


def _chosen(state: Any, kept: Mapping[str, Any], reference: Reference) -> Any:
    """Choose what a frame shows, in its order: of the checkpoint, and of what was kept with the frame."""
    if reference.names is None or not isinstance(state, dict):
        return state
    values = {**state, **kept}
    return {name: values[name] for name in reference.names if name in values}
