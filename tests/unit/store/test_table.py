"""The table: reads in order, refusals bring the item, conflicts are retried as the same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from crewline.errors import CrewlineError, TooLarge, Unavailable
from crewline.store.changes import ABSENT, Delete, Put, Update
from crewline.store.keys import LEASES_IN_FLIGHT, Key, flight_time
from crewline.store.table import Refused
from tests.unit.store.worlds import Calls, World

PARTITION = "T#acme#t"


def key(sort: str) -> Key:
    return Key(PARTITION, sort)


def failure(code: str, operation: str = "UpdateItem", message: str = "no", **more: Any) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 400},
        **more,
    }
    return ClientError(response, operation)


def cancelled(*codes: str) -> ClientError:
    reasons = [{"Code": code} for code in codes]
    return failure("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nothing sleeps; the pauses that would have been."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def filled(world: World) -> World:
    for sort in ("C#1", "C#2", "C#3", "C#4", "Q#1", "!X"):
        world.table.write(Put(key=key(sort), item={"n": sort}))
    return world


def sorts(found: Iterator[dict[str, Any]]) -> list[str]:
    return [item["SK"] for item in found]


# ------------------------------------------------------------------ reading


def test_an_item_that_is_not_there_is_none(world: World) -> None:
    assert world.table.get(key("nothing")) is None


def test_reads_are_strongly_consistent(filled: World) -> None:
    with Calls(filled.cloud.dynamodb, "GetItem") as gets, Calls(filled.cloud.dynamodb, "Query") as queries:
        filled.table.get(key("C#1"))
        list(filled.table.query(PARTITION, prefix="C#"))
    assert all(request["ConsistentRead"] for request in [*gets.requests, *queries.requests])


def test_a_query_reads_a_prefix_in_order(filled: World) -> None:
    assert sorts(filled.table.query(PARTITION, prefix="C#")) == ["C#1", "C#2", "C#3", "C#4"]
    assert sorts(filled.table.query(PARTITION)) == ["!X", "C#1", "C#2", "C#3", "C#4", "Q#1"]


def test_a_query_may_begin_and_end_inside_a_prefix(filled: World) -> None:
    assert sorts(filled.table.query(PARTITION, prefix="C#", at_least="C#3")) == ["C#3", "C#4"]
    assert sorts(filled.table.query(PARTITION, prefix="C#", at_most="C#2")) == ["C#1", "C#2"]
    both = filled.table.query(PARTITION, prefix="C#", at_least="C#2", at_most="C#3", newest_first=True)
    assert sorts(both) == ["C#3", "C#2"]


def test_a_query_reads_only_as_many_pages_as_are_consumed(filled: World) -> None:
    with Calls(filled.cloud.dynamodb, "Query") as calls:
        found = filled.table.query(PARTITION, prefix="C#", newest_first=True, page=2)
        assert next(found)["SK"] == "C#4"
        assert len(calls.requests) == 1
        assert sorts(found) == ["C#3", "C#2", "C#1"]
        assert len(calls.requests) >= 2


def test_a_query_may_read_just_the_keys(filled: World) -> None:
    assert next(filled.table.query(PARTITION, prefix="C#", keys_only=True)) == {"PK": PARTITION, "SK": "C#1"}


def test_an_index_is_read_in_the_order_of_its_sort_key_up_to_a_value(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (5, 1, 4, 2, 3):
        entry = {LEASES_IN_FLIGHT.partition: "F#0", LEASES_IN_FLIGHT.sort: str(number)}
        world.table.write(Put(key=key(f"C#{9 - number}"), item={**entry, "n": number}))
    call = world.cloud.dynamodb._make_api_call  # type: ignore[attr-defined]

    def two_a_page(operation: str, arguments: dict[str, Any]) -> Any:
        return call(operation, {**arguments, "Limit": 2})

    monkeypatch.setattr(world.cloud.dynamodb, "_make_api_call", two_a_page)
    with Calls(world.cloud.dynamodb, "Query") as calls:
        found = list(world.table.query_index(LEASES_IN_FLIGHT, "F#0", at_most="4"))
    assert found == [key("C#8"), key("C#7"), key("C#6"), key("C#5")]
    assert len(calls.requests) >= 2
    assert all("ConsistentRead" not in request for request in calls.requests), "an index has no such reads"
    assert list(world.table.query_index(LEASES_IN_FLIGHT, "F#1", at_most="4")) == []


def test_a_query_may_read_just_some_attributes(filled: World) -> None:
    assert next(filled.table.query(PARTITION, prefix="C#", only=("SK", "n"))) == {"SK": "C#1", "n": "C#1"}


def entries(world: World, *times: int, shard: str = "F#1") -> None:
    index = LEASES_IN_FLIGHT
    for time_ in times:
        item = {index.partition: shard, index.sort: flight_time(time_)}
        world.table.write(Put(key=key(f"E#{shard}{time_}"), item=item))


def found_in(world: World, shard: str = "F#1", at_most: int = 10**12) -> list[str]:
    found = world.table.query_index(LEASES_IN_FLIGHT, shard, at_most=flight_time(at_most))
    return [one.sort for one in found]


def test_an_index_finds_the_keys_of_one_partition_in_order_up_to_a_value(filled: World) -> None:
    entries(filled, 30, 4, 200)
    entries(filled, 5, shard="F#2")
    assert found_in(filled) == ["E#F#14", "E#F#130", "E#F#1200"]
    assert found_in(filled, at_most=30) == ["E#F#14", "E#F#130"]
    assert found_in(filled, "F#3") == []


def test_an_index_is_read_page_by_page_and_not_strongly(filled: World) -> None:
    entries(filled, *range(1, 5))
    call = filled.cloud.dynamodb.query
    requests: list[dict[str, Any]] = []

    def two_at_a_time(**arguments: Any) -> Any:
        requests.append(arguments)
        return call(**arguments, Limit=2)

    filled.cloud.dynamodb.query = two_at_a_time  # type: ignore[method-assign]
    try:
        assert len(found_in(filled)) == 4
    finally:
        filled.cloud.dynamodb.query = call  # type: ignore[method-assign]
    assert len(requests) > 1
    assert not any("ConsistentRead" in request for request in requests)


def test_an_index_that_does_not_answer_is_unavailable(filled: World) -> None:
    with Calls(filled.cloud.dynamodb, "Query") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://db")]
        with pytest.raises(Unavailable):
            found_in(filled)


# ------------------------------------------------------------------ refusals


def test_a_refused_write_brings_the_item_as_it_is(filled: World) -> None:
    for change in (
        Put(key=key("C#1"), item={"n": "new"}, condition=ABSENT),
        Update(key=key("C#1"), set={"n": "new"}, condition=ABSENT),
        Delete(key=key("C#1"), condition=ABSENT),
    ):
        with pytest.raises(Refused) as caught:
            filled.table.write(change)
        assert caught.value.items == {0: {"PK": PARTITION, "SK": "C#1", "n": "C#1"}}


def test_a_write_refused_because_nothing_is_there_says_so(world: World) -> None:
    with pytest.raises(Refused) as caught:
        world.table.write(Update(key=key("C#9"), set={"n": 1}, condition="#n = :n", parameters={"n": 0}))
    assert caught.value.items == {0: None}


def test_a_refused_transaction_writes_nothing_and_brings_what_refused(filled: World) -> None:
    with pytest.raises(Refused) as caught:
        filled.table.transact(
            [
                Put(key=key("new"), item={"n": 1}),
                Update(key=key("C#1"), set={"n": "x"}, condition="#n = :n", parameters={"n": "other"}),
                Delete(key=key("C#2")),
                Put(key=key("C#3"), item={}, condition=ABSENT),
            ]
        )
    assert {place: item and item["n"] for place, item in caught.value.items.items()} == {1: "C#1", 3: "C#3"}
    assert filled.table.get(key("new")) is None
    assert filled.table.get(key("C#2")) is not None


def test_an_update_answers_with_the_item_after_it(filled: World) -> None:
    after = filled.table.write(Update(key=key("C#1"), add={"count": 2}))
    assert after == {"PK": PARTITION, "SK": "C#1", "n": "C#1", "count": 2}


# ------------------------------------------------------------------ conflicts and other failures


def test_a_conflicting_transaction_is_sent_again_as_the_same_bytes_with_the_same_token(
    world: World, pauses: list[float]
) -> None:
    sent: list[bytes] = []

    def keep(request: Any, **_: Any) -> None:
        sent.append(request.body)

    events = world.cloud.dynamodb.meta.events
    events.register("before-send.dynamodb.TransactWriteItems", keep)
    try:
        with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
            calls.after = [cancelled("None", "TransactionConflict"), None]
            world.table.transact([Put(key=key("a"), item={"n": 1}), Put(key=key("b"), item={"n": 2})])
    finally:
        events.unregister("before-send.dynamodb.TransactWriteItems", keep)
    assert len(calls.requests) == 2
    assert calls.requests[0] == calls.requests[1]
    assert calls.requests[0]["ClientRequestToken"]
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert len(pauses) == 1


def test_two_transactions_have_two_tokens(world: World) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        world.table.transact([Put(key=key("a"), item={})])
        world.table.transact([Put(key=key("a"), item={})])
    tokens = {request["ClientRequestToken"] for request in calls.requests}
    assert len(tokens) == 2
    assert all(len(token) <= 36 for token in tokens)


def test_a_single_write_that_meets_a_transaction_is_sent_again(world: World, pauses: list[float]) -> None:
    with Calls(world.cloud.dynamodb, "UpdateItem") as calls:
        calls.failures = [failure("TransactionConflictException")] * 3
        assert world.table.write(Update(key=key("a"), add={"n": 1}))["n"] == 1
    assert len(calls.requests) == 4
    assert all(0.005 <= pause <= 0.2 for pause in pauses)


def test_conflicts_without_end_are_unavailable_after_eight_retries(world: World, pauses: list[float]) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [cancelled("TransactionConflict")] * 20
        with pytest.raises(Unavailable, match="kept this one out"):
            world.table.transact([Put(key=key("a"), item={})])
    assert len(calls.requests) == 9
    assert len(pauses) == 8
    assert sum(pauses) < 8 * 0.2


def test_a_refusal_beside_a_conflict_is_a_refusal(world: World) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [cancelled("TransactionConflict", "ConditionalCheckFailed")]
        with pytest.raises(Refused) as caught:
            world.table.transact([Put(key=key("a"), item={}), Put(key=key("b"), item={})])
    assert caught.value.items == {1: None}


@pytest.mark.parametrize(
    "error",
    [
        failure("ProvisionedThroughputExceededException"),
        failure("ThrottlingException"),
        failure("RequestLimitExceeded"),
        failure("InternalServerError"),
        EndpointConnectionError(endpoint_url="http://db"),
        ReadTimeoutError(endpoint_url="http://db"),
    ],
)
@pytest.mark.parametrize("operation", ["GetItem", "Query", "UpdateItem", "TransactWriteItems"])
def test_what_a_later_try_may_mend_is_unavailable(world: World, operation: str, error: Exception) -> None:
    actions: dict[str, Callable[[], object]] = {
        "GetItem": lambda: world.table.get(key("a")),
        "Query": lambda: list(world.table.query(PARTITION)),
        "UpdateItem": lambda: world.table.write(Update(key=key("a"), set={"n": 1})),
        "TransactWriteItems": lambda: world.table.transact([Put(key=key("a"), item={})]),
    }
    with Calls(world.cloud.dynamodb, operation) as calls:
        calls.failures = [error]
        with pytest.raises(Unavailable) as caught:
            actions[operation]()
    assert caught.value.retryable
    assert caught.value.__cause__ is error


def test_an_item_over_the_limit_is_too_large(world: World) -> None:
    with pytest.raises(TooLarge):
        world.table.write(Put(key=key("a"), item={"text": "x" * 420_000}))
    assert world.items() == {}


def test_a_transaction_over_the_limit_is_too_large(world: World) -> None:
    with Calls(world.cloud.dynamodb, "TransactWriteItems") as calls:
        calls.failures = [cancelled("None", "ValidationError")]
        with pytest.raises(TooLarge):
            world.table.transact([Put(key=key("a"), item={}), Put(key=key("b"), item={})])


def test_a_request_that_dynamodb_calls_invalid_is_not_called_unavailable(world: World) -> None:
    with Calls(world.cloud.dynamodb, "GetItem") as calls:
        calls.failures = [
            failure("ValidationException", "GetItem", "One or more parameter values were invalid")
        ]
        with pytest.raises((ClientError, CrewlineError)) as caught:
            world.table.get(key("a"))
    assert not isinstance(caught.value, Unavailable)
