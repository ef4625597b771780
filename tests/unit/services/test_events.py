"""The event log: batches as they are stored, and what a reader gets of them from any position."""

from __future__ import annotations

import os
from typing import Any

import orjson
import pytest
from botocore.exceptions import EndpointConnectionError
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from crewline.checkpoints.records import Value
from crewline.errors import CorruptRecord, Unavailable
from crewline.models.events import END, METADATA, START, Batch, Frame, Position, Reference
from crewline.services.events import Events
from crewline.services.runs import RETENTION_S
from crewline.store import events as stored
from crewline.store import keys
from crewline.store.changes import Put, Update
from tests.unit.store.worlds import NOW, TENANT, Calls, World, sealed, uuid6

T, R = "t", "r"
SERDE = JsonPlusSerializer()


@pytest.fixture
def log(world: World) -> Events:
    return Events(world.table, world.blobs, world.records, world.clock)


def frame(seq: int, mode: str = "updates", value: Any = None, *, epoch: int = 1, **more: Any) -> Frame:
    data = orjson.dumps(value if value is not None else {"seq": seq})
    return Frame(position=Position(epoch, seq), mode=mode, **{"data": data, **more})


def write(log: Events, *frames: Frame, **more: Any) -> None:
    log.write(TENANT, T, R, Batch(frames=frames, **more))


def read(log: Events, after: Position = START) -> list[Frame]:
    return log.after(TENANT, T, R, after)


def positions(log: Events, after: Position = START) -> list[str]:
    return [str(one.position) for one in read(log, after)]


def value(content: Any) -> Value:
    tag, data = SERDE.dumps_typed(content)
    return (tag, data)


def checkpoint(world: World, number: int, namespace: str = "", **channels: Any) -> None:
    """Write a checkpoint with these values."""
    entry = sealed(
        number,
        namespace=namespace,
        channels={name: value(content) for name, content in channels.items()},
        envelope={"v": 4, "ts": "", "channel_versions": dict.fromkeys(channels, 1), "versions_seen": {}},
    )
    world.table.write(world.records.put(TENANT, T, entry))


def reference(number: int, *names: str, namespace: str = "", path: tuple[str, ...] = ()) -> Reference:
    return Reference(namespace=namespace, checkpoint_id=uuid6(number), names=names, path=path)


# ------------------------------------------------------------------ batches


def test_a_batch_is_read_as_it_was_written(log: Events) -> None:
    frames = [
        frame(1, METADATA),
        frame(2, namespace=("sub:1", "deep:2")),
        frame(3, "steps", at=NOW),
        frame(4, "custom", data=None),
        frame(5, END),
    ]
    write(log, *frames[:2], attempt=3, upto=Position(0, 9))
    write(log, *frames[2:])
    assert read(log) == frames


def test_a_batch_lies_at_the_position_of_its_last_frame_and_for_eight_days(world: World, log: Events) -> None:
    write(log, frame(1), frame(2), attempt=2, upto=Position(0, 7))
    item = world.table.get(keys.event(TENANT, R, 1, 2))
    assert item is not None
    assert item[keys.TTL] == NOW // 1000 + stored.KEPT_S
    assert stored.KEPT_S > RETENTION_S, "a run that can be read can be told"
    last = log.last(TENANT, T, R)
    assert last is not None
    assert (last.attempt, last.upto, last.frames) == (2, Position(0, 7), (frame(1), frame(2)))


def test_a_log_that_nobody_wrote_is_empty(log: Events) -> None:
    assert read(log) == []
    assert log.last(TENANT, T, R) is None


def test_the_last_batch_is_that_of_the_highest_epoch(log: Events) -> None:
    write(log, frame(900))
    write(log, frame(1, epoch=2), attempt=2)
    last = log.last(TENANT, T, R)
    assert last is not None
    assert last.attempt == 2


def test_a_reader_goes_on_also_within_a_batch(log: Events) -> None:
    write(log, frame(1), frame(2), frame(3))
    write(log, frame(4))
    write(log, frame(1, epoch=2))
    assert positions(log, Position(1, 2)) == ["1-3", "1-4", "2-1"]
    assert positions(log, Position(1, 4)) == ["2-1"]
    assert positions(log, Position(2, 1)) == []


def test_positions_are_ordered_by_number(log: Events) -> None:
    for epoch, seq in ((10, 2), (9, 10), (9, 9), (10, 10)):
        write(log, frame(seq, epoch=epoch))
    assert positions(log) == ["9-9", "9-10", "10-2", "10-10"]


def test_runs_have_logs_of_their_own(log: Events) -> None:
    write(log, frame(1))
    assert log.after(TENANT, T, "other", START) == []
    assert log.after("other", T, R, START) == []


def test_a_batch_that_is_sent_twice_is_there_once(world: World, log: Events) -> None:
    with Calls(world.cloud.dynamodb, "PutItem") as calls:
        calls.twice = True
        write(log, frame(1))
    write(log, frame(1))
    assert positions(log) == ["1-1"]


def test_a_batch_whose_answer_was_lost_comes_again_in_a_larger_one(world: World, log: Events) -> None:
    write(log, frame(1), frame(2))
    write(log, frame(1), frame(2), frame(3))
    write(log, frame(3), frame(4))
    assert positions(log) == ["1-1", "1-2", "1-3", "1-4"]
    assert positions(log, Position(1, 1)) == ["1-2", "1-3", "1-4"]


def test_a_table_that_does_not_answer_is_told(world: World, log: Events) -> None:
    with Calls(world.cloud.dynamodb, "PutItem") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://db")] * 50
        with pytest.raises(Unavailable):
            write(log, frame(1))


def test_a_small_batch_needs_no_bucket(world: World) -> None:
    log = Events(world.table, None, world.records, world.clock)
    write(log, frame(1))
    assert positions(log) == ["1-1"]
    assert world.objects() == []


def test_a_large_batch_is_in_s3(world: World, log: Events) -> None:
    large = frame(1, value=os.urandom(stored.LARGEST_INLINE).hex())
    write(log, large, frame(2))
    assert len(world.objects()) == 1
    item = world.table.get(keys.event(TENANT, R, 1, 2))
    assert item is not None
    assert "body" not in item
    assert read(log) == [large, frame(2)]
    last = log.last(TENANT, T, R)
    assert last is not None
    assert last.frames == (large, frame(2))


def test_a_large_batch_without_a_bucket_is_told(world: World, log: Events) -> None:
    write(log, frame(1, value=os.urandom(stored.LARGEST_INLINE).hex()))
    with pytest.raises(CorruptRecord, match="no bucket"):
        read(Events(world.table, None, world.records, world.clock))


@pytest.mark.parametrize("body", [b"", b"\x01", b"\x01nonsense", b"\x02"])
def test_a_batch_that_does_not_decode_is_told(world: World, log: Events, body: bytes) -> None:
    write(log, frame(1))
    world.table.write(Update(key=keys.event(TENANT, R, 1, 1), set={"body": body}))
    with pytest.raises(CorruptRecord):
        read(log)


def test_the_write_of_a_batch_may_be_part_of_a_transaction(world: World, log: Events) -> None:
    put = log.prepare(TENANT, T, R, Batch(frames=(frame(1),)))
    assert isinstance(put, Put)
    world.table.transact([put])
    assert positions(log) == ["1-1"]


# ------------------------------------------------------------------ attempts


def test_what_an_epoch_wrote_after_the_next_had_begun_is_left_out(log: Events) -> None:
    write(log, frame(1), frame(2))
    write(log, frame(1, epoch=2), attempt=2, upto=Position(1, 2))
    write(log, frame(3), frame(4))  # too late
    assert positions(log) == ["1-1", "1-2", "2-1"]
    assert positions(log, Position(1, 1)) == ["1-2", "2-1"]
    assert positions(log, Position(1, 2)) == ["2-1"]


def test_a_late_batch_that_holds_known_frames_gives_only_those(log: Events) -> None:
    write(log, frame(1))
    write(log, frame(1, epoch=2), attempt=2, upto=Position(1, 1))
    write(log, frame(1), frame(2))
    assert positions(log) == ["1-1", "2-1"]


def test_every_later_epoch_cuts_those_before(log: Events) -> None:
    write(log, frame(1))
    write(log, frame(1, epoch=2), attempt=2, upto=Position(1, 1))
    write(log, frame(1, epoch=5), attempt=3, upto=Position(2, 1))
    write(log, frame(2))
    write(log, frame(2, epoch=2))
    assert positions(log) == ["1-1", "2-1", "5-1"]


# ------------------------------------------------------------------ references


def test_a_reference_is_rendered_from_its_checkpoint(world: World, log: Events) -> None:
    checkpoint(world, 1, n=1, log=["a"])
    write(log, frame(1, "values", data=None, reference=reference(1, "log", "n")))
    (shown,) = read(log)
    assert shown.reference is None
    assert orjson.loads(shown.data or b"") == {"n": 1, "log": ["a"]}


def test_a_reference_shows_the_channels_that_it_names(world: World, log: Events) -> None:
    checkpoint(world, 1, n=1, secret=2)
    write(log, frame(1, "values", data=None, reference=reference(1, "n", "unset")))
    assert read(log)[0].data == b'{"n":1}'


def test_what_a_frame_has_beside_its_values_is_kept(world: World, log: Events) -> None:
    checkpoint(world, 1, n=1)
    question = {"__interrupt__": [{"value": "sure?", "id": "i"}]}
    write(log, frame(1, "values", question, reference=reference(1, "n")))
    assert orjson.loads(read(log)[0].data or b"") == {"n": 1, **question}


@pytest.mark.parametrize("path", [("values",), ("payload", "values")])
def test_values_are_put_where_the_frame_has_them(world: World, log: Events, path: tuple[str, ...]) -> None:
    checkpoint(world, 1, n=1)
    inner: dict[str, Any] = {"values": None, "next": ["b"]}
    outer = {"payload": inner, "step": 3} if path[0] == "payload" else inner
    write(log, frame(1, "debug", outer, reference=reference(1, "n", path=path)))
    shown = orjson.loads(read(log)[0].data or b"")
    assert (shown["payload"] if path[0] == "payload" else shown) == {"values": {"n": 1}, "next": ["b"]}
    assert shown.get("step") == outer.get("step")


def test_the_states_of_a_namespace_are_read_in_one_pass(world: World, log: Events) -> None:
    for number in range(1, 6):
        checkpoint(world, number, n=number)
    checkpoint(world, 1, "sub:1", n=-1)
    frames = [frame(seq, "values", data=None, reference=reference(seq, "n")) for seq in (2, 4, 5)]
    write(log, *frames, frame(6, "values", data=None, reference=reference(1, "n", namespace="sub:1")))
    with Calls(world.cloud.dynamodb, "Query") as reads:
        shown = read(log)
    assert [orjson.loads(one.data or b"")["n"] for one in shown] == [2, 4, 5, -1]
    assert len(reads.requests) == 3  # the log, and one of each namespace


def test_a_missing_checkpoint_holds_back_what_follows(world: World, log: Events) -> None:
    checkpoint(world, 1, n=1)
    write(
        log,
        frame(1, "values", data=None, reference=reference(1, "n")),
        frame(2),
        frame(3, "values", data=None, reference=reference(2, "n")),
        frame(4),
    )
    assert positions(log) == ["1-1", "1-2"]
    assert positions(log, Position(1, 2)) == []
    checkpoint(world, 2, n=2)
    shown = read(log, Position(1, 2))
    assert [str(one.position) for one in shown] == ["1-3", "1-4"]
    assert shown[0].data == b'{"n":2}'
