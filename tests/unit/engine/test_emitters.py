"""What an execution says: in one order, at once to who listens, in batches to the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest

from crewline.engine import emitters
from crewline.engine.emitters import Checkpoints, Emitter
from crewline.errors import Unavailable
from crewline.models.events import END, ERROR, METADATA, Batch, Frame, Position, Reference, Telling
from crewline.models.leases import Claim, Lease
from crewline.services.events import Events
from crewline.store.changes import ABSENT, Put
from crewline.store.keys import Key
from tests.unit.store.worlds import NOW, SILENT, TENANT

EPOCH = 4


@dataclass
class Log:
    """A log that keeps what it gets."""

    batches: list[Batch] = field(default_factory=list)
    before: Batch | None = None
    failures: int = 0
    tried: int = 0
    asked: int = 0

    def take_over(self, claim: Claim) -> Batch | None:
        self.asked += 1
        return self.before

    def cut(self, claim: Claim, batch: Batch) -> None:
        self.batches.append(batch)

    def write(self, tenant: str, thread_id: str, run_id: str, batch: Batch) -> None:
        self.tried += 1
        if self.tried <= self.failures:
            raise Unavailable("DynamoDB did not answer.")
        self.batches.append(batch)

    def prepare(self, tenant: str, thread_id: str, run_id: str, batch: Batch) -> Put:
        return Put(key=Key("E", "1"), item={"batch": batch}, condition=ABSENT)

    @property
    def frames(self) -> list[Frame]:
        return [frame for batch in self.batches for frame in batch.frames]


def emitter(log: Log, *, written: Checkpoints | None = None, lease: Any = None, **telling: Any) -> Emitter:
    known = Lease(run="r", epoch=EPOCH, attempt=1, **(lease or {})) if not isinstance(lease, Lease) else lease
    claim = Claim(tenant=TENANT, thread_id="t", run_id="r", owner="w", lease=known)
    return Emitter(claim, Telling(**telling), cast("Events", log), written, lambda: NOW, SILENT)


def rest(one: Emitter, *frames: tuple[str, bytes]) -> Batch:
    """The batch that goes with the finish."""
    (put,) = one.rest(*frames)
    batch: Batch = put.item["batch"]
    return batch


def seqs(frames: Any) -> list[int]:
    return [frame.position.seq for frame in frames]


async def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 10
    while not true():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitters, "FLUSH_S", 0.01)


@pytest.fixture
def log() -> Log:
    return Log()


# ------------------------------------------------------------------ batches


async def test_frames_gather_for_a_batch(log: Log) -> None:
    one = emitter(log)
    await one.begin()
    one.emit("updates", b"{}")
    one.emit("updates", b"{}", ("sub:1",))
    assert log.batches == []
    await until(lambda: bool(log.batches))
    (batch,) = log.batches
    assert [str(frame.position) for frame in batch.frames] == ["4-1", "4-2", "4-3"]
    assert [frame.mode for frame in batch.frames] == [METADATA, "updates", "updates"]
    assert (batch.attempt, batch.upto, batch.frames[2].namespace) == (1, None, ("sub:1",))
    await one.close()


async def test_the_log_says_when_tasks_begin_and_end_and_of_nothing_else(log: Log) -> None:
    one = emitter(log)
    await one.begin()
    one.emit("steps", b'{"id":"t"}')
    one.emit("updates", b"{}")
    assert [frame.at for frame in rest(one).frames] == [None, NOW, None]
    await one.close()


async def test_much_is_not_kept_waiting(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitters, "FLUSH_S", 60)
    one = emitter(log)
    one.emit("updates", b"x" * emitters.FLUSH_BYTES)
    await until(lambda: bool(log.batches))
    await one.close()


async def test_the_first_token_after_a_silence_is_written_at_once_and_those_after_it_gather(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitters, "FLUSH_S", 60)
    one = emitter(log)
    one.emit("updates", b"1")
    await asyncio.sleep(0.02)
    assert log.batches == [], "what is no token waits for more"
    one.emit("messages", b"[]")
    await until(lambda: seqs(log.frames) == [1, 2])
    one.emit("messages", b"[]")
    one.emit("custom", b"1")
    await asyncio.sleep(0.02)
    assert seqs(log.frames) == [1, 2]
    await one.close()


# ------------------------------------------------------------------ a log that is slow


async def test_who_speaks_faster_than_the_log_is_written_waits(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitters, "MOST_WAITING_BYTES", 1_000)
    log.failures = 3
    one, most = emitter(log), 0
    for _ in range(20):
        one.emit("custom", b"x" * 300)
        most = max(most, one._size)
        await one.room()
        assert one._size <= 1_000
    assert log.tried > log.failures
    assert most < 2_000
    await one.close()
    assert seqs([*log.frames, *rest(one).frames]) == list(range(1, 21)), "nothing is lost"


async def test_values_that_a_reference_stands_for_count_until_their_checkpoint_is_written(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitters, "MOST_WAITING_BYTES", 1_000)
    table = Table()
    one = emitter(log, written=table)
    one.emit("values", b"x" * 2_000, opens=True)
    await one.room()  # its checkpoint is named by what comes next
    one.refer((), at("c1"))
    waiting = asyncio.create_task(one.room())
    await asyncio.sleep(0.03)
    assert not waiting.done()
    table.there.add(("", "c1"))
    await asyncio.wait_for(waiting, 10)
    assert seqs(log.frames) == [1]
    await one.close()


async def test_who_waits_for_a_log_is_let_go_when_the_run_is_lost(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitters, "MOST_WAITING_BYTES", 1)
    log.failures = 1_000
    one = emitter(log)
    one.emit("updates", b"1")
    waiting = asyncio.create_task(one.room())
    await until(lambda: log.tried > 0)
    one.stop()
    await asyncio.wait_for(waiting, 10)


# ------------------------------------------------------------------ who is told


async def test_the_first_event_says_which_attempt_it_is(log: Log) -> None:
    heard: list[Frame] = []
    one = emitter(log, listener=heard.append)
    await one.begin()
    assert (heard[0].mode, orjson.loads(heard[0].data or b"")) == (METADATA, {"run_id": "r", "attempt": 1})
    assert log.asked == 0
    await one.close()


async def test_a_listener_gets_everything_at_once_and_in_the_same_order(log: Log) -> None:
    heard: list[Frame] = []
    one = emitter(log, listener=heard.append, tokens=False)
    for mode in ("updates", "messages", "custom", "values"):
        one.emit(mode, b"{}")
    assert seqs(heard) == [1, 2, 3, 4]
    await one.close()
    assert seqs(rest(one).frames) == [1, 4]


async def test_without_a_log_only_the_listener_is_told(log: Log) -> None:
    heard: list[Frame] = []
    one = emitter(log, listener=heard.append, logged=False)
    await one.begin()
    one.emit("updates", b"x" * emitters.FLUSH_BYTES)
    await asyncio.sleep(0.03)
    await one.close()
    assert (seqs(heard), log.tried, one.rest((END, b"{}"))) == ([1, 2], 0, [])


def test_nobody_is_told_anything_when_nobody_listens(log: Log) -> None:
    assert not emitter(log, logged=False).active
    assert emitter(log).active
    assert emitter(log, logged=False, listener=lambda _: None).active


async def test_tokens_are_logged_from_when_somebody_follows(log: Log) -> None:
    one = emitter(log, tokens=False)
    one.emit("messages", b"[]")
    one.watched()
    one.emit("messages", b"[]")
    one.emit("custom", b"1")
    await one.close()
    assert seqs(rest(one).frames) == [2, 3]


async def test_a_batch_that_could_not_be_written_goes_with_the_next(log: Log) -> None:
    log.failures = 2
    one = emitter(log)
    one.emit("updates", b"1")
    await until(lambda: log.tried == 1)
    one.emit("updates", b"2")
    await until(lambda: bool(log.batches))
    assert seqs(log.frames) == [1, 2]
    await one.close()


# ------------------------------------------------------------------ the finish


async def test_what_is_left_goes_with_the_finish(log: Log) -> None:
    one = emitter(log)
    one.emit("updates", b"1")
    await until(lambda: bool(log.batches))
    one.emit("updates", b"2")
    await one.close()
    batch = rest(one, (ERROR, b"{}"), (END, b"{}"))
    assert [(frame.position.seq, frame.mode) for frame in batch.frames if frame.position.seq > 2] == [
        (3, ERROR),
        (4, END),
    ]
    assert seqs(log.frames)[0] == 1
    assert sorted({*seqs(log.frames), *seqs(batch.frames)}) == [1, 2, 3, 4]


async def test_after_the_close_nothing_is_written_by_itself(log: Log) -> None:
    one = emitter(log)
    one.emit("updates", b"1")
    await one.close()
    await asyncio.sleep(0.03)
    assert log.batches == []
    assert seqs(rest(one).frames) == [1]


async def test_every_try_of_the_finish_gives_the_same_positions(log: Log) -> None:
    one = emitter(log)
    one.emit("updates", b"1")
    await one.close()
    tries = [rest(one, (END, b"1")), rest(one, (ERROR, b"e"), (END, b"2"))]
    assert [seqs(batch.frames) for batch in tries] == [[1, 2], [1, 2, 3]]


async def test_the_last_words_are_told_once_and_as_they_were_logged(log: Log) -> None:
    heard: list[Frame] = []
    one = emitter(log, listener=heard.append)
    one.emit("updates", b"1")
    await one.close()
    batch = rest(one, (END, b"{}"))
    assert seqs(heard) == [1]
    one.tell((END, b"{}"))
    assert tuple(heard) == batch.frames


# ------------------------------------------------------------------ references


@dataclass
class Table:
    """Which checkpoints are in the table."""

    there: set[tuple[str, str]] = field(default_factory=set)

    def written(self, namespace: str, checkpoint_id: str, /) -> bool:
        return (namespace, checkpoint_id) in self.there

    def shown(self, namespace: str, checkpoint_id: str, /) -> frozenset[str]:
        return frozenset(("n",))


def at(checkpoint_id: str, namespace: str = "") -> Reference:
    return Reference(namespace=namespace, checkpoint_id=checkpoint_id, names=("n",))


async def test_a_reference_waits_for_its_checkpoint_and_holds_back_what_follows(log: Log) -> None:
    table = Table()
    one = emitter(log, written=table)
    one.emit("updates", b"1")
    one.emit("values", b"whole", reference=at("c1"), rest=b"beside")
    one.emit("updates", b"3")
    await until(lambda: bool(log.batches))
    await asyncio.sleep(0.03)
    assert seqs(log.frames) == [1]
    table.there.add(("", "c1"))
    await until(lambda: len(log.batches) == 2)
    assert [(frame.data, frame.reference) for frame in log.batches[1].frames] == [
        (b"beside", at("c1")),
        (b"3", None),
    ]
    await one.close()


async def test_who_listens_gets_values_and_the_log_their_checkpoint(log: Log) -> None:
    heard: list[Frame] = []
    one = emitter(log, written=Table(), listener=heard.append)
    one.emit("values", b"whole", reference=at("c1"))
    await one.close()
    assert heard == [Frame(position=Position(EPOCH, 1), mode="values", data=b"whole")]
    (logged,) = rest(one).frames
    assert (logged.data, logged.reference) == (None, at("c1"))


async def test_values_wait_until_their_checkpoint_is_known(log: Log) -> None:
    table = Table({("", "c1"), ("sub", "c2")})
    one = emitter(log, written=table)
    one.emit("values", b"outer", opens=True)
    one.emit("values", b"inner", ("sub:1",), opens=True)
    await asyncio.sleep(0.03)
    assert log.batches == []
    one.refer(("sub:1",), at("c2", "sub"))
    await asyncio.sleep(0.03)
    assert log.batches == []
    one.refer((), at("c1"))
    await until(lambda: len(log.frames) == 2)
    assert [(frame.data, frame.reference) for frame in log.frames] == [
        (None, at("c1")),
        (None, at("c2", "sub")),
    ]
    await one.close()


async def test_values_are_found_again_after_what_was_before_them_is_written(log: Log) -> None:
    one = emitter(log, written=Table({("", "c1")}))
    one.emit("updates", b"1")
    one.emit("updates", b"2")
    one.emit("values", b"3", opens=True)
    await until(lambda: seqs(log.frames) == [1, 2])
    one.refer((), at("c1"))
    await until(lambda: len(log.frames) == 3)
    assert (log.frames[2].data, log.frames[2].reference) == (None, at("c1"))
    await one.close()


async def test_values_whose_checkpoint_never_comes_go_whole_with_the_finish(log: Log) -> None:
    one = emitter(log, written=Table())
    one.emit("values", b"whole", opens=True)
    await one.close()
    (frame,) = rest(one).frames
    assert (frame.data, frame.reference) == (b"whole", None)


async def test_a_checkpoint_without_values_concerns_nobody(log: Log) -> None:
    one = emitter(log, written=Table())
    one.emit("updates", b"1")
    one.refer((), at("c1"))
    await one.close()
    assert rest(one).frames[0].reference is None


async def test_without_checkpoints_values_are_logged_whole(log: Log) -> None:
    one = emitter(log)
    one.emit("values", b"whole", reference=at("c1"), rest=b"beside")
    one.emit("values", b"more", opens=True)
    await until(lambda: len(log.frames) == 2)
    assert [(frame.data, frame.reference) for frame in log.frames] == [(b"whole", None), (b"more", None)]
    await one.close()


# ------------------------------------------------------------------ attempts


BEFORE = Batch(
    frames=(Frame(position=Position(2, 1), mode=METADATA), Frame(position=Position(2, 7), mode="x")),
    attempt=2,
)


@pytest.mark.parametrize("lease", [{"fed": True}, {"attempt": 2}])
async def test_a_later_claim_goes_on_from_where_the_one_before_ended(log: Log, lease: dict[str, Any]) -> None:
    log.before = BEFORE
    heard: list[Frame] = []
    one = emitter(log, lease=Lease(run="r", epoch=EPOCH, **{"attempt": 1, **lease}), listener=heard.append)
    await one.begin()
    assert len(log.batches) == 1, "the cut is written before anything is done"
    one.emit("updates", b"1")
    await until(lambda: len(log.batches) == 2)
    await one.close()
    assert orjson.loads(heard[0].data or b"")["attempt"] == 3
    assert [(batch.attempt, batch.upto) for batch in log.batches] == [(3, Position(2, 7)), (3, None)]


async def test_a_claim_that_follows_one_that_said_nothing_is_the_first_and_lets_nothing_of_it_count(
    log: Log,
) -> None:
    one = emitter(log, lease=Lease(run="r", epoch=EPOCH, attempt=2))
    await one.begin()
    await one.close()
    (batch,) = log.batches
    assert (log.asked, batch.attempt, batch.upto) == (1, 1, Position(0, 0))


async def test_the_first_claim_of_a_run_asks_nobody(log: Log) -> None:
    one = emitter(log)
    await one.begin()
    await one.close()
    assert (log.asked, rest(one).upto) == (0, None)
