from typing import Any

from benchmarks.meters import writes_of


def test_a_single_write_counts_once() -> None:
    params = {"TableName": "t", "Key": {}}
    assert list(writes_of("UpdateItem", params)) == [("Update", params, 1)]


def test_the_writes_of_a_transaction_count_twice() -> None:
    put, check = {"TableName": "t", "Item": {}}, {"TableName": "t", "Key": {}}
    params = {"TransactItems": [{"Put": put}, {"ConditionCheck": check}]}
    assert list(writes_of("TransactWriteItems", params)) == [("Put", put, 2), ("ConditionCheck", check, 2)]


def test_the_writes_of_a_batch_know_their_table() -> None:
    params: dict[str, Any] = {
        "RequestItems": {"t": [{"DeleteRequest": {"Key": {}}}, {"PutRequest": {"Item": {}}}]}
    }
    assert list(writes_of("BatchWriteItem", params)) == [
        ("Delete", {"TableName": "t", "Key": {}}, 1),
        ("Put", {"TableName": "t", "Item": {}}, 1),
    ]


def test_a_read_writes_nothing() -> None:
    assert list(writes_of("Query", {"TableName": "t"})) == []
