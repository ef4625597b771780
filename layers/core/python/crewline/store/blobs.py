"""Large values in S3, each an object of one item of its thread, checked when they are read.

A name is the digest of the bytes and a random part: nothing is ever written under the name of an
object that somebody is about to delete.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from crewline.errors import CorruptRecord, Unavailable
from crewline.store import keys

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_DELETES: Final = 1_000
"""Objects that one request of S3 removes."""


class Blobs:
    """The bucket and the client that reaches it; safe for many threads."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, tenant: str, thread_id: str, content: bytes) -> str:
        """Store bytes before anything points at them; what nothing points at goes with the thread.

        Returns:
            Their name, by which `get` finds them: the one item that has it owns them.

        Raises:
            Unavailable: S3 did not take them.
        """
        name = f"{hashlib.sha256(content).hexdigest()}-{uuid4().hex[:16]}"
        try:
            self._client.put_object(Bucket=self._bucket, Key=keys.blob(tenant, thread_id, name), Body=content)
        except (ClientError, BotoCoreError) as exc:
            raise Unavailable("S3 did not take a large value; try again in a moment.") from exc
        return name

    def get(self, tenant: str, thread_id: str, name: str) -> bytes:
        """Read bytes and check them against their digest.

        Raises:
            CorruptRecord: They are not there, or are not what was stored.
            Unavailable: S3 did not answer.
        """
        key = keys.blob(tenant, thread_id, name)
        try:
            content = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except ClientError as exc:
            if exc.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise CorruptRecord(
                    f"Thread {thread_id} points at the object {key}, which is missing."
                ) from exc
            raise Unavailable("S3 did not answer; try again in a moment.") from exc
        except BotoCoreError as exc:
            raise Unavailable("S3 did not answer; try again in a moment.") from exc
        if hashlib.sha256(content).hexdigest() != name.partition("-")[0]:
            raise CorruptRecord(f"Thread {thread_id} points at the object {key}, whose content was altered.")
        return content

    def list(self, tenant: str, thread_id: str) -> Sequence[str]:
        """List the object keys of a thread's blobs.

        Raises:
            Unavailable: S3 did not answer.
        """
        return list(self.sizes(tenant, thread_id))

    def sizes(self, tenant: str, thread_id: str) -> dict[str, int]:
        """Tell the bytes of each of a thread's blobs, by object key.

        Raises:
            Unavailable: S3 did not answer.
        """
        prefix = keys.blob_prefix(tenant, thread_id)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}
        except (ClientError, BotoCoreError) as exc:
            raise Unavailable("S3 did not answer; try again in a moment.") from exc

    def delete(self, object_keys: Sequence[str]) -> None:
        """Remove objects; repeatable.

        Raises:
            Unavailable: S3 did not answer, or left objects over.
        """
        for start in range(0, len(object_keys), _DELETES):
            objects: Sequence[ObjectIdentifierTypeDef] = [
                {"Key": key} for key in object_keys[start : start + _DELETES]
            ]
            try:
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )
            except (ClientError, BotoCoreError) as exc:
                raise Unavailable("S3 did not answer; try again in a moment.") from exc
            if left := answer.get("Errors"):
                raise Unavailable(f"S3 left {len(left)} objects undeleted; try again in a moment.")
