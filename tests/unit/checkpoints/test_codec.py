"""Records as bytes: they survive, and what is not a record is refused without harm."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

import ormsgpack
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from crewline.checkpoints.codec import (
    LARGEST_BODY,
    LIGHTEST_LIMIT,
    LONGEST_CHAIN,
    Base,
    Opened,
    open_writes,
    seal_record,
    seal_writes,
)
from crewline.checkpoints.dictionary import DICTIONARY, compress
from crewline.checkpoints.records import Elements, LateWrites, Record, Write
from crewline.errors import CorruptRecord

text = st.text(st.characters(codec="utf-8"), max_size=20)
blobs = st.tuples(st.sampled_from(["msgpack", "null", "bytes"]), st.binary(max_size=50))
elements = st.integers(-100, 10**6).map(ormsgpack.packb) | text.map(ormsgpack.packb)
values = blobs | st.lists(elements, min_size=1, max_size=6).map(lambda items: Elements(tuple(items)))
writes = st.builds(
    Write, task_id=text, task_path=text, index=st.integers(-4, 1000), channel=text, value=blobs
)
envelopes = st.dictionaries(
    text,
    st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | text,
        lambda one: st.dictionaries(text, one) | st.lists(one),
    ),
    max_size=4,
)
records = st.builds(
    Record,
    namespace=text,
    checkpoint_id=st.just("c"),
    parent_id=st.none() | text,
    envelope=envelopes,
    metadata=blobs,
    channels=st.dictionaries(text, values, max_size=5),
    defaults=st.dictionaries(text, blobs, max_size=3),
    parent_writes=st.lists(writes, max_size=4).map(tuple),
)
RECORD = Record(
    namespace="",
    checkpoint_id="c",
    parent_id="p",
    envelope={"v": 4, "ts": "2026", "channel_versions": {"n": 1}},
    metadata=("msgpack", b"\x80"),
    channels={"n": ("bytes", b"value" * 20)},
    parent_writes=(Write(task_id="a", task_path="", index=0, channel="n", value=("null", b"")),),
)
LATE = LateWrites(namespace="", checkpoint_id="c", writes=RECORD.parent_writes)


def encode_record(record: Record, base: Base | None = None) -> bytes:
    return seal_record(record, base)[0].body


def decode_record(checkpoint_id: str, body: bytes, base: Base | None = None) -> Record:
    return Opened(checkpoint_id, body).build(base)[0]


def encode_writes(late: LateWrites) -> bytes:
    return seal_writes(late).body


def packed(value: object) -> bytes:
    return b"\x01" + compress(ormsgpack.packb(value))


@given(records)
def test_a_record_survives(record: Record) -> None:
    assert decode_record("c", encode_record(record)) == record


@given(st.lists(writes, min_size=1, max_size=6).map(tuple))
def test_late_writes_survive(late: tuple[Write, ...]) -> None:
    assert open_writes("c", encode_writes(LateWrites(namespace="", checkpoint_id="c", writes=late))) == late


def test_the_same_record_is_the_same_bytes() -> None:
    assert encode_record(RECORD) == encode_record(RECORD)


def test_a_record_that_was_cut_off_is_corrupt() -> None:
    body = encode_record(RECORD)
    for length in range(len(body)):
        with pytest.raises(CorruptRecord, match="Checkpoint c does not decode"):
            decode_record("c", body[:length])


@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_are_corrupt(body: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode_record("c", body)
    with pytest.raises(CorruptRecord):
        open_writes("c", b"\x01" + body)


@given(
    st.recursive(
        st.none() | st.integers(-5, 5) | text | st.binary(max_size=5),
        lambda one: st.lists(one, max_size=8) | st.dictionaries(text, one, max_size=4),
    )
)
def test_other_data_in_the_right_wrapping_is_corrupt(value: object) -> None:
    with pytest.raises(CorruptRecord):
        decode_record("c", packed(value), (RECORD, seal_record(RECORD)[1]))


@pytest.mark.parametrize("value", [5, None, {"a": 1}, [1], [[1, 2]], [["a", "", 0, "n", "null"]], "text"])
def test_other_data_instead_of_late_writes_is_corrupt(value: object) -> None:
    with pytest.raises(CorruptRecord, match="Checkpoint c does not decode"):
        open_writes("c", packed(value))


@pytest.mark.parametrize("version", [b"\x00", b"\x02", b"("])
def test_a_version_that_this_code_does_not_know_is_corrupt(version: bytes) -> None:
    with pytest.raises(CorruptRecord):
        decode_record("c", version + encode_record(RECORD)[1:])
    with pytest.raises(CorruptRecord):
        open_writes("c", version + encode_writes(LATE)[1:])


def test_a_body_that_claims_to_unfold_beyond_the_limit_is_refused_before_it_is_unfolded() -> None:
    frame = bytearray(b"\x28\xb5\x2f\xfd\xe0") + (LARGEST_BODY + 1).to_bytes(8, "little") + b"\x01\x00\x00"
    assert zstandard.frame_content_size(bytes(frame)) == LARGEST_BODY + 1
    with pytest.raises(CorruptRecord) as caught:
        decode_record("c", b"\x01" + bytes(frame))
    assert "unbelievable size" in str(caught.value.__cause__)


def test_a_body_that_does_not_say_how_far_it_unfolds_is_refused() -> None:
    streamed = zstandard.ZstdCompressor(dict_data=DICTIONARY, write_content_size=False).compressobj()
    bomb = streamed.compress(bytes(10_000_000)) + streamed.flush()
    assert len(bomb) < 2_000
    with pytest.raises(CorruptRecord):
        decode_record("c", b"\x01" + bomb)


def test_what_follows_a_record_is_corrupt_and_never_unfolded() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    for extra in (b"x", bomb):
        with pytest.raises(CorruptRecord):
            decode_record("c", encode_record(RECORD) + extra)


def test_a_record_of_which_one_byte_was_altered_is_corrupt() -> None:
    body = encode_record(RECORD)
    unnoticed = []
    for place in range(len(body)):
        altered = bytearray(body)
        altered[place] ^= 0x15
        with suppress(CorruptRecord):
            decode_record("c", bytes(altered))
            unnoticed.append(place)
    assert unnoticed == []


# ------------------------------------------------------------------ differences


@given(records, records)
def test_a_difference_to_any_record_gives_the_record_back(parent: Record, record: Record) -> None:
    base = (parent, seal_record(parent)[1])
    sealed, link = seal_record(record, base)
    again, found = Opened("c", sealed.body).build(base)
    assert again == record
    assert found == link


@given(st.lists(elements, max_size=12), st.lists(elements, max_size=12))
def test_a_list_that_changed_anywhere_is_given_back(before: list[bytes], after: list[bytes]) -> None:
    parent, child = (replace(RECORD, channels={"log": Elements(tuple(items))}) for items in (before, after))
    base = (parent, seal_record(parent)[1])
    assert decode_record("c", encode_record(child, base), base) == child


def test_a_difference_holds_only_what_is_new() -> None:
    items = tuple(ormsgpack.packb(f"message {number} " * 20) for number in range(400))
    parent = replace(RECORD, channels={"log": Elements(items), "big": ("bytes", bytes(range(256)) * 20)})
    child = replace(parent, channels={**parent.channels, "log": Elements((*items, ormsgpack.packb("new")))})
    sealed, _ = seal_record(child, (parent, seal_record(parent)[1]))
    assert not sealed.root
    assert len(sealed.body) < 200


def test_a_list_is_spelled_as_the_serialiser_spells_it() -> None:
    for count in (0, 1, 15, 16, 70_000):
        items = [number % 7 for number in range(count)]
        assert Elements(tuple(map(ormsgpack.packb, items))).blob == ("msgpack", ormsgpack.packb(items))


def test_a_chain_begins_anew_after_so_many_records() -> None:
    base: Base | None = None
    roots = []
    for number in range(2 * LONGEST_CHAIN + 1):
        sealed, link = seal_record(RECORD, base)
        roots += [number] if sealed.root else []
        base = (RECORD, link)
    assert roots == [0, LONGEST_CHAIN, 2 * LONGEST_CHAIN]


def test_a_chain_begins_anew_when_its_differences_outweigh_its_root() -> None:
    base: Base | None = None
    weight = 0
    for _ in range(LONGEST_CHAIN):  # of records too large for so many
        record = replace(RECORD, channels={"n": ("bytes", os.urandom(1_000))})
        sealed, link = seal_record(record, base)
        if base and sealed.root:
            break
        weight += len(sealed.body) if base else 0
        base = (record, link)
    assert LIGHTEST_LIMIT - 1_200 < weight <= LIGHTEST_LIMIT


def test_a_difference_without_its_parent_is_corrupt() -> None:
    body = encode_record(RECORD, (RECORD, seal_record(RECORD)[1]))
    with pytest.raises(CorruptRecord, match="builds on p, which is missing"):
        decode_record("c", body)


def test_a_difference_ends_with_its_root() -> None:
    sealed, link = seal_record(RECORD, expires_s=100)
    child, grown = seal_record(RECORD, (RECORD, link), expires_s=500)
    assert (sealed.expires_s, child.expires_s, grown.expires_s) == (100, 100, 100)
