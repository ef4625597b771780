"""The one DynamoDB table: reads, single conditional writes, transactions.

botocore's errors end here. A refused condition is a `Refused` with the item that refused it; a
`TransactionConflict` is no refusal and is retried; everything that a later try may mend is
`Unavailable`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from crewline.errors import CrewlineError, TooLarge, Unavailable
from crewline.store.changes import Change, Check, Delete, Put, Update, Write
from crewline.store.items import Item, item_from_wire
from crewline.store.keys import PARTITION, SORT, Index, Key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CONFLICT_RETRIES: Final = 8
_BATCH: Final = 100
"""Items that one request can read."""
_CONFLICT_FLOOR_S: Final = 0.005
_CONFLICT_CEILING_S: Final = 0.2
_ALL_OLD: Final = "ALL_OLD"
_SERVER_FAULT: Final = 500
_PASSING: Final = frozenset(
    (
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "ThrottledException",
        "InternalServerError",
        "ServiceUnavailable",
        "LimitExceededException",
    )
)
"""Errors that a later try may mend."""
_CONFLICTS: Final = frozenset(
    ("TransactionCanceledException", "TransactionConflictException", "TransactionInProgressException")
)


class Refused(CrewlineError):
    """A condition did not hold; nothing was written.

    Always caught by a service, which decides again from the items as they are.
    """

    code = "refused"

    def __init__(self, items: Mapping[int, Item | None]) -> None:
        """Keep what refused: position in the transaction → the item as it is, None when absent."""
        super().__init__("A condition did not hold.")
        self.items = dict(items)


class Table:
    """The table and the client that reaches it; safe for many threads."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self._client = client
        self.name = name

    def get(self, key: Key) -> Item | None:
        """Read one item, strongly consistent.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        found = self._call("get_item", TableName=self.name, Key=_wire_key(key), ConsistentRead=True)
        return item_from_wire(found["Item"]) if "Item" in found else None

    def get_many(self, keys: Sequence[Key]) -> list[Item | None]:
        """Read many items, strongly consistent, a hundred a request.

        Returns:
            An item, or None, for each key, in the order of the keys.

        Raises:
            Unavailable: DynamoDB did not answer, or not for all of them.
        """
        found: dict[Key, Item] = {}
        for start in range(0, len(keys), _BATCH):
            wanted = [_wire_key(key) for key in dict.fromkeys(keys[start : start + _BATCH])]
            for attempt in range(CONFLICT_RETRIES + 1):
                request = {self.name: {"Keys": wanted, "ConsistentRead": True}}
                answer = self._call("batch_get_item", RequestItems=request)
                for wire in answer["Responses"].get(self.name, ()):
                    item = item_from_wire(wire)
                    found[Key(item[PARTITION], item[SORT])] = item
                wanted = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
                if not wanted:
                    break
                _pause(attempt)
            else:
                raise Unavailable("DynamoDB is too busy to read so many items; try again in a moment.")
        return [found.get(key) for key in keys]

    def query(
        self,
        partition: str,
        *,
        prefix: str = "",
        at_least: str | None = None,
        at_most: str | None = None,
        newest_first: bool = False,
        page: int | None = None,
        keys_only: bool = False,
        only: Sequence[str] = (),
    ) -> Iterator[Item]:
        """Read the items of a partition in the order of their sort keys, strongly consistent.

        Requests are made as the iterator is consumed.

        Args:
            partition: The partition key.
            prefix: Only sort keys that begin so.
            at_least: Only sort keys from this one on; begins with `prefix`.
            at_most: Only sort keys up to this one; begins with `prefix`.
            newest_first: Descending instead of ascending.
            page: Items per request, when a caller will need only a few: what is read is paid for.
            keys_only: Read just the keys (the cost is the same, the answer is smaller).
            only: Read just these attributes, likewise.

        Yields:
            The items.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        arguments: dict[str, Any] = {
            "TableName": self.name,
            "ConsistentRead": True,
            "ScanIndexForward": not newest_first,
            **_range(partition, prefix, at_least, at_most),
        }
        if wanted := (PARTITION, SORT) if keys_only else only:
            arguments["ProjectionExpression"] = ", ".join(f"#only_{name}" for name in wanted)
            arguments["ExpressionAttributeNames"] |= {f"#only_{name}": name for name in wanted}
        if page:
            arguments["Limit"] = page
        for items in self._pages(arguments):
            yield from map(item_from_wire, items)

    def query_index(self, index: Index, partition: str, *, at_most: str) -> Iterator[Key]:
        """Find the items of one partition of an index, in the order of its sort key.

        An index is a little behind its table and is never strongly consistent: what is found may
        have changed, so whoever decides something reads the item. Requests are made as the iterator
        is consumed.

        Args:
            index: The index.
            partition: The value of its partition key.
            at_most: Only up to this value of its sort key.

        Yields:
            The keys of the items in the table.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        arguments: dict[str, Any] = {
            "TableName": self.name,
            "IndexName": index.name,
            "KeyConditionExpression": "#pk = :pk AND #sk <= :high",
            "ExpressionAttributeNames": {"#pk": index.partition, "#sk": index.sort},
            "ExpressionAttributeValues": {":pk": {"S": partition}, ":high": {"S": at_most}},
        }
        for items in self._pages(arguments):
            for item in items:
                yield Key(item[PARTITION]["S"], item[SORT]["S"])

    def index_pages(
        self, index: Index, partition: str, *, newest_first: bool, page: int
    ) -> Iterator[list[str]]:
        """Read the sort keys of one partition of an index in order, a request for every page consumed.

        Raises:
            Unavailable: DynamoDB did not answer.
        """
        arguments = {
            "TableName": self.name,
            "IndexName": index.name,
            "KeyConditionExpression": "#pk = :pk",
            "ExpressionAttributeNames": {"#pk": index.partition},
            "ExpressionAttributeValues": {":pk": {"S": partition}},
            "ScanIndexForward": not newest_first,
            "Limit": page,
        }
        for items in self._pages(arguments):
            yield [item[index.sort]["S"] for item in items]

    def _pages(self, arguments: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
        while True:
            answer = self._call("query", **arguments)
            yield answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def write(self, change: Write) -> Item:
        """Carry out one write.

        Returns:
            The item after an `Update`; empty for the other kinds.

        Raises:
            Refused: The condition did not hold; `items[0]` is the item as it is.
            TooLarge: The item is over DynamoDB's limit.
            Unavailable: DynamoDB did not answer; the write may or may not have landed.
        """
        operation = {Put: "put_item", Update: "update_item", Delete: "delete_item"}[type(change)]
        arguments = {"TableName": self.name, **change.wire(), "ReturnValuesOnConditionCheckFailure": _ALL_OLD}
        if isinstance(change, Update):
            arguments["ReturnValues"] = "ALL_NEW"
        for attempt in range(CONFLICT_RETRIES + 1):
            try:
                answer = self._call(operation, **arguments)
                return item_from_wire(answer["Attributes"]) if "Attributes" in answer else {}
            except ClientError as exc:
                self._judge(exc, attempt)
        raise _still_conflicting()

    def transact(self, changes: Sequence[Change]) -> None:
        """Carry out up to 100 writes, all or none.

        The request is spelled once and sent again as the same bytes with the same token, so a
        retry after an ambiguous end can neither double nor mix.

        Raises:
            Refused: A condition did not hold; `items` has the items of the writes that refused.
            TooLarge: An item, or all of them together, are over DynamoDB's limits.
            Unavailable: DynamoDB did not answer; the transaction may or may not have landed.
        """
        items = [
            {
                _member(change): {
                    "TableName": self.name,
                    **change.wire(),
                    "ReturnValuesOnConditionCheckFailure": _ALL_OLD,
                }
            }
            for change in changes
        ]
        arguments = {"TransactItems": items, "ClientRequestToken": uuid4().hex}
        for attempt in range(CONFLICT_RETRIES + 1):
            try:
                self._call("transact_write_items", **arguments)
                return
            except ClientError as exc:
                self._judge(exc, attempt)
        raise _still_conflicting()

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call DynamoDB and translate what every operation can raise.

        `ClientError`s about conditions and conflicts pass through, for `_judge`.
        """
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**arguments)
        except ClientError as exc:
            code = exc.response["Error"]["Code"]
            if code == "ValidationException" and "size" in exc.response["Error"]["Message"].lower():
                raise TooLarge("An item is over DynamoDB's 400 KB, or a transaction over 4 MB.") from exc
            if (
                code in _PASSING
                or exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _SERVER_FAULT
            ):
                raise Unavailable(
                    f"DynamoDB refused {operation} with {code}; try again in a moment."
                ) from exc
            raise  # a condition or a conflict, for `_judge`; or our own mistake, which no retry mends
        except BotoCoreError as exc:
            raise Unavailable(f"DynamoDB did not answer {operation}; try again in a moment.") from exc
        return answer

    @staticmethod
    def _judge(error: ClientError, attempt: int) -> None:
        """Return after a pause when the write should be sent again; raise otherwise."""
        response: Any = error.response
        code = response["Error"]["Code"]
        if code == "ConditionalCheckFailedException":
            raise Refused({0: _old(response)}) from error
        if code not in _CONFLICTS:
            raise error
        reasons = response.get("CancellationReasons", [])
        codes = {reason.get("Code", "None") for reason in reasons}
        if "ConditionalCheckFailed" in codes:
            refusals = {
                place: _old(reason)
                for place, reason in enumerate(reasons)
                if reason.get("Code") == "ConditionalCheckFailed"
            }
            raise Refused(refusals) from error
        if codes & {"ItemCollectionSizeLimitExceeded", "ValidationError"}:
            raise TooLarge("An item is over DynamoDB's 400 KB, or a transaction over 4 MB.") from error
        if attempt < CONFLICT_RETRIES:
            _pause(attempt)  # TransactionConflict, ThrottlingError, TransactionInProgress


def _member(change: Change) -> str:
    """Name the member of a transaction that carries a change."""
    return "ConditionCheck" if isinstance(change, Check) else type(change).__name__


def _pause(attempt: int) -> None:
    ceiling = min(_CONFLICT_CEILING_S, _CONFLICT_FLOOR_S * 2**attempt)
    time.sleep(random.uniform(_CONFLICT_FLOOR_S, max(_CONFLICT_FLOOR_S, ceiling)))  # noqa: S311 (jitter)


def _still_conflicting() -> Unavailable:
    return Unavailable("Other writes to the same thread kept this one out; try again in a moment.")


def _old(refusal: Mapping[str, Any]) -> Item | None:
    return item_from_wire(refusal["Item"]) if refusal.get("Item") else None


def _wire_key(key: Key) -> dict[str, Any]:
    return {PARTITION: {"S": key.partition}, SORT: {"S": key.sort}}


def _range(partition: str, prefix: str, at_least: str | None, at_most: str | None) -> dict[str, Any]:
    names = {"#pk": PARTITION}
    values = {":pk": {"S": partition}}
    condition = "#pk = :pk"
    if at_least is not None or at_most is not None:
        names["#sk"] = SORT
        values[":high"] = {"S": at_most or f"{prefix}\U0010ffff"}
        if low := at_least or prefix:
            values[":low"] = {"S": low}
        condition += " AND #sk BETWEEN :low AND :high" if low else " AND #sk <= :high"
    elif prefix:
        names["#sk"] = SORT
        values[":prefix"] = {"S": prefix}
        condition += " AND begins_with(#sk, :prefix)"
    return {
        "KeyConditionExpression": condition,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
