"""Large values in S3: found by their content, checked when they are read."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from crewline.errors import CorruptRecord, Unavailable
from crewline.store import keys
from tests.unit.store.worlds import TENANT, Calls, World


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetObject")


def test_bytes_come_back(world: World) -> None:
    name = world.blobs.put(TENANT, "t", b"\x00large\xff")
    assert name.startswith(hashlib.sha256(b"\x00large\xff").hexdigest())
    assert world.blobs.get(TENANT, "t", name) == b"\x00large\xff"


def test_a_late_delete_does_not_hit_the_same_bytes_that_were_stored_since(world: World) -> None:
    world.blobs.put(TENANT, "t", b"x")
    found = world.blobs.list(TENANT, "t")
    again = world.blobs.put(TENANT, "t", b"x")

    world.blobs.delete(found)

    assert world.blobs.get(TENANT, "t", again) == b"x"


def test_an_altered_object_is_a_corrupt_record(world: World) -> None:
    digest = world.blobs.put(TENANT, "t", b"x")
    world.cloud.s3.put_object(Bucket=world.name, Key=keys.blob(TENANT, "t", digest), Body=b"y")
    with pytest.raises(CorruptRecord, match="altered"):
        world.blobs.get(TENANT, "t", digest)


def test_a_missing_object_is_a_corrupt_record(world: World) -> None:
    with pytest.raises(CorruptRecord, match="missing"):
        world.blobs.get(TENANT, "t", "0" * 64)


def test_another_thread_or_tenant_does_not_find_it(world: World) -> None:
    digest = world.blobs.put(TENANT, "t", b"x")
    for tenant, thread_id in ((TENANT, "u"), ("other", "t")):
        with pytest.raises(CorruptRecord):
            world.blobs.get(tenant, thread_id, digest)


@pytest.mark.parametrize(
    "failure", [error("SlowDown"), error("InternalError"), EndpointConnectionError(endpoint_url="s3")]
)
def test_a_bucket_that_does_not_answer_is_unavailable(world: World, failure: Exception) -> None:
    digest = world.blobs.put(TENANT, "t", b"x")
    with Calls(world.cloud.s3, "GetObject") as gets, Calls(world.cloud.s3, "PutObject") as puts:
        gets.failures, puts.failures = [failure], [failure]
        with pytest.raises(Unavailable):
            world.blobs.get(TENANT, "t", digest)
        with pytest.raises(Unavailable):
            world.blobs.put(TENANT, "t", b"y")


def test_all_blobs_of_a_thread_go_and_no_others(world: World) -> None:
    for content in (b"1", b"2", b"3"):
        world.blobs.put(TENANT, "t", content)
    kept = [keys.blob(tenant, "u", world.blobs.put(tenant, "u", b"1")) for tenant in (TENANT, "other")]
    world.blobs.delete(world.blobs.list(TENANT, "t"))
    assert sorted(world.objects()) == sorted(kept)
    world.blobs.delete(world.blobs.list(TENANT, "t"))


def test_an_object_that_s3_did_not_delete_is_not_forgotten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.blobs.put(TENANT, "t", b"1")

    def keeps(**arguments: Any) -> Any:
        found = arguments["Delete"]["Objects"][0]["Key"]
        return {
            "Errors": [{"Key": found, "Code": "InternalError", "Message": "We encountered an internal error"}]
        }

    monkeypatch.setattr(world.cloud.s3, "delete_objects", keeps)
    with pytest.raises(Unavailable):
        world.blobs.delete(world.blobs.list(TENANT, "t"))
