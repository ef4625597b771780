"""What goes wrong between a process and AWS, by the dice of the process."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from botocore.exceptions import ClientError, ReadTimeoutError

from crewline.store.keys import LEASE_SORT, PARTITION, RECORD_PREFIX, SORT
from tests.faults.torture.journals import Journal

Call = Callable[[str, dict[str, Any]], Any]

_READS: Final = frozenset(("GetItem", "Query", "GetObject"))
_WRITES: Final = frozenset(("PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"))
_OTHERS: Final = frozenset(("SendMessage", "PutObject"))

_CHANCES: Final[tuple[tuple[str, tuple[float, float, float]], ...]] = (
    # kind, and its chance at a read, a write to the table, another write
    ("throttled", (0.003, 0.008, 0.01)),
    ("conflict", (0.0, 0.03, 0.0)),
    ("lost", (0.002, 0.004, 0.01)),
    ("unanswered", (0.0, 0.01, 0.01)),
    ("repeated", (0.0, 0.02, 0.01)),
    ("late", (0.004, 0.01, 0.01)),
    ("stalled", (0.0, 0.003, 0.0)),
)
_STALL_S: Final = (2.5, 5.0)
_LATE_S: Final = (0.05, 0.6)


class Faults:
    """Stands between the clients of a process and AWS.

    It also writes down which records a claim tried to write, and when a claim was told that its
    time is over.
    """

    def __init__(self, dice: random.Random, journal: Journal) -> None:
        self._dice = dice
        self._journal = journal
        self._open = threading.Event()
        self._open.set()

    def between(self, client: Any) -> Any:
        """Stand between a boto3 client and AWS."""
        real: Call = client._make_api_call
        client._make_api_call = lambda operation, arguments: self._call(real, operation, arguments)
        return client

    def _call(self, real: Call, operation: str, arguments: dict[str, Any]) -> Any:
        self._open.wait()
        kind = self._draw(operation)
        if kind:
            self._journal.note("fault", kind=kind, operation=operation)
        if kind in ("throttled", "conflict", "lost"):
            raise _error(kind, operation)
        if kind == "stalled":
            self._stall()
        elif kind == "late":
            time.sleep(self._dice.uniform(*_LATE_S))
        answer = self._watched(real, operation, arguments)
        if kind == "unanswered":
            raise _timeout()
        if kind == "repeated":
            answer = self._watched(real, operation, arguments)
        return answer

    def _draw(self, operation: str) -> str:
        kinds = (_READS, _WRITES, _OTHERS)
        column = next((place for place, names in enumerate(kinds) if operation in names), None)
        left = self._dice.random()
        for kind, chances in _CHANCES if column is not None else ():
            left -= chances[column or 0]
            if left < 0:
                return kind
        return ""

    def _stall(self) -> None:
        """Let nothing through for longer than a lease lasts: the process is cut off, and then is not."""
        self._open.clear()
        time.sleep(self._dice.uniform(*_STALL_S))
        self._open.set()

    def _watched(self, real: Call, operation: str, arguments: dict[str, Any]) -> Any:
        owner, place = _writer(operation, arguments)
        if not owner:
            return real(operation, arguments)
        if found := list(_records(operation, arguments)):
            self._journal.note("put", owner=owner, thread=found[0][0], records=[sort for _, sort in found])
        try:
            return real(operation, arguments)
        except ClientError as exc:
            now = _refusing(exc, place)
            if now is not None and now.get("owner", {}).get("S") != owner:
                self._journal.note("stale", owner=owner)
            raise


def _error(kind: str, operation: str) -> Exception:
    if kind == "lost":
        return _timeout()
    if kind == "throttled":
        body: Any = {
            "Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"},
            "ResponseMetadata": {"HTTPStatusCode": 400},
        }
    elif operation == "TransactWriteItems":
        body = {
            "Error": {"Code": "TransactionCanceledException", "Message": "Transaction cancelled"},
            "CancellationReasons": [{"Code": "TransactionConflict"}],
        }
    else:
        body = {"Error": {"Code": "TransactionConflictException", "Message": "Transaction is ongoing"}}
    return ClientError(body, operation)


def _timeout() -> ReadTimeoutError:
    return ReadTimeoutError(endpoint_url="http://cloud")


def _writer(operation: str, arguments: dict[str, Any]) -> tuple[str, int]:
    """Find the claim under which something is written, and where its lease is in the request."""
    changes = arguments["TransactItems"] if operation == "TransactWriteItems" else [{"Update": arguments}]
    for place, change in enumerate(changes):
        ((_, one),) = change.items()
        if one.get("Key", {}).get(SORT, {}).get("S") == LEASE_SORT:
            owner = one.get("ExpressionAttributeValues", {}).get(":owner", {}).get("S", "")
            return owner, place
    return "", 0


def _records(operation: str, arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for change in arguments["TransactItems"] if operation == "TransactWriteItems" else ():
        item = change.get("Put", {}).get("Item", {})
        if item and item[SORT]["S"].startswith(RECORD_PREFIX):
            yield item[PARTITION]["S"].rpartition("#")[2], item[SORT]["S"]


def _refusing(error: ClientError, place: int) -> dict[str, Any] | None:
    """Find the lease that refused a write; None when it was something else."""
    response: Any = error.response
    if response["Error"]["Code"] == "ConditionalCheckFailedException":
        return dict(response.get("Item") or {})
    reasons = response.get("CancellationReasons", [])
    if place < len(reasons) and reasons[place].get("Code") == "ConditionalCheckFailed":
        return dict(reasons[place].get("Item") or {})
    return None
